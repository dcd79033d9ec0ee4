//! A board's identity: what a calibration holds for, made of what every user can read.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::Board;

/// By what a board is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    now: [u8; 32],
    /// Of version 1, which held the EMC cap where its maker could read it: with it and without.
    before: [[u8; 32]; 2],
}

impl Digests {
    /// The digest that is given to what is made now.
    pub fn now(&self) -> &[u8; 32] {
        &self.now
    }

    /// Whether something that was made for this digest holds here.
    pub fn include(&self, digest: &[u8; 32]) -> bool {
        self.now == *digest || self.before.contains(digest)
    }
}

/// Of a board that earlier versions did not know.
impl From<[u8; 32]> for Digests {
    fn from(now: [u8; 32]) -> Self {
        Self { now, before: [now; 2] }
    }
}

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

    /// The digest, and by which ones earlier versions knew this board. Version 1 knew the mode that nvpmodel says alone,
    /// so where the hardware's bound is another it knew another board.
    pub fn digests(&self) -> Digests {
        let now = self.digest_bytes();
        if self.differs.is_some() {
            return now.into();
        }
        let mode = || self.power_mode.as_ref().map(ToString::to_string);
        let cap = self.emc.as_ref().and_then(|emc| emc.cap).map(|hz| hz.get().to_string());
        Digests { now, before: [cap, None].map(|cap| self.hashed(1, mode(), &[("emc", cap)])) }
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
