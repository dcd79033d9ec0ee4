//! Who writes the clock: the thread that has something to write, or the control thread.

use std::str::FromStr;

use jetpace_tables::table::Table;
use jetpace_tables::units::Nanos;

/// Who writes the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The launching thread, at the block's boundary; timed writes are the control thread's all the same.
    Inline,
    /// The control thread.
    Thread,
}

/// Waking the control thread costs the caller about as much as a write of this length.
const WORTH_A_WAKE: Nanos = Nanos::from_micros(10);

impl Writer {
    /// The cheaper one for the launching thread, by what one write costs on this board.
    pub fn by_cost(write: Nanos) -> Self {
        if write <= WORTH_A_WAKE { Self::Inline } else { Self::Thread }
    }

    /// The one that is asked for, else the cheaper one by what calibration measured; `None` where the table, which
    /// tells it, does not.
    pub fn choose(asked: Asked, table: &Table) -> Option<Self> {
        asked.0.or_else(|| table.write_time().map(Self::by_cost))
    }

    /// As the command line and the daemon's status call it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Thread => "thread",
        }
    }
}

/// `--writer auto|inline|thread`; `None` is auto.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked(pub Option<Writer>);

impl FromStr for Asked {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self(None)),
            "inline" => Ok(Self(Some(Writer::Inline))),
            "thread" => Ok(Self(Some(Writer::Thread))),
            _ => Err("auto, inline or thread is meant"),
        }
    }
}
