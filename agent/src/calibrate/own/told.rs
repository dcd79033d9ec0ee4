//! Frames, made of what a program tells. Nothing of it is believed that cannot be true: times go forwards and not beyond
//! now, and what the GPU is said to have taken fits into the frame.

use jetpace_tables::table::MAX_BLOCKS;
use jetpace_tables::units::Nanos;
use jetpace_tables::work::{BlockId, Size};

use crate::runtime::page::{Event, What};

/// By so much the GPU's clock may be off the machine's, besides a hundredth.
const CLOCKS_APART: Nanos = Nanos::from_millis(1);

/// A block of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its number.
    pub block: BlockId,
    /// The size that it was told with.
    pub size: Size,
    /// Where its runs began, by the machine's clock.
    pub starts: Vec<Nanos>,
    /// Where the last one ended.
    pub end: Nanos,
    /// What they took by the GPU's clock, where that was told.
    pub took: Vec<Nanos>,
}

impl Ran {
    /// From one run's start to the next one's, and to the end.
    pub fn apart(&self) -> impl Iterator<Item = Nanos> {
        let ends = self.starts.iter().skip(1).copied().chain([self.end]);
        self.starts.iter().zip(ends).map(|(start, end)| end.saturating_sub(*start))
    }

    /// How long each run took: by the GPU's clock where that was told.
    pub fn times(&self) -> Vec<Nanos> {
        if self.took.is_empty() { self.apart().collect() } else { self.took.clone() }
    }
}

/// A frame that ended. Without blocks the whole of it is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its start.
    pub start: Nanos,
    /// Its end.
    pub end: Nanos,
    /// Its blocks in their order.
    pub blocks: Vec<Ran>,
}

/// The frame that is told.
#[derive(Debug, Default)]
pub struct Told {
    frame: Option<Frame>,
    took: Vec<(BlockId, Nanos)>,
    last: Nanos,
    /// More runs of a block were not asked for.
    most_runs: usize,
}

impl Told {
    /// Nothing was told yet, of a frame whose blocks run so often at most.
    pub fn new(most_runs: u32) -> Self {
        Self { most_runs: most_runs.max(1) as usize, ..Self::default() }
    }

    /// The block that runs, and since when.
    pub fn runs(&self) -> Option<(BlockId, Nanos)> {
        let ran = self.frame.as_ref()?.blocks.last()?;
        ran.starts.first().map(|start| (ran.block, *start))
    }

    /// Since when the frame runs.
    pub fn since(&self) -> Option<Nanos> {
        self.frame.as_ref().map(|frame| frame.start)
    }

    /// Takes an event; the frame, where it ends it.
    ///
    /// # Errors
    /// What the program does wrong, in words that follow its name.
    pub fn take(&mut self, event: Event, now: Nanos) -> Result<Option<Frame>, String> {
        let at = event.at.clamp(self.last, now.max(self.last));
        self.last = at;
        let frame = match (event.what, &mut self.frame) {
            (What::FrameStart, None) => {
                self.frame = Some(Frame { start: at, end: at, blocks: Vec::new() });
                return Ok(None);
            }
            (What::FrameStart, Some(_)) => return Err("starts a frame within a frame".to_owned()),
            (_, None) => return Err("tells a block or an end without a frame's start".to_owned()),
            (_, Some(frame)) => frame,
        };
        match event.what {
            What::FrameStart => {}
            What::BlockStart(block, size) => {
                end_block(frame, at);
                if frame.blocks.len() == MAX_BLOCKS {
                    return Err(format!("tells more than {MAX_BLOCKS} blocks in a frame"));
                }
                frame.blocks.push(Ran { block, size, starts: vec![at], end: at, took: Vec::new() });
            }
            What::BlockAgain(block) => match frame.blocks.last_mut() {
                Some(ran) if ran.block == block && ran.starts.len() < self.most_runs => ran.starts.push(at),
                _ => return Err("repeats a block that it was not asked to".to_owned()),
            },
            What::Took(block, time) => {
                if self.took.len() >= self.most_runs + MAX_BLOCKS {
                    return Err("tells more times than runs".to_owned());
                }
                self.took.push((block, time));
            }
            What::FrameEnd => {
                end_block(frame, at);
                frame.end = at;
                let took = std::mem::take(&mut self.took);
                return self.frame.take().map(|frame| timed(frame, &took)).transpose();
            }
        }
        Ok(None)
    }
}

fn end_block(frame: &mut Frame, at: Nanos) {
    if let Some(ran) = frame.blocks.last_mut() {
        ran.end = at;
    }
}

/// Gives the blocks the times that were told of them.
fn timed(mut frame: Frame, took: &[(BlockId, Nanos)]) -> Result<Frame, String> {
    for ran in &mut frame.blocks {
        ran.took = took.iter().filter(|(block, _)| *block == ran.block).map(|(_, time)| *time).collect();
        let (told, runs) = (ran.took.len(), ran.starts.len());
        if told != 0 && told != runs {
            return Err(format!("tells the GPU's time of {told} runs of a block that ran {runs} times"));
        }
    }
    let sum = took.iter().fold(Nanos::ZERO, |sum, (_, time)| sum.saturating_add(*time));
    let span = frame.end.saturating_sub(frame.start);
    let room = span.saturating_add(Nanos::new(span.get() / 100)).saturating_add(CLOCKS_APART);
    if sum > room {
        return Err(format!("tells {sum} of GPU time in a frame of {span}"));
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: BlockId = BlockId(0);
    const B: BlockId = BlockId(1);

    fn tell(most_runs: u32, events: &[(u64, What)]) -> Result<Option<Frame>, String> {
        let mut told = Told::new(most_runs);
        let mut frame = None;
        for (at, what) in events {
            frame = told.take(Event { at: Nanos::from_millis(*at), what: *what }, Nanos::from_millis(100))?;
        }
        Ok(frame)
    }

    #[test]
    fn a_frame_has_its_blocks_runs_and_times() {
        let start = |block| What::BlockStart(block, Size(4));
        let ms = Nanos::from_millis;
        let took = |time| What::Took(A, ms(time));
        let events = [(1, What::FrameStart), (2, start(A)), (4, What::BlockAgain(A)), (5, start(B)), (5, took(1))];
        let frame = tell(2, &[&events[..], &[(6, took(2)), (9, What::FrameEnd)]].concat()).unwrap().unwrap();
        let [a, b] = &frame.blocks[..] else { panic!("{frame:?}") };
        assert_eq!((a.apart().collect::<Vec<_>>(), a.times()), (vec![ms(2), ms(1)], vec![ms(1), ms(2)]));
        assert_eq!((b.times(), b.size, frame.end), (vec![ms(4)], Size(4), ms(9)));
        let whole = tell(1, &[(1, What::FrameStart), (7, What::FrameEnd)]).unwrap().unwrap();
        assert_eq!((whole.blocks.len(), whole.end.saturating_sub(whole.start)), (0, ms(6)));
    }

    #[test]
    fn what_cannot_be_is_not_believed() {
        let start = (2, What::BlockStart(A, Size(1)));
        let (begin, end) = ((1, What::FrameStart), (9, What::FrameEnd));
        let again = (3, What::BlockAgain(A));
        let took = |ms| (8, What::Took(A, Nanos::from_millis(ms)));
        for (events, said) in [
            (vec![start], "without a frame's start"),
            (vec![begin, begin], "within a frame"),
            (vec![begin, again], "not asked to"),
            (vec![begin, start, again, again], "not asked to"),
            (vec![begin, start, (3, What::BlockAgain(B))], "not asked to"),
            (vec![begin, start, took(1), took(1), end], "2 runs of a block that ran 1 times"),
            (vec![begin, start, took(10), end], "GPU time"),
            ([vec![begin], vec![start; MAX_BLOCKS + 1]].concat(), "more than 64 blocks"),
            ([vec![begin, start], vec![took(0); MAX_BLOCKS + 3]].concat(), "more times than runs"),
        ] {
            let why = tell(2, &events).unwrap_err();
            assert!(why.contains(said), "{why}, not {said}");
        }
        // Times that run backwards or ahead stand still.
        let frame = tell(1, &[(9, What::FrameStart), (2, What::BlockStart(A, Size(1))), (900, What::FrameEnd)]);
        let frame = frame.unwrap().unwrap();
        assert_eq!((frame.start, frame.blocks[0].starts[0], frame.end), tuple(9, 9, 100));
    }

    fn tuple(a: u64, b: u64, c: u64) -> (Nanos, Nanos, Nanos) {
        (Nanos::from_millis(a), Nanos::from_millis(b), Nanos::from_millis(c))
    }
}
