//! The model file: read, checked, and known by its digest.

use std::fs;
use std::path::Path;

use jetpace_tables::model::{FORMAT, Model};
use jetpace_tables::table::Digest;
use sha2::{Digest as _, Sha256};

use crate::failure::Failure;

/// Reads a model and the SHA-256 of its bytes.
pub fn read(path: &Path) -> Result<(Model, Digest), Failure> {
    let bytes = fs::read(path).map_err(|e| Failure::file(path, &e))?;
    let remedy = "make one with `jetpace fit SWEEP -o MODEL`";
    let model: Model = serde_json::from_slice(&bytes)
        .map_err(|e| Failure::usage(format_args!("{} is not a model: {e}; {remedy}", path.display())))?;
    if model.format != FORMAT {
        let found = model.format;
        return Err(Failure::usage(format_args!(
            "{}: format {found} is not known here, only {FORMAT}: {remedy}",
            path.display()
        )));
    }
    Ok((model, Sha256::digest(&bytes).into()))
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

/// A digest as hexadecimal digits.
pub fn hex(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
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
