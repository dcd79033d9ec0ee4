//! The board's energy, for clients that ask what they took: a thread reads the rails as long as one of them is connected, and
//! nobody wakes up for it otherwise.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use jetpace_tables::hw::PowerOf;
use jetpace_tables::units::{Microjoules, Nanos};

/// Reads the rails once more: the energy since the first reading, and the time that it covers. `None` where they cannot be read.
pub type Read = Box<dyn FnMut() -> Option<(Microjoules, Nanos)> + Send>;

/// The rails of a board.
pub struct Source {
    /// Whose energy they tell.
    pub of: PowerOf,
    /// Begins to read.
    pub open: Box<dyn Fn() -> Read + Send>,
}

/// How often they are read: an INA3221 as Linux sets it up has a new value every 6.6 ms.
const EVERY: Duration = Duration::from_millis(7);

/// Threads that may be there at a time: more than one only where a rail's driver hangs, or for the moment of a change.
const MAX_THREADS: usize = 4;

/// What was read last, of the thread that reads now.
type Reading = Mutex<Option<(Microjoules, Nanos)>>;

/// Reads while anybody wants to know. By default there are no rails, and all that ask are refused.
#[derive(Default)]
pub struct Energy {
    source: Option<Source>,
    reading: Option<Arc<Reading>>,
    threads: Vec<JoinHandle<()>>,
}

impl Energy {
    /// Of these rails.
    pub fn new(source: Source) -> Self {
        Self { source: Some(source), ..Self::default() }
    }

    /// What was read so far; reading begins with the first to ask. Waits for no rail.
    ///
    /// # Errors
    /// An errno, with words for the client.
    pub fn so_far(&mut self) -> Result<(PowerOf, Microjoules, Nanos), (i32, &'static str)> {
        let Some(source) = &self.source else { return Err((libc::EOPNOTSUPP, "this board has no power rails")) };
        let reading = match &self.reading {
            Some(reading) => Arc::clone(reading),
            None => {
                self.threads.retain(|thread| !thread.is_finished());
                if self.threads.len() >= MAX_THREADS {
                    return Err((libc::EBUSY, "the power rails' driver does not answer"));
                }
                let reading = Arc::new(Mutex::new(Some((Microjoules::ZERO, Nanos::ZERO))));
                let thread = start((source.open)(), Arc::downgrade(&reading));
                self.threads.push(thread.map_err(|_| (libc::EAGAIN, "no thread could be started"))?);
                self.reading = Some(Arc::clone(&reading));
                reading
            }
        };
        let so_far = *reading.lock().unwrap_or_else(PoisonError::into_inner);
        let (energy, covered) = so_far.ok_or((libc::EIO, "the power rails cannot be read"))?;
        Ok((source.of, energy, covered))
    }

    /// Nobody wants to know any more: the thread ends by itself.
    pub fn stop(&mut self) {
        self.reading = None;
    }
}

fn start(mut read: Read, reading: Weak<Reading>) -> io::Result<JoinHandle<()>> {
    let run = move || {
        while reading.strong_count() > 0 {
            let so_far = read();
            let Some(reading) = reading.upgrade() else { return };
            *reading.lock().unwrap_or_else(PoisonError::into_inner) = so_far;
            drop(reading);
            std::thread::sleep(EVERY);
        }
    };
    std::thread::Builder::new().name("jetpace-energy".into()).spawn(run)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    use super::*;

    fn until(what: &str, mut done: impl FnMut() -> bool) {
        let started = Instant::now();
        while !done() {
            assert!(started.elapsed() < Duration::from_secs(60), "{what} did not come about");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Each reading is a joule and a millisecond more.
    fn source(reads: &Arc<AtomicU64>) -> Source {
        let reads = Arc::clone(reads);
        let open = move || -> Read {
            let (reads, mut read) = (Arc::clone(&reads), 0_u32);
            Box::new(move || {
                reads.fetch_add(1, Ordering::Relaxed);
                read += 1;
                Some((Microjoules::from_joules_f64(f64::from(read)), Nanos::from_millis(u64::from(read))))
            })
        };
        Source { of: PowerOf::Module, open: Box::new(open) }
    }

    #[test]
    fn rails_are_read_while_someone_wants_to_know() {
        let reads = Arc::default();
        let mut energy = Energy::new(source(&reads));
        assert_eq!(reads.load(Ordering::Relaxed), 0);
        let (of, before, covered) = energy.so_far().unwrap();
        assert_eq!(of, PowerOf::Module);
        assert!(before.as_joules_f64() <= 1.0 && covered <= Nanos::from_millis(1), "it begins with the first to ask");
        until("a later reading", || energy.so_far().unwrap().2 >= Nanos::from_millis(3));
        let (_, joules, covered) = energy.so_far().unwrap();
        assert!((joules.as_joules_f64() - 1e3 * covered.as_secs_f64()).abs() < 1e-6, "both are of one reading");
        energy.stop();
        until("the end of the thread", || energy.threads.iter().all(JoinHandle::is_finished));
        assert!(energy.so_far().unwrap().2 <= Nanos::from_millis(1), "the next to ask begins anew");
        assert_eq!(energy.threads.len(), 1);
        assert_eq!(Energy::default().so_far().unwrap_err().0, libc::EOPNOTSUPP);
    }

    #[test]
    fn a_driver_that_hangs_keeps_nobody_waiting_and_no_more_than_a_few_threads() {
        let hanging = Arc::<AtomicU64>::default();
        let hang = Arc::clone(&hanging);
        let open = move || -> Read {
            let hang = Arc::clone(&hang);
            Box::new(move || {
                hang.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_secs(3600));
                None
            })
        };
        let mut energy = Energy::new(Source { of: PowerOf::Gpu, open: Box::new(open) });
        for thread in 1..=MAX_THREADS {
            assert_eq!(energy.so_far(), Ok((PowerOf::Gpu, Microjoules::ZERO, Nanos::ZERO)));
            until("a read that hangs", || hanging.load(Ordering::Relaxed) == thread as u64);
            energy.stop();
        }
        assert_eq!(energy.so_far().unwrap_err().0, libc::EBUSY);
        let mut failing = Energy::new(Source { of: PowerOf::Gpu, open: Box::new(|| Box::new(|| None)) });
        until("an error", || failing.so_far().is_err_and(|(errno, _)| errno == libc::EIO));
    }
}
