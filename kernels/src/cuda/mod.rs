//! Runs a network's blocks on a CUDA GPU.
//!
//! One stream; one graph per block and size, captured once and replayed; times from events; waits that let the CPU
//! sleep. Where blocks are run once each and in order, as in a frame, the next one is queued before its turn, so that
//! the GPU does not wait for the host. Clocks are none of its business: on a GPU without a devfreq node blocks are
//! timed as the GPU runs them.

mod driver;
mod prepared;

use std::collections::BTreeMap;
use std::path::Path;

use cudarc::driver::CudaEvent;
use jetpace_tables::hw::{BlockRunner, Timer};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::{BlockId, Size};

use crate::abi::Kernel;
use crate::error::Error;
use crate::launch::{Gpu, LaunchPlan};
use crate::net::OpBlock;
use crate::pack::{self, Packed};
use crate::packed::PackedWeights;
use crate::weights::Weights;
pub use driver::SYMBOLS;
use driver::{Device, failed};
use prepared::{LayerBuffers, Prepared};

/// Repeats queued ahead of the GPU: enough that it never waits for the host, few enough that the host gets round to
/// its samples.
const AHEAD: usize = 64;

/// A frame's blocks in flight: the one that is waited for and the one behind it.
const IN_FLIGHT: usize = 2;

/// How long the host sleeps at most before it looks whether the GPU is done, while it has samples to take.
const LOOK: Nanos = Nanos::from_micros(500);

/// A block that is queued, and where its two events are.
#[derive(Clone, Copy)]
struct Queued {
    size: Size,
    block: usize,
    events: usize,
}

/// Whether there is a GPU that the kernels run on.
///
/// # Errors
/// As [`CudaRunner::new`], but for the weights.
pub fn probe() -> Result<(), Error> {
    Device::open().map(drop)
}

/// A network on the first CUDA GPU.
pub struct CudaRunner<T> {
    // Dropped in this order: graphs and buffers before the device they belong to.
    sizes: BTreeMap<Size, Prepared>,
    layers: BTreeMap<usize, LayerBuffers>,
    events: Vec<CudaEvent>,
    /// The block that ran last, where it ran once.
    last: Option<(Size, usize)>,
    /// The block that is queued ahead of its turn.
    ahead: Option<Queued>,
    device: Device,
    names: Vec<String>,
    program: Program,
    seed: u64,
    timer: T,
}

/// Where launches come from.
enum Program {
    /// Planned for this GPU and any size.
    Network(Vec<OpBlock>),
    /// Planned elsewhere, for one size.
    Plan(LaunchPlan),
}

impl<T: Timer> CudaRunner<T> {
    /// Opens the GPU and copies the network's weights there. The network's input is random, from `seed`.
    ///
    /// # Errors
    /// No CUDA driver or one that is too old, no GPU, no permission, a GPU for which no kernels are compiled, weights
    /// that cannot be read, too little memory.
    pub fn new(blocks: Vec<OpBlock>, weights: &Weights, seed: u64, timer: T) -> Result<Self, Error> {
        let device = Device::open()?;
        let mut layers = BTreeMap::new();
        for (index, (op, layout)) in pack::layouts(&blocks).into_iter().enumerate() {
            let packed = pack::pack(&op, layout, &weights.params(index, &op)?)?;
            layers.insert(index, upload(&device, index, &packed)?);
        }
        let names = blocks.iter().map(|block| block.name.clone()).collect();
        // A batch of one is what everything starts with.
        Self::start(device, layers, names, Program::Network(blocks), Size::default(), seed, timer)
    }

    /// The same with a launch plan from a file and its weights, and with the kernels of `cubin` where there is one. The
    /// plan is checked against this GPU before anything is launched.
    ///
    /// # Errors
    /// As [`CudaRunner::new`]; a plan that must not be launched, weights that are not its, a cubin for another GPU or
    /// without the plan's kernels.
    pub fn from_plan(plan: &Path, weights: &Path, cubin: Option<&Path>, seed: u64, timer: T) -> Result<Self, Error> {
        let (_, launches) = LaunchPlan::read(plan)?;
        let image = cubin.map(|path| std::fs::read(path).map_err(|e| Error::file(path, e))).transpose()?;
        let mut wanted: Vec<Kernel> =
            launches.blocks.iter().flat_map(|block| &block.launches).map(|launch| launch.kernel).collect();
        wanted.sort_by_key(|kernel| kernel.name());
        wanted.dedup();
        let device = Device::open_with(image.as_deref(), wanted.into_iter())?;
        let needed = launches.check(device.gpu.capability).map_err(|why| Error::plan(plan, why))?;
        let weights = PackedWeights::open(weights, &needed)?;
        let mut layers = BTreeMap::new();
        for layer in needed.into_keys() {
            layers.insert(layer, upload(&device, layer, &weights.layer(layer)?)?);
        }
        let names = launches.blocks.iter().map(|block| block.name.clone()).collect();
        let size = Size(launches.batch);
        Self::start(device, layers, names, Program::Plan(launches), size, seed, timer)
    }

    fn start(
        device: Device,
        layers: BTreeMap<usize, LayerBuffers>,
        names: Vec<String>,
        program: Program,
        size: Size,
        seed: u64,
        timer: T,
    ) -> Result<Self, Error> {
        let (sizes, events) = (BTreeMap::new(), Vec::new());
        let mut runner = Self { sizes, layers, events, last: None, ahead: None, device, names, program, seed, timer };
        // Until here memory was only asked for.
        runner.prepare(size)?;
        Ok(runner)
    }

    /// The GPU's name.
    pub fn gpu_name(&self) -> &str {
        &self.device.name
    }

    /// The driver's library, as it was loaded.
    pub fn library(&self) -> String {
        driver::library()
    }

    /// The GPU's highest clock by what the driver says; not the one at which it runs.
    pub fn peak_clock(&self) -> Hertz {
        self.device.peak_clock
    }

    /// What launch plans know of the GPU.
    pub fn gpu(&self) -> Gpu {
        self.device.gpu
    }

    /// Allocates buffers and captures graphs for a size; they are kept. [`BlockRunner::run`] does it where it is yet
    /// to be done, which then takes its time.
    ///
    /// # Errors
    /// Too little memory, or a size beyond what the kernels can count.
    pub fn prepare(&mut self, size: Size) -> Result<(), Error> {
        if !self.sizes.contains_key(&size) {
            let plan = match &self.program {
                Program::Network(blocks) => LaunchPlan::new(blocks, size, &self.device.gpu)?,
                Program::Plan(plan) if Size(plan.batch) == size => plan.clone(),
                Program::Plan(plan) => {
                    let why = format_args!("its plan is for a batch of {}, not of {}", plan.batch, size.0);
                    return Err(Error::no_kernel("the network", why));
                }
            };
            let prepared = Prepared::new(&self.device, plan, &self.layers, self.seed)?;
            self.sizes.insert(size, prepared);
        }
        Ok(())
    }

    /// Sets the network's input at a size: `[batch][row][column][3]`.
    ///
    /// # Errors
    /// Another number of values than that, or an error of the driver.
    pub fn set_image(&mut self, size: Size, values: &[f32]) -> Result<(), Error> {
        self.ahead = None;
        let (device, prepared) = self.at(size)?;
        match prepared.image_len() {
            wanted if wanted == values.len() => prepared.set_image(device, values),
            wanted => Err(Error::Image { got: values.len(), wanted }),
        }
    }

    /// What the block that ran last left: `[batch][row][column][channel]`; nothing where none ran.
    ///
    /// # Errors
    /// An error of the driver.
    pub fn output(&mut self, size: Size) -> Result<Vec<f32>, Error> {
        let ahead = self.ahead.filter(|ahead| ahead.size == size);
        let (device, prepared) = self.at(size)?;
        match ahead.map_or(prepared.ran, |ahead| ahead.block.checked_sub(1)) {
            Some(block) => prepared.output(device, block),
            None => Ok(Vec::new()),
        }
    }

    /// Runs the whole network as one graph, `times.len()` times back to back: what running it block by block is
    /// measured against.
    ///
    /// # Errors
    /// As [`BlockRunner::run`].
    pub fn run_whole(&mut self, size: Size, times: &mut [Nanos]) -> Result<(), Error> {
        let (device, prepared) = self.at(size)?;
        let whole = prepared.whole(device)?;
        prepared.ran = prepared.graphs.len().checked_sub(1);
        self.repeat(|_| whole.launch().map_err(|e| failed("replaying the network", e)), times, &mut |_| None)
    }

    fn at(&mut self, size: Size) -> Result<(&Device, &mut Prepared), Error> {
        self.prepare(size)?;
        match self.sizes.get_mut(&size) {
            Some(prepared) => Ok((&self.device, prepared)),
            None => Err(Error::no_kernel("the network", format_args!("size {} is not prepared", size.0))),
        }
    }

    fn make_events(&mut self, count: usize) -> Result<(), Error> {
        while self.events.len() < count {
            self.events.push(self.device.event()?);
        }
        Ok(())
    }

    /// Queues the blocks in front of `block`, so that its input is what the network gives it.
    fn reach(&mut self, block: usize, size: Size) -> Result<(), Error> {
        let (_, prepared) = self.at(size)?;
        // A block that ran left its own input and the next block's in place; the input before that is gone.
        let from = match prepared.ran {
            Some(ran) if block == ran => block,
            Some(ran) if block > ran => ran + 1,
            _ => 0,
        };
        prepared.ran = Some(block);
        (from..block).try_for_each(|before| self.replay(before, size))
    }

    /// Queues a block between two events, behind whatever it takes to give it its input.
    fn queue(&mut self, block: usize, size: Size) -> Result<Queued, Error> {
        self.reach(block, size)?;
        self.make_events(2 * IN_FLIGHT)?;
        let events = 2 * (block % IN_FLIGHT);
        self.device.record(&self.events[events])?;
        self.replay(block, size)?;
        self.device.record(&self.events[events + 1])?;
        Ok(Queued { size, block, events })
    }

    fn replay(&self, block: usize, size: Size) -> Result<(), Error> {
        let graph = self.sizes.get(&size).and_then(|prepared| prepared.graphs.get(block));
        graph.map_or(Ok(()), |graph| graph.launch()).map_err(|e| failed("replaying a block", e))
    }

    /// Queues what `replay` replays `times.len()` times back to back and waits for it.
    fn repeat(
        &mut self,
        replay: impl Fn(&Self) -> Result<(), Error>,
        times: &mut [Nanos],
        meanwhile: &mut impl FnMut(Nanos) -> Option<Nanos>,
    ) -> Result<(), Error> {
        (self.ahead, self.last) = (None, None);
        self.make_events(times.len() + 1)?;
        self.device.record(&self.events[0])?;
        let (mut queued, mut done) = (0, 0);
        let mut due = meanwhile(self.timer.now());
        while done < times.len() {
            while queued < times.len().min(done + AHEAD) {
                replay(self)?;
                queued += 1;
                self.device.record(&self.events[queued])?;
            }
            due = match due {
                Some(time) => self.wait_for_host(time, meanwhile),
                // Nothing else to do: sleep until half of what is queued is done, then queue more.
                None => {
                    let next = if queued == times.len() { queued } else { done + (queued - done).div_ceil(2) };
                    self.events[next].synchronize().map_err(|e| failed("running a block", e))?;
                    None
                }
            };
            while done < queued && self.has_passed(done + 1)? {
                done += 1;
            }
        }
        for (i, time) in times.iter_mut().enumerate() {
            *time = self.elapsed(i)?;
        }
        Ok(())
    }

    /// One repeat of a block. If the block before it ran just so, this is a frame, and the next block is queued too.
    fn run_once(
        &mut self,
        block: usize,
        size: Size,
        meanwhile: &mut impl FnMut(Nanos) -> Option<Nanos>,
    ) -> Result<Nanos, Error> {
        let queued = match self.ahead.take() {
            Some(ahead) if (ahead.size, ahead.block) == (size, block) => ahead,
            _ => self.queue(block, size)?,
        };
        let follows = block > 0 && self.last == Some((size, block - 1));
        if (follows || block == 0) && block + 1 < self.names.len() {
            self.ahead = Some(self.queue(block + 1, size)?);
        }
        self.last = Some((size, block));
        let mut due = meanwhile(self.timer.now());
        while let Some(time) = due {
            if self.has_passed(queued.events + 1)? {
                break;
            }
            due = self.wait_for_host(time, meanwhile);
        }
        self.elapsed(queued.events)
    }

    /// Sleeps towards the host's next turn, a little at a time, and gives it the turn when it is due.
    fn wait_for_host(&mut self, time: Nanos, meanwhile: &mut impl FnMut(Nanos) -> Option<Nanos>) -> Option<Nanos> {
        let now = self.timer.now();
        if now >= time {
            return meanwhile(now);
        }
        self.timer.sleep_until(time.min(now.saturating_add(LOOK)));
        Some(time)
    }

    fn has_passed(&self, event: usize) -> Result<bool, Error> {
        self.events[event].try_is_complete().map_err(|e| failed("running a block", e))
    }

    /// Time between an event and the next, once both have passed.
    fn elapsed(&self, event: usize) -> Result<Nanos, Error> {
        let ms = self.events[event].elapsed_ms(&self.events[event + 1]).map_err(|e| failed("running a block", e))?;
        Ok(Nanos::from_secs_f64(f64::from(ms) / 1e3))
    }
}

/// A layer's weights on the GPU.
fn upload(device: &Device, layer: usize, packed: &Packed) -> Result<LayerBuffers, Error> {
    let what = format!("the weights of layer {layer}");
    Ok(LayerBuffers { weights: device.upload(&what, &packed.weights)?, bias: device.upload(&what, &packed.bias)? })
}

impl<T: Timer> BlockRunner for CudaRunner<T> {
    type Error = Error;

    fn blocks(&self) -> usize {
        self.names.len()
    }

    fn name(&self, block: BlockId) -> &str {
        self.names.get(block.index()).map_or("", String::as_str)
    }

    fn run(
        &mut self,
        block: BlockId,
        size: Size,
        times: &mut [Nanos],
        meanwhile: &mut impl FnMut(Nanos) -> Option<Nanos>,
    ) -> Result<(), Error> {
        if block.index() >= self.names.len() {
            return Err(Error::no_kernel("the network", format_args!("it has no block {}", block.0)));
        }
        let block = block.index();
        if let [time] = times {
            *time = self.run_once(block, size, meanwhile)?;
            return Ok(());
        }
        self.reach(block, size)?;
        self.repeat(|runner| runner.replay(block, size), times, meanwhile)
    }
}
