//! How long layers take and what they draw. Per layer, so that a block is a sum of differently bound ones.

use jetpace_tables::work::{Layer, Network, Size};

/// What a GPU and its memory do per clock and per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speed {
    /// Operations per clock that real kernels reach.
    pub flops_per_clock: f64,
    /// Bytes per GPU clock through caches and the crossbar: memory traffic that slows down with the GPU's clock.
    pub bytes_per_clock: f64,
    /// Bandwidth of the memory at its highest clock; it goes with the EMC clock.
    pub bytes_per_s: f64,
    /// How often an activation passes the memory, above the one time that the layer counts.
    pub activation_traffic: f64,
    /// Operations per byte that tiles fetch anew: the smaller the caches, the fewer.
    pub flops_per_byte: f64,
    /// Launching a kernel; the CPU's and the front end's, so without a clock.
    pub launch_s: f64,
    /// How imperfectly computing and memory overlap where both take the same time, as a fraction of it.
    pub overlap_loss: f64,
}

impl Speed {
    /// Bytes that a layer moves through the memory.
    pub fn traffic(&self, layer: &Layer, size: f64) -> f64 {
        let (flops, activations) = (layer.flops as f64 * size, layer.activation_bytes as f64 * size);
        layer.weight_bytes as f64 + self.activation_traffic * activations + flops / self.flops_per_byte
    }

    /// A layer's time. `bandwidth` is the fraction of the full memory bandwidth that it has.
    ///
    /// Computing and memory overlap but for a part that grows with how equal they are: with the ratio r of the shorter
    /// to the longer one, the longer takes `1 + loss r^3`.
    pub fn layer_s(&self, layer: &Layer, size: f64, gpu_hz: f64, bandwidth: f64) -> f64 {
        let bytes = self.traffic(layer, size);
        let chip =
            layer.flops as f64 * size / (self.flops_per_clock * gpu_hz) + bytes / (self.bytes_per_clock * gpu_hz);
        let memory = bytes / (self.bytes_per_s * bandwidth);
        let (longer, shorter) = if chip > memory { (chip, memory) } else { (memory, chip) };
        let ratio = if longer > 0.0 { shorter / longer } else { 0.0 };
        longer * (1.0 + self.overlap_loss * ratio.powi(3)) + self.launch_s
    }
}

/// What a module draws.
#[derive(Clone, Copy, Debug)]
pub(super) struct Energy {
    /// Standing power while the GPU works: the rest of the module, with the CPU that feeds it.
    pub busy_base_w: f64,
    /// Standing power while it does not.
    pub idle_base_w: f64,
    /// All of the module's power while the GPU is railgated.
    pub gated_w: f64,
    /// The GPU's clock tree at the highest clock and flat voltage.
    pub clock_w: f64,
    /// Part of the clock tree that runs on while the GPU has nothing to do.
    pub idle_clock_share: f64,
    /// Per operation at flat voltage.
    pub flop_j: f64,
    /// Per byte through the memory.
    pub byte_j: f64,
    /// Up to this fraction of the highest clock the voltage is flat.
    pub knee: f64,
    /// From there on it rises by this, in units of the flat voltage per highest clock.
    pub slope: f64,
    /// Leakage above 45 degrees.
    pub leak_w_per_k: f64,
}

impl Energy {
    /// Voltage at a clock that is the fraction `x` of the highest, over the flat voltage. The regulator has steps of
    /// about 6 mV in 0.8 V.
    pub fn voltage(&self, x: f64) -> f64 {
        let exact = 1.0 + self.slope * (x - self.knee).max(0.0);
        (exact * 128.0).round() / 128.0
    }

    /// Power of the clock tree.
    pub fn clock_w(&self, x: f64) -> f64 {
        self.clock_w * x * self.voltage(x).powi(2)
    }
}

/// What one block costs at one clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    /// Time, without noise.
    pub time_s: f64,
    /// How much longer it takes with [`SLOW`] of the bandwidth.
    pub slower_s: f64,
    /// Energy of its operations at the clock's voltage.
    pub flop_j: f64,
    /// Energy of its memory traffic.
    pub byte_j: f64,
}

/// The bandwidth at which contention is worked out; between this and all of it, time is taken as linear.
pub(super) const SLOW: f64 = 0.75;

/// Costs of a network's blocks at every clock, for one size and one EMC clock. Worked out once.
#[derive(Clone, Debug)]
pub(super) struct Costs {
    clocks: usize,
    cells: Vec<Cost>,
}

impl Costs {
    /// `emc` is the EMC clock over the highest one.
    pub fn new(speed: &Speed, energy: &Energy, network: &Network, size: Size, clocks_hz: &[f64], emc: f64) -> Self {
        let size = f64::from(size.0);
        let highest = clocks_hz.last().copied().unwrap_or(1.0);
        let mut cells = Vec::with_capacity(network.blocks.len() * clocks_hz.len());
        for block in &network.blocks {
            for &hz in clocks_hz {
                let squared = energy.voltage(hz / highest).powi(2);
                let mut cost = Cost::default();
                for layer in &block.layers {
                    let time = speed.layer_s(layer, size, hz, emc);
                    cost.time_s += time;
                    cost.slower_s += speed.layer_s(layer, size, hz, emc * SLOW) - time;
                    cost.flop_j += layer.flops as f64 * size * energy.flop_j * squared;
                    cost.byte_j += speed.traffic(layer, size) * energy.byte_j;
                }
                cells.push(cost);
            }
        }
        Self { clocks: clocks_hz.len(), cells }
    }

    /// Of cells that were worked out elsewhere, block by block.
    pub fn of(clocks: usize, cells: Vec<Cost>) -> Self {
        Self { clocks, cells }
    }

    /// The cost of a block at a clock.
    pub fn at(&self, block: usize, clock: usize) -> Cost {
        self.cells.get(block * self.clocks + clock).copied().unwrap_or_default()
    }
}
