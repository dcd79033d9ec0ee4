//! What of the desk a governor was told.

use std::ops::Deref;

use jetpace_tables::governor::{Action, Governor};
use jetpace_tables::table::Table;
use jetpace_tables::units::Nanos;
use jetpace_tables::work::ClockIndex;

use super::Desk;

/// The desk's counts as of the last telling.
#[derive(Debug, Default)]
pub struct Seen {
    /// For [`Desk::news`].
    pub news: u32,
    /// Refused writes.
    pub faults: u64,
    sets: u64,
    silenced: u32,
    stale: bool,
    cap: Option<ClockIndex>,
}

impl Seen {
    /// As of now: what was written before is nobody's business.
    pub fn now(desk: &Desk) -> Self {
        Self {
            news: 0,
            faults: desk.written.faults(),
            sets: desk.written.sets(),
            silenced: desk.silenced(),
            stale: false,
            cap: None,
        }
    }

    /// Tells the governor what is new on the desk; the action is the one of the last thing told that asks for any.
    #[cold]
    pub fn tell<T: Deref<Target = Table>>(&mut self, desk: &Desk, governor: &mut Governor<T>, now: Nanos) -> Action {
        let mut answer = Action::Hold;
        let mut take = |action| {
            if action != Action::Hold {
                answer = action;
            }
        };
        let silenced = desk.silenced();
        if std::mem::replace(&mut self.silenced, silenced) != silenced {
            // The control thread has handed back already. Where an event came in just then, the governor saw no
            // silence, but does not know the clock either.
            match governor.tick(now) {
                Action::Hold => take(governor.write_failed(now)),
                action => take(action),
            }
        }
        let (sets, faults) = (desk.written.sets(), desk.written.faults());
        if faults != self.faults {
            if sets != self.sets {
                governor.write_done();
            }
            self.sets = sets;
            self.faults = faults;
            take(governor.write_failed(now));
        }
        if let Some(cap) = desk.cap()
            && self.cap.replace(cap) != Some(cap)
        {
            take(governor.cap(cap, now));
        }
        let stale = desk.suits(governor.table()) == Some(false);
        if std::mem::replace(&mut self.stale, stale) != stale {
            if stale {
                take(governor.stale(now));
            } else {
                governor.renewed();
            }
        }
        answer
    }
}
