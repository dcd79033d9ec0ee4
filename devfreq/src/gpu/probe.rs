//! Which way of fixing the clock works: each is tried by a raise and a lowering with read-back.

use std::path::PathBuf;

use jetpace_tables::hw::{GpuClock, Timer};
use jetpace_tables::work::ClockIndex;

use super::{GpuNode, Way};
use crate::board::{Board, Bound};
use crate::error::Error;
use crate::guard::{Guard, Keep, Kind, Store};
use crate::nodes::Nodes;

/// What came of trying a way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The way.
    pub way: Way,
    /// Whether the clock can be fixed so; `None` where it was not tried.
    pub works: Option<bool>,
    /// Why not, or what was seen.
    pub why: String,
}

/// Tries every way, and puts everything back after each.
///
/// # Errors
/// Where something could not be put back: nothing more is tried then.
pub fn try_ways<N, T>(nodes: &N, timer: T, board: &Board, guard: &Guard<N>) -> Result<Vec<Tried>, Error>
where
    N: Nodes + Store + Clone,
    T: Timer,
{
    let mut node = GpuNode::stock(nodes.clone(), timer, board, guard, Way::MinMax);
    let mut tried = Vec::new();
    awake(&mut node, |node| {
        for way in Way::ALL {
            tried.push(try_way(node, way)?);
            node.release()?;
        }
        Ok(())
    })?;
    Ok(tried)
}

/// Leaves the node engaged by the first way that works.
pub(super) fn choose<N, T>(node: &mut GpuNode<N, T>, only: Option<Way>) -> Result<(), Error>
where
    N: Nodes + Store + Clone,
    T: Timer,
{
    awake(node, |node| {
        let mut failures = Vec::new();
        for way in Way::ALL.into_iter().filter(|way| only.is_none_or(|only| only == *way)) {
            let tried = try_way(node, way)?;
            if tried.works == Some(true) {
                return Ok(());
            }
            failures.push(format!("{way}: {}", tried.why));
            node.release()?;
        }
        let tried = failures.join("; ");
        Err(match node.user {
            Bound::Unknown => Error::BoundUnknown { why: node.gpu.why_unknown(), tried },
            _ => Error::NoWay { tried },
        })
    })
}

fn try_way<N, T>(node: &mut GpuNode<N, T>, way: Way) -> Result<Tried, Error>
where
    N: Nodes + Store + Clone,
    T: Timer,
{
    if let Some(why) = way.lacks(&node.nodes, &node.gpu) {
        return Ok(Tried { way, works: Some(false), why });
    }
    if way.writes_bound() && node.user == Bound::Unknown {
        let why = format!("not tried: it writes the bound, and the user's cannot be known {}", node.gpu.why_unknown());
        return Ok(Tried { way, works: None, why });
    }
    node.way = way;
    let (low, high) = (ClockIndex(0), node.cap);
    let followed = node.engage().and_then(|()| node.pin(low)).and_then(|_| node.pin(high)).and_then(|_| node.pin(low));
    match followed {
        Ok(_) => Ok(Tried { way, works: Some(true), why: "a raise and a lowering were followed".to_owned() }),
        // Without the permission no way will do.
        Err(e) if e.is_permission() => Err(e),
        Err(e) => Ok(Tried { way, works: Some(false), why: e.to_string() }),
    }
}

/// Keeps the GPU from sleeping while ways are tried: asleep, it stores requests and follows none.
fn awake<N, T, R>(
    node: &mut GpuNode<N, T>,
    work: impl FnOnce(&mut GpuNode<N, T>) -> Result<R, Error>,
) -> Result<R, Error>
where
    N: Nodes + Store + Clone,
    T: Timer,
{
    let control = node.gpu.sleep.clone();
    let sleeping = |control: &PathBuf| crate::text::word(&node.nodes, control).is_ok_and(|now| now == "auto");
    let control = control.filter(sleeping);
    if let Some(control) = &control {
        node.guard.keep(&[Keep::new(control.clone(), Kind::Plain, vec!["on".to_owned()])])?;
        node.nodes.write(control, "on").map_err(|e| Error::write(control, "on", e))?;
    }
    let done = work(node);
    if let Some(control) = &control {
        node.guard.restore_where(|path| path == control)?;
    }
    done
}
