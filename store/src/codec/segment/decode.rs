//! From bytes to a [`Segment`]: checked and ready to be read, its columns still packed.

use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;

use crate::codec::bytes::{Malformed, Reader};
use crate::codec::column::integer::{Integers, ONE_RUN};
use crate::codec::convert::{index, position};
use crate::model::{CatalogN, Metric, Timestamp};

use super::layout::{self, Layout};
use super::{CRC_BYTES, Limits, MetricPosition, SegmentError, UNITS, VERSION};

/// A decoded segment: who and when in memory, what still packed and unpacked by metric and range of points.
/// Holds on to the body.
#[derive(Debug, Clone)]
pub struct Segment {
    pub(super) body: Bytes,
    pub(super) metrics: Vec<Metric>,
    /// The source of each run.
    pub(super) sources: Vec<CatalogN>,
    /// The first point of each run.
    pub(super) starts: Vec<u32>,
    pub(super) times: Vec<Timestamp>,
    pub(super) shapes: Shapes,
    pub(super) columns: Vec<PackedColumn>,
    pub(super) samples: usize,
    /// Found out when it is first needed.
    layouts: OnceLock<Vec<Layout>>,
}

/// Which metrics each point has.
#[derive(Debug, Clone, Default)]
pub(super) struct Shapes {
    metrics: Vec<u32>,
    ends: Vec<u32>,
    /// The shape of each point; empty where there is one shape.
    of_points: Vec<u32>,
}

/// The values of a metric, packed.
#[derive(Debug, Clone, Default)]
pub(super) struct PackedColumn {
    /// Where it lies in the body.
    pub(super) bytes: Range<usize>,
    /// How many values it has.
    pub(super) values: usize,
    /// Whether every point has one value of it.
    pub(super) is_aligned: bool,
}

impl Shapes {
    /// How many shapes.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The metrics of a shape.
    pub(super) fn get(&self, shape: u32) -> &[u32] {
        let at = index(shape);
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(at).copied().unwrap_or(start);
        self.metrics.get(index(start)..index(end)).unwrap_or_default()
    }

    /// The metrics of a point.
    pub(super) fn of_point(&self, point: usize) -> &[u32] {
        self.get(self.of(point))
    }

    /// The shape of a point.
    pub(super) fn of(&self, point: usize) -> u32 {
        self.of_points.get(point).copied().unwrap_or(0)
    }
}

/// The beginning of a segment, which says what is in it and of whom: enough to pass over those that a reader of few
/// sources does not need, which is most of them. The checksum of the whole was right.
#[derive(Debug)]
pub struct Heading {
    body: Bytes,
    /// How many bytes the names of its metrics and all that follows take, but for the checksum.
    named: usize,
    points: usize,
    sources: Vec<CatalogN>,
    starts: Vec<u32>,
    /// How many bytes come after it, but for the checksum.
    rest: usize,
}

/// How many points a body says that it has; it is not checked.
pub(crate) fn points_told(body: &[u8]) -> Option<usize> {
    let (_, content) = body.split_first()?;
    let mut reader = Reader::new(content);
    pass_metrics(&mut reader).ok()?;
    reader.length("the number of points").ok()
}

impl Heading {
    /// Decodes the beginning of `body`.
    pub fn decode(body: Bytes, limits: Limits) -> Result<Self, SegmentError> {
        let mut reader = Reader::new(content(&body)?);
        let named = reader.remaining();
        pass_metrics(&mut reader)?;
        let points = reader.length("the number of points")?;
        if points == 0 {
            return Err(Malformed::Invalid("it has no points").into());
        }
        if points > limits.points_max {
            return Err(SegmentError::TooManyPoints { points, limit: limits.points_max });
        }
        let (sources, starts) = parse_sources(points, &mut reader)?;
        let rest = reader.remaining();
        Ok(Self { body, named, points, sources, starts, rest })
    }

    /// The sources, ascending.
    pub fn sources(&self) -> impl ExactSizeIterator<Item = CatalogN> {
        self.sources.iter().copied()
    }

    /// Decodes the rest.
    pub fn segment(self, limits: Limits) -> Result<Segment, SegmentError> {
        let Self { body, named, points, sources, starts, rest } = self;
        let end = body.len() - CRC_BYTES;
        let last = |bytes: usize| Reader::new(body.get(end - bytes..end).unwrap_or_default());
        let metrics = parse_metrics(&mut last(named))?;
        let mut reader = last(rest);
        let times = parse_times(points, &starts, &mut reader)?;
        let shapes = parse_shapes(points, metrics.len(), limits, &mut reader)?;
        let mut columns = columns(points, metrics.len(), &shapes);
        let samples = columns.iter().fold(0_usize, |sum, column| sum.saturating_add(column.values));
        if samples > limits.samples_max {
            return Err(SegmentError::TooManySamples { samples, limit: limits.samples_max });
        }
        parse_places(&mut columns, end, &mut reader)?;
        let layouts = OnceLock::new();
        Ok(Segment { body, metrics, sources, starts, times, shapes, columns, samples, layouts })
    }
}

impl Segment {
    /// Decodes `body`. Columns are checked when they are read.
    pub fn decode(body: Bytes, limits: Limits) -> Result<Self, SegmentError> {
        Heading::decode(body, limits)?.segment(limits)
    }
}

/// What lies between the version and the checksum, once both are right.
fn content(body: &[u8]) -> Result<&[u8], SegmentError> {
    let (checked, crc) = body.split_last_chunk::<CRC_BYTES>().ok_or(SegmentError::TooShort(body.len()))?;
    let (version, content) = checked.split_first().ok_or(SegmentError::TooShort(body.len()))?;
    let (stored, computed) = (u32::from_le_bytes(*crc), crc32fast::hash(checked));
    if stored != computed {
        return Err(SegmentError::Checksum { stored, computed });
    }
    if *version == VERSION { Ok(content) } else { Err(SegmentError::Version(*version)) }
}

fn parse_metrics(reader: &mut Reader<'_>) -> Result<Vec<Metric>, SegmentError> {
    let count = reader.count(2, "metrics")?;
    let mut metrics = Vec::with_capacity(count);
    for _ in 0..count {
        let length = reader.length("a metric")?;
        let name = std::str::from_utf8(reader.take(length, "a metric")?)
            .map_err(|_| Malformed::Invalid("a metric is not UTF-8"))?;
        metrics.push(Metric::new(name).map_err(SegmentError::Metric)?);
    }
    let mut names: Vec<_> = metrics.iter().collect();
    names.sort_unstable();
    if names.iter().zip(names.iter().skip(1)).any(|(a, b)| a == b) {
        return Err(Malformed::Invalid("a metric is named twice").into());
    }
    Ok(metrics)
}

/// Passes over the names of metrics.
fn pass_metrics(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    for _ in 0..reader.count(2, "metrics")? {
        let length = reader.length("a metric")?;
        reader.take(length, "a metric")?;
    }
    Ok(())
}

fn parse_sources(points: usize, reader: &mut Reader<'_>) -> Result<(Vec<CatalogN>, Vec<u32>), Malformed> {
    const WRONG: Malformed = Malformed::Invalid("the runs of its sources do not fit its points");
    let count = reader.length("sources")?;
    if count == 0 || count > points {
        return Err(WRONG);
    }
    let mut next = 0_u64;
    let mut sources = Vec::with_capacity(count);
    for gap in integers(count, ONE_RUN, reader)? {
        let source = u64::try_from(gap).ok().and_then(|gap| next.checked_add(gap)).ok_or(WRONG)?;
        sources.push(CatalogN::new(u32::try_from(source).map_err(|_| WRONG)?));
        next = source + 1;
    }
    let mut starts = vec![0];
    if count > 1 {
        let mut end = 0_usize;
        for length in integers(count, ONE_RUN, reader)? {
            end = usize::try_from(length)
                .ok()
                .and_then(|less| end.checked_add(less)?.checked_add(1))
                .ok_or(WRONG)?;
            if end >= points {
                break;
            }
            starts.push(position(end));
        }
        if end != points || starts.len() != count {
            return Err(WRONG);
        }
    }
    Ok((sources, starts))
}

fn integers(n: usize, starts: &[u32], reader: &mut Reader<'_>) -> Result<Vec<i64>, Malformed> {
    let mut out = Vec::new();
    Integers::parse(n, starts.len(), reader)?.decode(0..n, starts, &mut out);
    Ok(out)
}

fn parse_times(points: usize, starts: &[u32], reader: &mut Reader<'_>) -> Result<Vec<Timestamp>, Malformed> {
    let unit = UNITS.get(usize::from(reader.byte("the unit of time")?)).copied();
    let unit = unit.ok_or(Malformed::Invalid("it has a unit of time that this version does not know"))?;
    let time = |time: i64| Timestamp::from_nanos(time.checked_mul(unit)?).ok();
    let times: Option<Vec<_>> = integers(points, starts, reader)?.into_iter().map(time).collect();
    let times = times.ok_or(Malformed::Invalid("a time is out of range"))?;
    let mut starts = starts.iter().skip(1).map(|&start| index(start)).peekable();
    for (at, (before, time)) in times.iter().zip(times.iter().skip(1)).enumerate() {
        if starts.next_if_eq(&(at + 1)).is_none() && time < before {
            return Err(Malformed::Invalid("its points are out of order"));
        }
    }
    Ok(times)
}

fn parse_shapes(
    points: usize,
    metrics: usize,
    limits: Limits,
    reader: &mut Reader<'_>,
) -> Result<Shapes, SegmentError> {
    const WRONG: Malformed = Malformed::Invalid("a shape names metrics that are not there");
    let count = reader.count(2, "shapes")?;
    let mut shapes = Shapes::default();
    for _ in 0..count {
        let header = reader.length("a shape")?;
        let length = header >> 1;
        if length == 0 {
            return Err(Malformed::Invalid("a shape has no metrics").into());
        }
        // Each shape belongs to a point, so that all of them together are not longer than all points.
        let samples = shapes.metrics.len().saturating_add(length);
        if samples > limits.samples_max {
            return Err(SegmentError::TooManySamples { samples, limit: limits.samples_max });
        }
        if header & 1 == 1 {
            let first = reader.position("a shape")?;
            let end = index(first).checked_add(length).filter(|&end| end <= metrics).ok_or(WRONG)?;
            shapes.metrics.extend(first..position(end));
        } else {
            for _ in 0..length {
                let metric = reader.position("a shape")?;
                shapes.metrics.push(Some(metric).filter(|&metric| index(metric) < metrics).ok_or(WRONG)?);
            }
        }
        shapes.ends.push(position(shapes.metrics.len()));
    }
    if count == 0 {
        return Err(Malformed::Invalid("it has no shapes").into());
    }
    if count > 1 {
        for shape in integers(points, ONE_RUN, reader)? {
            let shape = u32::try_from(shape).ok().filter(|&shape| index(shape) < count);
            shapes.of_points.push(shape.ok_or(Malformed::Invalid("a point has a shape that is not there"))?);
        }
    }
    Ok(shapes)
}

/// How many values each metric has, in columns whose places are not known yet.
fn columns(points: usize, metrics: usize, shapes: &Shapes) -> Vec<PackedColumn> {
    let mut uses = vec![0_usize; shapes.len()];
    if let [only] = uses.as_mut_slice() {
        *only = points;
    }
    for &shape in &shapes.of_points {
        uses.get_mut(index(shape)).into_iter().for_each(|uses| *uses += 1);
    }
    // A metric is in every point once where every shape in turn finds it counted as often as there are shapes before.
    let mut seen = vec![0_usize; metrics];
    let mut columns = vec![PackedColumn { is_aligned: true, ..PackedColumn::default() }; metrics];
    for (shape, uses) in uses.into_iter().enumerate() {
        for &metric in shapes.get(position(shape)) {
            let at = index(metric);
            let (Some(column), Some(seen)) = (columns.get_mut(at), seen.get_mut(at)) else { continue };
            column.values = column.values.saturating_add(uses);
            column.is_aligned &= *seen == shape;
            *seen += 1;
        }
    }
    for (column, seen) in columns.iter_mut().zip(seen) {
        column.is_aligned &= seen == shapes.len();
    }
    columns
}

/// Where the columns lie; they end at `end` of the body.
fn parse_places(columns: &mut [PackedColumn], end: usize, reader: &mut Reader<'_>) -> Result<(), Malformed> {
    let mut total = 0_usize;
    for column in columns.iter_mut().filter(|column| column.values > 0) {
        let start = total;
        let length = reader.length("a column's length")?;
        total = total.checked_add(length).ok_or(Malformed::Truncated("columns"))?;
        column.bytes = start..total;
    }
    let start = end - reader.remaining();
    if total != reader.remaining() {
        return Err(Malformed::Invalid("its columns do not fill it"));
    }
    for column in columns {
        column.bytes = column.bytes.start + start..column.bytes.end + start;
    }
    Ok(())
}

impl Segment {
    /// The metrics, by position.
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// The metrics with their positions.
    pub fn metric_positions(&self) -> impl ExactSizeIterator<Item = (MetricPosition, &Metric)> {
        self.metrics.iter().enumerate().map(|(at, metric)| (MetricPosition(position(at)), metric))
    }

    /// The position of the metric of this name.
    pub fn metric(&self, name: &str) -> Option<MetricPosition> {
        let at = self.metrics.iter().position(|metric| metric.as_str() == name)?;
        Some(MetricPosition(position(at)))
    }

    /// How many points.
    pub fn points(&self) -> usize {
        self.times.len()
    }

    /// How many samples.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The times of all points; ascending within each source.
    pub fn times(&self) -> &[Timestamp] {
        &self.times
    }

    /// The sources, ascending, each with its points.
    pub fn sources(&self) -> impl ExactSizeIterator<Item = (CatalogN, Range<usize>)> {
        self.sources.iter().enumerate().map(|(run, &source)| (source, self.run(run)))
    }

    /// The points of a source; an empty range where it has none.
    pub fn points_of(&self, source: CatalogN) -> Range<usize> {
        self.sources.binary_search(&source).map_or(0..0, |run| self.run(run))
    }

    /// The source of a point, which must be one of this segment.
    pub fn source(&self, point: usize) -> CatalogN {
        assert!(point < self.points(), "a point is not of this segment");
        self.sources.get(self.run_of(point)).copied().unwrap_or_default()
    }

    /// The run that holds a point.
    pub(super) fn run_of(&self, point: usize) -> usize {
        self.starts.partition_point(|&start| index(start) <= point).saturating_sub(1)
    }

    /// The points of a run.
    pub(super) fn run(&self, run: usize) -> Range<usize> {
        let start = self.starts.get(run).map_or(self.points(), |&start| index(start));
        start..self.starts.get(run + 1).map_or(self.points(), |&end| index(end))
    }

    pub(super) fn layouts(&self) -> &[Layout] {
        self.layouts.get_or_init(|| layout::layouts(self))
    }
}
