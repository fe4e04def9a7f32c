//! Which segments a grind covers, and which marks it then lets go. Pure.
//!
//! Covered is of each writer a dense continuation of what is covered already, and over all writers a beginning of
//! the order of corrections (design §6): no segment is covered while one before it in that order is left out, or
//! grinding would change which of two samples wins (I4). What lies behind a hole waits until the hole is filled, or
//! until its writer's mark is so old that it counts as closed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::layout::{Covered, MarkRow, MarkState, SealRow};
use crate::model::{CatalogN, Seq, Timestamp, WriterId};

/// What is known of a segment without its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: Seq,
    pub(super) received_at: Timestamp,
    pub(super) min_time: Timestamp,
    pub(super) catalog: CatalogN,
    pub(super) samples: u32,
    pub(super) points: u32,
    pub(super) bytes: usize,
}

/// A writer that has a mark, and what is known of its segments that are not covered, in the order of seq.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marked {
    pub(super) mark: MarkRow,
    pub(super) heads: Vec<Head>,
}

/// The clock and the waits that decide.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) now: Timestamp,
    pub(super) settle: Duration,
    pub(super) mark_age_max: Duration,
}

/// What a grind takes, and what it leaves behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Coverage {
    /// What the seal will cover: at least what it covers now.
    pub(super) covered: BTreeMap<WriterId, Covered>,
    /// How many segments are new in it.
    pub(super) segments: usize,
    /// Their samples.
    pub(super) samples: u64,
    /// Their points.
    pub(super) points: u64,
    /// The bytes of their bodies.
    pub(super) bytes: u64,
    /// When the first and the last of them were received.
    pub(super) received: Option<(Timestamp, Timestamp)>,
    /// Marks that say nothing any more once a seal covers this.
    pub(super) spent_marks: Vec<MarkRow>,
}

/// Where a segment stands in the order of corrections.
type Place = (Timestamp, WriterId, Seq);

impl Patience {
    /// Whether an open mark counts as closed.
    pub(super) fn is_old(&self, mark: &MarkRow) -> bool {
        let age_max = i64::try_from(self.mark_age_max.as_micros()).unwrap_or(i64::MAX);
        mark.written_at.micros().saturating_add(age_max) <= self.now.micros_floor()
    }

    /// What may be covered of `writers`, where `seal` is in force.
    pub(super) fn coverage(&self, seal: Option<&SealRow>, writers: &[Marked]) -> Coverage {
        let mut coverage = Coverage {
            covered: seal.map(|seal| seal.covered.clone()).unwrap_or_default(),
            ..Coverage::default()
        };
        let before = seal.map(|seal| &seal.covered);
        let covered_before =
            |writer: &WriterId| before.and_then(|of| of.get(writer)).copied().unwrap_or_default();
        let limit = writers
            .iter()
            .filter_map(|marked| self.first_left_out(marked, covered_before(&marked.mark.writer)))
            .min();
        for marked in writers {
            let taken = self.taken(marked, covered_before(&marked.mark.writer), limit);
            coverage.add(marked, taken);
            if self.is_spent(marked, &coverage) {
                coverage.spent_marks.push(marked.mark);
            }
        }
        coverage
    }

    /// The first segment of a writer that cannot be covered yet.
    fn first_left_out(&self, marked: &Marked, covered: Covered) -> Option<Place> {
        let mut next = covered.segments;
        let forgives = self.is_old(&marked.mark);
        let left_out = marked.heads.iter().find(|head| {
            let is_dense = forgives || head.seq.get() <= next;
            next = next.max(head.seq.get().saturating_add(1));
            !is_dense || head.received_at.saturating_add(self.settle) > self.now
        })?;
        Some((left_out.received_at, marked.mark.writer, left_out.seq))
    }

    /// The segments of a writer that come before `limit`.
    fn taken<'a>(&self, marked: &'a Marked, covered: Covered, limit: Option<Place>) -> &'a [Head] {
        let mut next = covered.segments;
        let forgives = self.is_old(&marked.mark);
        let taken = marked.heads.iter().take_while(|head| {
            let is_dense = forgives || head.seq.get() <= next;
            next = next.max(head.seq.get().saturating_add(1));
            is_dense && limit.is_none_or(|limit| (head.received_at, marked.mark.writer, head.seq) < limit)
        });
        let count = taken.count();
        marked.heads.get(..count).unwrap_or_default()
    }

    fn is_spent(&self, marked: &Marked, coverage: &Coverage) -> bool {
        let covered = coverage.covered.get(&marked.mark.writer).copied().unwrap_or_default();
        let is_complete = match marked.mark.state {
            MarkState::Closed(through) => covered.contains(through),
            MarkState::Open => false,
        };
        let all_seen = marked.heads.last().is_none_or(|last| covered.contains(last.seq));
        is_complete || (self.is_old(&marked.mark) && all_seen)
    }
}

impl Coverage {
    fn add(&mut self, marked: &Marked, taken: &[Head]) {
        let (Some(first), Some(last)) = (taken.first(), taken.last()) else { return };
        let covered = self.covered.entry(marked.mark.writer).or_default();
        covered.segments = covered.segments.max(last.seq.get().saturating_add(1));
        covered.catalog = covered.catalog.max(marked.mark.catalog);
        for head in taken {
            covered.catalog = covered.catalog.max(head.catalog);
            self.samples += u64::from(head.samples);
            self.points += u64::from(head.points);
            self.bytes += u64::try_from(head.bytes).unwrap_or(u64::MAX);
        }
        self.segments += taken.len();
        let (first, last) = (first.received_at, last.received_at);
        self.received = Some(self.received.map_or((first, last), |(a, b)| (a.min(first), b.max(last))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Bucket, BucketWidth};
    use crate::wide::WriteTime;

    const A: WriterId = WriterId::from_random(2);
    const B: WriterId = WriterId::from_random(4);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000).unwrap()
    }

    fn patience(now: i64) -> Patience {
        Patience { now: at(now), settle: Duration::from_secs(10), mark_age_max: Duration::from_secs(1000) }
    }

    fn marked(writer: WriterId, state: MarkState, heads: &[(u32, i64)]) -> Marked {
        let width = BucketWidth::new(Duration::from_hours(1)).unwrap();
        let mark = MarkRow {
            bucket: Bucket::at(Timestamp::EPOCH, width),
            writer,
            state,
            catalog: CatalogN::new(1),
            written_at: WriteTime::from_micros(0),
        };
        let head = |&(seq, received): &(u32, i64)| Head {
            seq: Seq::new(seq),
            received_at: at(received),
            min_time: at(received),
            catalog: CatalogN::new(seq),
            samples: 1,
            points: 1,
            bytes: 10,
        };
        Marked { mark, heads: heads.iter().map(head).collect() }
    }

    fn counts(coverage: &Coverage) -> Vec<(WriterId, u32)> {
        coverage.covered.iter().map(|(writer, covered)| (*writer, covered.segments)).collect()
    }

    #[test]
    fn only_what_has_settled_is_covered() {
        let writers = [marked(A, MarkState::Open, &[(0, 1), (1, 5), (2, 6)])];
        let coverage = patience(15).coverage(None, &writers);
        assert_eq!(counts(&coverage), [(A, 2)]);
        assert_eq!((coverage.segments, coverage.bytes, coverage.samples), (2, 20, 2));
        assert_eq!(coverage.received, Some((at(1), at(5))));
        assert_eq!(coverage.covered[&A].catalog, CatalogN::new(1));
        assert_eq!(coverage.spent_marks, []);
    }

    #[test]
    fn what_lies_behind_a_hole_holds_back_all_that_comes_after_it_in_correction_order() {
        let writers = [
            marked(A, MarkState::Open, &[(0, 1), (2, 3)]),
            marked(B, MarkState::Open, &[(0, 2), (1, 4), (2, 5)]),
        ];
        assert_eq!(counts(&patience(100).coverage(None, &writers)), [(A, 1), (B, 1)]);
        let filled = [marked(A, MarkState::Open, &[(0, 1), (1, 2), (2, 3)]), writers[1].clone()];
        assert_eq!(counts(&patience(100).coverage(None, &filled)), [(A, 3), (B, 3)]);
    }

    #[test]
    fn an_old_mark_counts_as_closed_holes_included() {
        let writers = [marked(A, MarkState::Open, &[(1, 1), (3, 3)])];
        assert_eq!(counts(&patience(999).coverage(None, &writers)), []);
        let coverage = patience(1000).coverage(None, &writers);
        assert_eq!(counts(&coverage), [(A, 4)]);
        assert_eq!(coverage.spent_marks, [writers[0].mark]);
        let empty = [marked(A, MarkState::Open, &[])];
        assert_eq!(patience(1000).coverage(None, &empty).spent_marks.len(), 1);
    }

    #[test]
    fn a_closed_mark_is_spent_once_all_that_it_names_is_covered() {
        let closed = |through, heads: &[(u32, i64)]| [marked(A, MarkState::Closed(Seq::new(through)), heads)];
        assert_eq!(patience(99).coverage(None, &closed(1, &[(0, 1), (1, 2)])).spent_marks.len(), 1);
        assert_eq!(patience(99).coverage(None, &closed(1, &[(0, 1)])).spent_marks, []);
        assert_eq!(patience(99).coverage(None, &closed(1, &[(0, 1), (1, 98)])).spent_marks, []);
    }
}
