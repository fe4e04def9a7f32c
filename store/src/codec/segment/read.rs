//! Reading a decoded segment: one metric over a range of points, or all samples in stored order.

use std::ops::Range;

use crate::codec::bytes::Malformed;
use crate::codec::column::integer::Starts;
use crate::codec::column::{self, Extent, Values};
use crate::codec::convert::{index, position};
use crate::model::{CatalogN, Timestamp, Value};

use super::decode::Segment;
use super::{MetricPosition, SegmentError, SegmentSample};

/// The values of one metric with the points that have them.
#[derive(Debug, Clone)]
pub struct Column {
    points: Points,
    values: Values,
}

/// The point of each value.
#[derive(Debug, Clone)]
enum Points {
    /// Every point from this one on has one value.
    From(usize),
    /// One for each value, ascending; a point may come twice.
    Each(Vec<u32>),
}

impl Column {
    /// The values, in stored order.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The points of the values: a point may come twice, or not at all.
    pub fn points(&self) -> impl ExactSizeIterator<Item = usize> {
        (0..self.values.len()).map(|at| match &self.points {
            Points::From(first) => first + at,
            Points::Each(points) => points.get(at).map_or(0, |&point| index(point)),
        })
    }

    /// Each value with its point, in stored order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Value)> {
        self.points().zip(self.values.iter())
    }
}

/// Where the values of a metric lie: which points have them, and into which runs they fall.
#[derive(Debug, Default)]
struct Layout {
    points: Vec<u32>,
    starts: Vec<u32>,
    /// Number of the run of the last value, from 1.
    run: u32,
}

impl Layout {
    fn put(&mut self, run: u32, point: u32) {
        if self.run != run {
            self.run = run;
            self.starts.push(position(self.points.len()));
        }
        self.points.push(point);
    }
}

impl Segment {
    /// The values of `metric` at `points`, which is cut to the points that there are; nothing else is unpacked.
    ///
    /// Panics where `metric` is not of this segment.
    pub fn column(&self, metric: MetricPosition, points: Range<usize>) -> Result<Column, SegmentError> {
        let points = self.clamp(points);
        let packed = self.columns.get(metric.index());
        assert!(packed.is_some(), "a metric is not of this segment");
        if packed.is_none_or(|packed| packed.values == 0) || points.is_empty() {
            return Ok(Column { points: Points::From(points.start), values: Values::EMPTY });
        }
        if self.is_in_every_point(metric) {
            let values = self.unpack(metric, &self.starts, points.clone())?;
            return Ok(Column { points: Points::From(points.start), values });
        }
        let layout = self.layout(metric);
        let wanted = layout.points.partition_point(|&point| index(point) < points.start)
            ..layout.points.partition_point(|&point| index(point) < points.end);
        let values = self.unpack(metric, &layout.starts, wanted.clone())?;
        Ok(Column { points: Points::Each(layout.points.get(wanted).unwrap_or_default().to_vec()), values })
    }

    /// All samples of `points`, in stored order; the range is cut to the points that there are.
    pub fn samples_at(&self, points: Range<usize>) -> Result<Samples<'_>, SegmentError> {
        let points = self.clamp(points);
        let columns: Result<Vec<_>, SegmentError> = (0..position(self.metrics.len()))
            .map(|metric| {
                let column = self.column(MetricPosition(metric), points.clone())?;
                Ok(Cursor { values: column.values, at: 0 })
            })
            .collect();
        Ok(Samples { segment: self, columns: columns?, points, run: None, point: None, shape: [].iter() })
    }

    /// Every point.
    pub fn all(&self) -> Range<usize> {
        0..self.points()
    }

    fn clamp(&self, points: Range<usize>) -> Range<usize> {
        let end = points.end.min(self.points());
        points.start.min(end)..end
    }

    fn is_in_every_point(&self, metric: MetricPosition) -> bool {
        let of_shape = |shape| self.shapes.get(shape).iter().filter(|&&at| at == metric.0).count();
        (0..position(self.shapes.len())).all(|shape| of_shape(shape) == 1)
    }

    fn layout(&self, metric: MetricPosition) -> Layout {
        let shapes = 0..position(self.shapes.len());
        let counts: Vec<_> =
            shapes.map(|shape| self.shapes.get(shape).iter().filter(|&&at| at == metric.0).count()).collect();
        let mut layout = Layout::default();
        for ((_, points), run) in self.sources().zip(1..) {
            for point in points {
                let count = counts.get(index(self.shapes.of(point))).copied().unwrap_or(0);
                for _ in 0..count {
                    layout.put(run, position(point));
                }
            }
        }
        layout
    }

    fn unpack(
        &self,
        metric: MetricPosition,
        starts: Starts<'_>,
        wanted: Range<usize>,
    ) -> Result<Values, Malformed> {
        let Some(packed) = self.columns.get(metric.index()) else { return Ok(Values::EMPTY) };
        let bytes = self.body.get(packed.bytes.clone()).unwrap_or_default();
        column::decode(bytes, &Extent { values: packed.values, starts, wanted })
    }
}

/// Samples in stored order. Made by [`Segment::samples_at`].
#[derive(Debug)]
pub struct Samples<'a> {
    segment: &'a Segment,
    columns: Vec<Cursor>,
    /// Points to come.
    points: Range<usize>,
    /// Whose the current point is, and the points of that source.
    run: Option<(CatalogN, Range<usize>)>,
    point: Option<(usize, CatalogN, Timestamp)>,
    /// Metrics of the current point to come.
    shape: std::slice::Iter<'a, u32>,
}

#[derive(Debug)]
struct Cursor {
    values: Values,
    at: usize,
}

impl Samples<'_> {
    fn next_point(&mut self) -> Option<()> {
        let point = self.points.next()?;
        let source = match &self.run {
            Some((source, points)) if points.contains(&point) => *source,
            _ => {
                let source = self.segment.source(point);
                self.run = Some((source, self.segment.points_of(source)));
                source
            }
        };
        let time = *self.segment.times.get(point)?;
        self.point = Some((point, source, time));
        self.shape = self.segment.shapes.get(self.segment.shapes.of(point)).iter();
        Some(())
    }
}

impl Iterator for Samples<'_> {
    type Item = SegmentSample;

    fn next(&mut self) -> Option<SegmentSample> {
        loop {
            if let (Some(&metric), Some((point, source, time))) = (self.shape.next(), self.point) {
                let cursor = self.columns.get_mut(index(metric))?;
                let value = cursor.values.get(cursor.at)?;
                cursor.at += 1;
                return Some(SegmentSample { point, source, time, metric: MetricPosition(metric), value });
            }
            self.next_point()?;
        }
    }
}
