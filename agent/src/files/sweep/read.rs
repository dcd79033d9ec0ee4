//! Reading a sweep. Every refusal names the file and the line.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use csv::StringRecord;
use jetpace_tables::hw::PowerOf;
use jetpace_tables::names;
use jetpace_tables::sample::{Key, Kind, Row, Sweep};
use jetpace_tables::units::{Hertz, Microjoules, MilliCelsius, Milliwatts, Nanos};
use jetpace_tables::work::Size;

use super::{MAGIC, readings};
use crate::failure::Failure;

/// Columns without which no row means anything.
const NEEDED: [&str; 5] = ["device", "model", "block", "gpu_freq_hz", "latency_s"];

/// What programs write where a sensor gave nothing.
const NO_READING: [&str; 9] = ["nan", "-nan", "inf", "n/a", "[n/a]", "na", "null", "none", "-"];

/// Reads a sweep.
pub fn read(path: &Path) -> Result<Sweep, Failure> {
    let bytes = fs::read(path).map_err(|e| Failure::file(path, &e))?;
    parse(&bytes, path)
}

/// Reads a sweep from memory; `path` is for messages only.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Sweep, Failure> {
    let refuse = |line: u64, why: &dyn fmt::Display| {
        Failure::usage(match line {
            0 => format!("{}: {why}", path.display()),
            line => format!("{}: line {line}: {why}", path.display()),
        })
    };
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(refuse(0, &"UTF-16 text: save it as CSV in UTF-8"));
    }
    // A name in another encoding than UTF-8 stays a name.
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    if text.trim().is_empty() {
        return Err(refuse(0, &"empty: measure it with `jetpace calibrate`"));
    }
    let mut sweep = Sweep::default();
    let first = first_line(text);
    let own = first.is_some();
    if let Some((at, first)) = first {
        head(first, &mut sweep).map_err(|why| refuse(at, &why))?;
        if !text.ends_with('\n') {
            let last = text.lines().count() as u64;
            return Err(refuse(last, &"cut off: run `jetpace calibrate` again with this file, it goes on from here"));
        }
    }

    let body = body(text);
    let before = text[..text.len() - body.len()].matches('\n').count() as u64;
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).flexible(true).from_reader(body.as_bytes());
    let line_of = |error: &csv::Error| before + error.position().map_or(0, csv::Position::line);
    let header = reader.headers().map_err(|e| refuse(line_of(&e), &e))?.clone();
    let header_line = before + header.position().map_or(1, |position| position.line());
    if header.iter().any(|name| name.contains(|c: char| c == '\u{fffd}' || c.is_control())) {
        return Err(refuse(header_line, &"not text: is this a sweep?"));
    }
    let columns = Columns::new(&header).map_err(|why| refuse(header_line, &why))?;
    let mut seen: BTreeMap<Key, u64> = BTreeMap::new();
    for record in reader.records() {
        let record = record.map_err(|e| refuse(line_of(&e), &e))?;
        let line = before + record.position().map_or(0, |position| position.line());
        if record.len() != header.len() {
            let why = format!("{} fields where the header names {}: is the line cut off?", record.len(), header.len());
            return Err(refuse(line, &why));
        }
        let row = columns.row(&record, line).map_err(|why| refuse(line, &why))?;
        if let Some(first) = seen.insert(row.key(), line) {
            let why = format!("the same measurement as line {first}: number the rows in a column `repeat`");
            return Err(refuse(line, &why));
        }
        sweep.rows.push(row);
    }
    if sweep.rows.is_empty() && !own {
        return Err(refuse(0, &"no rows: measure it with `jetpace calibrate`"));
    }
    readings::judge(&mut sweep).map_err(|(line, why)| refuse(line, &why))?;
    Ok(sweep)
}

/// The line that says what a sweep holds for, and its number: the first that says anything, also where a spreadsheet put
/// it in quotes or filled it up to the width of the table.
fn first_line(text: &str) -> Option<(u64, &str)> {
    let (at, line) = text.lines().enumerate().find(|(_, line)| !line.trim().is_empty())?;
    let line = line.trim_matches(is_decoration);
    line.starts_with("# jetpace-sweep").then_some((at as u64 + 1, line))
}

/// What a spreadsheet puts around a line that is no row of its table.
fn is_decoration(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | ',' | ';')
}

/// From the line with the names of the columns on.
fn body(text: &str) -> &str {
    let mut rest = text;
    while let Some((line, after)) = rest.split_once('\n') {
        let bare = line.trim_matches(is_decoration);
        if !bare.is_empty() && !bare.starts_with('#') {
            break;
        }
        rest = after;
    }
    rest
}

/// The fields of the first line.
fn head(line: &str, sweep: &mut Sweep) -> Result<(), String> {
    let rest = line
        .strip_prefix(MAGIC)
        .filter(|rest| rest.is_empty() || rest.starts_with(' '))
        .ok_or_else(|| format!("a sweep of another format; this jetpace reads `{MAGIC}`"))?;
    for field in rest.split_whitespace() {
        let (key, value) = field.split_once('=').ok_or_else(|| format!("`{field}` is not key=value"))?;
        match key {
            "board" => sweep.board = Some(value.to_owned()),
            "clocks" if value.split(',').any(|clock| clock.parse::<Hertz>().is_err()) => {
                return Err(format!("`clocks={value}` is not a list of clocks"));
            }
            "power_of" if PowerOf::from_word(value).is_none() => {
                return Err(format!("`power_of={value}` is none of module, gpu, gpu-shared"));
            }
            _ => sweep.fields.push((key.to_owned(), value.to_owned())),
        }
    }
    Ok(())
}

/// Where each column is.
struct Columns {
    names: Vec<String>,
}

impl Columns {
    fn new(header: &StringRecord) -> Result<Self, String> {
        let names: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        for (i, name) in names.iter().enumerate() {
            if names[..i].contains(name) {
                return Err(format!("two columns `{name}`"));
            }
        }
        match NEEDED.iter().find(|needed| !names.iter().any(|name| name == *needed)) {
            Some(missing) => Err(format!(
                "no column `{missing}`; a sweep needs {}; `jetpace import csv` makes one of another table",
                NEEDED.join(", ")
            )),
            None => Ok(Self { names }),
        }
    }

    fn row(&self, record: &StringRecord, line: u64) -> Result<Row, String> {
        let mut row = Row { line, ..Row::default() };
        for (name, text) in self.names.iter().zip(record.iter().map(str::trim)) {
            if !names::is_plain(text) {
                return Err(format!("`{name}` holds control characters: {}", names::Shown(text)));
            }
            field(&mut row, name, text).map_err(|why| format!("{name} `{text}` {why}"))?;
        }
        check(&row)?;
        Ok(row)
    }
}

fn field(row: &mut Row, name: &str, text: &str) -> Result<(), String> {
    match name {
        "kind" if text.is_empty() => row.kind = Kind::Block,
        "kind" => {
            row.kind =
                Kind::from_word(text).ok_or_else(|| format!("is none of {}", Kind::ALL.map(Kind::word).join(", ")))?;
        }
        "device" => row.device = text.to_owned(),
        "model" => row.model = text.to_owned(),
        "block" => row.block = text.to_owned(),
        "rejected" => row.rejected = text.to_owned(),
        "size" => row.size = whole(text)?.map_or(Size::default(), Size),
        "repeat" => row.repeat = whole(text)?.unwrap_or(0),
        "samples" => row.samples = whole(text)?,
        "cpu_cores" => row.cpu_cores = whole(text)?,
        "gpu_freq_hz" => row.gpu_freq = clock(text)?,
        "emc_freq_hz" => row.emc_freq = clock(text)?,
        "cpu_freq_hz" => row.cpu_freq = clock(text)?,
        "from_hz" => row.from = clock(text)?,
        "to_hz" => row.to = clock(text)?,
        "latency_s" if is_no_reading(text) => row.rejected = format!("latency_s reads `{text}`"),
        "power_w" | "energy_j" if is_no_reading(text) => row.power_rejected = format!("{name} reads `{text}`"),
        // A language model's whole answer takes minutes.
        "latency_s" => {
            row.latency =
                within(text, 1e-6..=3600.0, "outside 1 us..3600 s: is it in seconds?")?.map(Nanos::from_secs_f64);
        }
        "latency_sd_s" => {
            row.latency_sd =
                within(text, 0.0..=3600.0, "outside 0..3600 s: is it in seconds?")?.map(Nanos::from_secs_f64);
        }
        "power_w" => match number(text)? {
            Some(watts) if !(0.0..=1e9).contains(&watts) => row.power_rejected = format!("power_w reads `{text}`"),
            watts => row.power = watts.map(Milliwatts::from_watts_f64),
        },
        "energy_j" => {
            row.energy =
                within(text, 0.0..=1e6, "outside 0..1000000 J: is it in joules?")?.map(Microjoules::from_joules_f64);
        }
        "temp_c" => {
            row.temp = within(text, -100.0..=200.0, "outside -100..200 degrees Celsius")?
                .map(|celsius| MilliCelsius::new((celsius * 1e3).round() as i64));
        }
        _ => match name.strip_prefix("rail_").and_then(|rest| rest.strip_suffix("_w")) {
            // An idle rail may read below zero by its shunt's offset.
            Some(rail) => {
                if let Some(watts) = within(text, -1.0..=1000.0, "outside -1..1000 W: is it in watts?")? {
                    row.rails.push((rail.to_owned(), Milliwatts::from_watts_f64(watts)));
                }
            }
            None => row.extra.push((name.to_owned(), text.to_owned())),
        },
    }
    Ok(())
}

/// What a row of its kind has to say, and whether it is consistent in itself.
fn check(row: &Row) -> Result<(), String> {
    let word = row.kind.word();
    let need = |there: bool, name: &str| match there {
        true => Ok(()),
        false => Err(format!("a row of kind `{word}` needs {name}")),
    };
    // A row that calibration gave up on may be without the value that it could not get.
    if row.rejected.is_empty() {
        match row.kind {
            Kind::Block | Kind::Frame => {
                need(row.gpu_freq.is_some(), "gpu_freq_hz")?;
                need(row.latency.is_some(), "latency_s")?;
            }
            Kind::Idle => {
                need(row.gpu_freq.is_some(), "gpu_freq_hz")?;
                need(row.power.is_some() || !row.power_rejected.is_empty(), "power_w")?;
            }
            Kind::Settle | Kind::Stall | Kind::Write => {
                need(row.from.is_some() && row.to.is_some(), "from_hz and to_hz")?;
                need(row.latency.is_some(), "latency_s")?;
            }
        }
    }
    Ok(())
}

/// A sensor that gave nothing, or zero where nothing is zero: one bad reading costs its row, not the sweep.
fn is_no_reading(text: &str) -> bool {
    NO_READING.iter().any(|word| text.eq_ignore_ascii_case(word)) || text.parse::<f64>().is_ok_and(|value| value == 0.0)
}

fn number(text: &str) -> Result<Option<f64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let value: f64 = text.parse().map_err(|_| "is not a number".to_owned())?;
    if value.is_finite() { Ok(Some(value)) } else { Err("is not a finite number".to_owned()) }
}

fn within(text: &str, range: std::ops::RangeInclusive<f64>, why: &str) -> Result<Option<f64>, String> {
    match number(text)? {
        Some(value) if !range.contains(&value) => Err(format!("is {why}")),
        value => Ok(value),
    }
}

fn clock(text: &str) -> Result<Option<Hertz>, String> {
    let value = within(text, 1e7..=1e10, "outside 1e7..1e10 Hz: is it in hertz?")?;
    Ok(value.map(|hz| Hertz::new(hz.round() as u64)))
}

/// A whole number; published tables write `158.0`.
fn whole(text: &str) -> Result<Option<u32>, String> {
    match number(text)? {
        Some(value) if value.fract() != 0.0 || !(0.0..=f64::from(u32::MAX)).contains(&value) => {
            Err("is not a whole number".to_owned())
        }
        value => Ok(value.map(|value| value as u32)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "device,model,block,gpu_freq_hz,emc_freq_hz,latency_s,power_w,energy_j,rail_gpu_w,note\n";

    fn parsed(text: &str) -> Result<Sweep, String> {
        parse(text.as_bytes(), Path::new("s.csv")).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_published_sweep_reads_as_blocks() {
        let sweep = parsed(&format!("{HEADER}tx2,net,whole,114750000,1866000000,0.5,5.5,2.75,-0.01,x y\n")).unwrap();
        let [row] = sweep.rows.as_slice() else { panic!("{sweep:?}") };
        assert_eq!((row.kind, row.line, row.size, row.repeat), (Kind::Block, 2, Size(1), 0));
        assert_eq!(row.latency, Some(Nanos::from_millis(500)));
        assert_eq!(row.rails, [("gpu".to_owned(), Milliwatts::new(-10))]);
        assert_eq!(row.extra, [("note".to_owned(), "x y".to_owned())]);
    }

    #[test]
    fn every_bad_value_is_refused_with_its_line() {
        let good = "tx2,net,whole,114750000,,0.5,5.5,,,\n";
        for (row, said) in [
            ("tx2,net,b,114.75,,0.5,5.5,,,", "line 3: gpu_freq_hz `114.75` is outside 1e7..1e10 Hz"),
            ("tx2,net,b,114750000,1866,0.5,5.5,,,", "line 3: emc_freq_hz `1866` is outside"),
            ("tx2,net,b,114750000,,5000,5.5,,,", "line 3: latency_s `5000` is outside 1 us..3600 s"),
            ("tx2,net,b,114750000,,-0.5,5.5,,,", "line 3: latency_s `-0.5` is outside"),
            ("tx2,net,b,114750000,,0.5,5.5,2750,,", "line 3: energy_j is 1000 times power_w x latency_s"),
            ("tx2,net,b,114750000,,fast,5.5,,,", "line 3: latency_s `fast` is not a number"),
            ("tx2,net,b,114750000,,,5.5,,,", "line 3: a row of kind `block` needs latency_s"),
            ("tx2,net,b,114750000,,0.5", "line 3: 6 fields where the header names 10"),
            ("tx2,net,whole,114750000,,0.6,5.5,,,", "line 3: the same measurement as line 2"),
        ] {
            let message = parsed(&format!("{HEADER}{good}{row}\n")).unwrap_err();
            assert!(message.starts_with("s.csv: "), "{message}");
            assert!(message.contains(said), "{row}: {message}");
        }
    }

    #[test]
    fn headers_and_first_lines_are_checked() {
        for (text, said) in [
            ("", "s.csv: empty"),
            (" \n\n", "s.csv: empty"),
            (HEADER, "s.csv: no rows"),
            ("device,model,block,gpu_freq_hz\n", "line 1: no column `latency_s`"),
            ("device,device,model,block,gpu_freq_hz,latency_s\n", "line 1: two columns `device`"),
            ("# jetpace-sweep 2 board=ab\n", "line 1: a sweep of another format"),
            ("# jetpace-sweep 1 clocks=fast\n", "line 1: `clocks=fast` is not a list of clocks"),
            ("# jetpace-sweep 1 board=ab\ndevice,model,block,gpu_freq_hz,latency_s\na,b,c,1", "line 3: cut off"),
            ("\u{7f}ELF", "line 1: not text"),
        ] {
            let message = parsed(text).unwrap_err();
            assert!(message.contains(said), "{text:?}: {message}");
        }
        for (bytes, said) in [
            (&b"\0,\0\n"[..], "line 1: not text"),
            (b"\xff\xfed\0e\0", "UTF-16"),
            (b"device,\xff\n", "line 1: not text"),
        ] {
            let message = parse(bytes, Path::new("s.csv")).unwrap_err().to_string();
            assert!(message.contains(said), "{message}");
        }
    }

    #[test]
    fn what_editors_and_spreadsheets_put_around_a_sweep_loses_nothing() {
        let rows = "device,model,block,gpu_freq_hz,latency_s\na,net,b,306000000,0.1\n";
        let first = "# jetpace-sweep 1 board=00ff clocks=306000000,612000000 name=x";
        for text in [
            format!("\u{feff}{first}\n{rows}"),
            format!("{first}\r\n{}", rows.replace('\n', "\r\n")),
            format!("\n  {first} \n\n{rows}"),
            format!("\"{first}\",,,\n{rows}"),
            format!("{first},,,\n{rows}\n"),
        ] {
            let sweep = parsed(&text).unwrap();
            assert_eq!((sweep.board.as_deref(), sweep.field("name")), (Some("00ff"), Some("x")), "{text:?}");
            assert_eq!((sweep.clocks().len(), sweep.rows.len()), (2, 1), "{text:?}");
        }
        let sweep =
            parse(b"device,model,block,gpu_freq_hz,latency_s\nJ\xfcrgen,n,b,3e8,0.1\n", Path::new("s")).unwrap();
        assert_eq!(sweep.rows[0].device, "J\u{fffd}rgen");
        let refused = parsed(&format!("\n{first}\n# x\n{rows}a,net,b,1,0.1\n")).unwrap_err();
        assert!(refused.contains("line 6: gpu_freq_hz `1`"), "{refused}");
    }

    #[test]
    fn a_reading_that_is_none_costs_its_row_at_most() {
        for (text, left) in [("NaN", true), ("0", true), ("[N/A]", true), ("-0.2", true), ("0.25", false)] {
            let time = text.trim_start_matches('-');
            let sweep = parsed(&format!("{HEADER}tx2,net,b,114750000,,{time},5.5,,,\n")).unwrap();
            assert_eq!(!sweep.rows[0].rejected.is_empty(), left && time == text, "{text}: {:?}", sweep.rows[0]);
            let sweep = parsed(&format!("{HEADER}tx2,net,b,114750000,,0.1,{text},,,\n")).unwrap();
            let row = &sweep.rows[0];
            assert_eq!((row.rejected.is_empty(), row.latency.is_some()), (true, true), "{row:?}");
            assert_eq!((!row.power_rejected.is_empty(), row.power.is_none()), (left, left), "{row:?}");
        }
    }

    #[test]
    fn the_first_line_tells_the_board() {
        let text = "# jetpace-sweep 1 board=00ff clocks=306000000,612000000 name=Orin_Nano\n\
                    kind,device,model,block,gpu_freq_hz,latency_s,power_w,from_hz,to_hz,rejected\n\
                    idle,orin,,,306000000,,1.5,,,\n\
                    settle,orin,,,,0.005,,306000000,612000000,\n\
                    block,orin,net,b,612000000,,,,,clock not held\n";
        let sweep = parsed(text).unwrap();
        assert_eq!(sweep.board.as_deref(), Some("00ff"));
        assert_eq!(sweep.field("name"), Some("Orin_Nano"));
        assert_eq!(sweep.clocks().len(), 2);
        assert_eq!(sweep.rows[1].kind, Kind::Settle);
        assert_eq!(sweep.rows[2].rejected, "clock not held");
    }
}
