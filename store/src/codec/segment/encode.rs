//! From a builder's points to bytes: sort, turn rows into columns, encode each.

use crate::codec::bytes::{put_length, put_varint};
use crate::codec::column::integer::{self, ONE_RUN};
use crate::codec::column::{self, Input, Kinds};
use crate::codec::convert::{index, position};
use crate::model::{Timestamp, ValueKind};

use super::build::{Head, SegmentBuilder, TallyKinds};
use super::{SegmentStats, UNITS, VERSION};

/// Columns on their way into bytes; memory that is used again.
#[derive(Debug, Default)]
pub(super) struct Columns {
    metrics: Vec<MetricColumn>,
    integers: Vec<i64>,
    starts: Vec<u32>,
    lengths: Vec<usize>,
    encoded: Vec<u8>,
}

#[derive(Debug, Default)]
struct MetricColumn {
    raw: Vec<i64>,
    kinds: Vec<ValueKind>,
    starts: Vec<u32>,
    /// Number of the run that the last value belongs to, from 1.
    run: u32,
}

impl MetricColumn {
    fn clear(&mut self) {
        self.raw.clear();
        self.kinds.clear();
        self.starts.clear();
        self.run = 0;
    }

    fn push(&mut self, run: u32, raw: i64, kind: ValueKind) {
        if self.run != run {
            self.run = run;
            self.starts.push(position(self.raw.len()));
        }
        self.raw.push(raw);
        self.kinds.push(kind);
    }
}

impl SegmentBuilder {
    /// Appends the segment of all points to `out`, and keeps the points: the same call gives the same bytes again.
    ///
    /// Panics where there are no points: an empty segment means nothing.
    pub fn encode(&mut self, out: &mut Vec<u8>) -> SegmentStats {
        assert!(!self.is_empty(), "an empty segment was to be encoded");
        let start = out.len();
        self.sort();
        out.push(VERSION);
        put_length(out, self.metrics.len());
        for metric in &self.metrics {
            put_length(out, metric.as_str().len());
            out.extend_from_slice(metric.as_str().as_bytes());
        }
        put_length(out, self.heads.len());
        self.put_sources(out);
        let stats = self.put_times(out);
        self.put_shapes(out);
        self.scatter();
        self.put_columns(out);
        let crc = crc32fast::hash(out.get(start..).unwrap_or_default());
        out.extend_from_slice(&crc.to_le_bytes());
        stats
    }

    /// Orders the points by source, time and arrival, which are one number: 32 + 64 + 32 bits.
    fn sort(&mut self) {
        self.order.clear();
        let keys = self.heads.iter().zip(0_u32..).map(|(head, arrival)| {
            let time = head.time.cast_unsigned() ^ (1 << 63);
            u128::from(head.source) << 96 | u128::from(time) << 32 | u128::from(arrival)
        });
        self.order.extend(keys);
        if self.unsorted {
            self.order.sort_unstable();
        }
    }

    /// The points in stored order.
    fn ordered(&self) -> impl Iterator<Item = &Head> {
        self.order.iter().filter_map(|key| {
            let [a, b, c, d, ..] = key.to_le_bytes();
            self.heads.get(index(u32::from_le_bytes([a, b, c, d])))
        })
    }

    fn put_sources(&mut self, out: &mut Vec<u8>) {
        let mut columns = std::mem::take(&mut self.columns);
        columns.starts.clear();
        columns.integers.clear();
        let mut last = None;
        for (head, at) in self.ordered().zip(0_u32..) {
            if last != Some(head.source) {
                let gap = last.map_or(head.source, |last| head.source - last - 1);
                columns.integers.push(i64::from(gap));
                columns.starts.push(at);
                last = Some(head.source);
            }
        }
        put_length(out, columns.starts.len());
        integer::encode(&columns.integers, ONE_RUN, out);
        if columns.starts.len() > 1 {
            let ends = columns.starts.iter().skip(1).copied().chain([position(self.heads.len())]);
            columns.integers.clear();
            columns
                .integers
                .extend(columns.starts.iter().zip(ends).map(|(start, end)| i64::from(end - start - 1)));
            integer::encode(&columns.integers, ONE_RUN, out);
        }
        self.columns = columns;
    }

    fn put_times(&mut self, out: &mut Vec<u8>) -> SegmentStats {
        let mut times = std::mem::take(&mut self.columns.integers);
        times.clear();
        times.extend(self.ordered().map(|head| head.time));
        let min_time = timestamp(times.iter().min());
        let max_time = timestamp(times.iter().max());
        let (unit, number) = unit(&times);
        if unit > 1 {
            for time in &mut times {
                *time /= unit;
            }
        }
        out.push(number);
        integer::encode(&times, &self.columns.starts, out);
        self.columns.integers = times;
        SegmentStats { samples: self.raw.len(), min_time, max_time }
    }

    fn put_shapes(&mut self, out: &mut Vec<u8>) {
        put_length(out, self.shapes.len());
        for shape in self.shapes.iter() {
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
        if self.shapes.len() > 1 {
            let mut shapes = std::mem::take(&mut self.columns.integers);
            shapes.clear();
            shapes.extend(self.ordered().map(|head| i64::from(head.shape)));
            integer::encode(&shapes, ONE_RUN, out);
            self.columns.integers = shapes;
        }
    }

    /// Rows into columns, in stored order.
    fn scatter(&mut self) {
        let mut columns = std::mem::take(&mut self.columns);
        columns.metrics.resize_with(self.metrics.len().max(columns.metrics.len()), MetricColumn::default);
        columns.metrics.iter_mut().for_each(MetricColumn::clear);
        let (mut run, mut source) = (0, None);
        for head in self.ordered() {
            if source != Some(head.source) {
                source = Some(head.source);
                run += 1;
            }
            let start = index(head.values_start);
            let raw = self.raw.get(start..).unwrap_or_default();
            let kinds = self.kinds.get(start..).unwrap_or_default();
            for ((&metric, &raw), &kind) in self.shapes.get(head.shape).iter().zip(raw).zip(kinds) {
                if let Some(column) = columns.metrics.get_mut(index(metric)) {
                    column.push(run, raw, kind);
                }
            }
        }
        self.columns = columns;
    }

    fn put_columns(&mut self, out: &mut Vec<u8>) {
        let Self { columns, tallies, texts, scratch, .. } = self;
        columns.encoded.clear();
        columns.lengths.clear();
        for (metric, tally) in columns.metrics.iter().zip(tallies) {
            let kinds = match tally.kinds {
                TallyKinds::None => continue,
                TallyKinds::One(kind) => Kinds::All(kind),
                TallyKinds::Several => Kinds::Each(&metric.kinds),
            };
            let input = Input { raw: &metric.raw, kinds, texts, starts: &metric.starts };
            let start = columns.encoded.len();
            column::encode(input, scratch, &mut columns.encoded);
            columns.lengths.push(columns.encoded.len() - start);
        }
        columns.lengths.iter().for_each(|&length| put_length(out, length));
        out.extend_from_slice(&columns.encoded);
    }
}

/// The coarsest unit that all times are whole numbers of, and its number.
fn unit(times: &[i64]) -> (i64, u8) {
    let mut units = UNITS.into_iter().rev().zip((0..4_u8).rev());
    let mut coarsest = units.next().unwrap_or((1, 0));
    for &time in times {
        while time % coarsest.0 != 0 {
            coarsest = units.next().unwrap_or((1, 0));
        }
    }
    coarsest
}

fn timestamp(nanos: Option<&i64>) -> Timestamp {
    nanos.and_then(|&nanos| Timestamp::from_nanos(nanos).ok()).unwrap_or(Timestamp::EPOCH)
}
