//! `--power CLOCK=...`: watts, or the log of a monitor that ran beside the program.

use std::path::{Path, PathBuf};

use jetpace_tables::hw::PowerOf;
use jetpace_tables::units::Hertz;

use super::{at_clock, monitor, once, read, refused};
use crate::failure::Failure;

/// One clock's power.
#[derive(Clone, Debug, PartialEq)]
pub enum Power {
    /// In watts.
    Watts(f64),
    /// What tegrastats, jtop or nvidia-smi wrote meanwhile.
    Log(PathBuf),
}

/// `612MHz=8.1` or `612MHz=tegrastats.log`.
pub fn power_at(text: &str) -> Result<(Hertz, Power), String> {
    at_clock(text, |value| match value.trim().trim_end_matches(['W', 'w']).trim_end().parse::<f64>() {
        Ok(_) => crate::args::watts(value.trim().trim_end_matches(['W', 'w']).trim_end()).map(Power::Watts),
        Err(_) if value.is_empty() => Err("neither watts nor a file behind =".to_owned()),
        Err(_) => Ok(Power::Log(PathBuf::from(value))),
    })
}

/// The files of a list.
pub fn logs(list: &[(Hertz, Power)]) -> impl Iterator<Item = &Path> {
    list.iter().filter_map(|(_, power)| if let Power::Log(path) = power { Some(path.as_path()) } else { None })
}

/// Every clock's power in watts, and whose it is.
#[derive(Debug, Default, PartialEq)]
pub struct Powers {
    at: Vec<(Hertz, f64)>,
    /// As all logs tell; watts on the command line are the module's.
    pub of: Option<PowerOf>,
}

impl Powers {
    /// Reads the logs.
    ///
    /// # Errors
    /// What is wrong with the clocks or a log, with its name.
    pub fn read(list: &[(Hertz, Power)]) -> Result<Self, Failure> {
        once(list, "--power")?;
        let mut powers = Self::default();
        for (clock, power) in list {
            let (watts, of) = match power {
                Power::Watts(watts) => (*watts, PowerOf::Module),
                Power::Log(path) => {
                    let log = monitor::parse(&read(path)?).map_err(refused(path))?;
                    eprintln!("{clock}: {:.2} W from {} readings of {}", log.watts, log.readings, path.display());
                    (log.watts, log.of)
                }
            };
            if powers.of.is_some_and(|before| before != of) {
                let why = "some of the module's, some of the GPU's alone: a sweep holds one of them";
                return Err(Failure::usage(format_args!("--power: {why}")));
            }
            powers.of = Some(of);
            powers.at.push((*clock, watts));
        }
        Ok(powers)
    }

    /// Watts at a clock.
    pub fn at(&self, clock: Hertz) -> Option<f64> {
        self.at.iter().find(|(at, _)| *at == clock).map(|(_, watts)| *watts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watts_and_logs_are_told_apart() {
        let clock = Hertz::new(612_000_000);
        assert_eq!(power_at("612MHz=8.1"), Ok((clock, Power::Watts(8.1))));
        assert_eq!(power_at("612MHz=8.1 W"), Ok((clock, Power::Watts(8.1))));
        assert_eq!(power_at("612MHz=a.log"), Ok((clock, Power::Log(PathBuf::from("a.log")))));
        for (text, said) in
            [("612MHz=", "behind ="), ("612MHz", "CLOCK="), ("612MHz=8100", "0..1000 W"), ("x=1", "not a clock")]
        {
            let why = power_at(text).unwrap_err();
            assert!(why.contains(said), "{text}: {why}");
        }
    }

    #[test]
    fn logs_of_one_kind_make_the_powers_and_mixed_ones_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (folder.path().join("tegrastats"), folder.path().join("smi.csv"));
        std::fs::write(&ours, "RAM 1/2MB GR3D_FREQ 99% VDD_IN 8000mW/8000mW\n").unwrap();
        std::fs::write(&theirs, "power.draw [W]\n78.2 W\n").unwrap();
        let clock = |mhz: u64| Hertz::new(mhz * 1_000_000);
        let powers = Powers::read(&[(clock(306), Power::Log(ours.clone())), (clock(612), Power::Watts(9.0))]).unwrap();
        assert_eq!((powers.at(clock(306)), powers.at(clock(612)), powers.at(clock(5))), (Some(8.0), Some(9.0), None));
        let mixed = Powers::read(&[(clock(306), Power::Log(ours)), (clock(612), Power::Log(theirs))]);
        assert!(mixed.unwrap_err().to_string().contains("GPU's alone"));
    }
}
