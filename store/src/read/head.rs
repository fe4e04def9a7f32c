//! Segments that no seal covers, kept for the next query: the design's head.
//!
//! A segment never changes and a writer's segments become durable in the order of their seq, so what was read once
//! stays right, and a reader has to fetch only what comes after the dense prefix that it holds of each writer; of a
//! writer in this process, which tells it every segment before the acknowledgement, nothing. A hole is possible where
//! a scan overtook a writer: what lies behind one is never kept. Correctness does not depend on anything here;
//! memory is bounded, and the bucket used longest ago goes first (I6).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lru::Lru;
use crate::layout::{Place, SegmentRow};
use crate::model::{Seq, WriterId};

/// The segments of one writer in one (shard, bucket), from some seq on without a hole.
#[derive(Debug, Clone, Default)]
pub(super) struct Prefix {
    chunks: Vec<Arc<[SegmentRow]>>,
    first: Seq,
    next: Seq,
    /// How many segments were told by their writer, which tells each before it acknowledges it.
    told: Option<Seq>,
}

impl Prefix {
    /// The seq of the first segment that is not in it.
    pub(super) const fn next(&self) -> Seq {
        self.next
    }

    /// The segments, in pieces.
    pub(super) fn chunks(&self) -> &[Arc<[SegmentRow]>] {
        &self.chunks
    }

    /// Whether every segment that its writer has acknowledged is in it, as far as the writer told.
    pub(super) fn is_all_that_was_told(&self) -> bool {
        self.told.is_some_and(|told| self.next >= told)
    }

    /// What of it goes on from `from`; nothing where it does not reach there.
    pub(super) fn going_on_from(self, from: Seq) -> Self {
        if self.first <= from && from <= self.next {
            return self;
        }
        Self { first: from, next: from, chunks: Vec::new(), told: self.told }
    }

    /// Takes in the rows that continue it, which `rows`, ascending, may begin with; those before `from` are covered
    /// by a seal and not needed any more. Gives how many bytes it is larger, and how many smaller.
    fn extend(&mut self, from: Seq, rows: &[SegmentRow]) -> (usize, usize) {
        let dropped = self.drop_before(from);
        let before = self.prepend(from, rows);
        let new = rows.iter().skip_while(|row| row.seq < self.next);
        let mut next = self.next;
        let dense = new.take_while(|row| {
            let fits = row.seq == next;
            next = if fits { next.next() } else { next };
            fits
        });
        let mut chunk: Vec<SegmentRow> = dense.cloned().collect();
        let bytes: usize = chunk.iter().map(size_bytes).sum();
        if chunk.is_empty() {
            return (before, dropped);
        }
        // Chunks double in size towards the front, so that there are few and each row is moved seldom.
        while let Some(last) = self.chunks.pop_if(|last| last.len() <= 2 * chunk.len()) {
            chunk.splice(0..0, last.iter().cloned());
        }
        self.chunks.push(chunk.into());
        self.next = next;
        (before + bytes, dropped)
    }

    /// Takes in the rows before those that it holds, where they begin with `from` and leave no hole.
    fn prepend(&mut self, from: Seq, rows: &[SegmentRow]) -> usize {
        let start = rows.partition_point(|row| row.seq < from);
        let end = rows.partition_point(|row| row.seq < self.first);
        let before = rows.get(start..end).unwrap_or_default();
        let mut next = from;
        for row in before {
            if row.seq == next {
                next = next.next();
            }
        }
        if before.is_empty() || next != self.first {
            return 0;
        }
        self.chunks.insert(0, before.into());
        self.first = from;
        before.iter().map(size_bytes).sum()
    }

    /// Begins anew with `seq`, where what it holds ends before; gives how many bytes it is smaller.
    fn begin_at(&mut self, seq: Seq) -> usize {
        if seq <= self.next {
            return 0;
        }
        let dropped = self.drop_before(seq);
        (self.first, self.next) = (seq, seq);
        dropped
    }

    /// Drops pieces that lie before `from` as a whole; all of them where they do not reach it.
    fn drop_before(&mut self, from: Seq) -> usize {
        let keeps = |chunk: &Arc<[SegmentRow]>| chunk.last().is_some_and(|last| last.seq >= from);
        let at = self.chunks.iter().position(keeps).unwrap_or(self.chunks.len());
        let dropped = self.chunks.drain(..at).map(|chunk| chunk.iter().map(size_bytes).sum::<usize>()).sum();
        if self.next < from {
            self.next = from;
        }
        self.first = self.chunks.first().and_then(|chunk| chunk.first()).map_or(self.next, |row| row.seq);
        dropped
    }
}

/// What is held of a (shard, bucket).
pub(super) type Prefixes = BTreeMap<WriterId, Prefix>;

/// Segments by (shard, bucket).
#[derive(Debug)]
pub(super) struct Head(Mutex<Lru<Prefixes>>);

impl Head {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self(Mutex::new(Lru::new(bytes_max)))
    }

    /// What is held of `place`.
    pub(super) fn get(&self, place: Place) -> Prefixes {
        self.lock().get(&place).cloned().unwrap_or_default()
    }

    /// Takes in what was read of a writer at `place`, in the order of seq; a seal covers what is before `from`.
    pub(super) fn extend(&self, place: Place, (writer, from): (WriterId, Seq), rows: &[SegmentRow]) {
        self.lock().update(&place, |prefixes, bytes| {
            let (more, less) = prefixes.entry(writer).or_default().extend(from, rows);
            (bytes + more).saturating_sub(less)
        });
    }

    /// Takes in a segment that this process has written: it is durable and about to be acknowledged.
    pub(super) fn tell(&self, place: Place, row: &SegmentRow) {
        self.lock().update(&place, |prefixes, bytes| {
            let prefix = prefixes.entry(row.writer).or_default();
            prefix.told = Some(row.seq.next().max(prefix.told.unwrap_or_default()));
            // What was there before and is forgotten, a reader finds in the store.
            let dropped = prefix.begin_at(row.seq);
            let (more, less) = prefix.extend(prefix.first, std::slice::from_ref(row));
            (bytes + more).saturating_sub(less + dropped)
        });
    }

    /// How many bytes are held.
    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes()
    }

    fn lock(&self) -> MutexGuard<'_, Lru<Prefixes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size_bytes(row: &SegmentRow) -> usize {
    size_of::<SegmentRow>() + row.body.len()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::layout::{Bucket, BucketWidth};
    use crate::model::{CatalogN, Shard, Timestamp};

    fn place(shard: u16) -> Place {
        let width = BucketWidth::new(Duration::from_hours(1)).unwrap();
        Place { shard: Shard::new(shard), bucket: Bucket::at(Timestamp::EPOCH, width) }
    }

    fn writer() -> WriterId {
        WriterId::from_random(4)
    }

    fn row(seq: u32) -> SegmentRow {
        SegmentRow {
            writer: writer(),
            seq: Seq::new(seq),
            received_at: Timestamp::EPOCH,
            catalog: CatalogN::new(0),
            samples: 0,
            min_time: Timestamp::EPOCH,
            max_time: Timestamp::EPOCH,
            body: Bytes::from_static(&[0; 100]),
        }
    }

    fn seqs(head: &Head, shard: u16) -> Vec<u32> {
        let prefixes = head.get(place(shard));
        let chunks = prefixes.get(&writer()).map(|prefix| prefix.chunks().to_vec()).unwrap_or_default();
        chunks.iter().flat_map(|chunk| chunk.iter().map(|row| row.seq.get())).collect()
    }

    proptest! {
        #[test]
        fn a_prefix_is_dense_whatever_was_read(
            reads in prop::collection::vec(prop::collection::btree_set(0..20_u32, 0..8), 0..12),
        ) {
            let head = Head::new(usize::MAX);
            let mut next = 0;
            for read in reads {
                head.extend(place(0), (writer(), Seq::new(0)), &read.iter().map(|&seq| row(seq)).collect::<Vec<_>>());
                while read.contains(&next) {
                    next += 1;
                }
                prop_assert_eq!(seqs(&head, 0), (0..next).collect::<Vec<_>>());
                let bytes = usize::try_from(next).unwrap() * size_bytes(&row(0));
                prop_assert_eq!(head.bytes(), bytes);
            }
        }
    }

    #[test]
    fn what_a_seal_covers_is_dropped_and_the_rest_goes_on() {
        let head = Head::new(usize::MAX);
        for seqs in [0..4, 4..6, 6..7] {
            head.extend(place(0), (writer(), Seq::new(0)), &seqs.map(row).collect::<Vec<_>>());
        }
        head.extend(place(0), (writer(), Seq::new(6)), &[row(7)]);
        assert!(seqs(&head, 0).ends_with(&[6, 7]) && seqs(&head, 0).len() < 8, "{:?}", seqs(&head, 0));
        assert_eq!(head.bytes(), seqs(&head, 0).len() * size_bytes(&row(0)));
        let prefix = head.get(place(0)).remove(&writer()).unwrap();
        assert_eq!(prefix.clone().going_on_from(Seq::new(7)).next(), Seq::new(8));
        assert_eq!(prefix.clone().going_on_from(Seq::new(9)).next(), Seq::new(9), "it does not reach there");
        assert!(prefix.going_on_from(Seq::new(0)).chunks().is_empty(), "it begins later");
        head.extend(place(0), (writer(), Seq::new(20)), &[row(20)]);
        assert_eq!((seqs(&head, 0), head.bytes()), (vec![20], size_bytes(&row(0))));
    }

    #[test]
    fn what_a_writer_told_is_whole_unless_something_was_missed() {
        let told = |head: &Head| {
            let prefix = head.get(place(0)).remove(&writer()).unwrap_or_default();
            prefix.going_on_from(Seq::new(0)).is_all_that_was_told()
        };
        let head = Head::new(usize::MAX);
        assert!(!told(&head));
        head.tell(place(0), &row(0));
        head.tell(place(0), &row(1));
        assert!(told(&head));
        let late = Head::new(usize::MAX);
        late.tell(place(0), &row(5));
        assert!(!told(&late), "it was not there from the beginning, or forgot");
        late.extend(place(0), (writer(), Seq::new(0)), &(0..4).map(row).collect::<Vec<_>>());
        assert!(!told(&late), "the scan ended before what was told");
        late.extend(place(0), (writer(), Seq::new(0)), &(0..5).map(row).collect::<Vec<_>>());
        assert!(told(&late));
        assert_eq!((seqs(&late, 0), late.bytes()), ((0..6).collect(), 6 * size_bytes(&row(0))));
        late.tell(place(0), &row(9));
        assert!(!told(&late), "it forgot, or missed what lies between");
        assert_eq!((seqs(&late, 0), late.bytes()), (vec![9], size_bytes(&row(0))));
    }

    #[test]
    fn many_small_reads_make_few_chunks() {
        let head = Head::new(usize::MAX);
        for seq in 0..1000 {
            head.extend(place(1), (writer(), Seq::new(0)), &[row(seq)]);
        }
        let prefixes = head.get(place(1));
        assert!(
            prefixes.values().all(|prefix| prefix.chunks().len() < 12 && prefix.next() == Seq::new(1000))
        );
    }
}
