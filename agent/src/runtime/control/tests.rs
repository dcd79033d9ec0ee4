use super::*;
use jetpace_devfreq::board::EmcRange;
use jetpace_tables::units::Hertz;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

type Write = (Option<ClockIndex>, Nanos);

/// Says what was written and when, and refuses that many releases first.
struct Told(Sender<Write>, u32);

impl GpuClock for Told {
    type Error = io::Error;
    fn clocks(&self) -> &[Hertz] {
        &[]
    }
    fn set(&mut self, clock: ClockIndex) -> io::Result<()> {
        if clock == ClockIndex(13) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.0.send((Some(clock), sys::now())).map_err(io::Error::other)
    }
    fn pin(&mut self, _: ClockIndex) -> io::Result<Hertz> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn current(&mut self) -> io::Result<Hertz> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn release(&mut self) -> io::Result<()> {
        if self.1 > 0 {
            self.1 -= 1;
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.0.send((None, sys::now())).map_err(io::Error::other)
    }
}

impl WatchedClock for Told {
    fn look(&mut self, whole: bool) -> io::Result<Look> {
        Ok(Look { cap: ClockIndex(7), board: [u8::from(whole); 32].into(), emc: EmcRange::Free })
    }
}

fn start(silence: Nanos) -> (Control<Told>, Receiver<Write>) {
    let (told, writes) = channel();
    (Control::start(Told(told, 0), silence, Schedule::default()).unwrap(), writes)
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_timed_request_is_written_at_its_time_and_not_before() {
    let (control, writes) = start(Nanos::ZERO);
    let at = sys::now().saturating_add(Nanos::from_millis(20));
    control.desk().post(Action::SetThenAt(ClockIndex(1), ClockIndex(3), at));
    assert_eq!(writes.recv_timeout(LONG).unwrap().0, Some(ClockIndex(1)));
    assert!(!control.desk().is_settled());
    let (clock, written) = writes.recv_timeout(LONG).unwrap();
    assert_eq!(clock, Some(ClockIndex(3)));
    // The mailbox keeps times to 8 us.
    assert!(written.saturating_add(Nanos::from_micros(9)) >= at);
}

#[test]
fn a_newer_request_replaces_the_pending_one() {
    let (mut control, writes) = start(Nanos::ZERO);
    let hour = Nanos::from_secs_f64(3600.0);
    control.desk().post(Action::SetAt(ClockIndex(3), sys::now().saturating_add(hour)));
    control.desk().post(Action::Set(ClockIndex(5)));
    assert_eq!(writes.recv_timeout(LONG).unwrap().0, Some(ClockIndex(5)));
    control.desk().post(Action::Release);
    assert_eq!(writes.recv_timeout(LONG).unwrap().0, None);
    control.stop().unwrap();
    assert!(writes.try_recv().is_err(), "the replaced request was written, or the GPU handed back twice");
    let written = &control.desk().written;
    assert_eq!((written.writes(), written.faults(), written.clock()), (2, 0, None));
}

#[test]
fn a_refused_write_is_counted_and_told() {
    let (mut control, writes) = start(Nanos::ZERO);
    assert_eq!(control.desk().news(0), None);
    control.desk().post(Action::Set(ClockIndex(13)));
    control.stop().unwrap();
    assert_eq!(control.desk().written.faults(), 1);
    assert!(control.desk().news(0).is_some());
    assert_eq!(writes.recv_timeout(LONG).unwrap().0, None, "handed back at the end");
}

#[test]
fn silence_hands_the_gpu_back_and_a_look_tells_the_cap() {
    let (control, writes) = start(Nanos::from_millis(20));
    control.desk().beat(sys::now());
    control.desk().post(Action::Set(ClockIndex(2)));
    assert_eq!(writes.recv_timeout(LONG).unwrap().0, Some(ClockIndex(2)));
    let (clock, at) = writes.recv_timeout(LONG).unwrap();
    assert_eq!(clock, None);
    assert!(at >= control.desk().heartbeat().saturating_add(Nanos::from_millis(20)));
    assert_eq!(control.desk().cap(), Some(ClockIndex(7)));
    assert_eq!(control.desk().silenced(), 1);
}

#[test]
fn a_refused_hand_back_is_tried_again() {
    let (told, writes) = channel();
    let control = Control::start(Told(told, 2), Nanos::ZERO, Schedule::default()).unwrap();
    control.desk().post(Action::Set(ClockIndex(2)));
    assert_eq!(writes.recv_timeout(LONG).unwrap().0, Some(ClockIndex(2)));
    control.desk().post(Action::Release);
    assert_eq!(writes.recv_timeout(LONG).unwrap().0, None);
    assert_eq!(control.desk().written.faults(), 2);
}

#[test]
fn a_look_is_taken_when_asked_for_while_the_stock_governor_has_the_gpu() {
    let (control, _writes) = start(Nanos::ZERO);
    assert_eq!(control.desk().board(), None);
    control.desk().ask_to_look();
    let asked = sys::now();
    while control.desk().board() != Some([1; 32].into()) {
        assert!(sys::now().saturating_sub(asked) < Nanos::from_millis(60_000), "nobody looked");
        std::thread::yield_now();
    }
    assert!(control.desk().news(0).is_some());
}

#[test]
fn a_schedule_that_cannot_be_is_refused() {
    let (told, _writes) = channel();
    let nowhere = Schedule { cpu: Some(CpuSet::count() - 1), fifo: None };
    assert!(Control::start(Told(told, 0), Nanos::ZERO, nowhere).is_err());
}
