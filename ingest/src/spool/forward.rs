//! Brings what is in the spool to the store: for each shard in order (only segments between two marks go together, their
//! keys say which came first), under the same keys, again and again until it is taken (I5), and at a bounded rate while
//! live messages need the store, too.
//!
//! Only a forwarder writes what a writer has once handed to the spool, so segments stay dense. Marks are written anew at
//! the time of forwarding: one of the outage may look abandoned by now, or be gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, TryStreamExt};
use tidemill_store::append::{PlannedWrite, RetryPolicy};
use tidemill_store::layout::tables::{MARKS, REJECTS, SEGMENTS};
use tidemill_store::model::Clock;
use tidemill_store::wide::{Datum, Key, Row, Wide, WriteError, WriteTime};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::handle::{Chunk, Spool};
use super::log::Taken;
use super::record::{self, RecordError};

/// Bytes that are read, forwarded and let go together.
const CHUNK_BYTES: usize = 1 << 20;
/// Shards that are forwarded at once.
const LANES_MAX: usize = 8;
/// Segments of a shard that are forwarded at once.
const SEGMENTS_MAX: usize = 16;
/// What took longer is forwarded once more: a mill takes the mark of a silent writer for abandoned after a day.
const MARK_AGE_MAX: Duration = Duration::from_hours(1);
/// How often an idle spool is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often a file is read that the disk does not give, before it is passed over.
const READS_MAX: u32 = 5;

/// Why forwarding cannot go on. All that was not forwarded is still in the spool.
#[derive(Debug, thiserror::Error)]
pub enum ForwardFailure {
    /// The store refuses what the spool holds.
    #[error("the store refuses what waits in the spool")]
    Write(#[from] WriteError),
    /// A sound record means nothing to this version.
    #[error("a record of the spool cannot be understood")]
    Record(#[from] RecordError),
}

/// The forwarder of a spool. One at a time.
pub struct Forwarder<W> {
    spool: Spool,
    wide: Arc<W>,
    retry: RetryPolicy,
    clock: Arc<dyn Clock>,
    /// The write time of the last mark.
    marked_at: AtomicI64,
}

impl<W: Wide> Forwarder<W> {
    /// From `spool` to `wide`.
    pub fn new(spool: Spool, wide: Arc<W>, retry: RetryPolicy, clock: Arc<dyn Clock>) -> Self {
        Self { spool, wide, retry, clock, marked_at: AtomicI64::new(i64::MIN) }
    }

    /// Forwards until dropped, or until it cannot go on.
    pub async fn run(&self) -> Result<(), ForwardFailure> {
        let mut unread = 0;
        loop {
            let started = Instant::now();
            match self.spool.peek(CHUNK_BYTES).await {
                Some(Ok(chunk)) if chunk.is_empty() => {
                    unread = 0;
                    if timeout(TICK, self.spool.grown()).await.is_err() {
                        self.spool.tick().await;
                    }
                }
                Some(Ok(chunk)) => {
                    unread = 0;
                    let bytes = self.forward(chunk).await?;
                    self.pace(started, bytes).await;
                }
                Some(Err(error)) => {
                    unread += 1;
                    tracing::error!(%error, attempt = unread, "the spool cannot be read");
                    if unread >= READS_MAX {
                        self.spool.pass_over().await;
                        unread = 0;
                    }
                    sleep(TICK).await;
                }
                None => sleep(TICK).await,
            }
        }
    }

    /// Forwards everything in `chunk`. Gives how many bytes it was on disk.
    async fn forward(&self, chunk: Chunk) -> Result<u64, ForwardFailure> {
        let mut lanes: BTreeMap<Option<i64>, Vec<PlannedWrite>> = BTreeMap::new();
        let (mut done, mut all) = (Vec::with_capacity(chunk.len()), 0);
        for (taken, position) in chunk {
            match taken {
                Taken::Record { body, tally, bytes } => {
                    for write in record::decode(Bytes::from(body))? {
                        lanes.entry(lane(&write)).or_default().push(write);
                    }
                    done.push((position, Some(tally)));
                    all += bytes;
                }
                Taken::SetAside { .. } => done.push((position, None)),
            }
        }
        lanes.values_mut().for_each(leave_out_repeated_marks);
        let mut started = Instant::now();
        self.forward_lanes(&lanes).await?;
        while started.elapsed() > MARK_AGE_MAX {
            // The store was away in the middle, and the marks may be gone by now.
            started = Instant::now();
            self.forward_lanes(&lanes).await?;
        }
        self.spool.forwarded(done).await;
        Ok(u64::try_from(all).unwrap_or(u64::MAX))
    }

    async fn forward_lanes(
        &self,
        lanes: &BTreeMap<Option<i64>, Vec<PlannedWrite>>,
    ) -> Result<(), ForwardFailure> {
        stream::iter(lanes.values().map(Ok))
            .try_for_each_concurrent(LANES_MAX, |lane| self.forward_lane(lane))
            .await
    }

    /// Forwards what must stay in order. Segments that follow each other need not wait for each other: their keys say
    /// which came first, and nobody takes one for granted before those in front of it.
    async fn forward_lane(&self, lane: &[PlannedWrite]) -> Result<(), ForwardFailure> {
        for together in lane.chunk_by(|one, next| is_segment(one) && is_segment(next)) {
            stream::iter(together.iter().cloned().map(Ok))
                .try_for_each_concurrent(SEGMENTS_MAX, |write| self.write(write))
                .await?;
        }
        Ok(())
    }

    async fn write(&self, mut write: PlannedWrite) -> Result<(), ForwardFailure> {
        if *write.table == MARKS {
            write.at = self.mark_time(write.at);
            write.rows.iter_mut().for_each(|row| set_time(row, write.at));
        }
        let mut failures = 0_u32;
        loop {
            match self.wide.put(write.table, &write.partition, &write.rows, write.at).await {
                Ok(()) => {
                    self.spool.note_answer();
                    return Ok(());
                }
                Err(error) if error.is_transient() => {
                    failures = failures.saturating_add(1);
                    // Without random bits waits lose their spread, nothing else.
                    sleep(self.retry.wait(failures, getrandom::u64().unwrap_or(0))).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A time for a mark: now, later than every mark before it, and not earlier than what was planned.
    fn mark_time(&self, planned: WriteTime) -> WriteTime {
        let least = planned.micros().max(self.clock.now().micros_floor());
        let next = |last: i64| Some(least.max(last.saturating_add(1)));
        // Gives what was there before, and always changes it.
        let before = self.marked_at.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        WriteTime::from_micros(before.ok().and_then(next).unwrap_or(least))
    }

    /// Waits so long that `bytes` since `started` keep to the rate.
    async fn pace(&self, started: Instant, bytes: u64) {
        let options = self.spool.options();
        if options.always {
            return;
        }
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(options.forward_bytes_per_second.max(1));
        sleep_until(started + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))).await;
    }
}

/// What must stay in order: all tables of a shard. Rejects depend on nothing.
fn lane(write: &PlannedWrite) -> Option<i64> {
    if *write.table == REJECTS { None } else { write.partition.part(0).and_then(Datum::as_int) }
}

/// Leaves out marks that say what the last one of the same bucket and writer said: each plan comes with its own, and a
/// segment would wait for every one of them.
fn leave_out_repeated_marks(lane: &mut Vec<PlannedWrite>) {
    let mut last: BTreeMap<Key, Row> = BTreeMap::new();
    lane.retain(|write| {
        if *write.table != MARKS {
            return true;
        }
        let mut says_more = false;
        for mut row in write.rows.iter().cloned() {
            set_time(&mut row, WriteTime::from_micros(0));
            says_more |= last.insert(row.clustering.clone(), row.clone()).is_none_or(|before| before != row);
        }
        says_more
    });
}

fn is_segment(write: &PlannedWrite) -> bool {
    *write.table == SEGMENTS
}

fn set_time(mark: &mut Row, at: WriteTime) {
    let cell = MARKS.cell_index("written_at").and_then(|index| mark.cells.get_mut(index));
    if let Some(cell) = cell {
        *cell = Datum::Int(at.micros());
    }
}
