//! What a network asks of the GPU: layers, grouped into blocks. A block is the smallest thing that may get its own
//! clock.

use serde::{Deserialize, Serialize};

/// Position of a clock in a board's ascending list of available clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClockIndex(pub u8);

impl ClockIndex {
    /// For indexing arrays.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Position of a block in its network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BlockId(pub u16);

impl BlockId {
    /// For indexing arrays.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A block's amount of work (batch, tokens); 1 by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Size(pub u32);

impl Default for Size {
    fn default() -> Self {
        Self(1)
    }
}

/// One kernel's worth of work at size 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Floating-point operations, a multiply-add counted as two.
    pub flops: u64,
    /// Bytes of weights read; they do not grow with the size.
    pub weight_bytes: u64,
    /// Bytes of activations read and written; they grow with the size.
    pub activation_bytes: u64,
}

#[cfg(feature = "std")]
mod network {
    use super::Layer;
    use serde::{Deserialize, Serialize};
    use std::string::String;
    use std::vec::Vec;

    /// A run of layers under one name.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Block {
        /// Unique within its network.
        pub name: String,
        /// In the order in which they run.
        pub layers: Vec<Layer>,
    }

    /// A network as the blocks of one frame.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Network {
        /// As given to `--net`.
        pub name: String,
        /// In the order in which they run.
        pub blocks: Vec<Block>,
    }

    impl Network {
        /// All layers in the order in which they run.
        pub fn layers(&self) -> impl Iterator<Item = &Layer> {
            self.blocks.iter().flat_map(|block| &block.layers)
        }
    }
}

#[cfg(feature = "std")]
pub use network::{Block, Network};
