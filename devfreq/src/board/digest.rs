//! A board's identity: what a calibration holds for, made of what every user can read.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::Board;

impl Board {
    /// SHA-256, in hex, of what a calibration holds for: module part number, L4T release, power mode, TPC mask and clock
    /// list. Every user can read these; the EMC clock is root's to know, and tables name theirs beside it.
    ///
    /// The power mode is the one that nvpmodel has set. Where the hardware's bound is another the hardware counts, and a
    /// mode that is only configured does not.
    pub fn digest(&self) -> String {
        hex(&self.digest_bytes())
    }

    /// [`Self::digest`] as tables hold it.
    pub fn digest_bytes(&self) -> [u8; 32] {
        let mode = match (&self.differs, &self.power_mode) {
            (Some(_), _) => Some(format!("bound {}", self.gpu.user)),
            (None, Some(mode)) if mode.applied => Some(mode.to_string()),
            _ => None,
        };
        self.hashed(2, mode, &[])
    }

    /// Whether something that was made for this digest holds here: also one of the digests of version 1, which held the
    /// EMC cap where its maker could read it.
    pub fn answers_to(&self, digest: &[u8; 32]) -> bool {
        let mode = || self.power_mode.as_ref().map(ToString::to_string);
        let cap = self.emc.as_ref().and_then(|emc| emc.cap).map(|hz| hz.get().to_string());
        let old = [cap, None].map(|cap| self.hashed(1, mode(), &[("emc", cap)]));
        *digest == self.digest_bytes() || self.differs.is_none() && old.contains(digest)
    }

    fn hashed(&self, version: u32, mode: Option<String>, more: &[(&str, Option<String>)]) -> [u8; 32] {
        let mut text = format!("jetpace board {version}\n");
        let lines = [
            ("part", self.identity.part.clone()),
            ("l4t", self.identity.l4t.clone()),
            ("power mode", mode),
            ("tpc", self.gpu.tpc_mask.clone()),
        ];
        for (name, value) in lines.iter().chain(more) {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{name} {}", value.as_deref().unwrap_or("-"));
        }
        for clock in &self.gpu.clocks {
            let _ = writeln!(text, "clock {}", clock.get());
        }
        Sha256::digest(text).into()
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
