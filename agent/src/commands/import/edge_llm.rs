//! `import edge-llm`: the stages of TensorRT Edge-LLM's profile. A request is a frame with the stages as its blocks, in
//! the order in which they run. Where prefill and decode have deadlines of their own (time to the first token, time per
//! token) one stage makes a sweep and a table of its own.

use std::path::PathBuf;

use jetpace_tables::sample::Row;
use jetpace_tables::units::{Hertz, Milliwatts, Nanos};
use jetpace_tables::work::Size;
use serde_json::Value;

use super::power::{Power, Powers, logs, power_at};
use super::{About, file_at, files, json, milliseconds, once, read, refused};
use crate::failure::Failure;

/// Options of `import edge-llm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A profile and the clock that ran, as 612MHz=profile.json; once for every clock
    #[arg(long = "clock", value_name = "CLOCK=FILE", required = true, value_parser = file_at)]
    profiles: Vec<(Hertz, PathBuf)>,
    /// Mean watts of the module meanwhile, or a log of tegrastats, jtop or nvidia-smi
    #[arg(long = "power", value_name = "CLOCK=WATTS|LOG", value_parser = power_at)]
    power: Vec<(Hertz, Power)>,
    /// One stage alone, for a deadline of its own: llm_prefill, llm_generation (by token), vision_encoder, or as the
    /// profile names it; without it a frame is a request with all stages
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    #[command(flatten)]
    about: About,
}

impl Args {
    /// Imports.
    pub fn run(self) -> Result<(), Failure> {
        once(&self.profiles, "--clock")?;
        once(&self.power, "--power")?;
        self.about.keeps(&files(&self.profiles).chain(logs(&self.power)).collect::<Vec<_>>())?;
        let powers = Powers::read(&self.power)?;
        let mut rows = Vec::new();
        for (clock, path) in &self.profiles {
            let bytes = read(path)?;
            let stages = match &self.stage {
                Some(name) => parse(&bytes, name).map(|stage| vec![(name.clone(), stage)]),
                None => request(&bytes),
            };
            rows.extend(stages.map_err(refused(path))?.into_iter().map(|(name, stage)| Row {
                size: stage.size,
                samples: Some(stage.runs),
                latency_sd: stage.sd,
                power: powers.at(*clock).map(Milliwatts::from_watts_f64),
                ..self.about.row(&name, *clock, stage.time)
            }));
        }
        rows.sort_by_key(|row| row.gpu_freq);
        self.about.write(rows, "blocks", powers.of)
    }
}

/// Places in a request; stages that are not known run between the prompt's and the answer's.
fn place(stage: &str) -> u8 {
    match stage {
        "llm_prefill" => 1,
        "llm_generation" => 3,
        encoder if encoder.ends_with("_encoder") => 0,
        _ => 2,
    }
}

/// All stages of a profile in the order of a request; the answer's size is its tokens.
///
/// # Errors
/// What is wrong, without the file's name.
pub fn request(bytes: &[u8]) -> Result<Vec<(String, Stage)>, String> {
    let document = json(bytes)?;
    let mut names = names(&document)?;
    if names.is_empty() {
        return Err("no stages: was the profile written before the first request?".to_owned());
    }
    names.sort_by_key(|name| place(name));
    if let Some(twice) = names.iter().zip(names.iter().skip(1)).find_map(|(one, next)| (one == next).then_some(one)) {
        return Err(format!("stage {twice} is there twice"));
    }
    let stages = names.into_iter().map(|name| Ok((name.to_owned(), stage(&document, name, false)?)));
    stages.collect()
}

/// One stage, by run; the generation's by token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// Time of a run, or of a token.
    pub time: Nanos,
    /// Standard deviation of single ones.
    pub sd: Option<Nanos>,
    /// Tokens that a run computes; 1 for a token of the generation and for what has no tokens.
    pub size: Size,
    /// Runs behind it.
    pub runs: u32,
}

/// One stage of a profile, the generation by token.
///
/// # Errors
/// What is wrong, without the file's name.
pub fn parse(bytes: &[u8], name: &str) -> Result<Stage, String> {
    stage(&json(bytes)?, name, true)
}

fn stages(document: &Value) -> Result<&Vec<Value>, String> {
    let stages = document.get("stages").and_then(Value::as_array);
    stages.ok_or_else(|| "no profile of TensorRT Edge-LLM: no `stages`".to_owned())
}

fn names(document: &Value) -> Result<Vec<&str>, String> {
    let name = |stage: &'_ Value| stage.get("stage_id").and_then(Value::as_str).map(ToOwned::to_owned);
    if let Some(at) = stages(document)?.iter().position(|stage| name(stage).is_none()) {
        return Err(format!("stage {} has no `stage_id`", at + 1));
    }
    Ok(stages(document)?.iter().filter_map(|stage| stage.get("stage_id")?.as_str()).collect())
}

fn stage(document: &Value, name: &str, by_token: bool) -> Result<Stage, String> {
    let named = |stage: &&Value| stage.get("stage_id").and_then(Value::as_str) == Some(name);
    let stage = stages(document)?.iter().find(named);
    let stage = match stage {
        Some(stage) => stage,
        None => return Err(format!("no stage {name}; there are {}", names(document)?.join(", "))),
    };
    let stats = stage.get("gpu_time_stats").ok_or("the stage has no gpu_time_stats")?;
    let figure = |of: &Value, key: &str| of.get(key).and_then(Value::as_f64).filter(|value| *value >= 0.0);
    let ms = figure(stats, "median_ms").or(figure(stats, "mean_ms")).or(figure(stage, "average_time_per_run_ms"));
    let ms = ms.ok_or("the stage has no time")?;
    let runs = stage.get("total_runs").and_then(Value::as_u64).and_then(|runs| u32::try_from(runs).ok()).unwrap_or(0);
    let tokens = |part: &str| document.get(part).and_then(|part| figure(part, "average_tokens_per_run"));
    let whole = |tokens: f64| (1.0..=f64::from(u32::MAX)).contains(&tokens).then_some(tokens);
    let (parts, size) = match name {
        "llm_generation" => {
            let tokens = whole(tokens("generation").unwrap_or(0.0));
            let tokens = tokens.ok_or("how many tokens a run generates is not told")?;
            if by_token { (tokens, 1.0) } else { (1.0, tokens) }
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
        let request = request(PROFILE.as_bytes()).unwrap();
        let order: Vec<_> = request.iter().map(|(name, stage)| (name.as_str(), stage.size.0)).collect();
        assert_eq!(order, [("vision_encoder", 1), ("llm_prefill", 512), ("llm_generation", 100)]);
        assert_eq!(request[2].1.time, Nanos::from_millis(2_000));
        let why = parse(PROFILE.as_bytes(), "decode").unwrap_err();
        assert!(why.contains("llm_generation, llm_prefill, vision_encoder"), "{why}");
        assert!(parse(&PROFILE.as_bytes()[..40], "llm_prefill").unwrap_err().contains("cut off"));
    }
}
