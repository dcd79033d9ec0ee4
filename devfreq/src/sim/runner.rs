//! A network's blocks on a virtual GPU.

use std::collections::HashMap;
use std::sync::Arc;

use jetpace_tables::hw::BlockRunner;
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::{BlockId, Network, Size};

use super::Shared;
use super::physics::Costs;

/// A block that the network does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{network} has {blocks} blocks; there is no block {block}")]
pub struct NoSuchBlock {
    network: String,
    blocks: usize,
    block: usize,
}

/// Runs blocks in virtual time.
#[derive(Debug)]
pub struct Runner {
    world: Shared,
    network: Network,
    costs: HashMap<(Size, Hertz), Arc<Costs>>,
}

impl Runner {
    pub(super) fn new(world: Shared, network: Network) -> Self {
        Self { world, network, costs: HashMap::new() }
    }

    /// The network that it runs.
    pub fn network(&self) -> &Network {
        &self.network
    }
}

impl BlockRunner for Runner {
    type Error = NoSuchBlock;

    fn blocks(&self) -> usize {
        self.network.blocks.len()
    }

    fn name(&self, block: BlockId) -> &str {
        self.network.blocks.get(block.index()).map_or("", |block| &block.name)
    }

    fn run(
        &mut self,
        block: BlockId,
        size: Size,
        times: &mut [Nanos],
        meanwhile: &mut impl FnMut(Nanos) -> Option<Nanos>,
    ) -> Result<(), NoSuchBlock> {
        if block.index() >= self.network.blocks.len() {
            let network = self.network.name.clone();
            return Err(NoSuchBlock { network, blocks: self.network.blocks.len(), block: block.index() });
        }
        let mut world = self.world.lock();
        let emc = world.emc.current();
        let network = &self.network;
        let costs = self.costs.entry((size, emc)).or_insert_with(|| Arc::new(world.costs(network, size)));
        world.start(Arc::clone(costs), block.index(), times.len());
        let mut call = Some(world.now());
        while !world.done() {
            match call {
                Some(at) if at <= world.now() => {
                    let now = world.now();
                    // The caller may read and write nodes: time goes on, and so does the GPU.
                    drop(world);
                    call = meanwhile(Nanos::new(now)).map(|next| next.get().max(now + 1));
                    world = self.world.lock();
                }
                Some(at) => world.run_until(at),
                None => world.run_until(u64::MAX),
            }
        }
        for (time, &ns) in times.iter_mut().zip(world.finished()) {
            *time = Nanos::new(ns);
        }
        Ok(())
    }
}
