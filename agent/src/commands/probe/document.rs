//! The result of `probe`, as JSON and as text.

use std::fmt;
use std::path::Path;

use jetpace_devfreq::board::{Board, Bound};
use jetpace_devfreq::gpu::Tried;
use jetpace_devfreq::needs::{Need, needs};
use jetpace_devfreq::nodes::Nodes;
use jetpace_devfreq::rails::{self, Rail, RailSource};
use jetpace_devfreq::text;
use jetpace_tables::hw::RailRole;
use jetpace_tables::units::Hertz;
use serde::Serialize;

use super::access;

/// FORMATS, `probe --json`.
#[derive(Debug, Serialize)]
pub struct Document {
    format: u32,
    board: BoardPart,
    gpu: GpuPart,
    emc: Option<EmcPart>,
    rails: Vec<RailPart>,
    /// How the module's total comes about.
    total_power: String,
    /// Governors of the CPU's policies.
    cpu_governors: Vec<String>,
    thermal: Vec<NodePart>,
    over_current: Vec<NodePart>,
    /// Who looks.
    user: String,
    needs: Vec<Need>,
    /// Whether the daemon sets the clock for this user, in words; `null` where there is none.
    lease: Option<String>,
    missing: Vec<String>,
}

#[derive(Debug, Serialize)]
struct BoardPart {
    model: Option<String>,
    part: Option<String>,
    soc: Option<String>,
    l4t: Option<String>,
    power_mode: Option<ModePart>,
    digest: String,
}

#[derive(Debug, Serialize)]
struct GpuPart {
    path: String,
    clocks_hz: Vec<Hertz>,
    /// The highest clock within the user's bound.
    cap_hz: Hertz,
    /// The user's bound: a clock, `none` or `unknown`.
    user_bound: BoundPart,
    /// What the nodes hold: floor and bound, heat's and everybody's.
    min_hz: BoundPart,
    max_hz: BoundPart,
    current_hz: Option<Hertz>,
    governor: String,
    /// `null` where someone has fixed the clock by the governor, or chosen another.
    stock_governor: Option<String>,
    /// In permille, while jetpace runs nothing: what else uses the GPU.
    load: Option<u16>,
    /// Who holds the clock down, has locked it, or what its list lacks, in words.
    bounds: Vec<String>,
    ways: Vec<WayPart>,
}

/// A bound as JSON: a number of hertz, or a word.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum BoundPart {
    Hertz(Hertz),
    Word(&'static str),
}

impl BoundPart {
    fn of(bound: Bound) -> Self {
        match bound {
            Bound::At(hz) => Self::Hertz(hz),
            Bound::Open => Self::Word("none"),
            Bound::Unknown => Self::Word("unknown"),
        }
    }
}

#[derive(Debug, Serialize)]
struct ModePart {
    id: u32,
    name: Option<String>,
    applied: bool,
    gpu_min: BoundPart,
    gpu_max: BoundPart,
}

#[derive(Debug, Serialize)]
struct WayPart {
    way: &'static str,
    works: Option<bool>,
    why: String,
}

#[derive(Debug, Serialize)]
struct EmcPart {
    path: String,
    clocks_hz: Vec<Hertz>,
    current_hz: Option<Hertz>,
    lockable: bool,
}

#[derive(Debug, Serialize)]
struct RailPart {
    name: String,
    role: RailRole,
    path: String,
    reads: &'static str,
    period_s: Option<f64>,
}

#[derive(Debug, Serialize)]
struct NodePart {
    name: String,
    path: String,
}

impl Document {
    /// Describes a board.
    pub fn new(nodes: &impl Nodes, board: &Board, ways: Vec<Tried>, lease: Option<String>) -> Self {
        let identity = &board.identity;
        let node = |name: &str, path: &Path| NodePart { name: name.to_owned(), path: show(path) };
        let mut missing = board.missing.clone();
        missing.extend(kernels_missing(board));
        Self {
            format: 1,
            board: BoardPart {
                model: identity.model.clone(),
                part: identity.part.clone(),
                soc: identity.soc.clone(),
                l4t: identity.l4t.clone(),
                power_mode: board.power_mode.as_ref().map(|mode| ModePart {
                    id: mode.id,
                    name: mode.name.clone(),
                    applied: mode.applied,
                    gpu_min: BoundPart::of(mode.gpu_min),
                    gpu_max: BoundPart::of(mode.gpu_max),
                }),
                digest: board.digest(),
            },
            gpu: GpuPart {
                path: show(&board.gpu.devfreq),
                clocks_hz: board.gpu.clocks.clone(),
                cap_hz: board.gpu.cap,
                user_bound: BoundPart::of(board.gpu.user),
                min_hz: BoundPart::of(board.gpu.min),
                max_hz: BoundPart::of(board.gpu.max),
                current_hz: text::hertz(nodes, &board.gpu.node("cur_freq")).ok(),
                governor: board.gpu.governor.clone(),
                stock_governor: board.gpu.stock_governor().map(str::to_owned),
                load: board.load(nodes),
                bounds: board.bounds_in_words(nodes),
                ways: ways.into_iter().map(way_part).collect(),
            },
            emc: board.emc.as_ref().map(|emc| EmcPart {
                path: show(&emc.dir),
                clocks_hz: emc.clocks.clone(),
                current_hz: emc.current,
                lockable: emc.lock.is_some(),
            }),
            rails: board.rails.iter().map(|rail| rail_part(nodes, rail)).collect(),
            total_power: board.total.to_string(),
            cpu_governors: board.cpu_governors(nodes),
            thermal: board.zones.iter().map(|zone| node(&zone.name, &zone.path)).collect(),
            over_current: board.over_current.iter().map(|counter| node(&counter.name, &counter.path)).collect(),
            user: access::caller(),
            needs: needs(nodes, board),
            lease,
            missing,
        }
    }
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

fn way_part(tried: Tried) -> WayPart {
    WayPart { way: tried.way.name(), works: tried.works, why: tried.why }
}

fn rail_part(nodes: &impl Nodes, rail: &Rail) -> RailPart {
    let (path, reads) = match &rail.source {
        RailSource::VoltsAmps { volts, .. } => (volts, "mV*mA"),
        RailSource::Power(power) => (power, "mW"),
    };
    let period_s = rails::stated_period(nodes, rail).map(|period| period.as_secs_f64());
    RailPart { name: rail.name.clone(), role: rail.role, path: show(path), reads, period_s }
}

/// CUDA kernels come for Xavier and later.
fn kernels_missing(board: &Board) -> Option<String> {
    match board.identity.compute() {
        Some("sm_53" | "sm_62") => {
            let chip = board.identity.soc.as_deref().unwrap_or_default();
            Some(format!("CUDA kernels: none for {chip}; clock control only"))
        }
        Some(_) => None,
        None => Some("CUDA kernels: the chip is not known".to_owned()),
    }
}

impl fmt::Display for BoundPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hertz(hz) => hz.fmt(f),
            Self::Word(word) => f.write_str(word),
        }
    }
}

impl fmt::Display for ModePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name}")?,
            None => write!(f, "{}", self.id)?,
        }
        write!(f, " (GPU {} to {})", self.gpu_min, self.gpu_max)?;
        if self.applied { Ok(()) } else { f.write_str(", configured but never set") }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_unknown = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
        let b = &self.board;
        let mode = b.power_mode.as_ref().map(|mode| mode.to_string());
        writeln!(f, "board       {}", or_unknown(&b.model))?;
        writeln!(f, "            module {}, chip {}", or_unknown(&b.part), or_unknown(&b.soc))?;
        writeln!(f, "            L4T {}, power mode {}", or_unknown(&b.l4t), or_unknown(&mode))?;
        writeln!(f, "            digest {}", b.digest)?;
        writeln!(f, "GPU         {}", self.gpu.path)?;
        let clocks: Vec<String> = self.gpu.clocks_hz.iter().map(|hz| format!("{}", hz.get() as f64 / 1e6)).collect();
        writeln!(f, "            clocks {} MHz", clocks.join(" "))?;
        let current = self.gpu.current_hz.map_or_else(|| "unknown".to_owned(), |hz| hz.to_string());
        let governor = Some(self.gpu.governor.as_str()).filter(|name| !name.is_empty()).unwrap_or("unknown");
        writeln!(f, "            cap {}, now {current}, governor {governor}", self.gpu.cap_hz)?;
        let (floor, bound) = (&self.gpu.min_hz, &self.gpu.max_hz);
        writeln!(f, "            floor {floor}, bound {bound}; the user's bound: {}", self.gpu.user_bound)?;
        if let Some(load) = self.gpu.load.filter(|load| *load > 0) {
            writeln!(f, "            in use by someone: load {} %", f64::from(load) / 10.0)?;
        }
        for said in &self.gpu.bounds {
            writeln!(f, "            {said}")?;
        }
        for way in &self.gpu.ways {
            let works = match way.works {
                Some(true) => "works",
                Some(false) => "does not work",
                None => "may work",
            };
            writeln!(f, "            way {}: {works} ({})", way.way, way.why)?;
        }
        if let Some(emc) = &self.emc {
            let current = emc.current_hz.map_or_else(|| "unknown".to_owned(), |hz| hz.to_string());
            let lockable = if emc.lockable { "can be locked" } else { "cannot be locked" };
            writeln!(f, "EMC         {}: now {current}, {lockable}", emc.path)?;
        }
        for rail in &self.rails {
            writeln!(f, "rail        {} ({}): {}, {}", rail.name, rail.role.word(), rail.path, rail.reads)?;
        }
        writeln!(f, "power       {}", self.total_power)?;
        let list = |f: &mut fmt::Formatter<'_>, what: &str, nodes: &[NodePart]| {
            let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
            if names.is_empty() { Ok(()) } else { writeln!(f, "{what:<13}{}", names.join(", ")) }
        };
        list(f, "thermal", &self.thermal)?;
        list(f, "over-current", &self.over_current)?;
        for (at, need) in self.needs.iter().enumerate() {
            writeln!(f, "needs       {need}")?;
            if self.needs.get(at + 1).is_none_or(|next| next.remedy != need.remedy) {
                writeln!(f, "            for {}: {}", self.user, need.remedy)?;
            }
        }
        if let Some(lease) = &self.lease {
            writeln!(f, "lease       {lease}")?;
        }
        for what in &self.missing {
            writeln!(f, "missing     {what}")?;
        }
        Ok(())
    }
}
