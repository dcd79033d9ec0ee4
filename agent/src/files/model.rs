//! The model file: read, checked, and known by its digest.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use jetpace_tables::model::{BlockModel, Model};
use jetpace_tables::table::Digest;
use jetpace_tables::units::Hertz;
use sha2::{Digest as _, Sha256};

use crate::failure::Failure;
use crate::files::output::write_file;

/// Reads a model and the SHA-256 of its bytes.
pub fn read(path: &Path) -> Result<(Model, Digest), Failure> {
    let bytes = fs::read(path).map_err(|e| Failure::file(path, &e))?;
    Ok((parse(&bytes, path)?, Sha256::digest(&bytes).into()))
}

/// Reads a model from memory; `path` is for messages only.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Model, Failure> {
    let model: Model = serde_json::from_slice(bytes).map_err(|e| {
        let remedy = "make one with `jetpace fit SWEEP -o MODEL`";
        Failure::usage(format_args!("{} is not a model: {e}; {remedy}", path.display()))
    })?;
    model.check().map_err(|e| Failure::usage(format_args!("{}: {e}", path.display())))?;
    Ok(model)
}

/// Writes a model, whole or not at all.
///
/// # Errors
/// Where the file cannot be written.
pub fn write(path: &Path, model: &Model) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(model).map_err(|e| Failure::failed(format_args!("output: {e}")))?;
    write_file(path, (text + "\n").as_bytes())
}

/// The network that is named, or the only one there is.
pub fn network_name<'a>(model: &'a Model, name: Option<&str>) -> Result<&'a str, Failure> {
    let names = model.networks();
    match (name, names.as_slice()) {
        (None, [only]) => Ok(*only),
        (None, several) => {
            Err(Failure::usage(format_args!("the model has {}: name one with --net", several.join(", "))))
        }
        (Some(wanted), all) => all.iter().find(|name| **name == wanted).copied().ok_or_else(|| {
            Failure::usage(format_args!("the model has no network `{wanted}`; it has {}", all.join(", ")))
        }),
    }
}

/// The network and EMC clock that a command means: the one named, or the only one there is. Its blocks are in the order
/// in which they run.
pub fn network<'a>(
    model: &'a Model,
    name: Option<&str>,
    emc: Option<Hertz>,
) -> Result<(&'a str, Option<Hertz>, Vec<BlockModel<'a>>), Failure> {
    let name = network_name(model, name)?;
    let clocks = model.emc_clocks(name);
    let said = || {
        let list: Vec<String> =
            clocks.iter().map(|clock| clock.map_or("an unknown one".to_owned(), |clock| clock.to_string())).collect();
        list.join(", ")
    };
    let emc = match (emc, clocks.as_slice()) {
        (None, [only]) => *only,
        (None, _) => {
            return Err(Failure::usage(format_args!(
                "{name} was measured at EMC clocks {}: name one with --emc",
                said()
            )));
        }
        (Some(wanted), all) => *all.iter().find(|clock| **clock == Some(wanted)).ok_or_else(|| {
            Failure::usage(format_args!("{name} was not measured at EMC clock {wanted}, but at {}", said()))
        })?,
    };
    let blocks = model.blocks(name, emc);
    Ok((name, emc, blocks))
}

/// What is to be said where blocks will run at a CPU clock other than the one they were measured at: the part of their
/// time that no GPU clock changes is launching, which goes with the CPU's.
pub fn other_cpu_clock(blocks: &[BlockModel<'_>], now: Hertz) -> Option<String> {
    let measured: BTreeSet<Hertz> = blocks.iter().filter_map(|block| block.series.cpu_freq_hz).collect();
    let others: Vec<String> = measured.iter().filter(|clock| **clock != now).map(Hertz::to_string).collect();
    (!others.is_empty()).then(|| {
        format!(
            "measured at CPU clock {}, not {now}: what a block's launches take changes with it; lock the CPU clock there \
             and calibrate again",
            others.join(", ")
        )
    })
}

/// A digest from its 64 hexadecimal digits.
pub fn digest_from_hex(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    if text.len() != 2 * digest.len() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use jetpace_devfreq::board::hex;

    use super::*;

    #[test]
    fn a_digest_goes_through_its_digits() {
        let digest: Digest = std::array::from_fn(|i| i as u8 * 7);
        assert_eq!(digest_from_hex(&hex(&digest)), Some(digest));
        assert_eq!(digest_from_hex("ab"), None);
        assert_eq!(digest_from_hex(&"é".repeat(32)), None);
    }

    #[test]
    fn what_is_not_a_model_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.json");
        fs::write(&path, "{\"format\":").unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains("model.json is not a model") && message.contains("jetpace fit"), "{message}");
    }
}
