//! A program of one's own as a runner of blocks: every frame is one that it ran when it was given its turn.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use jetpace_devfreq::timer::Monotonic;
use jetpace_tables::hw::{BlockRunner, Timer};
use jetpace_tables::units::Nanos;
use jetpace_tables::work::{BlockId, Size};

use super::door::Door;
use super::outline::Outline;
use super::process::Process;
use super::told::{Frame, Told};
use crate::failure::{Failure, Reason};
use crate::runtime::page::Order;
use crate::runtime::sys;
use crate::signals::Stop;

/// Frames of another size that are let pass, where one is asked for.
const OTHER_SIZES: u32 = 200;

/// Frames that have to be alike before anything is measured.
const FIRST: u32 = 3;

/// A reading of a power monitor is of a conversion that lies before it, by so much on hwmon. What runs for twice as long
/// has readings of its own.
const CONVERSION: Nanos = Nanos::from_millis(7);

/// What is measured, and how it is met.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the program looks for the daemon.
    pub socket: PathBuf,
    /// What starts it; without it a program that already runs is waited for.
    pub command: Option<String>,
    /// What it finds in its environment.
    pub environment: Vec<(&'static str, PathBuf)>,
    /// Its blocks; without names those that it asks for.
    pub blocks: Vec<String>,
    /// Whether its frames and blocks are NVTX ranges.
    pub nvtx: bool,
    /// Sizes that are measured, ascending; without any its own.
    pub sizes: Vec<Size>,
    /// How long it may be silent.
    pub patience: Nanos,
    /// Asked while it is waited for.
    pub stop: Stop,
}

/// The program and the way to it.
#[derive(Debug)]
pub struct Own {
    door: Door,
    process: Option<Process>,
    /// Frames since the process was started.
    told: u64,
    options: Options,
    outline: Outline,
    /// The frame that was run last: its blocks' times, its size, and the block that may be read from it next.
    frame: Option<(Vec<Nanos>, Size, usize)>,
    /// From a frame's turn to its end, lately.
    span: Nanos,
    /// The machine's time at the timer's zero.
    epoch: Nanos,
}

/// The program as a runner; clones of it are the same program.
#[derive(Clone, Debug)]
pub struct Program {
    own: Rc<RefCell<Own>>,
    outline: Rc<Outline>,
    /// Whether times are those between calls, one after the other without gaps, even where the GPU's own are told.
    by_calls: bool,
    /// The share of the last run that the GPU was at work, by the times that it told.
    busy: f64,
}

impl Own {
    /// Meets the program: starts it where there is a command, and sees from its first frames what it consists of.
    ///
    /// # Errors
    /// Where the socket is taken, and where the program cannot be measured: what is wrong, and what to do.
    pub fn meet(options: Options, timer: &Monotonic) -> Result<Self, Failure> {
        let door = Door::open(&options.socket, &options.blocks).map_err(|e| match e.kind() {
            std::io::ErrorKind::AddrInUse => Failure::failed(format_args!(
                "{}: {e}: stop the daemon (`systemctl stop jetpace`), programs that it serves find calibration by \
                 themselves",
                options.socket.display()
            )),
            _ => Failure::file(&options.socket, &e),
        })?;
        let epoch = sys::now().saturating_sub(timer.now());
        let outline = Outline::of(&Frame { start: epoch, end: epoch, blocks: Vec::new() }, &[]).map_err(wrong)?;
        let mut own = Self { door, process: None, told: 0, options, outline, frame: None, span: Nanos::ZERO, epoch };
        own.learn()?;
        Ok(own)
    }

    fn learn(&mut self) -> Result<(), Failure> {
        let order = Order { repeat: None, size: self.options.sizes.last().copied() };
        let first = self.turn(order, &mut |_, _| Nanos::MAX)?;
        self.outline = Outline::of(&first, self.door.names()).map_err(wrong)?;
        self.door.close_names();
        for _ in 1..FIRST {
            self.play(order)?;
        }
        if let (Some(missing), false) = (self.missing(), self.options.blocks.is_empty()) {
            return Err(wrong({
                let option = if self.options.nvtx { "--nvtx-blocks" } else { "--blocks" };
                format!("runs no block {missing}, which {option} names")
            }));
        }
        for block in 0..self.outline.len() {
            let Some(id) = self.outline.id(block) else { continue };
            let frame = self.turn(Order { repeat: Some((id, 2)), ..order }, &mut |_, _| Nanos::MAX)?;
            self.check(&frame)?;
            let runs = frame.blocks.get(block).map_or(0, |ran| ran.starts.len());
            self.outline.set_repeats(block, runs == 2);
        }
        Ok(())
    }

    fn missing(&self) -> Option<&str> {
        let runs = |name: &str| (0..self.outline.len()).any(|block| self.outline.name(block) == name);
        self.options.blocks.iter().map(String::as_str).find(|name| !runs(name))
    }

    /// The program's own size.
    pub fn size(&self) -> Size {
        self.outline.size
    }

    /// Whether every block can be run over and over.
    pub fn repeats(&self) -> bool {
        (0..self.outline.len()).all(|block| self.outline.repeats(block))
    }

    /// The program as runners for times and power, and for seeing changes of the clock.
    pub fn runners(self) -> (Program, Program) {
        let outline = Rc::new(self.outline.clone());
        let network = Program { own: Rc::new(RefCell::new(self)), outline, by_calls: false, busy: 1.0 };
        let probe = Program { by_calls: true, ..network.clone() };
        (network, probe)
    }

    fn check(&self, frame: &Frame) -> Result<Size, Failure> {
        self.outline.check(frame, self.door.names()).map_err(wrong)
    }

    /// What is asked of the program where a block is wanted at a size.
    fn asked(&self, size: Size) -> Option<Size> {
        let sizes = &self.options.sizes;
        sizes.contains(&size).then_some(size).or(sizes.first().copied())
    }

    /// A frame of the size that is asked for.
    fn play(&mut self, order: Order) -> Result<Frame, Failure> {
        self.play_beside(order, &mut |_, _| Nanos::MAX)
    }

    fn play_beside(&mut self, order: Order, beside: &mut dyn FnMut(&Told, Nanos) -> Nanos) -> Result<Frame, Failure> {
        let wanted = order.size.unwrap_or(self.outline.size);
        for _ in 0..OTHER_SIZES {
            let frame = self.turn(order, beside)?;
            let size = self.check(&frame)?;
            if size == wanted || frame.blocks.is_empty() {
                return Ok(frame);
            }
            if order.size.is_none() {
                let (now, before) = (size.0, wanted.0);
                let why = format!("runs frames of size {now} and {before}: name them, as --sizes {before},{now}");
                return Err(wrong(why));
            }
        }
        let size = wanted.0;
        let why = format!("ran no frame of size {size}: it should ask jetpace_frame_size which one to run");
        Err(wrong(why))
    }

    /// Gives the program a turn, and waits for the frame. `beside` sees what it does meanwhile and says when to look again.
    fn turn(&mut self, order: Order, beside: &mut dyn FnMut(&Told, Nanos) -> Nanos) -> Result<Frame, Failure> {
        let runs = order.repeat.map_or(1, |(_, times)| times);
        let mut told = Told::new(runs);
        let (mut given, mut heard) = (None, sys::now());
        loop {
            self.options.stop.go_on()?;
            self.door.look();
            if !self.door.is_there() {
                if told.since().is_some() && runs > 1 {
                    return Err(Failure::failed("the program went away in the middle of a frame"));
                }
                (told, given) = (Told::new(runs), None);
                self.start_where_it_ended()?;
            } else if given.is_none() {
                self.door.give_turn(order);
                given = Some(sys::now());
            }
            while let Some(event) =
                self.door.next().map_err(|lie| Failure::failed(format_args!("the program: {lie}")))?
            {
                heard = sys::now();
                if let Some(frame) = told.take(event, heard).map_err(wrong)? {
                    self.told += 1;
                    self.span = frame.end.saturating_sub(given.unwrap_or(frame.start));
                    return Ok(frame);
                }
            }
            let now = sys::now();
            if now.saturating_sub(heard) > self.options.patience {
                return Err(self.silent(told.since().is_some()));
            }
            let next = beside(&told, now);
            self.door.rest(next.min(heard.saturating_add(self.options.patience)));
        }
    }

    fn silent(&self, within: bool) -> Failure {
        let patience = self.options.patience;
        let why = match (self.door.is_there(), within) {
            (true, true) => format!("was silent within a frame for {patience}: does it hang?"),
            (true, false) => format!("began no frame for {patience}: does it loop?"),
            (false, _) if self.options.nvtx => format!(
                "has begun no range that --nvtx names for {patience}: `jetpace nvtx -- COMMAND` lists those that it marks"
            ),
            (false, _) if self.options.command.is_some() => format!(
                "has not opened libjetpace for {patience}: it has to call jetpace_open; `hold --clock` holds a clock for \
                 one that does not"
            ),
            (false, _) => format!(
                "did not come to {} for {patience}: one that was opened there comes again within a second",
                self.options.socket.display()
            ),
        };
        wrong(why)
    }

    /// Where the program has ended, or never was: starts it, if there is a command.
    fn start_where_it_ended(&mut self) -> Result<(), Failure> {
        let Some(command) = &self.options.command else { return Ok(()) };
        if let Some(process) = &mut self.process {
            match process.ended()? {
                None => return Ok(()),
                Some(status) if !status.success() => {
                    return Err(Failure::failed(format_args!("the program ended with {status}")));
                }
                Some(_) if self.told == 0 => {
                    return Err(wrong(match self.options.nvtx {
                        true => {
                            "ended and began no range that --nvtx names: `jetpace nvtx -- COMMAND` lists those that it marks"
                        }
                        false => "ended and told no frame: does it open libjetpace?",
                    }));
                }
                Some(_) => {}
            }
        }
        self.told = 0;
        self.process = Some(Process::start(command, &self.options.environment)?);
        Ok(())
    }

    /// One run of a block: of the frame that was run last where that is the next of it, else of a new one. The caller is
    /// called throughout the frame and the wait for it: only between frames it would read what they leave behind.
    fn once(&mut self, block: usize, size: Size, calls: &mut Calls<'_>) -> Result<Nanos, Failure> {
        let goes_on = |(_, of, next): &(Vec<Nanos>, Size, usize)| *of == size && *next == block && block > 0;
        if !self.frame.as_ref().is_some_and(goes_on) {
            let epoch = self.epoch;
            let order = Order { repeat: None, size: self.asked(size) };
            let frame = self.play_beside(order, &mut |_, now| calls.look(now, epoch))?;
            let whole = frame.end.saturating_sub(frame.start);
            let times: Vec<Nanos> = frame.blocks.iter().filter_map(|ran| ran.times().first().copied()).collect();
            self.frame = Some((if times.is_empty() { vec![whole] } else { times }, size, 0));
        }
        let time = self.frame.as_mut().and_then(|(times, _, next)| {
            *next = block + 1;
            times.get(block).copied()
        });
        time.ok_or_else(|| Failure::failed(format_args!("there is no block {block}")))
    }

    /// A block over and over within one frame.
    fn repeated(
        &mut self,
        (id, block): (BlockId, usize),
        size: Size,
        count: usize,
        calls: &mut Calls<'_>,
    ) -> Result<Frame, Failure> {
        let epoch = self.epoch;
        let order = Order { repeat: Some((id, u32::try_from(count).unwrap_or(u32::MAX))), size: self.asked(size) };
        let frame = self.turn(order, &mut |told, now| match told.runs() {
            Some((runs, _)) if runs == id => calls.look(now, epoch),
            _ => Nanos::MAX,
        })?;
        if self.check(&frame)? != order.size.unwrap_or(self.outline.size) {
            return Err(wrong("runs frames of another size than the one asked for: it should ask jetpace_frame_size"));
        }
        let runs = frame.blocks.get(block).map_or(0, |ran| ran.starts.len());
        if runs != count {
            let name = self.outline.name(block);
            return Err(wrong(format!("ran block {name} {runs} times instead of the {count} that it was asked for")));
        }
        Ok(frame)
    }

    /// A block in as many frames, for programs that do not repeat it. The caller is called only where what it reads is of
    /// that block, where that is possible, else of frames.
    fn in_frames(
        &mut self,
        block: usize,
        size: Size,
        times: &mut [Nanos],
        calls: &mut Calls<'_>,
    ) -> Result<(), Failure> {
        let (id, epoch) = (self.outline.id(block), self.epoch);
        let one = self.once(block, size, calls)?;
        let whole = self.frame.iter().flat_map(|(times, ..)| times).fold(Nanos::ZERO, |sum, t| sum.saturating_add(*t));
        let twice = CONVERSION.saturating_add(CONVERSION);
        let (of_block, of_frames) = (id.is_some() && one > twice, whole > twice);
        let mut seen = Vec::with_capacity(times.len());
        for _ in 0..times.len() {
            let frame = self.play_beside(Order { repeat: None, size: self.asked(size) }, &mut |told, now| {
                let since = match (of_block, of_frames) {
                    (true, _) => told.runs().filter(|(runs, _)| Some(*runs) == id).map(|(_, since)| since),
                    (false, true) => told.since(),
                    (false, false) => return calls.look(now, epoch),
                };
                match since.map(|since| since.saturating_add(CONVERSION)) {
                    Some(from) if from <= now => calls.look(now, epoch),
                    Some(from) => from,
                    None => Nanos::MAX,
                }
            })?;
            let whole = frame.end.saturating_sub(frame.start);
            seen.push(frame.blocks.get(block).and_then(|ran| ran.times().first().copied()).unwrap_or(whole));
        }
        times.copy_from_slice(&seen);
        Ok(())
    }
}

/// The caller that reads rails or writes a clock meanwhile, and when it wants to be called.
struct Calls<'a> {
    meanwhile: &'a mut dyn FnMut(Nanos) -> Option<Nanos>,
    next: Option<Nanos>,
}

impl<'a> Calls<'a> {
    fn new(meanwhile: &'a mut dyn FnMut(Nanos) -> Option<Nanos>) -> Self {
        Self { meanwhile, next: Some(Nanos::ZERO) }
    }

    /// Calls where it is time; when to look again, by the machine's clock.
    fn look(&mut self, now: Nanos, epoch: Nanos) -> Nanos {
        let time = now.saturating_sub(epoch);
        if self.next.is_some_and(|next| next <= time) {
            self.next = (self.meanwhile)(time);
        }
        self.next.map_or(Nanos::MAX, |next| next.saturating_add(epoch))
    }
}

impl BlockRunner for Program {
    type Error = Failure;

    fn blocks(&self) -> usize {
        self.outline.len()
    }

    fn name(&self, block: BlockId) -> &str {
        self.outline.name(block.index())
    }

    fn run(
        &mut self,
        block: BlockId,
        size: Size,
        times: &mut [Nanos],
        meanwhile: &mut impl FnMut(Nanos) -> Option<Nanos>,
    ) -> Result<(), Failure> {
        self.busy = 1.0;
        let mut own = self.own.borrow_mut();
        let block = block.index();
        let mut calls = Calls::new(meanwhile);
        match (times, self.outline.id(block).filter(|_| self.outline.repeats(block))) {
            ([time], _) => {
                calls.look(sys::now(), own.epoch);
                *time = own.once(block, size, &mut calls)?;
            }
            (times, Some(id)) => {
                let frame = own.repeated((id, block), size, times.len(), &mut calls)?;
                let Some(ran) = frame.blocks.get(block) else { return Ok(()) };
                let seen: Vec<Nanos> = if self.by_calls { ran.apart().collect() } else { ran.times() };
                let at_work: f64 = seen.iter().map(|time| time.as_secs_f64()).sum();
                let span: f64 = ran.apart().map(|time| time.as_secs_f64()).sum();
                self.busy = if at_work < span { at_work / span } else { 1.0 };
                times.copy_from_slice(&seen);
            }
            (times, None) => own.in_frames(block, size, times, &mut calls)?,
        }
        Ok(())
    }

    fn busy(&self) -> f64 {
        self.busy
    }

    fn pace(&self, block: BlockId, once: Nanos) -> Nanos {
        if self.outline.repeats(block.index()) { once } else { self.own.borrow().span.max(once) }
    }
}

/// What the program does that cannot be measured.
fn wrong(why: impl std::fmt::Display) -> Failure {
    Failure::new(Reason::Calibration, format_args!("the program {why}"))
}
