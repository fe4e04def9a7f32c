//! The segments that a plan is about to cut, one draft a bucket.

use std::collections::VecDeque;

use bytes::Bytes;
use hashbrown::HashMap;

use super::buckets::Buckets;
use super::names::Names;
use super::plan::Appended;
use crate::codec::segment::SegmentBuilder;
use crate::layout::{Bucket, SegmentRow};
use crate::model::{CatalogN, Point, Points, Timestamp, Value, WriterId};
use crate::wide::Row;

/// Builders kept for the next plan; a plan seldom touches more buckets.
const BUILDERS_KEPT_MAX: usize = 2;

/// At most what a point adds to a segment: itself, and for each value its bits, its part of a new shape, and a
/// new metric with the longest of names; texts come on top.
const POINT_BYTES: usize = 32;
const VALUE_BYTES: usize = 384;

/// A draft as it is now; cut, it is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DraftId {
    at: usize,
    cuts: usize,
}

/// One bucket of a plan.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) bucket: Bucket,
    /// Segments that were cut, in order.
    pub(super) rows: VecDeque<Row>,
    /// How many catalog rows all its segments need.
    pub(super) needed: CatalogN,
    builder: SegmentBuilder,
    /// How many catalog rows the points in the builder need.
    builder_needed: CatalogN,
}

/// Whose segments are cut, and what is the same for all of them in a plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    pub(super) writer: WriterId,
    pub(super) received_at: Timestamp,
    pub(super) segment_bytes_max: usize,
}

/// All buckets of a plan. Keeps its memory from plan to plan.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    touched: Vec<Draft>,
    by_bucket: HashMap<Bucket, usize>,
    current: usize,
    builders: Vec<SegmentBuilder>,
    body: Vec<u8>,
    pub(super) appended: Appended,
}

impl Drafts {
    /// Whether the draft at hand is that of the bucket which holds `time`.
    pub(super) fn is_for(&self, time: Timestamp) -> bool {
        self.touched.get(self.current).is_some_and(|draft| draft.bucket.contains(time))
    }

    /// Takes the draft of `bucket` to hand, if there is one.
    pub(super) fn turn_to(&mut self, bucket: Bucket) -> bool {
        if self.touched.get(self.current).is_some_and(|draft| draft.bucket == bucket) {
            return true;
        }
        let found = self.by_bucket.get(&bucket).copied();
        self.current = found.unwrap_or(self.current);
        found.is_some()
    }

    /// Begins a draft and takes it to hand.
    pub(super) fn begin(&mut self, bucket: Bucket) {
        self.current = self.touched.len();
        self.by_bucket.insert(bucket, self.current);
        let builder = self.builders.pop().unwrap_or_default();
        let none = CatalogN::default();
        self.touched.push(Draft {
            bucket,
            rows: VecDeque::new(),
            needed: none,
            builder,
            builder_needed: none,
        });
    }

    /// Adds a point of the source with number `n` to the draft at hand; cuts a segment first if it would get too
    /// large with the point.
    pub(super) fn add(
        &mut self,
        batch: &Points,
        point: Point<'_>,
        n: CatalogN,
        names: &mut Names,
        cut: Cut,
        buckets: &mut Buckets,
    ) {
        let Some(draft) = self.touched.get_mut(self.current) else { return };
        if !draft.builder.is_empty()
            && draft.builder.bytes_estimate() + bytes_bound(point) > cut.segment_bytes_max
        {
            draft.cut(cut, buckets, &mut self.body, &mut self.appended);
        }
        let id = DraftId { at: self.current, cuts: draft.rows.len() };
        let positions = names.positions(batch, point, id, &mut draft.builder);
        let values = point.values.iter().map(|(_, value)| value);
        draft.builder.push(n, point.time, positions, values);
        draft.builder_needed = draft.builder_needed.max(n.next());
    }

    /// Cuts what is left and gives all drafts.
    pub(super) fn finish(&mut self, cut: Cut, buckets: &mut Buckets) -> Vec<Draft> {
        let mut drafts = std::mem::take(&mut self.touched);
        for draft in &mut drafts {
            draft.cut(cut, buckets, &mut self.body, &mut self.appended);
            if self.builders.len() < BUILDERS_KEPT_MAX {
                self.builders.push(std::mem::take(&mut draft.builder));
            }
        }
        self.by_bucket.clear();
        self.current = 0;
        drafts
    }
}

impl Draft {
    fn cut(&mut self, cut: Cut, buckets: &mut Buckets, body: &mut Vec<u8>, appended: &mut Appended) {
        if self.builder.is_empty() {
            return;
        }
        body.clear();
        let stats = self.builder.encode(body);
        self.builder.clear();
        let segment = SegmentRow {
            writer: cut.writer,
            seq: buckets.take_seq(self.bucket),
            received_at: cut.received_at,
            catalog: self.builder_needed,
            samples: u32::try_from(stats.samples).unwrap_or(u32::MAX),
            min_time: stats.min_time,
            max_time: stats.max_time,
            body: Bytes::copy_from_slice(body),
        };
        appended.segments += 1;
        appended.samples += stats.samples;
        appended.bytes += body.len();
        self.rows.push_back(segment.to_row());
        self.needed = self.needed.max(self.builder_needed);
        self.builder_needed = CatalogN::default();
    }
}

fn bytes_bound(point: Point<'_>) -> usize {
    let text = |value: &Value| if let Value::Text(text) = value { text.len() } else { 0 };
    POINT_BYTES + point.values.iter().map(|(_, value)| VALUE_BYTES + text(value)).sum::<usize>()
}
