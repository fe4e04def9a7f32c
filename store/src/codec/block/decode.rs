//! From bytes to a [`Pack`]: checked and ready to be read, its pages still packed.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::codec::bytes::{Malformed, Reader};
use crate::codec::column::integer::{Integers, ONE_RUN};
use crate::codec::convert::{index, position};
use crate::model::{Metric, SourceId, Timestamp};

use super::cuts::Cuts;
use super::form::{self, Form};
use super::read::PageValues;
use super::stream::StreamReader;
use super::times::TimesReader;
use super::{BlockError, CRC_BYTES, Limits, VERSION};

/// A decoded pack: which series it holds in memory, their samples still packed. Holds on to the body.
///
/// Pages of times, and pages of values that several sources share, are kept once they are decoded: reading all
/// metrics of a source, or all sources, decodes nothing twice.
#[derive(Debug)]
pub struct Pack {
    pub(super) body: Bytes,
    pub(super) sources: Vec<SourceId>,
    pub(super) metrics: Vec<Metric>,
    pub(super) shapes: Vec<Shape>,
    /// Which shape each source has; empty where there is one shape.
    shape_of: Vec<u32>,
    /// Where the times of each axis end, source by source.
    axis_ends: Vec<u32>,
    /// The first axis of each source.
    first_axes: Vec<u32>,
    /// Where the values of each series begin in its column, source by source.
    value_starts: Vec<u32>,
    /// The first series of each source.
    first_series: Vec<u32>,
    pub(super) times: Times,
    pub(super) columns: Vec<Column>,
    pub(super) samples: usize,
}

/// The series of a source: column and axis of each.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) series: Vec<(u32, u32)>,
    axes: usize,
}

/// The times of all axes.
#[derive(Debug)]
pub(super) struct Times {
    pub(super) reader: TimesReader,
    pub(super) cuts: Cuts,
    pub(super) pages: Vec<Range<usize>>,
    pub(super) decoded: Vec<OnceLock<Result<Arc<[Timestamp]>, Malformed>>>,
}

/// Values of one metric in one form.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) metric: u32,
    pub(super) form: Form,
    /// Zeros at the end of the bits of its doubles.
    pub(super) zeros: u32,
    pub(super) texts: Vec<Arc<str>>,
    pub(super) stream: Option<StreamReader>,
    pub(super) cuts: Cuts,
    pub(super) pages: Vec<Range<usize>>,
    pub(super) decoded: Vec<OnceLock<Result<Arc<PageValues>, Malformed>>>,
}

/// One series of a source, and where it lies.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) column: usize,
    /// Its times among those of all axes.
    pub(super) times: Range<usize>,
    /// Its first value in the column.
    pub(super) values_start: usize,
}

impl Pack {
    /// Checks the body and reads what it says about its series; pages are checked when they are read.
    pub fn decode(body: Bytes, limits: Limits) -> Result<Self, BlockError> {
        let mut reader = Reader::new(content(&body)?);
        let sources = parse_sources(&mut reader)?;
        let metrics = parse_metrics(&mut reader)?;
        let (shapes, shape_of) = parse_shapes(sources.len(), &mut reader)?;
        let mut directory = Directory::new(&shapes, &shape_of, sources.len(), limits)?;
        let lengths = directory.parse_lengths(limits, &mut reader)?;
        let times = Times::parse(Cuts::of(lengths.iter().copied()), &mut reader)?;
        let runs = directory.lay_series(&shapes, &shape_of, &lengths, limits)?;
        let mut columns = parse_columns(runs, metrics.len(), &mut reader)?;
        let (mut times, end) = (times, body.len() - CRC_BYTES);
        let mut start = end.saturating_sub(reader.remaining());
        let of_columns = columns.iter_mut().flat_map(|column| &mut column.pages);
        for page in times.pages.iter_mut().chain(of_columns) {
            let length = page.end;
            *page = start..start.saturating_add(length);
            start = page.end;
        }
        if start != end {
            return Err(Malformed::Invalid("its pages do not fill it").into());
        }
        let Directory { axis_ends, first_axes, value_starts, first_series, samples } = directory;
        Ok(Self {
            body,
            sources,
            metrics,
            shapes,
            shape_of,
            axis_ends,
            first_axes,
            value_starts,
            first_series,
            times,
            columns,
            samples,
        })
    }

    /// The shape of a source.
    pub(super) fn shape(&self, source: usize) -> Option<&Shape> {
        self.sources.get(source)?;
        self.shapes.get(self.shape_of.get(source).map_or(0, |&shape| index(shape)))
    }

    /// Where a series of a source lies.
    pub(super) fn place(&self, source: usize, series: usize) -> Option<Place> {
        let &(column, axis) = self.shape(source)?.series.get(series)?;
        let axis = index(*self.first_axes.get(source)?) + index(axis);
        let start = axis.checked_sub(1).and_then(|before| self.axis_ends.get(before)).copied().unwrap_or(0);
        let end = *self.axis_ends.get(axis)?;
        let values_start = *self.value_starts.get(index(*self.first_series.get(source)?) + series)?;
        Some(Place {
            column: index(column),
            times: index(start)..index(end),
            values_start: index(values_start),
        })
    }
}

/// Where things lie, as it is found out.
#[derive(Debug, Default)]
struct Directory {
    axis_ends: Vec<u32>,
    first_axes: Vec<u32>,
    value_starts: Vec<u32>,
    first_series: Vec<u32>,
    samples: usize,
}

impl Directory {
    /// Counts axes and series, each of which has a sample at least.
    fn new(shapes: &[Shape], shape_of: &[u32], sources: usize, limits: Limits) -> Result<Self, BlockError> {
        let mut directory = Self::default();
        let (mut axes, mut series) = (0_usize, 0_usize);
        for source in 0..sources {
            directory.first_axes.push(position(axes));
            directory.first_series.push(position(series));
            let shape = shapes.get(shape_of.get(source).map_or(0, |&shape| index(shape)));
            axes += shape.map_or(0, |shape| shape.axes);
            series += shape.map_or(0, |shape| shape.series.len());
            if series > limits.samples_max {
                return Err(BlockError::TooManySamples { samples: series, limit: limits.samples_max });
            }
        }
        directory.axis_ends.reserve(axes);
        directory.value_starts.reserve(series);
        // The last axis ends where the axes end: their number is needed to read their lengths.
        directory.samples = axes;
        Ok(directory)
    }

    fn parse_lengths(&mut self, limits: Limits, reader: &mut Reader<'_>) -> Result<Vec<usize>, BlockError> {
        let axes = self.samples;
        let mut column = Vec::new();
        Integers::parse(axes, 1, reader)?.decode(0..axes, ONE_RUN, &mut column);
        let (mut end, mut lengths) = (0_usize, Vec::with_capacity(axes));
        for length in column {
            let length = usize::try_from(length).ok().filter(|&length| length > 0);
            let length = length.ok_or(Malformed::Invalid("a series has no samples"))?;
            end = end.saturating_add(length);
            if end > limits.samples_max {
                return Err(BlockError::TooManySamples { samples: end, limit: limits.samples_max });
            }
            self.axis_ends.push(position(end));
            lengths.push(length);
        }
        Ok(lengths)
    }

    /// Gives the lengths of the runs of each column.
    fn lay_series(
        &mut self,
        shapes: &[Shape],
        shape_of: &[u32],
        lengths: &[usize],
        limits: Limits,
    ) -> Result<Vec<Vec<usize>>, BlockError> {
        let columns =
            shapes.iter().flat_map(|shape| &shape.series).map(|&(column, _)| index(column) + 1).max();
        let mut runs = vec![Vec::new(); columns.unwrap_or(0)];
        let mut ends = vec![0_usize; columns.unwrap_or(0)];
        self.samples = 0;
        for (source, &first_axis) in self.first_axes.iter().enumerate() {
            let shape = shapes.get(shape_of.get(source).map_or(0, |&shape| index(shape)));
            for &(column, axis) in shape.map(|shape| shape.series.as_slice()).unwrap_or_default() {
                let length = lengths.get(index(first_axis) + index(axis)).copied().unwrap_or(0);
                self.samples = self.samples.saturating_add(length);
                if self.samples > limits.samples_max {
                    let samples = self.samples;
                    return Err(BlockError::TooManySamples { samples, limit: limits.samples_max });
                }
                let column = index(column);
                if let (Some(runs), Some(end)) = (runs.get_mut(column), ends.get_mut(column)) {
                    runs.push(length);
                    self.value_starts.push(position(*end));
                    *end += length;
                }
            }
        }
        Ok(runs)
    }
}

impl Times {
    fn parse(cuts: Cuts, reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let times = TimesReader::parse(reader)?;
        let pages = parse_pages(&cuts, reader)?;
        let decoded = pages.iter().map(|_| OnceLock::new()).collect();
        Ok(Self { reader: times, cuts, pages, decoded })
    }
}

/// What lies between the version and the checksum, once both are right.
fn content(body: &[u8]) -> Result<&[u8], BlockError> {
    let (checked, crc) = body.split_last_chunk::<CRC_BYTES>().ok_or(BlockError::TooShort(body.len()))?;
    let (version, content) = checked.split_first().ok_or(BlockError::TooShort(body.len()))?;
    let (stored, computed) = (u32::from_le_bytes(*crc), crc32fast::hash(checked));
    if stored != computed {
        return Err(BlockError::Checksum { stored, computed });
    }
    if *version == VERSION { Ok(content) } else { Err(BlockError::Version(*version)) }
}

fn parse_sources(reader: &mut Reader<'_>) -> Result<Vec<SourceId>, Malformed> {
    const WRONG: Malformed = Malformed::Invalid("its sources do not ascend");
    let count = reader.count(1, "sources")?;
    let first = reader.take(16, "sources")?.first_chunk().copied().unwrap_or_default();
    let mut last = u128::from_le_bytes(first);
    let mut sources = vec![SourceId::new(last)];
    if count > 1 {
        let width = usize::from(reader.byte("sources")?);
        if count > reader.remaining() || !(1..=16).contains(&width) {
            return Err(WRONG);
        }
        for _ in 1..count {
            let mut gap = [0; 16];
            for (to, from) in gap.iter_mut().zip(reader.take(width, "sources")?) {
                *to = *from;
            }
            let gap = Some(u128::from_le_bytes(gap)).filter(|&gap| gap > 0).ok_or(WRONG)?;
            last = last.checked_add(gap).ok_or(WRONG)?;
            sources.push(SourceId::new(last));
        }
    }
    if count == 0 { Err(WRONG) } else { Ok(sources) }
}

fn parse_metrics(reader: &mut Reader<'_>) -> Result<Vec<Metric>, BlockError> {
    let count = reader.count(2, "metrics")?;
    let mut metrics = Vec::with_capacity(count);
    for _ in 0..count {
        let length = reader.length("a metric")?;
        let name = std::str::from_utf8(reader.take(length, "a metric")?)
            .map_err(|_| Malformed::Invalid("a metric is not UTF-8"))?;
        metrics.push(Metric::new(name).map_err(BlockError::Metric)?);
    }
    Ok(metrics)
}

/// The shapes, and that of each source where there are several.
fn parse_shapes(sources: usize, reader: &mut Reader<'_>) -> Result<(Vec<Shape>, Vec<u32>), Malformed> {
    let count = reader.count(3, "shapes")?;
    let mut shapes = Vec::with_capacity(count);
    for _ in 0..count {
        let length = reader.count(2, "a shape")?;
        let mut shape = Shape { series: Vec::with_capacity(length), axes: 0 };
        for _ in 0..length {
            let (column, axis) = (reader.position("a shape")?, reader.position("a shape")?);
            // A column takes three bytes at least.
            if index(axis) > shape.axes || index(column) > reader.remaining() {
                return Err(Malformed::Invalid("a shape has an axis or a column out of order"));
            }
            shape.axes = shape.axes.max(index(axis) + 1);
            shape.series.push((column, axis));
        }
        if length == 0 {
            return Err(Malformed::Invalid("a source has no series"));
        }
        shapes.push(shape);
    }
    let mut shape_of = Vec::new();
    if count > 1 {
        let mut column = Vec::new();
        Integers::parse(sources, 1, reader)?.decode(0..sources, ONE_RUN, &mut column);
        for shape in column {
            let shape = u32::try_from(shape).ok().filter(|&shape| index(shape) < count);
            shape_of.push(shape.ok_or(Malformed::Invalid("a source has a shape that is not there"))?);
        }
    }
    if count == 0 {
        return Err(Malformed::Invalid("it has no shapes"));
    }
    Ok((shapes, shape_of))
}

/// Columns with runs of these lengths; the places of their pages are not known yet, only their lengths.
fn parse_columns(
    runs: Vec<Vec<usize>>,
    metrics: usize,
    reader: &mut Reader<'_>,
) -> Result<Vec<Column>, Malformed> {
    if reader.length("columns")? != runs.len() {
        return Err(Malformed::Invalid("its shapes do not fit its columns"));
    }
    let mut columns = Vec::with_capacity(runs.len());
    for runs in runs {
        let metric = reader.position("a column")?;
        if index(metric) >= metrics || runs.is_empty() {
            return Err(Malformed::Invalid("a column is of no metric or of no source"));
        }
        let form = Form::from_byte(reader.byte("a column")?)?;
        let cuts = Cuts::of(runs.into_iter());
        let zeros = if form == Form::Bits { u32::from(reader.byte("a column")?) } else { 0 };
        if zeros > 63 {
            return Err(Malformed::Invalid("doubles of more than 64 bits"));
        }
        let texts = if form == Form::Texts { form::parse_texts(cuts.len(), reader)? } else { Vec::new() };
        let stream = if form == Form::Mixed { None } else { Some(StreamReader::parse(reader)?) };
        let pages = parse_pages(&cuts, reader)?;
        let decoded = pages.iter().map(|_| OnceLock::new()).collect();
        columns.push(Column { metric, form, zeros, texts, stream, cuts, pages, decoded });
    }
    Ok(columns)
}

/// The lengths of pages, as the ends of ranges from 0.
fn parse_pages(cuts: &Cuts, reader: &mut Reader<'_>) -> Result<Vec<Range<usize>>, Malformed> {
    let mut lengths = Vec::new();
    let count = cuts.pages().len();
    Integers::parse(count, 1, reader)?.decode(0..count, ONE_RUN, &mut lengths);
    let length = |length| usize::try_from(length).map_err(|_| Malformed::Truncated("pages"));
    lengths.into_iter().map(|of_page| Ok(0..length(of_page)?)).collect()
}
