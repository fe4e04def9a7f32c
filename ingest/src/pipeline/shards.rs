//! The queues of all shards as one group sees them: it lays its messages out, and announces them together.

use std::sync::Arc;

use tidemill_store::model::Shard;

use super::PipelineFailure;
use super::queue::{Batch, ShardQueue};
use super::shared::Shared;

/// The shards, and those of them that the current group went to.
pub(super) struct Shards<'s> {
    shared: &'s Shared,
    touched: &'s mut Vec<Shard>,
    messages: usize,
    bytes: usize,
}

impl<'s> Shards<'s> {
    /// For the next group; `touched` is memory to use again.
    pub(super) fn new(shared: &'s Shared, touched: &'s mut Vec<Shard>) -> Self {
        touched.clear();
        Self { shared, touched, messages: 0, bytes: 0 }
    }

    /// Lays a message of `bytes` into the open batch of `shard`; `lay` says whether the group is new to that batch. `None`
    /// where the task of the shard has ended, which is noted as the pipeline's failure.
    pub(super) fn lay(
        &mut self,
        shard: Shard,
        bytes: usize,
        lay: impl FnOnce(&mut Batch) -> bool,
    ) -> Option<()> {
        let open = self.shared.queue(shard).and_then(|queue| queue.open());
        let Some(is_new) = open.and_then(|mut open| open.with(lay)) else {
            self.shared.tasks.fail(PipelineFailure::Ended { task: "shard" });
            return None;
        };
        if is_new {
            self.touched.push(shard);
        }
        self.messages += 1;
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
