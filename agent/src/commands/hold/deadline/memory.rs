//! `--save`: what was seen of a program's frames, kept as a sweep and a model, so that its next start begins at the right
//! clock. Whole frames are one block; power is not in it, as the rails do not tell a frame's from the gap's.

use std::path::{Path, PathBuf};

use jetpace_devfreq::board::Board;
use jetpace_tables::fit::{Options, fit};
use jetpace_tables::sample::{Kind, Sweep};
use jetpace_tables::units::{Hertz, Nanos};

use crate::failure::{Failure, Reason};
use crate::files::model;
use crate::files::output::write_file;
use crate::files::sweep::{self, Program};

/// So few frames at a clock tell nothing.
const LEAST: usize = 2;

/// Where it is kept, and of what.
#[derive(Debug)]
pub struct Memory {
    folder: PathBuf,
    program: Program,
}

impl Memory {
    /// In a folder, which is made where it is not there, of a program on a board.
    ///
    /// # Errors
    /// Where the folder cannot be made.
    pub fn open(folder: &Path, board: &Board, program: &str) -> Result<Self, Failure> {
        std::fs::create_dir_all(folder).map_err(|e| Failure::new_file(folder, &e))?;
        Ok(Self { folder: folder.to_owned(), program: Program::new(board, program) })
    }

    /// Frames' times at each clock by its position, as earlier runs saw them; nothing where there was none.
    ///
    /// # Errors
    /// Where the sweep cannot be read, or is of another board or program.
    pub fn recall(&self) -> Result<Vec<(usize, Vec<Nanos>)>, Failure> {
        let path = self.sweep();
        if !path.exists() {
            return Ok(Vec::new());
        }
        let kept = sweep::read(&path)?;
        let other = |what: &str| {
            let why = format_args!("{} is of another {what}: name another folder with --save", path.display());
            Failure::new(Reason::Calibration, why)
        };
        if kept.board.as_deref() != Some(&self.program.board) {
            return Err(other("board, power mode or release"));
        }
        if kept.rows.iter().any(|row| row.model != self.program.model) {
            return Err(other("program"));
        }
        let times = |clock: &Hertz| {
            let frames = kept.rows.iter().filter(|row| row.kind == Kind::Frame && row.gpu_freq == Some(*clock));
            frames.filter_map(|row| row.latency).collect()
        };
        Ok(self.program.clocks.iter().map(times).enumerate().collect())
    }

    /// Keeps what was seen, in the place of what was kept before: the sweep, and a model where two clocks were seen.
    ///
    /// # Errors
    /// Where a file cannot be written; what was there then stays.
    pub fn keep(&self, seen: impl Iterator<Item = (usize, Vec<Nanos>)>) -> Result<(), Failure> {
        let mut rows = Vec::new();
        for (at, times) in seen.filter(|(_, times)| times.len() >= LEAST) {
            let Some(clock) = self.program.clocks.get(at) else { continue };
            rows.push(self.program.block(*clock, &times));
            rows.extend(self.program.frames(*clock, &times));
        }
        if rows.is_empty() {
            return Ok(());
        }
        let kept = Sweep { rows, ..self.program.head("hold", &[]) };
        write_file(&self.sweep(), sweep::whole(&kept).as_bytes())?;
        match fit(&kept, &Options::default()) {
            Ok(fitted) => model::write(&self.folder.join("model.json"), &fitted),
            Err(e) => {
                log::info!("{}: no model yet: {e}", self.folder.display());
                Ok(())
            }
        }
    }

    fn sweep(&self) -> PathBuf {
        self.folder.join("sweep.csv")
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use jetpace_devfreq::sim::tree::Tree;

    use super::*;

    #[test]
    fn what_was_kept_is_recalled_for_the_same_board_and_program() {
        let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/boards");
        let board = Board::discover(&Tree::load(&boards.join("orin-nano-8gb-super-r36.4")).unwrap()).unwrap();
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("camera");
        let memory = Memory::open(&folder, &board, "camera").unwrap();
        assert_eq!(memory.recall().unwrap(), []);
        memory.keep(std::iter::empty()).unwrap();
        assert_eq!(memory.recall().unwrap(), [], "nothing seen, nothing kept");
        let times = |ms: u64| (0..20).map(|more| Nanos::from_micros(1_000 * ms + more)).collect::<Vec<_>>();
        let seen = [(1, times(60)), (3, times(41))];
        memory.keep(seen.iter().cloned()).unwrap();
        let recalled = Memory::open(&folder, &board, "camera").unwrap().recall().unwrap();
        let there: Vec<_> = recalled.into_iter().filter(|(_, times)| !times.is_empty()).collect();
        assert_eq!(there, seen);
        let (model, _) = model::read(&folder.join("model.json")).unwrap();
        assert_eq!((model.networks(), model.clocks_hz.len()), (vec!["camera"], board.gpu.clocks.len()));
        let why = Memory::open(&folder, &board, "lidar").unwrap().recall().unwrap_err().to_string();
        assert!(why.contains("another program") && why.contains("--save"), "{why}");
        let other = Board::discover(&Tree::load(&boards.join("agx-orin-r36.4")).unwrap()).unwrap();
        let why = Memory::open(&folder, &other, "camera").unwrap().recall().unwrap_err().to_string();
        assert!(why.contains("another board"), "{why}");
    }
}
