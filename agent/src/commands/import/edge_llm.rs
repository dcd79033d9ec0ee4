//! `import edge-llm`: a stage of TensorRT Edge-LLM's profile. Prefill and decode are deadlines of their own (time to the
//! first token, time per token), so each stage is a sweep and a table of its own.

use std::path::PathBuf;

use jetpace_tables::sample::Row;
use jetpace_tables::units::{Hertz, Milliwatts, Nanos};
use jetpace_tables::work::Size;
use serde_json::Value;

use super::{About, file_at, milliseconds, once, read, refused, watts_at};
use crate::failure::Failure;

/// Options of `import edge-llm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A profile and the clock that ran, as 612MHz=profile.json; once for every clock
    #[arg(long = "clock", value_name = "CLOCK=FILE", required = true, value_parser = file_at)]
    profiles: Vec<(Hertz, PathBuf)>,
    /// Mean watts of the module while the stage ran
    #[arg(long = "power", value_name = "CLOCK=WATTS", value_parser = watts_at)]
    power: Vec<(Hertz, f64)>,
    /// The stage: llm_prefill, llm_generation, vision_encoder, or as the profile names it
    #[arg(long, value_name = "NAME")]
    stage: String,
    #[command(flatten)]
    about: About,
}

impl Args {
    /// Imports.
    pub fn run(self) -> Result<(), Failure> {
        once(&self.profiles, "--clock")?;
        once(&self.power, "--power")?;
        let mut rows = Vec::new();
        for (clock, path) in &self.profiles {
            let stage = parse(&read(path)?, &self.stage).map_err(refused(path))?;
            let power = self.power.iter().find(|(at, _)| at == clock).map(|(_, watts)| *watts);
            rows.push(Row {
                size: stage.size,
                samples: Some(stage.runs),
                latency_sd: stage.sd,
                power: power.map(Milliwatts::from_watts_f64),
                ..self.about.row(&self.stage, *clock, stage.time)
            });
        }
        rows.sort_by_key(|row| row.gpu_freq);
        self.about.write(rows, "blocks")
    }
}

/// One stage, by run; the generation's by token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// Time of a run, or of a token.
    pub time: Nanos,
    /// Standard deviation of single ones.
    pub sd: Option<Nanos>,
    /// Tokens that a run computes; 1 for the generation and for what has no tokens.
    pub size: Size,
    /// Runs behind it.
    pub runs: u32,
}

/// A stage of a profile.
///
/// # Errors
/// What is wrong, without the file's name.
pub fn parse(bytes: &[u8], name: &str) -> Result<Stage, String> {
    let cut = |e: serde_json::Error| if e.is_eof() { format!("cut off ({e})") } else { e.to_string() };
    let document: Value = serde_json::from_slice(bytes).map_err(cut)?;
    let stages =
        document.get("stages").and_then(Value::as_array).ok_or("no profile of TensorRT Edge-LLM: no `stages`")?;
    let named = |stage: &&Value| stage.get("stage_id").and_then(Value::as_str) == Some(name);
    let stage = stages.iter().find(named).ok_or_else(|| {
        let known: Vec<&str> = stages.iter().filter_map(|stage| stage.get("stage_id")?.as_str()).collect();
        format!("no stage {name}; there are {}", known.join(", "))
    })?;
    let stats = stage.get("gpu_time_stats").ok_or("the stage has no gpu_time_stats")?;
    let figure = |of: &Value, key: &str| of.get(key).and_then(Value::as_f64).filter(|value| *value >= 0.0);
    let ms = figure(stats, "median_ms").or(figure(stats, "mean_ms")).or(figure(stage, "average_time_per_run_ms"));
    let ms = ms.ok_or("the stage has no time")?;
    let runs = stage.get("total_runs").and_then(Value::as_u64).and_then(|runs| u32::try_from(runs).ok()).unwrap_or(0);
    let tokens = |part: &str| document.get(part).and_then(|part| figure(part, "average_tokens_per_run"));
    let whole = |tokens: f64| (1.0..=f64::from(u32::MAX)).contains(&tokens).then_some(tokens);
    let (parts, size) = match name {
        "llm_generation" => {
            (whole(tokens("generation").unwrap_or(0.0)).ok_or("how many tokens a run generates is not told")?, 1.0)
        }
        "llm_prefill" => {
            (1.0, whole(tokens("prefill").unwrap_or(0.0)).ok_or("how many tokens a prefill has is not told")?)
        }
        _ => (1.0, 1.0),
    };
    let time = milliseconds(ms / parts).filter(|time| *time >= Nanos::new(1_000));
    Ok(Stage {
        time: time.ok_or_else(|| format!("{} ms is no time of a stage", ms / parts))?,
        sd: figure(stats, "stddev_ms").and_then(|sd| milliseconds(sd / parts)),
        size: Size(size.round() as u32),
        runs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = r#"{"generation":{"average_tokens_per_run":100.0},"prefill":{"average_tokens_per_run":512.0},
        "stages":[{"stage_id":"llm_generation","total_runs":5,"gpu_time_stats":{"median_ms":2000.0,"stddev_ms":10.0}},
                  {"stage_id":"llm_prefill","total_runs":5,"gpu_time_stats":{"mean_ms":211.0}},
                  {"stage_id":"vision_encoder","average_time_per_run_ms":208.0,"gpu_time_stats":{}}]}"#;

    #[test]
    fn stages_have_their_sizes_and_generation_is_by_token() {
        let stage = |name| parse(PROFILE.as_bytes(), name).unwrap();
        assert_eq!(stage("llm_generation").time, Nanos::from_millis(20));
        assert_eq!(stage("llm_generation").sd, Some(Nanos::new(100_000)));
        assert_eq!((stage("llm_prefill").time, stage("llm_prefill").size), (Nanos::from_millis(211), Size(512)));
        assert_eq!((stage("vision_encoder").time, stage("vision_encoder").size), (Nanos::from_millis(208), Size(1)));
        let why = parse(PROFILE.as_bytes(), "decode").unwrap_err();
        assert!(why.contains("llm_generation, llm_prefill, vision_encoder"), "{why}");
        assert!(parse(&PROFILE.as_bytes()[..40], "llm_prefill").unwrap_err().contains("cut off"));
    }
}
