//! Segments that were read before, kept for the next query (the beginning of the design's head).
//!
//! A segment never changes and a writer's segments become durable in the order of their seq, so what was read once
//! stays right, and a reader has to fetch only what comes after the dense prefix that it holds of each writer.
//! A hole is possible where a scan overtook a writer: what lies behind one is never kept. Correctness does not
//! depend on anything here; memory is bounded, and the bucket used longest ago goes first (I6).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lru::Lru;
use crate::layout::{Place, SegmentRow};
use crate::model::{Seq, WriterId};

/// The segments of one writer in one (shard, bucket), from seq 0 without a hole.
#[derive(Debug, Clone, Default)]
pub(super) struct Prefix {
    chunks: Vec<Arc<[SegmentRow]>>,
    next: Seq,
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

    /// Takes in the rows that continue it, which `rows`, ascending, may begin with; gives how many bytes that is.
    fn extend(&mut self, rows: &[SegmentRow]) -> usize {
        let new = rows.iter().skip_while(|row| row.seq < self.next);
        let mut next = self.next;
        let dense = new.take_while(|row| {
            let fits = row.seq == next;
            next = if fits { next.next() } else { next };
            fits
        });
        let mut chunk: Vec<SegmentRow> = dense.cloned().collect();
        let bytes = chunk.iter().map(size_bytes).sum();
        if chunk.is_empty() {
            return 0;
        }
        // Chunks double in size towards the front, so that there are few and each row is moved seldom.
        while let Some(last) = self.chunks.pop_if(|last| last.len() <= 2 * chunk.len()) {
            chunk.splice(0..0, last.iter().cloned());
        }
        self.chunks.push(chunk.into());
        self.next = next;
        bytes
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
        self.lock().get(place).cloned().unwrap_or_default()
    }

    /// Takes in what was read of a writer at `place`, in the order of seq.
    pub(super) fn extend(&self, place: Place, writer: WriterId, rows: &[SegmentRow]) {
        if !rows.is_empty() {
            self.lock()
                .update(place, |prefixes, bytes| bytes + prefixes.entry(writer).or_default().extend(rows));
        }
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
                head.extend(place(0), writer(), &read.iter().map(|&seq| row(seq)).collect::<Vec<_>>());
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
    fn many_small_reads_make_few_chunks() {
        let head = Head::new(usize::MAX);
        for seq in 0..1000 {
            head.extend(place(1), writer(), &[row(seq)]);
        }
        let prefixes = head.get(place(1));
        assert!(
            prefixes.values().all(|prefix| prefix.chunks().len() < 12 && prefix.next() == Seq::new(1000))
        );
    }
}
