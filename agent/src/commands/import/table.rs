//! `import csv`: a table with a row per measurement.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::str::FromStr;

use jetpace_tables::sample::{Key, Row};
use jetpace_tables::units::{Hertz, Milliwatts, Nanos};
use jetpace_tables::work::Size;

use super::power::{Power, Powers, logs, power_at};
use super::table_units::{What, number};
use super::{About, read, refused};
use crate::failure::Failure;

/// Options of `import csv`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The table; commas, semicolons or tabs between its cells
    table: PathBuf,
    /// Which column is the clock, emc, cpu, time, power, model, block or size, and its unit, as clock=core:MHz; where the
    /// names do not tell
    #[arg(long, value_name = "WHAT=COLUMN[:UNIT]", value_delimiter = ',')]
    map: Vec<Mapped>,
    /// Mean watts of the module at a clock, or a log of tegrastats, jtop or nvidia-smi; where the table has no power
    #[arg(long = "power", value_name = "CLOCK=WATTS|LOG", value_parser = power_at)]
    power: Vec<(Hertz, Power)>,
    #[command(flatten)]
    about: About,
}

/// A column that is named on the command line.
#[derive(Clone, Debug, PartialEq)]
struct Mapped {
    what: What,
    column: String,
    scale: Option<f64>,
}

impl FromStr for Mapped {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').ok_or("not WHAT=COLUMN")?;
        let what = What::ALL.into_iter().find(|what| what.name() == name);
        let names = What::ALL.map(What::name).join(", ");
        let what = what.ok_or_else(|| format!("{name} is none of {names}"))?;
        let (column, scale) = match rest.rsplit_once(':') {
            Some((column, unit)) => {
                let scale = what.scale(unit).ok_or_else(|| format!("{unit} is no unit of a {name}"))?;
                (column, Some(scale))
            }
            None => (rest, None),
        };
        Ok(Self { what, column: column.trim().to_owned(), scale })
    }
}

/// The rows of a table whose columns tell by their names what they are, and how many had a gap.
///
/// # Errors
/// What is wrong, without the file's name.
pub fn rows(bytes: &[u8]) -> Result<(Vec<Row>, usize), String> {
    Args { table: PathBuf::new(), map: Vec::new(), power: Vec::new(), about: About::default() }.rows(bytes)
}

impl Args {
    /// Imports.
    pub fn run(self) -> Result<(), Failure> {
        self.about.keeps(&logs(&self.power).chain([self.table.as_path()]).collect::<Vec<_>>())?;
        let powers = Powers::read(&self.power)?;
        let (mut rows, gaps) = self.rows(&read(&self.table)?).map_err(refused(&self.table))?;
        if gaps > 0 {
            eprintln!("{}: {gaps} rows without a clock or a time left out", self.table.display());
        }
        for row in &mut rows {
            let told = row.gpu_freq.and_then(|clock| powers.at(clock)).map(Milliwatts::from_watts_f64);
            if row.power.is_some() && told.is_some() {
                let why = "has power in a column: leave --power out";
                return Err(Failure::usage(format_args!("{} {why}", self.table.display())));
            }
            row.power = row.power.or(told);
        }
        let blocks: BTreeSet<&str> = rows.iter().map(|row| row.block.as_str()).collect();
        let boundaries = if blocks.len() > 1 { "blocks" } else { "none" };
        self.about.write(rows, boundaries, powers.of)
    }

    /// The rows, and how many had a gap.
    fn rows(&self, bytes: &[u8]) -> Result<(Vec<Row>, usize), String> {
        let text = std::str::from_utf8(bytes).map_err(|e| format!("byte {}: not UTF-8 text", e.valid_up_to()))?;
        let text = text.trim_start_matches('\u{feff}');
        let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with('#')).ok_or("empty")?;
        // A comma may stand in a name, `latency, ms`, where cells are not separated by commas.
        let separator = [';', '\t'].into_iter().find(|separator| first.contains(*separator)).unwrap_or(',');
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(separator as u8)
            .comment(Some(b'#'))
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes());
        let headers: Vec<String> = reader.headers().map_err(|e| e.to_string())?.iter().map(str::to_owned).collect();
        let columns = self.columns(&headers)?;
        let mut repeats: BTreeMap<Key, u32> = BTreeMap::new();
        let (mut rows, mut gaps) = (Vec::new(), 0);
        for record in reader.records() {
            let record = record.map_err(|e| e.to_string())?;
            let line = record.position().map_or(0, |position| position.line());
            let cell = |what: What| columns.get(&what).and_then(|(at, scale)| Some((record.get(*at)?, *scale)));
            let value = |what: What| match cell(what) {
                None => Ok(None),
                Some((cell, scale)) => {
                    number(what, cell, scale, separator != ',').map_err(|why| format!("line {line}: {why}"))
                }
            };
            let (clock, time, power) = (value(What::Clock)?, value(What::Time)?, value(What::Power)?);
            let (Some(clock), Some(time)) = (clock, time) else {
                gaps += 1;
                continue;
            };
            let size = value(What::Size)?.unwrap_or(1.0);
            if !(1.0..=f64::from(u32::MAX)).contains(&size) || size.fract() != 0.0 {
                return Err(format!("line {line}: {size} is no size: whole numbers from 1 on are"));
            }
            let block =
                cell(What::Block).map(|(block, _)| block).filter(|block| !block.is_empty()).unwrap_or("program");
            let within = |what: What, value: f64, good: std::ops::RangeInclusive<f64>, unit: &str| {
                let why = || format!("line {line}: a {} of {value} {unit} is outside {good:?}", what.name());
                if good.contains(&value) { Ok(value) } else { Err(why()) }
            };
            let clocks =
                |what: What, value| within(what, value, 1e7..=1e10, "Hz").map(|hz| Hertz::new(hz.round() as u64));
            let clock = clocks(What::Clock, clock)?;
            let time = within(What::Time, time, 1e-6..=100.0, "s")?;
            let power = power.map(|power| within(What::Power, power, 0.0..=1e3, "W")).transpose()?;
            let mut row = self.about.row(block, clock, Nanos::from_secs_f64(time));
            row.size = Size(size as u32);
            row.power = power.map(Milliwatts::from_watts_f64);
            row.emc_freq = value(What::Emc)?.map(|emc| clocks(What::Emc, emc)).transpose()?.or(row.emc_freq);
            row.cpu_freq = value(What::Cpu)?.map(|cpu| clocks(What::Cpu, cpu)).transpose()?;
            if let Some((model, _)) = cell(What::Model).filter(|(model, _)| !model.is_empty()) {
                model.clone_into(&mut row.model);
            }
            let repeat = repeats.entry(row.key()).or_default();
            row.repeat = *repeat;
            *repeat += 1;
            rows.push(row);
        }
        if rows.is_empty() { Err("no row with a clock and a time".to_owned()) } else { Ok((rows, gaps)) }
    }

    /// Where each thing stands, and its unit where the column tells it.
    fn columns(&self, headers: &[String]) -> Result<BTreeMap<What, (usize, Option<f64>)>, String> {
        let mut columns = BTreeMap::new();
        for mapped in &self.map {
            let at = headers
                .iter()
                .position(|header| *header == mapped.column)
                .ok_or_else(|| format!("no column `{}`; there are {}", mapped.column, headers.join(", ")))?;
            let of_name = headers.get(at).and_then(|header| What::of(header)).and_then(|(_, scale)| scale);
            columns.insert(mapped.what, (at, mapped.scale.or(of_name)));
        }
        for (at, header) in headers.iter().enumerate() {
            let Some((what, scale)) = What::of(header) else { continue };
            if self.map.iter().any(|mapped| mapped.what == what) {
                continue;
            }
            if let Some((other, _)) = columns.insert(what, (at, scale)) {
                let other = headers.get(other).map_or("", String::as_str);
                let name = what.name();
                return Err(format!(
                    "`{other}` and `{header}` may both be the {name}: name one with --map {name}=COLUMN"
                ));
            }
        }
        for what in [What::Clock, What::Time] {
            if !columns.contains_key(&what) {
                let (name, there) = (what.name(), headers.join(", "));
                return Err(format!("no column is the {name}; name it with --map {name}=COLUMN:UNIT, out of {there}"));
            }
        }
        Ok(columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str, map: &[&str]) -> Result<(Vec<Row>, usize), String> {
        let about = About { model: "net".to_owned(), device: "jetson".to_owned(), ..About::default() };
        let map = map.iter().map(|text| text.parse().unwrap()).collect();
        Args { table: PathBuf::new(), map, power: Vec::new(), about }.rows(text.as_bytes())
    }

    #[test]
    fn tables_of_several_tools_read_alike() {
        let expected = (Some(Hertz::new(612_000_000)), Some(Nanos::new(12_500_000)), Some(Milliwatts::new(7_800)));
        for text in [
            "clock_mhz,latency_ms,power_w\n612,12.5,7.8\n",
            "clock;latency;power\n612 MHz;12,5 ms;7,8 W\n",
            "clocks.current.graphics [MHz]\tlatency [s]\tpower.draw [mW]\n612 MHz\t0.0125\t7800\n",
        ] {
            let (rows, _) = rows(text, &[]).unwrap();
            assert_eq!((rows[0].gpu_freq, rows[0].latency, rows[0].power), expected, "{text}");
        }
    }

    #[test]
    fn rows_of_other_clocks_of_the_memory_and_other_models_are_no_repeats() {
        let text = "model;emc_mhz;gpu_mhz;latency, ms\na;2133;612;12,5\na;665;612;14\nb;665;612;15\na;665;612;16\n";
        let (rows, _) = rows(text, &[]).unwrap();
        let emc: Vec<_> = rows.iter().map(|row| row.emc_freq.unwrap().get() / 1_000_000).collect();
        assert_eq!((emc, rows[2].model.as_str()), (vec![2133, 665, 665, 665], "b"));
        assert_eq!(rows.iter().map(|row| row.repeat).collect::<Vec<_>>(), [0, 0, 0, 1]);
    }

    #[test]
    fn columns_are_named_where_their_names_do_not_tell() {
        let text = "f,t,t2,p\n612,12.5,1,[N/A]\n612,12.6,1,8\n[N/A],1,1,1\n";
        let (rows, gaps) = rows(text, &["clock=f:MHz", "time=t:ms", "power=p:W"]).unwrap();
        assert_eq!((rows.len(), gaps), (2, 1));
        assert_eq!(rows.iter().map(|row| row.repeat).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(rows[0].power, None);
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_a_remedy() {
        for (text, said) in [
            ("", "empty"),
            ("a,b\n1,2\n", "no column is the clock"),
            ("clock_mhz,latency\n612,12\n", "--map time=COLUMN:UNIT"),
            ("clock_mhz,latency_ms,time_ms\n612,12,13\n", "may both be the time"),
            ("clock_mhz,latency_ms\n", "no row"),
            ("clock_mhz,latency_ms\n0.6,12\n", "line 2: a clock of 600000 Hz"),
            ("clock_mhz,latency_ms\n612,fast\n", "line 2: `fast` is not a number"),
            ("clock_mhz,latency_ms,batch\n612,12,0.5\n", "line 2: 0.5 is no size"),
            ("clock_mhz,latency_ms\n612\n", "line: 2"),
        ] {
            let why = rows(text, &[]).unwrap_err();
            assert!(why.contains(said), "{text:?}: {why}");
        }
    }
}
