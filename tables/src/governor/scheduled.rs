//! What a shell's timer owes the governor: one write at most.

use crate::governor::Action;
use crate::units::Nanos;
use crate::work::ClockIndex;

/// What of an [`Action`] is to be done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum AtOnce {
    /// Nothing.
    Nothing,
    /// Write this clock.
    Set(ClockIndex),
    /// Hand the GPU back to the stock governor.
    Release,
    /// Look at the board.
    Look,
}

/// The write that is scheduled, if one is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheduled(Option<(ClockIndex, Nanos)>);

impl Scheduled {
    /// Takes an action: whatever writes or hands back takes the place of what was scheduled.
    #[inline]
    pub fn take(&mut self, action: Action) -> AtOnce {
        let (now, then) = match action {
            Action::Hold => return AtOnce::Nothing,
            Action::Look => return AtOnce::Look,
            Action::Set(clock) => (AtOnce::Set(clock), None),
            Action::SetAt(clock, at) => (AtOnce::Nothing, Some((clock, at))),
            Action::SetThenAt(clock, then, at) => (AtOnce::Set(clock), Some((then, at))),
            Action::Release => (AtOnce::Release, None),
        };
        self.0 = then;
        now
    }

    /// When the write is due; `None` where none is scheduled.
    pub fn at(&self) -> Option<Nanos> {
        self.0.map(|(_, at)| at)
    }

    /// The write, once it is due; it is scheduled no more then.
    pub fn take_due(&mut self, now: Nanos) -> Option<ClockIndex> {
        self.0.take_if(|(_, at)| *at <= now).map(|(clock, _)| clock)
    }

    /// Nothing is scheduled any more.
    pub fn clear(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_action_takes_the_place_of_what_was_scheduled_and_a_hold_does_not() {
        let (low, high, at) = (ClockIndex(1), ClockIndex(5), Nanos::from_millis(7));
        let mut scheduled = Scheduled::default();
        assert_eq!(scheduled.take(Action::SetThenAt(low, high, at)), AtOnce::Set(low));
        for keeps in [Action::Hold, Action::Look] {
            _ = scheduled.take(keeps);
            assert_eq!(scheduled.at(), Some(at), "{keeps:?}");
        }
        assert_eq!(scheduled.take_due(Nanos::new(at.get() - 1)), None);
        assert_eq!(scheduled.take_due(at), Some(high));
        assert_eq!(scheduled.take_due(at), None);
        for drops in [Action::Set(low), Action::Release] {
            assert_eq!(scheduled.take(Action::SetAt(high, at)), AtOnce::Nothing);
            _ = scheduled.take(drops);
            assert_eq!(scheduled.at(), None, "{drops:?}");
        }
    }
}
