//! `plan --board`: the board of a sweep that names none.

use std::path::Path;

use jetpace_tables::model::{BoardId, Model};

use crate::args::BoardArg;
use crate::failure::{Failure, Reason};
use crate::files::model::digest_from_hex;

/// Makes the model one of this board.
///
/// # Errors
/// Where the model is of another board, or has clocks that this one does not.
pub fn set(model: &mut Model, arg: &BoardArg, path: &Path) -> Result<(), Failure> {
    let board = arg.discover()?;
    let other = |why: String| Err(Failure::new(Reason::Calibration, format_args!("{}: {why}", path.display())));
    let (digest, known) = (board.digest(), board.digests());
    let other_than = |id: &&BoardId| !digest_from_hex(&id.digest).is_some_and(|digest| known.include(&digest));
    if let Some(measured) = model.board.as_ref().filter(other_than) {
        return other(format!(
            "was measured on board {:.12} ({}), and {arg} is {digest:.12}: leave --board out, or calibrate there",
            measured.digest, measured.name
        ));
    }
    let listed = &board.gpu.clocks;
    if let Some(clock) = model.clocks_hz.iter().find(|clock| !listed.contains(clock)) {
        return other(format!("has clock {clock}, which {arg} does not list: calibrate there"));
    }
    model.board = Some(BoardId { digest, name: board.identity.model.unwrap_or_else(|| arg.to_string()) });
    model.clocks_hz.clone_from(listed);
    Ok(())
}
