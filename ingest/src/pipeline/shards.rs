//! The queues of all shards as one group sees them: it lays its messages out, and announces them together.

use std::sync::Arc;

use tidemill_store::model::Shard;
use tokio::time::Instant;

use super::PipelineFailure;
use super::queue::{Batch, ShardQueue};
use super::shared::Shared;

/// The shards, and those of them that the current group went to.
pub(super) struct Shards<'s> {
    shared: &'s Shared,
    touched: &'s mut Vec<Shard>,
    arrived: Instant,
    messages: usize,
    bytes: usize,
}

impl<'s> Shards<'s> {
    /// For a group that came at `arrived`; `touched` is memory to use again.
    pub(super) fn new(shared: &'s Shared, touched: &'s mut Vec<Shard>, arrived: Instant) -> Self {
        touched.clear();
        Self { shared, touched, arrived, messages: 0, bytes: 0 }
    }

    /// Lays what the group has for `shard` into its open batch, under one lock. `None` where the task of the shard has
    /// ended, which is noted as the pipeline's failure.
    pub(super) fn lay(&mut self, shard: Shard, lay: impl FnOnce(&mut Batch)) -> Option<()> {
        let open = self.shared.queue(shard).and_then(|queue| queue.open(self.arrived));
        let laid = open.and_then(|mut open| {
            open.with(|batch| {
                let before = (batch.messages.len(), batch.bytes);
                lay(batch);
                (batch.messages.len() - before.0, batch.bytes - before.1)
            })
        });
        let Some((messages, bytes)) = laid else {
            self.shared.tasks.fail(PipelineFailure::Ended { task: "shard" });
            return None;
        };
        self.touched.push(shard);
        self.messages += messages;
        self.bytes += bytes;
        Some(())
    }

    /// Tells the tasks of the shards that something has come.
    pub(super) fn announce(self) {
        self.shared.metrics.queued(self.messages, self.bytes);
        for shard in self.touched.drain(..) {
            if let Some(queue) = self.shared.queue(shard) {
                queue.announce();
            }
        }
    }
}

impl Shared {
    /// The queue of `shard`; its task is started with the first message.
    fn queue(&self, shard: Shard) -> Option<&Arc<ShardQueue>> {
        let slot = self.shards.get(usize::from(shard.get()));
        assert!(slot.is_some(), "{shard:?} is beyond the shards of every era");
        Some(slot?.get_or_init(|| (self.start_shard)(&self.tasks, shard)))
    }
}
