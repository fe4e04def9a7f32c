//! From a builder's points to bytes, part by part in the order of the format.

use crate::codec::bytes::{put_length, put_varint};
use crate::codec::column::integer::{self, ONE_RUN, Starts};
use crate::codec::convert::{index, position};
use crate::model::{Metric, Timestamp};

use super::build::{Head, SegmentBuilder};
use super::columns::Rows;
use super::shapes::Shapes;
use super::sort::Sorted;
use super::{SegmentStats, UNITS, VERSION};

/// Integers on their way into bytes. Memory that is used again.
#[derive(Debug, Default)]
pub(super) struct Integers {
    values: Vec<i64>,
    steps: Vec<i64>,
}

impl Integers {
    fn put(&mut self, values: impl Iterator<Item = i64>, starts: Starts<'_>, out: &mut Vec<u8>) {
        self.values.clear();
        self.values.extend(values);
        integer::encode(&self.values, starts, &mut self.steps, out);
    }
}

impl SegmentBuilder {
    /// Appends the segment of all points to `out`, and keeps the points: the same call gives the same bytes again.
    ///
    /// Panics where there are no points: an empty segment means nothing.
    pub fn encode(&mut self, out: &mut Vec<u8>) -> SegmentStats {
        assert!(!self.is_empty(), "an empty segment was to be encoded");
        let Self { metrics, metric_kinds, shapes, heads, raw, kinds, texts, .. } = self;
        let rows = Rows { shapes, raw, kinds, metric_kinds, texts };
        let (sorted, integers) = (&mut self.sorted, &mut self.integers);
        let start = out.len();
        sorted.take(heads, self.unsorted);
        out.push(VERSION);
        put_metrics(metrics, out);
        put_length(out, heads.len());
        put_sources(sorted, integers, out);
        let (min_time, max_time) = put_times(sorted, integers, out);
        put_shapes(shapes, &sorted.heads, integers, out);
        self.columns.put(rows, sorted, out);
        let crc = crc32fast::hash(out.get(start..).unwrap_or_default());
        out.extend_from_slice(&crc.to_le_bytes());
        SegmentStats { samples: raw.len(), min_time, max_time }
    }
}

fn put_metrics(metrics: &[Metric], out: &mut Vec<u8>) {
    put_length(out, metrics.len());
    for metric in metrics {
        put_length(out, metric.as_str().len());
        out.extend_from_slice(metric.as_str().as_bytes());
    }
}

fn put_sources(sorted: &Sorted, integers: &mut Integers, out: &mut Vec<u8>) {
    let Sorted { heads, starts, .. } = sorted;
    put_length(out, starts.len());
    let mut next = 0;
    let sources = starts.iter().filter_map(|&start| heads.get(index(start)));
    let gaps = sources.map(|head| {
        let gap = i64::from(head.source) - next;
        next = i64::from(head.source) + 1;
        gap
    });
    integers.put(gaps, ONE_RUN, out);
    if starts.len() > 1 {
        let ends = starts.iter().skip(1).copied().chain([position(heads.len())]);
        integers.put(starts.iter().zip(ends).map(|(start, end)| i64::from(end - start - 1)), ONE_RUN, out);
    }
}

/// Gives the earliest and the latest time.
fn put_times(sorted: &Sorted, integers: &mut Integers, out: &mut Vec<u8>) -> (Timestamp, Timestamp) {
    let times = || sorted.heads.iter().map(|head| head.time);
    let (unit, number) = unit(times());
    out.push(number);
    match unit {
        // Divisions by constants are several times faster.
        1 => integers.put(times(), &sorted.starts, out),
        1_000_000 => integers.put(times().map(|time| time / 1_000_000), &sorted.starts, out),
        _ => integers.put(times().map(|time| time / unit), &sorted.starts, out),
    }
    (timestamp(times().min()), timestamp(times().max()))
}

/// The coarsest unit that all times are whole numbers of, and its number.
fn unit(times: impl Iterator<Item = i64>) -> (i64, u8) {
    let mut units = UNITS.into_iter().rev().zip((0..4).rev());
    let mut coarsest = units.next().unwrap_or((1, 0));
    for time in times {
        while !is_whole(time, coarsest.0) {
            coarsest = units.next().unwrap_or((1, 0));
        }
    }
    coarsest
}

/// Whether `time` is a multiple of `unit`; faster where that is milliseconds, which it is most often.
const fn is_whole(time: i64, unit: i64) -> bool {
    match unit {
        1 => true,
        1_000_000 => time % 1_000_000 == 0,
        _ => time % unit == 0,
    }
}

fn timestamp(nanos: Option<i64>) -> Timestamp {
    nanos.and_then(|nanos| Timestamp::from_nanos(nanos).ok()).unwrap_or(Timestamp::EPOCH)
}

fn put_shapes(shapes: &Shapes, heads: &[Head], integers: &mut Integers, out: &mut Vec<u8>) {
    put_length(out, shapes.len());
    for shape in shapes.iter() {
        let first = shape.first().copied().unwrap_or(0);
        let length = u64::from(position(shape.len()));
        if shape.iter().copied().eq((first..).take(shape.len())) {
            put_varint(out, length << 1 | 1);
            put_varint(out, first.into());
        } else {
            put_varint(out, length << 1);
            for &metric in shape {
                put_varint(out, metric.into());
            }
        }
    }
    if shapes.len() > 1 {
        integers.put(heads.iter().map(|head| i64::from(head.shape)), ONE_RUN, out);
    }
}
