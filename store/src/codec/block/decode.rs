//! From bytes to a [`Pack`]: checked and ready to be read, its columns still packed.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::codec::Run;
use crate::codec::bytes::{Malformed, Reader};
use crate::codec::column::integer::{Integers, ONE_RUN};
use crate::codec::column::{self, Extent};
use crate::codec::run::positions;
use crate::model::{Metric, SourceId, TimeRange, Timestamp};

use super::{BlockError, CRC_BYTES, Limits, VERSION};

/// A decoded pack: which series it holds in memory, their samples still packed. Holds on to the body. Times are
/// decoded once and kept, so that all metrics of a source share the work.
#[derive(Debug)]
pub struct Pack {
    body: Bytes,
    sources: Vec<SourceId>,
    metrics: Vec<Metric>,
    series: Vec<Vec<Series>>,
    time_columns: Vec<Axis>,
    samples: usize,
}

#[derive(Debug)]
struct Series {
    metric: usize,
    axis: usize,
    bytes: Range<usize>,
}

#[derive(Debug)]
struct Axis {
    len: usize,
    bytes: Range<usize>,
    times: OnceLock<Result<Arc<[Timestamp]>, Malformed>>,
}

impl Pack {
    /// Checks the body and reads what it says about its series; columns are checked when they are read.
    pub fn decode(body: Bytes, limits: Limits) -> Result<Self, BlockError> {
        let mut reader = Reader::new(content(&body)?);
        let end = body.len() - CRC_BYTES;
        let sources = parse_sources(&mut reader)?;
        let metrics = parse_metrics(&mut reader)?;
        let (mut all, mut time_columns, mut samples) = (Vec::new(), Vec::<Axis>::new(), 0_usize);
        for _ in 0..sources.len() {
            let count = reader.count(3, "series")?;
            let first_axis = time_columns.len();
            let mut of_source = Vec::new();
            for _ in 0..count {
                let metric = reader.length("a metric")?;
                let axis = reader.length("an axis")?.saturating_add(first_axis);
                if metric >= metrics.len() || axis > time_columns.len() {
                    return Err(Malformed::Invalid("a series is of no metric").into());
                }
                if axis == time_columns.len() {
                    let len = reader.length("a number of samples")?;
                    let bytes = place(end, &mut reader)?;
                    time_columns.push(Axis { len, bytes, times: OnceLock::new() });
                }
                samples = samples.saturating_add(time_columns.get(axis).map_or(0, |axis| axis.len));
                if samples > limits.samples_max {
                    return Err(BlockError::TooManySamples { samples, limit: limits.samples_max });
                }
                of_source.push(Series { metric, axis, bytes: place(end, &mut reader)? });
            }
            all.push(of_source);
        }
        Ok(Self { body, sources, metrics, series: all, time_columns, samples })
    }

    /// The sources, ascending; never none.
    pub fn sources(&self) -> &[SourceId] {
        &self.sources
    }

    /// The position of a source, where it is in the pack.
    pub fn position(&self, source: SourceId) -> Option<usize> {
        self.sources.binary_search(&source).ok()
    }

    /// The metrics of a source, in the order in which they were pushed; none past the last source.
    pub fn metrics(&self, source_position: usize) -> impl Iterator<Item = &Metric> {
        let series = self.series.get(source_position).map(Vec::as_slice).unwrap_or_default();
        series.iter().filter_map(|series| self.metrics.get(series.metric))
    }

    /// How many samples.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The samples of one metric of one source in a range of time; `None` where there are none.
    pub fn run(
        &self,
        source_position: usize,
        metric: &Metric,
        range: TimeRange,
    ) -> Result<Option<Run>, BlockError> {
        let of_source = self.series.get(source_position).map(Vec::as_slice).unwrap_or_default();
        let wanted = of_source.iter().find(|series| self.metrics.get(series.metric) == Some(metric));
        let Some(series) = wanted else { return Ok(None) };
        let Some(axis) = self.time_columns.get(series.axis) else { return Ok(None) };
        let times = axis.times.get_or_init(|| self.times(axis)).as_ref().map_err(|error| *error)?;
        let wanted = positions(times, range);
        if wanted.is_empty() {
            return Ok(None);
        }
        let bytes = self.body.get(series.bytes.clone()).unwrap_or_default();
        let extent = Extent { values: axis.len, starts: ONE_RUN, wanted: wanted.clone() };
        let values = column::decode(bytes, &extent)?;
        Ok(Some(Run::from_checked(times.get(wanted).unwrap_or_default().to_vec(), values)))
    }

    fn times(&self, axis: &Axis) -> Result<Arc<[Timestamp]>, Malformed> {
        let mut reader = Reader::new(self.body.get(axis.bytes.clone()).unwrap_or_default());
        let mut times = Vec::new();
        Integers::parse(axis.len, 1, &mut reader)?.decode(0..axis.len, ONE_RUN, &mut times);
        let times: Option<Arc<[_]>> =
            times.into_iter().map(|time| Timestamp::from_nanos(time).ok()).collect();
        times
            .filter(|times| times.is_sorted_by(|a, b| a < b))
            .ok_or(Malformed::Invalid("its times do not ascend"))
    }
}

/// The next length, and where as many bytes lie.
fn place(end: usize, reader: &mut Reader<'_>) -> Result<Range<usize>, Malformed> {
    let length = reader.length("a column")?;
    let start = end - reader.remaining();
    reader.take(length, "a column")?;
    Ok(start..start + length)
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
    let count = reader.count(16, "sources")?;
    let bytes = reader.take(count * 16, "sources")?;
    let sources: Vec<_> =
        bytes.as_chunks::<16>().0.iter().map(|id| SourceId::new(u128::from_be_bytes(*id))).collect();
    if sources.is_empty() || !sources.is_sorted_by(|a, b| a < b) {
        return Err(Malformed::Invalid("its sources do not ascend"));
    }
    Ok(sources)
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
