//! Ranges as frames and blocks. One frame runs at a time: its blocks are those that begin on its thread, and what other
//! threads begin meanwhile is not told. A range that is nothing costs the look whether it is something.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use agent::nvtx::ranges::{Block, Pattern};
use agent::runtime::fork;
use agent::runtime::link::{Link, Target, is_set};
use agent::runtime::page::What;
use agent::runtime::remote::Gone;
use agent::runtime::wire;
use jetpace_tables::work::{BlockId, Size};

use crate::names::{self, Domain, Name, Range, Role};
use crate::once::{Once, say};
use crate::quiet::Errno;

/// How often a daemon is looked for that was not there when the first frame began.
const AGAIN: Duration = Duration::from_secs(1);

/// The block of programs that mark none.
const WHOLE: &str = "frame";

/// [`Tell::owner`]: no frame runs.
const NOBODY: usize = 0;

/// [`Tell::owner`]: a frame runs that was started, not pushed: any thread may go on with it.
const ANYONE: usize = 1;

thread_local! {
    /// The frame that this thread pushed: its domain, and how many ranges are pushed upon it there.
    static PUSHED: Cell<Option<(Domain, u32)>> = const { Cell::new(None) };
}

/// The thread's number: neither of those above.
#[inline]
fn me() -> usize {
    PUSHED.with(|pushed| std::ptr::from_ref(pushed).addr())
}

/// Ranges on their way to whoever takes frames.
pub struct Tell {
    frame: Pattern,
    blocks: Vec<Block>,
    /// Whether payloads are sizes.
    sizes: bool,
    /// Whose frame runs.
    owner: AtomicUsize,
    /// The range that is a frame which was started, and the last one's number.
    started: AtomicU64,
    last: AtomicU64,
    generation: u32,
    talk: Mutex<Talk>,
    overlapped: Once,
    nested: Once,
    forked: Once,
}

impl Tell {
    /// `target` says who takes frames.
    pub fn new(
        frame: Pattern,
        blocks: Vec<Block>,
        sizes: bool,
        target: impl Fn() -> io::Result<Target> + Send + 'static,
    ) -> Self {
        Self {
            frame,
            blocks,
            sizes,
            owner: AtomicUsize::new(NOBODY),
            started: AtomicU64::new(0),
            last: AtomicU64::new(0),
            generation: fork::generation(),
            talk: Mutex::new(Talk::new(Box::new(target))),
            overlapped: Once::default(),
            nested: Once::default(),
            forked: Once::default(),
        }
    }

    /// What ranges of a name are in a domain.
    pub fn role(&self, domain: &[u8], name: &[u8]) -> Role {
        self.found(name, || domain.into())
    }

    /// The first that the name is of: the domain's is only asked for where the range's fits.
    #[inline]
    fn found(&self, name: &[u8], domain: impl Fn() -> Box<[u8]>) -> Role {
        let takes = |pattern: &Pattern| pattern.takes_name(name) && pattern.takes_domain(&domain());
        if takes(&self.frame) {
            return Role::FRAME;
        }
        self.blocks.iter().position(|block| takes(&block.ranges)).map_or(Role::NONE, Role::block)
    }

    #[inline]
    fn role_of(&self, range: &Range<'_>) -> Role {
        match range.name {
            Name::None => Role::NONE,
            Name::Registered(handle) => names::role(handle),
            Name::Text(text) => self.found(text, || names::domain_name(range.domain)),
        }
    }

    #[inline]
    pub fn push(&self, range: Range<'_>) {
        let role = self.role_of(&range);
        if role != Role::NONE || self.owner.load(Ordering::Relaxed) > ANYONE {
            self.pushed(role, &range);
        }
    }

    fn pushed(&self, role: Role, range: &Range<'_>) {
        if let Some((domain, above)) = PUSHED.get() {
            if domain == range.domain {
                PUSHED.set(Some((domain, above.saturating_add(1))));
            }
            if role == Role::FRAME {
                let frame = &self.frame;
                self.nested.say(format_args!("{frame} begins within itself, which is no frame: is an end missing?"));
            }
        } else if role == Role::FRAME && self.take(me()) {
            PUSHED.set(Some((range.domain, 0)));
            self.talk(|talk| talk.start(&self.blocks, self.size(range)));
        }
        self.block(role, range);
    }

    #[inline]
    pub fn pop(&self, domain: Domain) {
        if self.owner.load(Ordering::Relaxed) > ANYONE {
            self.popped(domain);
        }
    }

    fn popped(&self, domain: Domain) {
        match PUSHED.get() {
            Some((of, 0)) if of == domain => {
                PUSHED.set(None);
                self.finish();
            }
            Some((of, above)) if of == domain => PUSHED.set(Some((of, above - 1))),
            _ => {}
        }
    }

    #[inline]
    pub fn start(&self, range: Range<'_>) -> u64 {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let role = self.role_of(&range);
        if role != Role::NONE {
            self.starts(role, &range, id);
        }
        id
    }

    fn starts(&self, role: Role, range: &Range<'_>, id: u64) {
        if role == Role::FRAME && self.take(ANYONE) {
            self.started.store(id, Ordering::Relaxed);
            self.talk(|talk| talk.start(&self.blocks, self.size(range)));
        }
        self.block(role, range);
    }

    #[inline]
    pub fn end(&self, id: u64) {
        if self.owner.load(Ordering::Acquire) == ANYONE && self.started.load(Ordering::Relaxed) == id {
            self.started.store(0, Ordering::Relaxed);
            self.finish();
        }
    }

    /// Whether a frame may run; one that is another's keeps it out.
    fn take(&self, as_whom: usize) -> bool {
        let taken = self.owner.compare_exchange(NOBODY, as_whom, Ordering::AcqRel, Ordering::Relaxed);
        // A thread that ended within its frame may have had the same number.
        let took = taken.is_ok() || taken == Err(as_whom) && as_whom != ANYONE;
        if !took {
            let frame = &self.frame;
            self.overlapped.say(format_args!("{frame} begins while one runs: only one at a time is a frame"));
        }
        took
    }

    fn block(&self, role: Role, range: &Range<'_>) {
        let Some(at) = role.as_block() else { return };
        let owner = self.owner.load(Ordering::Relaxed);
        if owner == ANYONE || owner == me() {
            self.talk(|talk| talk.block(at, self.size(range)));
        }
    }

    fn finish(&self) {
        self.talk(Talk::end);
        self.owner.store(NOBODY, Ordering::Release);
    }

    fn size(&self, range: &Range<'_>) -> Option<Size> {
        let size = range.payload.filter(|_| self.sizes).and_then(|payload| u32::try_from(payload).ok());
        size.filter(|size| *size > 0).map(Size)
    }

    /// Tells, as far as it can be done without a wait for another thread, in the process that NVTX asked in.
    fn talk(&self, run: impl FnOnce(&mut Talk) -> Result<(), Gone>) {
        let _errno = Errno::keep();
        if fork::generation() != self.generation {
            return self.forked.say("a forked child's frames are not told: start it anew");
        }
        let Ok(mut talk) = self.talk.try_lock() else { return };
        // What a panic leaves half done is behind the mutex, which is then poisoned: nothing more is told.
        let told = catch_unwind(AssertUnwindSafe(|| run(&mut talk)));
        if let Ok(Err(Gone)) = told {
            talk.within = false;
            // Whoever measured ends the program, too.
            if !is_set(wire::SWEEP_VARIABLE) {
                talk.gone
                    .say("whoever took the frames has gone: the program runs on, and it is looked for every second");
            }
        }
    }
}

/// What is told, and to whom.
struct Talk {
    target: Box<dyn Fn() -> io::Result<Target> + Send>,
    link: Option<Link>,
    /// Who is not there is asked for again then; `None` from the beginning, and where it is of no use.
    again: Option<Instant>,
    given_up: bool,
    /// The numbers of the blocks by their places; of those that are nobody's there is none.
    numbers: Vec<Option<BlockId>>,
    /// The only block of programs that mark none.
    whole: Option<BlockId>,
    /// Whether the frame that runs was told.
    within: bool,
    /// The block that runs, and the frame's size.
    runs: Option<BlockId>,
    size: Size,
    absent: Once,
    gone: Once,
}

impl Talk {
    fn new(target: Box<dyn Fn() -> io::Result<Target> + Send>) -> Self {
        Self {
            target,
            link: None,
            again: None,
            given_up: false,
            numbers: Vec::new(),
            whole: None,
            within: false,
            runs: None,
            size: Size::default(),
            absent: Once::default(),
            gone: Once::default(),
        }
    }

    fn start(&mut self, blocks: &[Block], size: Option<Size>) -> Result<(), Gone> {
        self.meet(blocks);
        let Some(link) = &mut self.link else { return Ok(()) };
        link.tell(What::FrameStart)?;
        (self.within, self.runs, self.size) = (true, None, size.unwrap_or_default());
        match self.whole {
            Some(whole) => link.tell(What::BlockStart(whole, self.size)),
            None => Ok(()),
        }
    }

    /// A block begins. Those of several ranges in a row, such as layers, are one.
    fn block(&mut self, at: usize, size: Option<Size>) -> Result<(), Gone> {
        self.size = size.unwrap_or(self.size);
        let number = self.numbers.get(at).copied().flatten();
        let (Some(link), Some(number), true) = (&mut self.link, number, self.within) else { return Ok(()) };
        if self.runs == Some(number) {
            return Ok(());
        }
        self.runs = Some(number);
        link.tell(What::BlockStart(number, self.size))
    }

    fn end(&mut self) -> Result<(), Gone> {
        match (&mut self.link, std::mem::take(&mut self.within)) {
            (Some(link), true) => link.tell(What::FrameEnd),
            _ => Ok(()),
        }
    }

    /// Opens the way to whoever takes frames, where it is not open yet.
    fn meet(&mut self, blocks: &[Block]) {
        if self.link.is_some() || self.given_up || self.again.is_some_and(|again| Instant::now() < again) {
            return;
        }
        let target = (self.target)();
        let place = target.as_ref().map_or_else(|_| "the table".to_owned(), |to| to.socket.display().to_string());
        match target.and_then(|to| Ok(Link::open(to.socket, to.image)?.keeping_to(to.kept))) {
            Ok(mut link) => {
                self.number(&mut link, blocks);
                self.link = Some(link);
            }
            Err(e) => {
                use io::ErrorKind::{ConnectionRefused, NotFound, ResourceBusy};
                let may_come = matches!(e.kind(), ConnectionRefused | NotFound | ResourceBusy);
                (self.given_up, self.again) = (!may_come, Some(Instant::now() + AGAIN));
                let rest = if may_come { ", and is looked for every second" } else { "" };
                self.absent.say(format_args!("{place}: {e}: nobody takes the program's frames{rest}"));
            }
        }
    }

    fn number(&mut self, link: &mut Link, blocks: &[Block]) {
        self.numbers = blocks.iter().map(|block| link.find(&block.name)).collect();
        self.whole = if blocks.is_empty() { link.find(WHOLE) } else { None };
        let missing = blocks.iter().zip(&self.numbers).find(|(_, number)| number.is_none());
        let missing = missing.map(|(block, _)| block.name.as_str());
        if let Some(missing) = missing.or((blocks.is_empty() && self.whole.is_none()).then_some(WHOLE)) {
            let there = link.names().join(", ");
            say(format_args!("the table has no block {missing}: it has {there}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::fd::{AsFd, OwnedFd};
    use std::path::PathBuf;
    use std::thread;

    use agent::runtime::listen::Listener;
    use agent::runtime::map::Mapping;
    use agent::runtime::page::{Page, Reader};
    use jetpace_tables::table::{Table, TableClock, image};
    use jetpace_tables::units::{Hertz, Nanos};
    use jetpace_tables::work::ClockIndex;

    /// A program's ranges, and a daemon that takes what they tell.
    struct Bench {
        tell: Tell,
        _folder: tempfile::TempDir,
        _socket: OwnedFd,
        page: Mapping<Page>,
        reader: Reader,
    }

    fn range(domain: usize, name: &'static str) -> Range<'static> {
        Range { domain: Domain(domain), name: Name::Text(name.as_bytes()), payload: None }
    }

    impl Bench {
        /// The first frame has been told.
        fn new(frame: &str, blocks: &[&str], sizes: bool) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("sock");
            let listener = Listener::open(&path, None).unwrap();
            let blocks: Vec<Block> = blocks.iter().map(|block| block.parse().unwrap()).collect();
            let names: Vec<&str> =
                if blocks.is_empty() { vec![WHOLE] } else { blocks.iter().map(|block| &*block.name).collect() };
            let image = image_of(&names);
            let target = move || Ok(Target { socket: path.clone(), image: Vec::new(), kept: None, only_there: false });
            let tell = Tell::new(frame.parse().unwrap(), blocks, sizes, target);
            let (socket, page) = thread::scope(|scope| {
                scope.spawn(|| {
                    let id = tell.start(range(names::domain(b"app").0, "infer"));
                    tell.end(id);
                });
                let socket = loop {
                    match listener.accept() {
                        Ok(socket) => break socket,
                        Err(_) => thread::yield_now(),
                    }
                };
                let mut buffer = vec![0; wire::LONGEST];
                while wire::next_request(&socket, &mut buffer).is_err() {
                    thread::yield_now();
                }
                let (page, memory) = Mapping::<Page>::create().unwrap();
                wire::answer(&socket, 0, &image, Some(memory.as_fd())).unwrap();
                (socket, page)
            });
            let mut bench = Self { tell, _folder: folder, _socket: socket, page, reader: Reader::default() };
            let first = bench.told();
            assert_eq!((first.first(), first.last()), (Some(&What::FrameStart), Some(&What::FrameEnd)));
            bench
        }

        /// What was told since this was last called.
        fn told(&mut self) -> Vec<What> {
            std::iter::from_fn(|| self.reader.next(&self.page).unwrap()).map(|event| event.what).collect()
        }
    }

    fn image_of(blocks: &[&str]) -> Vec<u8> {
        let clock = TableClock { index: ClockIndex(0), clock: Hertz::new(1), relative_time: 1 };
        let second = Nanos::from_millis(1_000);
        let blocks: Vec<(&str, ClockIndex)> = blocks.iter().map(|name| (*name, ClockIndex(0))).collect();
        let table = Table::plain([0; 32], &[clock], &blocks, (second, second), Nanos::ZERO).unwrap();
        let mut bytes = vec![0; image::MAX_BYTES];
        let length = image::encode(&table, &mut bytes).unwrap();
        bytes.truncate(length);
        bytes
    }

    fn block(at: u16, size: u32) -> What {
        What::BlockStart(BlockId(at), Size(size))
    }

    #[test]
    fn pushed_ranges_are_frames_and_blocks_whatever_lies_between() {
        let mut bench = Bench::new("infer", &["stem", "layer*=body"], false);
        let tell = &bench.tell;
        tell.push(range(0, "warm"));
        tell.push(range(7, "infer"));
        tell.push(range(7, "stem"));
        tell.push(range(7, "detail"));
        tell.pop(Domain(7));
        // Another domain has a stack of its own.
        tell.push(range(8, "other"));
        tell.pop(Domain(7));
        for name in ["layer 1", "layer 2"] {
            tell.push(range(7, name));
            tell.pop(Domain(7));
        }
        tell.push(range(7, "infer"));
        tell.pop(Domain(7));
        tell.pop(Domain(8));
        tell.pop(Domain(7));
        // Outside of a frame a block is none.
        tell.push(range(7, "stem"));
        tell.pop(Domain(7));
        tell.pop(Domain(0));
        assert_eq!(bench.told(), [What::FrameStart, block(0, 1), block(1, 1), What::FrameEnd]);
    }

    #[test]
    fn a_started_frame_ends_on_any_thread_and_blocks_begin_on_any() {
        let mut bench = Bench::new("infer", &["stem"], false);
        let tell = &bench.tell;
        let id = tell.start(range(0, "infer"));
        thread::scope(|scope| {
            scope.spawn(|| {
                tell.push(range(0, "stem"));
                tell.pop(Domain(0));
                tell.end(id + 1);
                tell.end(id);
                tell.end(id);
            });
        });
        assert_eq!(bench.told(), [What::FrameStart, block(0, 1), What::FrameEnd]);
    }

    #[test]
    fn frames_of_other_threads_are_told_in_turn_and_not_at_once() {
        let mut bench = Bench::new("infer", &["stem"], false);
        let tell = &bench.tell;
        let frame = || {
            tell.push(range(0, "infer"));
            tell.push(range(0, "stem"));
            tell.pop(Domain(0));
            tell.pop(Domain(0));
        };
        tell.push(range(0, "infer"));
        thread::scope(|scope| scope.spawn(frame).join().unwrap());
        tell.push(range(0, "stem"));
        tell.pop(Domain(0));
        tell.pop(Domain(0));
        thread::scope(|scope| scope.spawn(frame).join().unwrap());
        let one = [What::FrameStart, block(0, 1), What::FrameEnd];
        assert_eq!(bench.told(), [one, one].concat());
    }

    #[test]
    fn payloads_are_sizes_where_that_is_asked_for() {
        for (sizes, told) in [(true, [4, 4, 8]), (false, [1, 1, 1])] {
            let mut bench = Bench::new("infer", &["a", "b", "c"], sizes);
            let tell = &bench.tell;
            let payload = |name, payload| Range { payload, ..range(0, name) };
            for (name, size) in [("infer", Some(4)), ("a", None), ("b", Some(-1)), ("c", Some(8))] {
                tell.push(payload(name, size));
            }
            (0..4).for_each(|_| tell.pop(Domain(0)));
            let [a, b, c] = told;
            assert_eq!(bench.told(), [What::FrameStart, block(0, a), block(1, b), block(2, c), What::FrameEnd]);
        }
    }

    #[test]
    fn without_blocks_the_frame_is_one() {
        let mut bench = Bench::new("app//infer", &[], true);
        let app = names::domain(b"app");
        let registered = names::register(app, b"infer", |domain, name| bench.tell.role(domain, name));
        for domain in [app, Domain(0)] {
            bench.tell.push(range(domain.0, "infer"));
            bench.tell.pop(domain);
        }
        bench.tell.push(Range { domain: app, name: Name::Registered(registered), payload: Some(3) });
        bench.tell.pop(app);
        let frame = |size| [What::FrameStart, block(0, size), What::FrameEnd];
        assert_eq!(bench.told(), [frame(1), frame(3)].concat());
    }

    #[test]
    fn where_nobody_takes_frames_the_program_runs_on() {
        let target =
            || Ok(Target { socket: PathBuf::from("/nowhere/sock"), image: Vec::new(), kept: None, only_there: false });
        let tell = Tell::new("infer".parse().unwrap(), Vec::new(), false, target);
        for _ in 0..100 {
            tell.push(range(0, "infer"));
            tell.pop(Domain(0));
        }
        assert_eq!(tell.owner.load(Ordering::Relaxed), NOBODY);
        assert!(tell.talk.lock().unwrap().link.is_none());
    }
}
