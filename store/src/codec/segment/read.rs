//! Reading a decoded segment: one metric over a range of points, or all samples in stored order.

use std::ops::Range;

use crate::codec::bytes::Malformed;
use crate::codec::column::integer::Starts;
use crate::codec::column::{self, Extent, Values};
use crate::codec::convert::index;
use crate::model::{CatalogN, Timestamp, Value};

use super::decode::{PackedColumn, Segment};
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
        (0..self.values.len()).map(|at| self.point(at))
    }

    /// Where the values of `points` stand.
    pub fn of_points(&self, points: &Range<usize>) -> Range<usize> {
        let count = self.values.len();
        let place = |point: usize| match &self.points {
            Points::From(first) => point.saturating_sub(*first).min(count),
            Points::Each(points) => points.partition_point(|&at| index(at) < point),
        };
        place(points.start)..place(points.end)
    }

    /// The point of the value that stands at `at`.
    pub fn point(&self, at: usize) -> usize {
        match &self.points {
            Points::From(first) => first + at,
            Points::Each(points) => points.get(at).map_or(0, |&point| index(point)),
        }
    }

    /// Each value with its point, in stored order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Value)> {
        self.points().zip(self.values.iter())
    }
}

impl Segment {
    /// The values of `metric` at `points`, which is cut to the points that there are; nothing else is unpacked.
    /// To read a source, ask for [`Segment::points_of`] it.
    ///
    /// Panics where `metric` is not of this segment.
    pub fn column(&self, metric: MetricPosition, points: Range<usize>) -> Result<Column, SegmentError> {
        let points = self.clamp(points);
        let packed = self.columns.get(metric.index());
        assert!(packed.is_some(), "a metric is not of this segment");
        let Some(packed) = packed.filter(|packed| packed.values > 0 && !points.is_empty()) else {
            return Ok(Column { points: Points::From(points.start), values: Values::EMPTY });
        };
        if packed.is_aligned {
            let values = self.unpack(packed, &self.starts, points.clone())?;
            return Ok(Column { points: Points::From(points.start), values });
        }
        let (with, wanted) = self.points_with(metric, &points);
        let values = self.unpack(packed, self.starts_of(metric.index()), wanted)?;
        Ok(Column { points: Points::Each(with), values })
    }

    /// All samples at `points`, in stored order; the range is cut to the points that there are.
    pub fn samples_at(&self, points: Range<usize>) -> Result<Samples<'_>, SegmentError> {
        let points = self.clamp(points);
        let mut columns = Vec::with_capacity(self.columns.len());
        for ((metric, packed), wanted) in self.columns.iter().enumerate().zip(self.values_at(&points)) {
            let starts = if packed.is_aligned { &self.starts } else { self.starts_of(metric) };
            columns.push(Cursor { values: self.unpack(packed, starts, wanted)?, at: 0 });
        }
        let run = self.run_of(points.start);
        let source = self.sources.get(run).copied().unwrap_or_default();
        let point = Current { point: points.start, source, time: Timestamp::EPOCH };
        Ok(Samples {
            segment: self,
            columns,
            points,
            run,
            run_end: self.run(run).end,
            point,
            shape: [].iter(),
        })
    }

    /// Every point.
    pub fn all(&self) -> Range<usize> {
        0..self.points()
    }

    fn clamp(&self, points: Range<usize>) -> Range<usize> {
        let end = points.end.min(self.points());
        points.start.min(end)..end
    }

    /// The starts of the runs of a metric that not every point has.
    fn starts_of(&self, metric: usize) -> Starts<'_> {
        self.layouts().get(metric).map_or(&[], |layout| layout.starts())
    }

    fn unpack(
        &self,
        packed: &PackedColumn,
        starts: Starts<'_>,
        wanted: Range<usize>,
    ) -> Result<Values, Malformed> {
        if packed.values == 0 || wanted.is_empty() {
            return Ok(Values::EMPTY);
        }
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
    /// The run of the current point, and where it ends.
    run: usize,
    run_end: usize,
    point: Current,
    /// Metrics of the current point to come.
    shape: std::slice::Iter<'a, u32>,
}

/// The point whose samples are being given.
#[derive(Debug, Clone, Copy)]
struct Current {
    point: usize,
    source: CatalogN,
    time: Timestamp,
}

#[derive(Debug)]
struct Cursor {
    values: Values,
    at: usize,
}

impl Samples<'_> {
    fn next_point(&mut self) -> Option<()> {
        let point = self.points.next()?;
        while point >= self.run_end {
            self.run += 1;
            self.run_end = self.segment.run(self.run).end;
            self.point.source = *self.segment.sources.get(self.run)?;
        }
        self.point.point = point;
        self.point.time = *self.segment.times.get(point)?;
        self.shape = self.segment.shapes.of_point(point).iter();
        Some(())
    }
}

impl Iterator for Samples<'_> {
    type Item = SegmentSample;

    #[inline]
    fn next(&mut self) -> Option<SegmentSample> {
        loop {
            if let Some(&metric) = self.shape.next() {
                let cursor = self.columns.get_mut(index(metric))?;
                let value = cursor.values.get(cursor.at)?;
                cursor.at += 1;
                let Current { point, source, time } = self.point;
                return Some(SegmentSample { point, source, time, metric: MetricPosition(metric), value });
            }
            self.next_point()?;
        }
    }
}
