//! Points: what one or more messages say, decoded and validated, on the way to a segment.
//!
//! A point is one source at one time with the values that share it. [`Points`] holds many in a few flat
//! vectors with small dictionaries, because this is the hot path: a point costs no allocation of its own.

use std::sync::Arc;

use super::{Metric, Source, Timestamp, Value};

/// Decoded points in arrival order. Sources and metrics are dictionaries that points refer to by position.
#[derive(Debug, Clone, Default)]
pub struct Points {
    sources: Vec<Arc<Source>>,
    metrics: Vec<Metric>,
    heads: Vec<Head>,
    values: Vec<(u32, Value)>,
}

#[derive(Debug, Clone, Copy)]
struct Head {
    source: u32,
    time: Timestamp,
    values_end: u32,
}

/// One point, borrowed from its [`Points`].
#[derive(Debug, Clone, Copy)]
pub struct Point<'a> {
    /// Position of the source in [`Points::sources`].
    pub source: u32,
    /// When it was measured.
    pub time: Timestamp,
    /// Positions in [`Points::metrics`] with their values, in the order in which they were sent.
    pub values: &'a [(u32, Value)],
}

impl Points {
    /// Position of `source`, entered where it is not the one entered last.
    pub fn source(&mut self, source: &Arc<Source>) -> u32 {
        self.take_source(Arc::clone(source))
    }

    /// The same of a source that its owner has no more use for: counting owners costs more than all else here.
    #[inline]
    pub fn take_source(&mut self, source: Arc<Source>) -> u32 {
        if self.sources.last().is_none_or(|last| !Arc::ptr_eq(last, &source)) {
            self.sources.push(source);
        }
        position(self.sources.len() - 1)
    }

    /// Enters `metric` and gives its position. The caller keeps track of what it has entered.
    pub fn metric(&mut self, metric: Metric) -> u32 {
        self.metrics.push(metric);
        position(self.metrics.len() - 1)
    }

    /// Adds a value to the point that [`Points::finish_point`] will close.
    pub fn value(&mut self, metric: u32, value: Value) {
        self.values.push((metric, value));
    }

    /// Adds values to that point.
    #[inline]
    pub fn values(&mut self, values: impl Iterator<Item = (u32, Value)>) {
        self.values.extend(values);
    }

    /// Closes a point over the values added since the last one. Returns how many values it has; a point
    /// without values is not kept.
    #[inline]
    pub fn finish_point(&mut self, source: u32, time: Timestamp) -> usize {
        let start = self.heads.last().map_or(0, |head| head.values_end);
        let values_end = position(self.values.len());
        if values_end > start {
            self.heads.push(Head { source, time, values_end });
        }
        usize::try_from(values_end - start).unwrap_or(usize::MAX)
    }

    /// Drops the values added since the last closed point.
    pub fn abandon_point(&mut self) {
        let keep = self.heads.last().map_or(0, |head| head.values_end);
        self.values.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
    }

    /// Forgets everything and keeps the memory for the next points.
    pub fn clear(&mut self) {
        self.sources.clear();
        self.metrics.clear();
        self.heads.clear();
        self.values.clear();
    }

    /// The sources that points refer to.
    pub fn sources(&self) -> &[Arc<Source>] {
        &self.sources
    }

    /// The metrics that points refer to.
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// The points in arrival order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Point<'_>> {
        let mut start = 0;
        self.heads.iter().map(move |head| {
            let end = usize::try_from(head.values_end).unwrap_or(usize::MAX);
            let values = self.values.get(start..end).unwrap_or_default();
            start = end;
            Point { source: head.source, time: head.time, values }
        })
    }

    /// How many points.
    #[inline]
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Whether there are no points.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// How many samples: the values of all points.
    #[inline]
    pub fn samples(&self) -> usize {
        self.values.len()
    }
}

/// Positions are 32 bits: batches are bounded far below by their byte limit (I6).
fn position(length: usize) -> u32 {
    let position = u32::try_from(length);
    assert!(position.is_ok(), "a batch of points outgrew 32-bit positions");
    position.unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Device, Tags, Tenant};

    #[test]
    fn points_come_back_in_order_and_empty_ones_are_not_kept() {
        let source =
            Arc::new(Source::new(Tenant::new("t").unwrap(), Device::new("d").unwrap(), Tags::default()));
        let mut points = Points::default();
        let (s, m) = (points.source(&source), points.metric(Metric::new("m").unwrap()));
        assert_eq!(points.source(&source), s);
        points.value(m, Value::I64(1));
        points.value(m, Value::I64(2));
        assert_eq!(points.finish_point(s, Timestamp::EPOCH), 2);
        assert_eq!(points.finish_point(s, Timestamp::EPOCH), 0);
        points.value(m, Value::I64(3));
        points.abandon_point();
        points.value(m, Value::I64(4));
        assert_eq!(points.finish_point(s, Timestamp::MAX), 1);
        let seen: Vec<(Timestamp, usize)> = points.iter().map(|p| (p.time, p.values.len())).collect();
        assert_eq!(seen, [(Timestamp::EPOCH, 2), (Timestamp::MAX, 1)]);
        assert_eq!((points.len(), points.samples()), (2, 3));
    }
}
