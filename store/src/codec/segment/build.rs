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

/// How a value is kept among the numbers; a text goes to `texts`, and its bytes count.
#[inline]
fn bits(value: &Value, texts: &mut Vec<Arc<str>>, bytes: &mut usize) -> i64 {
    match value {
        Value::F64(value) => value.to_bits().cast_signed(),
        Value::I64(value) => *value,
        Value::Bool(value) => i64::from(*value),
        Value::Text(text) => {
            *bytes += text.len() + bound::TEXT;
            texts.push(Arc::clone(text));
            i64::from(position(texts.len() - 1))
        }
    }
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

    /// Adds a point with a value for each of `metrics`; a point without values is not kept. Calls must come in order
    /// of arrival: of two points of one source at one time the later one wins, as does the later value of a metric
    /// that a point has twice.
    ///
    /// Panics where a metric's position is not from [`SegmentBuilder::metric`] since the last clear, where there are
    /// not as many values as metrics, and past [`Limits::DEFAULT`]: bound batches well below.
    #[inline]
    pub fn push<'a>(
        &mut self,
        source: CatalogN,
        time: Timestamp,
        metrics: &[MetricPosition],
        values: impl Iterator<Item = &'a Value> + Clone,
    ) {
        let Some((shape, is_new)) = self.shapes.of(metrics) else { return };
        let values_start = self.raw.len();
        let Self { raw, kinds, texts, bytes, metric_kinds, .. } = self;
        raw.extend(values.clone().map(|value| bits(value, texts, bytes)));
        kinds.extend(values.map(Value::kind));
        let put = kinds.get(values_start..).unwrap_or_default();
        assert!(
            put.len() == metrics.len() && raw.len() == kinds.len(),
            "a point has a value for each metric"
        );
        for (metric, &kind) in metrics.iter().zip(put) {
            let of_metric = metric_kinds.get_mut(metric.index());
            assert!(of_metric.is_some(), "a metric's position is not from this builder");
            if let Some(of_metric) = of_metric {
                of_metric.insert(kind);
            }
        }
        *bytes += bound::POINT + bound::VALUE * metrics.len();
        if is_new {
            *bytes += (metrics.len() + 1) * bound::SHAPE;
        }
        self.push_head(Head {
            source: source.get(),
            shape,
            values_start: position(values_start),
            time: time.nanos(),
        });
    }

    #[inline]
    fn push_head(&mut self, head: Head) {
        self.unsorted |=
            self.heads.last().is_some_and(|last| (last.source, last.time) > (head.source, head.time));
        self.heads.push(head);
        assert!(
            self.heads.len() <= Limits::DEFAULT.points_max && self.raw.len() <= Limits::DEFAULT.samples_max,
            "a batch outgrew the limits of a segment"
        );
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
