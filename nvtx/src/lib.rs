//! libjetpace-nvtx: NVTX ranges of an unmodified program as frames and blocks, or as a list.
//!
//! NVTX loads it where `NVTX_INJECTION64_PATH` names it, at a program's first range; `agent::nvtx` has the variables that say
//! what to do. Its entries run on the program's threads: whatever goes wrong they return, leave errno as it was, and wait
//! for nothing but a turn in a calibration.

mod abi;
mod hooks;
mod list;
mod names;
mod once;
mod quiet;
mod tell;

use std::env;
use std::path::PathBuf;
use std::sync::OnceLock;

use agent::nvtx::ranges::{Block, Pattern};
use agent::nvtx::{BLOCKS_VARIABLE, FRAME_VARIABLE, LIST_VARIABLE, SIZES_VARIABLE};
use agent::runtime::fork;
use agent::runtime::link::{OFF_VARIABLE, Target, is_set};

use list::List;
use names::Role;
use once::say;
use tell::Tell;

/// What becomes of ranges.
pub enum Use {
    /// Frames and blocks are told.
    Tell(Box<Tell>),
    /// They are listed.
    List(List),
}

static USE: OnceLock<Option<Use>> = OnceLock::new();

/// What becomes of ranges; `None` where nobody wants them.
#[inline]
pub fn used() -> Option<&'static Use> {
    USE.get().and_then(Option::as_ref)
}

/// Finds out, once in a process, however often NVTX asks: every library of the program that has NVTX in it does.
fn begin() -> Option<&'static Use> {
    static BEGUN: std::sync::Once = std::sync::Once::new();
    let wanted = USE.get_or_init(|| {
        fork::watch();
        wanted().unwrap_or_else(|why| {
            say(format_args!("{why}; the program's ranges are not told"));
            None
        })
    });
    if let Some(Use::List(list)) = wanted {
        BEGUN.call_once(|| list.begin());
    }
    wanted.as_ref()
}

fn wanted() -> Result<Option<Use>, String> {
    let text = |name: &str| env::var(name).ok().filter(|text| !text.is_empty());
    if let Some(folder) = env::var_os(LIST_VARIABLE).filter(|folder| !folder.is_empty()) {
        return Ok(Some(Use::List(List::new(PathBuf::from(folder)))));
    }
    if is_set(OFF_VARIABLE) {
        return Ok(None);
    }
    let frame = text(FRAME_VARIABLE).ok_or_else(|| format!("{FRAME_VARIABLE} names no range"))?;
    let frame: Pattern = frame.parse().map_err(|why| format!("{FRAME_VARIABLE}={frame}: {why}"))?;
    let blocks = text(BLOCKS_VARIABLE).unwrap_or_default();
    let blocks = blocks
        .split(',')
        .filter(|block| !block.is_empty())
        .map(|block| block.parse::<Block>().map_err(|why| format!("{BLOCKS_VARIABLE}: {block}: {why}")));
    let blocks = blocks.collect::<Result<_, _>>()?;
    let tell = Tell::new(frame, blocks, is_set(SIZES_VARIABLE), || Target::of_environment(None));
    Ok(Some(Use::Tell(Box::new(tell))))
}

/// What ranges of this name are, wherever they are told.
fn role(domain: &[u8], name: &[u8]) -> Role {
    match used() {
        Some(Use::Tell(tell)) => tell.role(domain, name),
        _ => Role::NONE,
    }
}
