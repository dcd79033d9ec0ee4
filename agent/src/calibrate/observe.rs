//! Block times on a GPU whose clock cannot be held: a desktop or server GPU, which has no devfreq node.

use std::path::Path;

use jetpace_tables::hw::{BlockRunner, Timer};
use jetpace_tables::sample::{Kind, Row, Sweep};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::{BlockId, Size};

use super::{Book, Done};
use crate::failure::Failure;
use crate::files::sweep::SweepWriter;
use crate::signals::Stop;

/// Frames before measuring: such a GPU idles at a low clock and takes its time to raise it.
const WARM_UP_FRAMES: u32 = 20;

/// A GPU that is only looked at.
#[derive(Debug)]
pub struct Observed<R, T> {
    /// Runs the network.
    pub network: R,
    /// The machine's time.
    pub timer: T,
    /// The GPU's name.
    pub device: String,
    /// The network's name.
    pub model: String,
    /// The GPU's highest clock; which one it runs at is its own affair.
    pub peak: Hertz,
}

impl<R: BlockRunner, T: Timer> Observed<R, T> {
    /// Times `frames` frames, `spacing` apart at least, into a sweep; goes on with it where it is there already.
    ///
    /// The sweep says `clock=left_alone` in its first line: `gpu_freq_hz` is then the highest clock, not one that was
    /// held. It belongs to no board, so nothing can be planned from it.
    ///
    /// # Errors
    /// What the GPU or the file says, and a signal; the rows measured by then are in the file.
    pub fn calibrate(mut self, path: &Path, frames: u32, spacing: Nanos, stop: &Stop) -> Result<Done, Failure> {
        let fields = [
            ("name", self.device.clone()),
            ("clock", "left_alone".to_owned()),
            ("repeats", "frames".to_owned()),
            ("net", self.model.clone()),
            ("evidence", "gpu".to_owned()),
            ("frames", frames.to_string()),
        ];
        let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let (mut writer, there) = SweepWriter::open(path, &Sweep { board: None, fields, rows: Vec::new() }, &[])?;
        let mut done = Done { there: there.rows.len(), measured: 0, rejected: 0 };
        let mut write = |row: &Row| {
            done.measured += 1;
            writer.append(row)
        };
        let mut book = Book::new(&self.device, &self.model, &there.rows, &mut write);
        let measured = self.frames(frames, spacing, stop, &mut book);
        writer.finish()?;
        measured.map(|()| done)
    }

    fn frames(&mut self, frames: u32, spacing: Nanos, stop: &Stop, book: &mut Book<'_>) -> Result<(), Failure> {
        let row = |book: &Book<'_>, block: &str, repeat: u32| Row {
            block: block.to_owned(),
            repeat,
            gpu_freq: Some(self.peak),
            ..book.row(Kind::Block)
        };
        let names: Vec<String> =
            (0..self.network.blocks()).map(|block| self.network.name(BlockId(block as u16)).to_owned()).collect();
        let missing: Vec<u32> = (0..frames)
            .filter(|&repeat| names.last().is_some_and(|last| !book.has(&row(book, last, repeat))))
            .collect();
        let warm_up = if missing.is_empty() { 0 } else { WARM_UP_FRAMES };
        let repeats = (0..warm_up).map(|_| None).chain(missing.into_iter().map(Some));
        for repeat in repeats {
            stop.go_on()?;
            let start = self.timer.now();
            for (i, name) in names.iter().enumerate() {
                let mut time = [Nanos::ZERO];
                let ran = self.network.run(BlockId(i as u16), Size::default(), &mut time, &mut |_| None);
                ran.map_err(Failure::of)?;
                let measured = repeat.map(|repeat| row(book, name, repeat)).filter(|row| !book.has(row));
                if let Some(row) = measured {
                    book.add(&Row { latency: Some(time[0]), samples: Some(1), ..row })?;
                }
            }
            self.timer.sleep_until(start.saturating_add(spacing));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    /// Block `k` takes k + 1 ms.
    #[derive(Debug)]
    struct Blocks;

    impl BlockRunner for Blocks {
        type Error = Infallible;

        fn blocks(&self) -> usize {
            2
        }

        fn name(&self, block: BlockId) -> &str {
            ["a", "b"][block.index()]
        }

        fn run(
            &mut self,
            block: BlockId,
            _: Size,
            times: &mut [Nanos],
            _: &mut impl FnMut(Nanos) -> Option<Nanos>,
        ) -> Result<(), Infallible> {
            times.fill(Nanos::from_millis(u64::from(block.0) + 1));
            Ok(())
        }
    }

    #[derive(Debug)]
    struct Still;

    impl Timer for Still {
        fn now(&self) -> Nanos {
            Nanos::ZERO
        }

        fn sleep_until(&mut self, _: Nanos) {}
    }

    #[test]
    fn the_sweep_says_that_the_clock_was_left_alone_and_goes_on_where_it_was_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sweep.csv");
        let calibrate = || {
            let (device, model, peak) = ("a GPU".to_owned(), "net".to_owned(), Hertz::from_khz(1_980_000));
            let observed = Observed { network: Blocks, timer: Still, device, model, peak };
            observed.calibrate(&path, 3, Nanos::ZERO, &Stop::never()).unwrap()
        };
        assert_eq!(calibrate(), Done { there: 0, measured: 6, rejected: 0 });
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# jetpace-sweep 1 name=a_GPU clock=left_alone "), "{text}");
        assert!(!text.contains("board="), "{text}");
        // Without the last row and half of the one before it.
        std::fs::write(&path, &text[..text.len() - 90]).unwrap();
        let again = calibrate();
        assert_eq!(again.there + again.measured, 6);
        assert!(again.measured > 0);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert_eq!(crate::files::sweep::read(&path).unwrap().rows[5].latency, Some(Nanos::from_millis(2)));
    }
}
