//! The stand-in GPU: one queue of work and events, carried out in the board's own time however late this machine's
//! threads wake up.

use std::collections::VecDeque;
use std::sync::Arc;

use jetpace_tables::work::{Block, Layer, Network, Size};

use crate::sim::world::World;

/// More is not queued: a program that never waits must not fill the memory.
pub(super) const MOST_QUEUED: usize = 100_000;

/// What a client put into the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// Operations, and bytes through the memory.
    Run { flops: u64, bytes: u64 },
    /// Tells the time at which it is reached.
    Event,
    /// An answer is due when it is reached.
    Wait,
}

/// The queue, and what of it has come to its end.
#[derive(Debug, Default)]
pub(super) struct Gpu {
    queue: VecDeque<(u64, Item)>,
    running: bool,
    /// Client, what ended, board's time.
    pub ended: Vec<(u64, Item, u64)>,
}

impl Gpu {
    /// Queues for a client. False where the queue is full.
    pub fn queue(&mut self, client: u64, item: Item) -> bool {
        let room = self.queue.len() < MOST_QUEUED;
        if room {
            self.queue.push_back((client, item));
        }
        room
    }

    /// A client is gone, and what it queued with it. What runs runs to its end.
    pub fn forget(&mut self, client: u64) {
        let running = usize::from(self.running);
        let mut at = 0;
        self.queue.retain(|(of, _)| {
            at += 1;
            at <= running || *of != client
        });
    }

    /// Lets the board's time pass up to `until`; one piece of work begins the moment the one before it ends.
    pub fn advance(&mut self, world: &mut World, until: u64) {
        self.begin(world);
        while self.running && world.now() < until {
            world.run_until(until);
            self.begin(world);
        }
        world.advance(until);
    }

    /// Takes up what was queued meanwhile: where nothing ran, now, and not at a time before it was asked to.
    pub fn take_up(&mut self, world: &mut World, now: u64) {
        if !self.running {
            world.advance(now);
        }
        self.begin(world);
    }

    /// Carries out what takes no time, and begins what does.
    fn begin(&mut self, world: &mut World) {
        if self.running && world.done() {
            self.running = false;
            self.end(world.now());
        }
        while let (false, Some((_, item))) = (self.running, self.queue.front()) {
            match *item {
                Item::Run { flops, bytes } => {
                    let costs = world.costs(&network(flops, bytes), Size::default());
                    world.start(Arc::new(costs), 0, 1);
                    self.running = true;
                }
                Item::Event | Item::Wait => self.end(world.now()),
            }
        }
    }

    fn end(&mut self, now: u64) {
        if let Some((client, item)) = self.queue.pop_front() {
            self.ended.push((client, item, now));
        }
    }
}

/// One piece of work as a network.
pub(super) fn network(flops: u64, bytes: u64) -> Network {
    let layer = Layer { flops, weight_bytes: bytes, activation_bytes: 0 };
    Network { name: String::new(), blocks: vec![Block { name: String::new(), layers: vec![layer] }] }
}
