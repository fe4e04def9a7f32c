//! What is not kept of rejects, counted by sender, reason and hour, with one example each: nothing vanishes without a
//! trace (I2), and a flood leaves a few rows (I6). Pure: the time comes with the rejects.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidemill_store::layout::RejectCountRow;
use tidemill_store::model::{Timestamp, WriterId};

use crate::rejects::Reject;

/// Counts of one hour; what other senders there are is counted together.
const COUNTS_MAX: usize = 1_000;
/// Bytes of an example's payload that are kept.
const EXAMPLE_BYTES_MAX: usize = 1_024;
/// Bytes of an example's topic that are kept.
const TOPIC_BYTES_MAX: usize = 1_024;
/// The sender of what is counted together.
const OTHERS: i64 = 0;

/// Hour, sender and reason; of a reason there is one kind.
type Key = (i64, i64, &'static str);

/// Counts of what was not kept.
#[derive(Debug)]
pub(crate) struct RejectCounts {
    writer: WriterId,
    counts: BTreeMap<Key, Count>,
    /// Some are not written.
    changed: bool,
}

#[derive(Debug)]
struct Count {
    row: RejectCountRow,
    is_written: bool,
}

impl RejectCounts {
    pub(crate) fn new(writer: WriterId) -> Self {
        Self { writer, counts: BTreeMap::new(), changed: false }
    }

    /// Counts a reject of `sender`. Whether it is the first of its count: then its count is to be written before its message
    /// is settled.
    pub(crate) fn count(&mut self, sender: u64, reject: &Reject) -> bool {
        let hour = RejectCountRow::hour(reject.received_at);
        let of = |sender| (hour, sender, reject.reason);
        let mut key = of(sender.cast_signed());
        if !self.counts.contains_key(&key) && self.counts.len() >= COUNTS_MAX {
            key = of(OTHERS);
        }
        self.changed = true;
        if let Some(count) = self.counts.get_mut(&key) {
            count.row.count += 1;
            count.row.last = count.row.last.max(reject.received_at);
            count.is_written = false;
            return false;
        }
        let cut = |bytes: &Bytes, limit| Bytes::copy_from_slice(bytes.get(..limit).unwrap_or(bytes));
        let row = RejectCountRow {
            writer: self.writer,
            sender: key.1,
            kind: reject.kind,
            reason: reject.reason.to_owned(),
            count: 1,
            first: reject.received_at,
            last: reject.received_at,
            topic: String::from_utf8_lossy(&cut(&reject.topic, TOPIC_BYTES_MAX)).into_owned(),
            detail: reject.detail.clone(),
            payload: cut(&reject.payload, EXAMPLE_BYTES_MAX),
        };
        self.counts.insert(key, Count { row, is_written: false });
        true
    }

    /// What has changed since the last time; forgets hours that are over at `now`.
    pub(crate) fn take_changed(&mut self, now: Timestamp) -> Vec<RejectCountRow> {
        if !std::mem::take(&mut self.changed) {
            return Vec::new();
        }
        let hour = RejectCountRow::hour(now);
        let mut rows = Vec::new();
        self.counts.retain(|key, count| {
            if !std::mem::replace(&mut count.is_written, true) {
                rows.push(count.row.clone());
            }
            key.0 >= hour
        });
        rows
    }
}

#[cfg(test)]
mod tests {
    use tidemill_store::layout::RejectKind;

    use super::*;

    fn reject(millis: i64, reason: &'static str) -> Reject {
        Reject {
            kind: RejectKind::DeadLetter,
            reason,
            detail: "at byte 0".to_owned(),
            received_at: Timestamp::from_millis(millis).unwrap(),
            topic: Bytes::from_static(b"t"),
            payload: Bytes::from(vec![b'x'; 5_000]),
            is_in_part: false,
        }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    #[test]
    fn counts_are_by_sender_reason_and_hour_and_only_what_changed_is_written() {
        let mut counts = RejectCounts::new(WriterId::from_random(3));
        assert!(counts.count(1, &reject(5, "syntax")));
        assert!(!counts.count(1, &reject(9, "syntax")));
        assert!(counts.count(1, &reject(9, "shape")) && counts.count(2, &reject(9, "shape")));
        assert!(counts.count(1, &reject(3_600_000, "syntax")));
        let mut rows = counts.take_changed(at(10));
        rows.sort_by_key(|row| (row.first, row.sender, row.count));
        let seen: Vec<_> = rows.iter().map(|row| (row.sender, row.reason.as_str(), row.count)).collect();
        assert_eq!(seen, [(1, "syntax", 2), (1, "shape", 1), (2, "shape", 1), (1, "syntax", 1)]);
        assert_eq!((rows[0].first, rows[0].last, rows[0].payload.len()), (at(5), at(9), EXAMPLE_BYTES_MAX));
        assert!(counts.take_changed(at(11)).is_empty());
        assert!(!counts.count(2, &reject(20, "shape")));
        let again = counts.take_changed(at(4_000_000));
        assert_eq!(again.iter().map(|row| row.count).collect::<Vec<_>>(), [2]);
        assert_eq!(counts.counts.len(), 1, "the first hour is over");
    }

    #[test]
    fn a_flood_of_senders_is_counted_together() {
        let mut counts = RejectCounts::new(WriterId::from_random(3));
        let firsts = (1..=5_000).filter(|&sender| counts.count(sender, &reject(5, "syntax"))).count();
        assert_eq!(firsts, COUNTS_MAX + 1);
        let rows = counts.take_changed(at(6));
        assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 5_000);
        let others = rows.iter().find(|row| row.sender == OTHERS).unwrap();
        assert_eq!(others.count, 4_000);
    }
}
