//! What is to be said of a board's clock, in words: who holds it down, who has locked it, and what its list lacks.

use jetpace_tables::units::Hertz;

use super::{Board, Bound, STOCK};
use crate::nodes::Nodes;
use crate::text;
use crate::thermal;

impl Board {
    /// What bounds the GPU's clock now, one sentence each; empty where nothing out of the ordinary does.
    pub fn bounds_in_words<N: Nodes>(&self, nodes: &N) -> Vec<String> {
        let gpu = &self.gpu;
        let mut said = Vec::new();
        let now = text::hertz(nodes, &gpu.node("cur_freq")).map_or("unknown".to_owned(), |hz| hz.to_string());
        for active in thermal::active(nodes, &self.cooling) {
            said.push(match (active.of_gpu, gpu.shows_heat, gpu.max) {
                (true, true, Bound::At(max)) => format!("held down now by {active}: at most {max}, the clock is {now}"),
                (true, ..) => format!("held down now by {active}, the clock is {now}"),
                (false, ..) => format!("{active} is at work; it does not bound the GPU's clock"),
            });
        }
        if gpu.user == Bound::Unknown {
            let why = gpu.why_unknown();
            said.push(format!("the user's bound cannot be known {why}, so no bound is written now"));
        }
        if let Some(differs) = &self.differs {
            said.push(format!("{differs}: the hardware counts"));
        }
        if gpu.is_locked() {
            said.push("the clock is locked by someone (floor = bound), as jetson_clocks does".to_owned());
        }
        if let Some(fixed) = gpu.fixed_governor() {
            said.push(format!("{fixed}, left by someone: not the stock governor at work; it is put back as found"));
        } else if gpu.stock_governor().is_none() && !gpu.governor.is_empty() {
            let other = &gpu.governor;
            said.push(format!(
                "governor {other}, set by someone: the stock governor is {STOCK}; it is put back as found"
            ));
        }
        said.extend(self.lacks_super());
        said
    }

    /// A Super module whose firmware is older has no Super clocks, whatever its mode is called.
    fn lacks_super(&self) -> Option<String> {
        let has = |text: &Option<String>| text.as_ref().is_some_and(|text| text.to_ascii_lowercase().contains("super"));
        let mode = self.power_mode.as_ref();
        if !has(&self.identity.model) && !self.identity.is_super && !mode.is_some_and(|mode| has(&mode.name)) {
            return None;
        }
        let promised = match self.identity.part.as_deref()? {
            "p3767-0000" | "p3767-0001" => Hertz::new(1_173_000_000),
            part if part.starts_with("p3767") => Hertz::new(1_020_000_000),
            _ => return None,
        };
        let top = self.gpu.clocks.last().copied().filter(|top| *top < promised)?;
        Some(format!(
            "a Super module, but its list lacks the Super clocks (it ends at {top}, not {promised}): firmware is older"
        ))
    }

    /// What else uses the GPU now, by its load node; to be asked while jetpace runs nothing. Reading it keeps the GPU
    /// awake for half a second.
    pub fn load<N: Nodes>(&self, nodes: &N) -> Option<u16> {
        let load = text::integer(nodes, &self.gpu.device.join("load")).ok()?;
        u16::try_from(load).ok().filter(|load| *load <= 1000)
    }

    /// The CPU's governors, in the order of the policies, each once.
    pub fn cpu_governors<N: Nodes>(&self, nodes: &N) -> Vec<String> {
        let mut names: Vec<String> = self
            .cpus
            .iter()
            .filter_map(|policy| text::word_if_there(nodes, &policy.join("scaling_governor")))
            .collect();
        names.dedup();
        names
    }
}
