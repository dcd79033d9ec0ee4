//! Whole frames of a program of one's own as a sweep: the program is one block.

use jetpace_devfreq::board::Board;
use jetpace_tables::sample::{Kind, Row, Sweep};
use jetpace_tables::stats;
use jetpace_tables::units::{Hertz, Nanos};

/// The program's only block.
const BLOCK: &str = "frame";

/// A program on a board.
#[derive(Debug)]
pub struct Program {
    /// The board's digest.
    pub board: String,
    /// The program's name.
    pub model: String,
    /// The board's clocks, ascending.
    pub clocks: Vec<Hertz>,
    device: String,
}

impl Program {
    /// A program of this name.
    pub fn new(board: &Board, model: &str) -> Self {
        Self {
            board: board.digest(),
            model: model.to_owned(),
            clocks: board.gpu.clocks.clone(),
            device: board.identity.model.clone().unwrap_or_else(|| "jetson".to_owned()),
        }
    }

    /// A sweep without rows; `more` stands in its first line before the clocks.
    pub fn head(&self, evidence: &str, more: &[(&str, &str)]) -> Sweep {
        let clocks: Vec<String> = self.clocks.iter().map(|clock| clock.get().to_string()).collect();
        let clocks = clocks.join(",");
        let first = [("name", self.device.as_str()), ("net", &self.model), ("evidence", evidence)];
        let fields = first.into_iter().chain(more.iter().copied()).chain([("clocks", clocks.as_str())]);
        let fields = fields.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Sweep { board: Some(self.board.clone()), fields, rows: Vec::new() }
    }

    /// A row at a clock, without what was measured.
    pub fn row(&self, kind: Kind, clock: Hertz) -> Row {
        Row { kind, device: self.device.clone(), model: self.model.clone(), gpu_freq: Some(clock), ..Row::default() }
    }

    /// What frames at a clock come to as the block's row, without power.
    pub fn block(&self, clock: Hertz, times: &[Nanos]) -> Row {
        let seconds: Vec<f64> = times.iter().map(|time| time.as_secs_f64()).collect();
        Row {
            block: BLOCK.to_owned(),
            latency: Some(Nanos::from_secs_f64(stats::mean(&seconds))),
            latency_sd: Some(Nanos::from_secs_f64(stats::sd(&seconds))),
            samples: u32::try_from(times.len()).ok(),
            ..self.row(Kind::Block, clock)
        }
    }

    /// Single frames at a clock, a row each.
    pub fn frames<'a>(&'a self, clock: Hertz, times: &'a [Nanos]) -> impl Iterator<Item = Row> + 'a {
        let frame = move |(at, time): (usize, &Nanos)| Row {
            repeat: at as u32,
            latency: Some(*time),
            ..self.row(Kind::Frame, clock)
        };
        times.iter().enumerate().map(frame)
    }
}
