//! What waits for something that comes by itself, counted in the store: for processes that do not take messages, and so
//! do not know it by themselves. Their answers, too, say that acknowledged messages are missing from them (I3).

use std::sync::Arc;
use std::time::Duration;

use tidemill_ingest::metrics::{IngestMetrics, WaitingCounts};
use tidemill_ingest::rejects::kept_bytes;
use tidemill_store::model::{Clock, TimeRange, Timestamp};
use tidemill_store::rejects::WaitingPages;
use tidemill_store::wide::{ReadError, Wide};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::SystemClock;

/// How often it is counted.
const EVERY: Duration = Duration::from_secs(30);
/// What waits is read whole to be counted; of the time that takes, so many times as long is left between.
const REST: u32 = 20;
/// How far clocks of those that kept it may be ahead.
const AHEAD: Duration = Duration::from_hours(1);

/// Counts what waits of the messages that were received within `kept` before `now`.
pub(crate) async fn count<W: Wide>(
    wide: &W,
    kept: Duration,
    now: Timestamp,
) -> Result<WaitingCounts, ReadError> {
    let mut counts = WaitingCounts::default();
    let Ok(range) = TimeRange::new(now.saturating_sub(kept), now.saturating_add(AHEAD)) else {
        return Ok(counts);
    };
    let mut pages = WaitingPages::received_in(range);
    while let Some(page) = pages.next(wide).await? {
        for (_, row) in &page {
            counts.add(&row.reason, kept_bytes(row));
        }
    }
    Ok(counts)
}

/// Counts it again and again, until aborted, and shows it in `metrics`.
pub(crate) fn watch<W: Wide>(wide: Arc<W>, kept: Duration, metrics: IngestMetrics) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let started = Instant::now();
            // Where the store does not answer, health says so.
            if let Ok(counts) = count(&*wide, kept, SystemClock.now()).await {
                metrics.show_waiting(counts);
            }
            tokio::time::sleep(EVERY.max(started.elapsed() * REST)).await;
        }
    })
}

#[cfg(test)]
mod tests {
    use tidemill_store::layout::tables::REJECTS;
    use tidemill_store::layout::{RejectKind, RejectRow};
    use tidemill_store::model::WriterId;
    use tidemill_store::rejects::WAITING_SLOT;
    use tidemill_store::wide::{Memory, WriteTime};

    use super::*;

    #[tokio::test]
    async fn what_waits_of_all_days_that_are_kept_is_counted_and_other_rejects_are_not() {
        const DAY: i64 = 86_400_000;
        let wide = Memory::default();
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        for (n, slot, millis) in [
            (0, WAITING_SLOT, 5 * DAY),
            (1, WAITING_SLOT, 7 * DAY + 9),
            (2, 0, 7 * DAY),
            (3, WAITING_SLOT, DAY),
        ] {
            let row = RejectRow {
                received_at: at(millis),
                writer: WriterId::from_random(1),
                n,
                kind: RejectKind::Quarantine,
                reason: "no_birth".to_owned(),
                detail: String::new(),
                topic: "t".to_owned(),
                payload: bytes::Bytes::from_static(b"four"),
            };
            let write = WriteTime::from_micros(millis);
            wide.put(&REJECTS, &row.partition(slot), &[row.to_row()], write).await.unwrap();
        }
        let counts = count(&wide, Duration::from_hours(72), at(7 * DAY + 10)).await.unwrap();
        assert_eq!((counts.all().messages, counts.all().bytes), (2, 2 * (1 + 4 + 256)));
    }
}
