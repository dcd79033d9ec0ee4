//! trtexec's `--exportTimes`: a JSON array with one object a run, `computeMs` among its fields.

use jetpace_tables::units::Nanos;
use serde_json::Value;

use super::{json, milliseconds};

/// Compute times of single runs, in the order in which they ran.
///
/// # Errors
/// What is wrong, without the file's name.
pub fn parse(bytes: &[u8]) -> Result<Vec<Nanos>, String> {
    let Value::Array(runs) = json(bytes)? else {
        return Err("no list of runs: --exportTimes of trtexec is meant".to_owned());
    };
    if runs.iter().any(|run| run.get("averageMs").is_some()) {
        return Err("what --exportProfile writes: give it to --clock".to_owned());
    }
    let time = |(at, run): (usize, &Value)| {
        let ms = run.get("computeMs").and_then(Value::as_f64).and_then(milliseconds);
        ms.filter(|time| *time > Nanos::ZERO).ok_or_else(|| format!("run {at} has no computeMs"))
    };
    let times: Vec<Nanos> = runs.iter().enumerate().map(time).collect::<Result<_, _>>()?;
    if times.is_empty() { Err("no runs".to_owned()) } else { Ok(times) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_read_and_other_files_are_named() {
        let times = parse(br#"[{"computeMs":3,"latencyMs":4},{"computeMs":1},{"computeMs":2}]"#).unwrap();
        assert_eq!(times, [3, 1, 2].map(Nanos::from_millis));
        for (text, said) in [
            ("[{\"computeMs\":3},", "cut off"),
            ("{}", "no list of runs"),
            ("[]", "no runs"),
            ("[{\"computeMs\":-3}]", "run 0"),
            ("[{\"name\":\"a\",\"averageMs\":1}]", "--exportProfile"),
        ] {
            let why = parse(text.as_bytes()).unwrap_err();
            assert!(why.contains(said), "{text}: {why}");
        }
    }
}
