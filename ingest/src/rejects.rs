//! Dead letters and quarantine: messages that cannot be taken are kept durably before they are settled (I1, I7).
//!
//! This part decides how a reject is stored: how much of it is kept, under which key, in which partition. Pure; the
//! task that writes them is in [`crate::pipeline`].

use std::time::Duration;

use bytes::Bytes;
use tidemill_store::layout::{RejectKind, RejectRow};
use tidemill_store::model::{Timestamp, WriterId};
use tidemill_store::rejects::WAITING_SLOT;
use tidemill_store::wide::{Key, Row};

use crate::config::RejectLimits;
use crate::decode::NO_BIRTH;
use crate::policy::ERAS_UNKNOWN;
use crate::reject_gate::ROW_OVERHEAD;

/// Longest topic that is kept, in bytes.
const TOPIC_BYTES_MAX: usize = 4096;

/// How the detail of a reject goes on where its payload was cut.
const CUT: &str = " (payload cut: ";

/// How the detail of a reject ends of which some is stored: with nanoseconds and a parenthesis.
const IN_PART: &str = " (stored in part, received at ";

/// Rejects of one millisecond that replays tell from each other, and for how many points without a time of their own.
const MICROS_PER_MILLI: u32 = 1_000;

/// Whether a reject of this reason waits for something that comes by itself, and is taken again then: the birth of a
/// Sparkplug node, or the eras. It is kept whole.
pub fn waits(reason: &str) -> bool {
    reason == NO_BIRTH || reason == ERAS_UNKNOWN
}

/// When the message of `row` counts as received where it is replayed: always the same. What of it is stored has this
/// time already; other messages have a microsecond each, so that what has no time of its own stays apart.
pub fn replayed_at(row: &RejectRow) -> Timestamp {
    let stored = row.detail.rsplit_once(IN_PART).and_then(|(_, rest)| {
        let nanos = rest.strip_suffix(')')?.parse().ok()?;
        Timestamp::from_nanos(nanos).ok()
    });
    let micros = Duration::from_micros(u64::from(row.n % MICROS_PER_MILLI));
    stored.unwrap_or_else(|| row.received_at.saturating_add(micros))
}

/// Bytes that `row` counts for, against whatever limit.
pub fn kept_bytes(row: &RejectRow) -> u64 {
    u64::try_from(row.topic.len() + row.payload.len() + ROW_OVERHEAD).unwrap_or(u64::MAX)
}

/// Whether the payload of `row` was cut, so that it says no more what was sent.
pub fn is_cut(row: &RejectRow) -> bool {
    row.detail.contains(CUT)
}

/// A message that cannot be taken, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Whether it could not be understood, or policy does not take it.
    pub kind: RejectKind,
    /// The reason as a word: one of a few, for metrics.
    pub reason: &'static str,
    /// The reason as a sentence that says where.
    pub detail: String,
    /// When the message was received.
    pub received_at: Timestamp,
    /// The topic as received.
    pub topic: Bytes,
    /// The payload as received.
    pub payload: Bytes,
    /// Whether some of what it says is stored.
    pub is_in_part: bool,
}

/// Turns rejects into rows of one writer.
#[derive(Debug)]
pub struct RejectLog {
    writer: WriterId,
    limits: RejectLimits,
    next: u32,
    turn: u16,
}

/// Rows of one partition, to be written at once and repeated as they are (I5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectBatch {
    /// Their partition.
    pub partition: Key,
    /// The rows.
    pub rows: Vec<Row>,
    /// The time of receipt of the first of them.
    pub received_at: Timestamp,
}

impl RejectLog {
    /// A log that has written nothing yet.
    pub fn new(writer: WriterId, limits: RejectLimits) -> Self {
        Self { writer, limits, next: 0, turn: 0 }
    }

    /// The writes that make `rejects` durable. Batches take the slots of a day in turn.
    pub fn batches<'a>(&mut self, rejects: impl IntoIterator<Item = &'a Reject>) -> Vec<RejectBatch> {
        let slot = self.turn;
        self.turn = (self.turn + 1) % self.limits.slots.max(1);
        let mut batches: Vec<RejectBatch> = Vec::new();
        for reject in rejects {
            let row = self.row(reject);
            let partition = row.partition(if waits(reject.reason) { WAITING_SLOT } else { slot });
            match batches.iter_mut().find(|batch| batch.partition == partition) {
                Some(batch) => batch.rows.push(row.to_row()),
                None => batches.push(RejectBatch {
                    partition,
                    rows: vec![row.to_row()],
                    received_at: reject.received_at,
                }),
            }
        }
        batches
    }

    fn row(&mut self, reject: &Reject) -> RejectRow {
        let n = self.next;
        // Comes around after 2^32 rejects; by then the time in the key is another.
        self.next = self.next.wrapping_add(1);
        let (kept, limit) = (&reject.payload, self.limits.kept_bytes_max(reject.reason));
        let mut detail = reject.detail.clone();
        if kept.len() > limit {
            detail = format!("{detail}{CUT}{limit} of {} bytes kept)", kept.len());
        }
        if reject.is_in_part {
            detail = format!("{detail}{IN_PART}{})", reject.received_at.nanos());
        }
        RejectRow {
            received_at: reject.received_at,
            writer: self.writer,
            n,
            kind: reject.kind,
            reason: reject.reason.to_owned(),
            detail,
            topic: text(&reject.topic),
            // A copy: a slice would hold all that was read from the socket with it.
            payload: Bytes::copy_from_slice(kept.get(..limit).unwrap_or(kept)),
        }
    }
}

/// The topic as far as it is text, cut where it is very long.
fn text(topic: &[u8]) -> String {
    String::from_utf8_lossy(topic.get(..TOPIC_BYTES_MAX).unwrap_or(topic)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reject(millis: i64, payload: &'static [u8]) -> Reject {
        Reject {
            kind: RejectKind::DeadLetter,
            reason: "syntax",
            detail: "at byte 0".to_owned(),
            received_at: Timestamp::from_millis(millis).unwrap(),
            topic: Bytes::from_static(b"devices/\xff/telemetry"),
            payload: Bytes::from_static(payload),
            is_in_part: false,
        }
    }

    fn log() -> RejectLog {
        RejectLog::new(
            WriterId::from_random(6),
            RejectLimits { payload_bytes_max: 4, slots: 3, ..RejectLimits::default() },
        )
    }

    #[test]
    fn numbers_are_dense_and_batches_take_slots_in_turn() {
        let mut log = log();
        let mut seen = Vec::new();
        for _ in 0..4 {
            for batch in log.batches(&[reject(0, b"x"), reject(1, b"y")]) {
                let slot = batch.partition.part(1).unwrap().as_int().unwrap();
                let rows =
                    batch.rows.iter().map(|row| RejectRow::from_row(row).unwrap().n).collect::<Vec<_>>();
                seen.push((slot, rows));
            }
        }
        assert_eq!(seen, [(0, vec![0, 1]), (1, vec![2, 3]), (2, vec![4, 5]), (0, vec![6, 7])]);
    }

    #[test]
    fn rejects_of_two_days_are_written_to_two_partitions() {
        let batches = log().batches(&[reject(0, b"x"), reject(86_400_000, b"y"), reject(5, b"z")]);
        assert_eq!(batches.iter().map(|batch| batch.rows.len()).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn a_replay_has_the_time_of_what_is_stored_already_or_one_of_its_own() {
        let mut log = log();
        let received_at = Timestamp::from_nanos(1_700_000_000_123_456_789).unwrap();
        let whole = Reject { received_at, ..reject(0, b"x") };
        let in_part = Reject { is_in_part: true, ..whole.clone() };
        let batches = log.batches(&[whole.clone(), in_part, whole]);
        let times: Vec<i64> = batches[0]
            .rows
            .iter()
            .map(|row| replayed_at(&RejectRow::from_row(row).unwrap()).nanos())
            .collect();
        assert_eq!(times, [1_700_000_000_123_000_000, 1_700_000_000_123_456_789, 1_700_000_000_123_002_000]);
    }

    #[test]
    fn a_long_payload_is_cut_and_says_so_and_a_short_one_is_kept_whole() {
        let mut log = log();
        let batches = log.batches(&[reject(0, b"12345"), reject(0, b"1234")]);
        let rows: Vec<RejectRow> =
            batches[0].rows.iter().map(|row| RejectRow::from_row(row).unwrap()).collect();
        assert_eq!((&*rows[0].payload, &*rows[1].payload), (&b"1234"[..], &b"1234"[..]));
        assert_eq!(rows[0].detail, "at byte 0 (payload cut: 4 of 5 bytes kept)");
        assert_eq!(rows[1].detail, "at byte 0");
        assert!(is_cut(&rows[0]) && !is_cut(&rows[1]));
        assert_eq!(rows[0].topic, "devices/\u{fffd}/telemetry");
    }
}
