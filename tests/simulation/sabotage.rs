//! Parts that break a promise on purpose. Each must be caught by the judge of its promise.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidemill_ingest::source::{Closed, Completion, Intake, Publish};
use tidemill_store::wide::{Datum, Key, Layer, Row, Rows, Table, Wide, WriteError, WriteTime};

use crate::world::Findings;

/// What is broken in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// Nothing.
    None,
    /// Groups are acknowledged when they are taken, not when they are durable (I1).
    EarlyAck,
    /// The store loses one write in two hundred though it says that it has it (I1).
    LossyStore,
    /// One message in fifty is taken, acknowledged, and forgotten (I2).
    Swallow,
    /// A repeated write carries other bytes than the first (I5).
    Rewrite,
}

impl Sabotage {
    pub(crate) const ALL: [Self; 4] = [Self::EarlyAck, Self::LossyStore, Self::Swallow, Self::Rewrite];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::EarlyAck => "early_ack",
            Self::LossyStore => "lossy_store",
            Self::Swallow => "swallowed_message",
            Self::Rewrite => "rewritten_key",
        }
    }

    /// Whether the judge that should catch it did.
    pub(crate) const fn is_found_in(self, findings: &Findings) -> bool {
        match self {
            Self::None => false,
            Self::EarlyAck | Self::LossyStore => findings.lost > 0,
            Self::Swallow => findings.unaccounted > 0,
            Self::Rewrite => findings.rewritten > 0,
        }
    }
}

/// An intake that keeps or breaks its promises.
#[derive(Debug, Clone)]
pub(crate) struct SabotagedIntake<I> {
    inner: I,
    sabotage: Sabotage,
    taken: Arc<AtomicU64>,
}

impl<I> SabotagedIntake<I> {
    pub(crate) fn new(inner: I, sabotage: Sabotage) -> Self {
        Self { inner, sabotage, taken: Arc::default() }
    }
}

impl<I: Intake> Intake for SabotagedIntake<I> {
    async fn submit(&mut self, mut group: Vec<Publish>) -> Result<Completion, Closed> {
        if self.sabotage == Sabotage::Swallow {
            group.retain(|_| self.taken.fetch_add(1, Ordering::Relaxed) % 50 != 49);
        }
        let completion = self.inner.submit(group).await?;
        if self.sabotage != Sabotage::EarlyAck {
            return Ok(completion);
        }
        let (settlement, early) = Completion::pair();
        settlement.settle();
        Ok(early)
    }
}

/// A store that changes every tenth write of rows that may not change, when sabotage asks for it: the write fails,
/// and comes again unchanged, after other bytes were seen under its key.
#[derive(Debug)]
pub(crate) struct SabotagedStore<W> {
    inner: W,
    sabotage: Sabotage,
    puts: AtomicU64,
}

impl<W> SabotagedStore<W> {
    pub(crate) fn new(inner: W, sabotage: Sabotage) -> Self {
        Self { inner, sabotage, puts: AtomicU64::new(0) }
    }
}

impl<W: Wide> Layer for SabotagedStore<W> {
    type Inner = W;

    fn inner(&self) -> &W {
        &self.inner
    }

    async fn put(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[Row],
        at: WriteTime,
    ) -> Result<(), WriteError> {
        let turn = self.puts.fetch_add(1, Ordering::Relaxed);
        if self.sabotage == Sabotage::Rewrite && table.rows == Rows::Immutable && turn % 10 == 9 {
            let mut changed = rows.to_vec();
            for cell in changed.iter_mut().flat_map(|row| row.cells.iter_mut()) {
                if let Datum::Instant(millis) = cell {
                    *millis += 1;
                }
            }
            self.inner().put(table, partition, &changed, at).await?;
        }
        self.inner().put(table, partition, rows, at).await
    }
}
