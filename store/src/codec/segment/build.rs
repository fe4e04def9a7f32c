//! Collecting points for a segment: the hot path of ingest, without an allocation once it is warm.
//!
//! Points are kept as they arrive, row by row; sorting and turning them into columns is left to `encode`.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::codec::column::KindSet;
use crate::codec::convert::{index, position};
use crate::model::{CatalogN, Metric, Timestamp, Value, ValueKind};

use super::columns::Columns;
use super::encode::Integers;
use super::shapes::Shapes;
use super::sort::Sorted;
use super::{Limits, MetricPosition};

/// Points on their way into a segment. Cleared and used again, it keeps its memory.
#[derive(Debug, Default)]
pub struct SegmentBuilder {
    pub(super) metrics: Vec<Metric>,
    positions: HashMap<Metric, u32>,
    /// The metric asked for after this one is most often the next.
    expected: usize,
    /// Which kinds the values of each metric have.
    pub(super) metric_kinds: Vec<KindSet>,
    pub(super) shapes: Shapes,
    pub(super) heads: Vec<Head>,
    pub(super) raw: Vec<i64>,
    pub(super) kinds: Vec<ValueKind>,
    pub(super) texts: Vec<Arc<str>>,
    pub(super) unsorted: bool,
    bytes: usize,
    pub(super) sorted: Sorted,
    pub(super) columns: Columns,
    pub(super) integers: Integers,
}

/// A point: its values lie at `values_start` on, as many as its shape has metrics.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) source: u32,
    pub(super) shape: u32,
    pub(super) values_start: u32,
    pub(super) time: i64,
}

/// Upper bounds of what things take in a segment; see [`SegmentBuilder::bytes_estimate`].
mod bound {
    /// Version, checksum, counts and headers that do not belong to a metric.
    pub(super) const SEGMENT: usize = 96;
    /// A metric besides its name: length, form, headers, column length.
    pub(super) const METRIC: usize = 64;
    /// A point: run, time, shape.
    pub(super) const POINT: usize = 22;
    /// A value: its bits, its kind, its part of a header.
    pub(super) const VALUE: usize = 9;
    /// A text besides its bytes.
    pub(super) const TEXT: usize = 4;
    /// A metric in a new shape.
    pub(super) const SHAPE: usize = 5;
}

impl SegmentBuilder {
    /// An empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all points and metrics and keeps the memory.
    pub fn clear(&mut self) {
        self.metrics.clear();
        self.positions.clear();
        self.expected = 0;
        self.metric_kinds.clear();
        self.shapes.clear();
        self.heads.clear();
        self.raw.clear();
        self.kinds.clear();
        self.texts.clear();
        self.unsorted = false;
        self.bytes = 0;
    }

    /// The position of `metric`, entered where it is new. Cheapest when metrics are asked for in the same order
    /// again and again.
    pub fn metric(&mut self, metric: &Metric) -> MetricPosition {
        let at = match self.metrics.get(self.expected) {
            Some(expected) if expected == metric => self.expected,
            _ => index(self.look_up(metric)),
        };
        self.expected = if at + 1 < self.metrics.len() { at + 1 } else { 0 };
        MetricPosition(position(at))
    }

    fn look_up(&mut self, metric: &Metric) -> u32 {
        if let Some(&at) = self.positions.get(metric) {
            return at;
        }
        let at = position(self.metrics.len());
        self.metrics.push(metric.clone());
        self.metric_kinds.push(KindSet::default());
        self.positions.insert(metric.clone(), at);
        self.bytes += bound::METRIC + metric.as_str().len();
        at
    }

    /// Adds a point; a point without values is not kept. Calls must come in order of arrival: of two points of one
    /// source at one time the later one wins, as does the later value of a metric that a point has twice.
    ///
    /// Panics where a metric's position is not from [`SegmentBuilder::metric`] since the last clear, and past
    /// [`Limits::DEFAULT`]: bound batches well below.
    pub fn push<'a>(
        &mut self,
        source: CatalogN,
        time: Timestamp,
        values: impl IntoIterator<Item = (MetricPosition, &'a Value)>,
    ) {
        let values_start = position(self.raw.len());
        for (metric, value) in values {
            self.push_value(metric.0, value);
        }
        let Some((shape, is_new)) = self.shapes.finish() else { return };
        if is_new {
            self.bytes += (self.shapes.get(shape).len() + 1) * bound::SHAPE;
        }
        self.bytes += bound::POINT;
        let head = Head { source: source.get(), shape, values_start, time: time.nanos() };
        self.unsorted |=
            self.heads.last().is_some_and(|last| (last.source, last.time) > (head.source, head.time));
        self.heads.push(head);
        assert!(
            self.heads.len() <= Limits::DEFAULT.points_max && self.raw.len() <= Limits::DEFAULT.samples_max,
            "a batch outgrew the limits of a segment"
        );
    }

    fn push_value(&mut self, metric: u32, value: &Value) {
        let kind = value.kind();
        let kinds = self.metric_kinds.get_mut(index(metric));
        assert!(kinds.is_some(), "a metric's position is not from this builder");
        if let Some(kinds) = kinds {
            kinds.insert(kind);
        }
        self.shapes.put(metric);
        self.kinds.push(kind);
        self.bytes += bound::VALUE;
        self.raw.push(match value {
            Value::F64(value) => value.to_bits().cast_signed(),
            Value::I64(value) => *value,
            Value::Bool(value) => i64::from(*value),
            Value::Text(text) => {
                self.bytes += text.len() + bound::TEXT;
                self.texts.push(Arc::clone(text));
                i64::from(position(self.texts.len() - 1))
            }
        });
    }

    /// How many points.
    pub fn points(&self) -> usize {
        self.heads.len()
    }

    /// How many samples.
    pub fn samples(&self) -> usize {
        self.raw.len()
    }

    /// Whether there are no points.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// At least as many bytes as the points so far will take, most often several times as many; known at no cost.
    pub fn bytes_estimate(&self) -> usize {
        bound::SEGMENT + self.bytes
    }
}
