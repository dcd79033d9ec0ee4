//! The state file, from which clocks are restored.

use jetpace_devfreq::guard::State;

/// A state that reads names only nodes below /sys, by paths that do not climb. Whether it read.
pub fn state(data: &[u8]) -> bool {
    let Ok(state) = State::parse(&String::from_utf8_lossy(data)) else { return false };
    for entry in &state.nodes {
        assert!(entry.path.starts_with("/sys") && !entry.path.components().any(|part| part.as_os_str() == ".."));
    }
    true
}
