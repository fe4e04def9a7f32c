//! From windows to bytes, column by column in the order of the format.

use std::sync::Arc;

use crate::codec::bytes::{Malformed, put_length, put_varint, put_varint_signed};
use crate::codec::column::integer::{self, ONE_RUN, Starts};
use crate::codec::column::{self, Input, Kinds, Scratch};
use crate::codec::convert::position;
use crate::layout::{Bucket, Resolution};
use crate::model::{Metric, Sample, SourceId, Value, ValueKind};
use crate::rollup::{Fold, Number, NumberSum, Sum, WindowState, nearest};

use super::sums::{self, Entry, Known};
use super::{COLUMNS, Column, UNITS, VERSION, predict, sketches, states};

/// What every frame of a builder begins with.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) metric: Metric,
    pub(super) bucket: Bucket,
    pub(super) resolution: Resolution,
}

impl Head {
    /// The first moment of a window, which may lie just outside of what a timestamp holds.
    pub(super) fn start_nanos(&self, window: u32) -> i64 {
        self.bucket.start_millis() * 1_000_000 + self.resolution.nanos() * i64::from(window)
    }
}

/// A source with its windows.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) id: SourceId,
    pub(super) windows: Vec<(u32, WindowState)>,
}

/// The bytes of a frame.
pub(super) fn encode(head: &Head, sources: &[Source]) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_length(&mut out, head.metric.as_str().len());
    out.extend_from_slice(head.metric.as_str().as_bytes());
    put_varint_signed(&mut out, head.bucket.start_millis());
    put_varint(&mut out, head.resolution.seconds().into());
    put_length(&mut out, sources.len());
    for source in sources {
        out.extend_from_slice(&source.id.get().to_le_bytes());
    }
    let counts: Vec<i64> = sources.iter().map(|source| i64::from(position(source.windows.len()))).collect();
    integer::encode(&counts, ONE_RUN, &mut Vec::new(), &mut out);
    let mut starts = Vec::new();
    let mut windows = Vec::new();
    for source in sources.iter().filter(|source| !source.windows.is_empty()) {
        starts.push(position(windows.len()));
        windows.extend(&source.windows);
    }
    let indexes: Vec<i64> = windows.iter().map(|(index, _)| i64::from(*index)).collect();
    integer::encode(&indexes, &starts, &mut Vec::new(), &mut out);
    let offsets = windows.iter().map(|(index, _)| head.start_nanos(*index)).collect();
    let windows: Vec<&WindowState> = windows.iter().map(|(_, state)| state).collect();
    let mut columns = Columns { windows, offsets, starts, scratch: Scratch::default(), finished: Vec::new() };
    columns.put_all(head.resolution.nanos());
    assert!(columns.finished.len() == COLUMNS, "a frame has all its columns");
    for column in &columns.finished {
        put_length(&mut out, column.len());
    }
    out.extend(columns.finished.iter().flatten());
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// The windows on their way into columns.
struct Columns<'a> {
    windows: Vec<&'a WindowState>,
    /// Where each window starts.
    offsets: Vec<i64>,
    starts: Vec<u32>,
    scratch: Scratch,
    finished: Vec<Vec<u8>>,
}

/// The four compensated sums of a fold, in the order of their bits.
fn sums(fold: &Fold) -> [&Sum; 4] {
    [&fold.sum.floats, &fold.reset_sum.floats, &fold.integrals.step, &fold.integrals.linear]
}

impl Columns<'_> {
    fn put_all(&mut self, width_nanos: i64) {
        self.integers(Column::Floats, |fold| fold.counts.floats.cast_signed());
        self.integers(Column::Integers, |fold| fold.counts.integers.cast_signed());
        self.integers(Column::Bools, |fold| fold.counts.bools.cast_signed());
        self.integers(Column::Texts, |fold| fold.counts.texts.cast_signed());
        self.boundary();
        self.times(Column::FirstTimes, |start, fold| fold.first().map(|first| first.time.nanos() - start));
        self.times(Column::LastTimes, |start, fold| {
            fold.last().map(|last| start + width_nanos - last.time.nanos())
        });
        self.values(Column::FirstValues, |fold| fold.first().map(|sample| sample.value.clone()));
        self.values(Column::LastValues, |fold| fold.last().map(|sample| sample.value.clone()));
        self.values(Column::Min, |fold| fold.min().map(value_of));
        self.values(Column::Max, |fold| fold.max().map(value_of));
        self.sum(Column::SumLow, |fold| &fold.sum);
        self.integers(Column::Scaled, |fold| {
            sums(fold)
                .iter()
                .zip([1, 2, 4, 8])
                .map(|(sum, bit)| if sum.parts().scaled { bit } else { 0 })
                .sum()
        });
        self.sums(Column::M2, |fold| Entry { parts: [fold.m2, 0.0], known: deviations(fold) });
        self.integers(Column::Resets, |fold| fold.resets.cast_signed());
        self.sum(Column::ResetLow, |fold| &fold.reset_sum);
        self.integers(Column::Changes, |fold| fold.changes.cast_signed());
        self.sums(Column::Step, |fold| entry(&fold.integrals.step, predict::step(fold)));
        self.sums(Column::Linear, |fold| entry(&fold.integrals.linear, predict::linear(fold)));
        self.column(Column::States, |windows, starts, scratch, out| {
            states::encode(windows, starts, scratch, out);
        });
        self.column(Column::Sketches, |windows, starts, _, out| sketches::encode(windows, starts, out));
    }

    /// Adds a column; `column` says which, so that the order is that of the format.
    fn column(
        &mut self,
        column: Column,
        put: impl FnOnce(&[&WindowState], Starts<'_>, &mut Scratch, &mut Vec<u8>),
    ) {
        assert!(column.index() == self.finished.len(), "columns are put in their order");
        let mut out = Vec::new();
        put(&self.windows, &self.starts, &mut self.scratch, &mut out);
        self.finished.push(out);
    }

    fn integers(&mut self, column: Column, of: impl Fn(&Fold) -> i64) {
        self.column(column, |windows, starts, _, out| {
            let values: Vec<i64> = windows.iter().map(|window| of(&window.interior)).collect();
            put_integers(&values, starts, out);
        });
    }

    fn times(&mut self, column: Column, of: impl Fn(i64, &Fold) -> Option<i64>) {
        let offsets = std::mem::take(&mut self.offsets);
        self.column(column, |windows, starts, _, out| {
            let times = windows.iter().zip(&offsets).map(|(window, start)| of(*start, &window.interior));
            let times = repeated(times.collect(), 0);
            if times.iter().any(|time| *time != 0) {
                put_unit(&times, starts, out);
            }
        });
        self.offsets = offsets;
    }

    fn sums(&mut self, column: Column, of: impl Fn(&Fold) -> Entry) {
        self.column(column, |windows, starts, scratch, out| {
            let entries: Vec<Entry> = windows.iter().map(|window| of(&window.interior)).collect();
            sums::encode(&entries, starts, scratch, out);
        });
    }

    /// The three columns of a sum of numbers.
    fn sum(&mut self, column: Column, of: impl Fn(&Fold) -> &NumberSum) {
        self.integers(column, |fold| split(of(fold).integers).1);
        let mut out = Vec::new();
        let high: Vec<i64> =
            self.windows.iter().map(|window| split(of(&window.interior).integers).0).collect();
        put_integers(&high, &self.starts, &mut out);
        self.finished.push(out);
        let floats = if column == Column::SumLow { Column::SumFloats } else { Column::ResetFloats };
        self.sums(floats, |fold| entry(&of(fold).floats, 0.0));
    }

    fn values(&mut self, column: Column, of: impl Fn(&Fold) -> Option<Value>) {
        self.column(column, |windows, starts, scratch, out| {
            let values: Vec<Option<Value>> = windows.iter().map(|window| of(&window.interior)).collect();
            if values.iter().any(Option::is_some) {
                put_values(&repeated(values, Value::Bool(false)), starts, scratch, out);
            }
        });
    }

    fn boundary(&mut self) {
        let boundaries: Vec<Option<&Sample>> =
            self.windows.iter().map(|window| window.boundary.as_ref()).collect();
        let present: Vec<Value> = boundaries.iter().flatten().map(|sample| sample.value.clone()).collect();
        self.column(Column::BoundaryPresence, |_, starts, scratch, out| {
            if !present.is_empty() {
                let bits: Vec<Value> =
                    boundaries.iter().map(|sample| Value::Bool(sample.is_some())).collect();
                put_values(&bits, starts, scratch, out);
            }
        });
        self.column(Column::BoundaryValues, |windows, starts, scratch, out| {
            if !present.is_empty() {
                let starts = if present.len() == windows.len() { starts } else { ONE_RUN };
                put_values(&present, starts, scratch, out);
            }
        });
    }
}

fn entry(sum: &Sum, predicted: f64) -> Entry {
    let parts = sum.parts();
    Entry { parts: [parts.high, parts.low], known: Known::Sum { predicted } }
}

/// What both sides know of the deviations of a fold.
pub(super) fn deviations(fold: &Fold) -> Known {
    Known::Deviations { count: nearest(fold.counts.numbers().max(1).into()) }
}

fn value_of(number: Number) -> Value {
    match number {
        Number::Integer(integer) => Value::I64(integer),
        Number::Float(float) => Value::F64(float),
    }
}

/// `(high, low)` with `sum = high · 2^64 + low`.
fn split(sum: i128) -> (i64, i64) {
    let [low @ .., _, _, _, _, _, _, _, _] = sum.to_le_bytes();
    let low = i64::from_le_bytes(low);
    let high = sum.wrapping_sub(i128::from(low)) >> 64;
    (i64::try_from(high).unwrap_or(i64::MAX), low)
}

/// What is missing repeats what is before it, or after it where nothing is.
fn repeated<T: Clone>(values: Vec<Option<T>>, default: T) -> Vec<T> {
    let mut last = values.iter().flatten().next().cloned().unwrap_or(default);
    let mut next = |value: Option<T>| {
        if let Some(value) = value {
            last = value;
        }
        last.clone()
    };
    values.into_iter().map(&mut next).collect()
}

fn put_integers(values: &[i64], starts: Starts<'_>, out: &mut Vec<u8>) {
    if values.iter().any(|value| *value != 0) {
        integer::encode(values, starts, &mut Vec::new(), out);
    }
}

fn put_values(values: &[Value], starts: Starts<'_>, scratch: &mut Scratch, out: &mut Vec<u8>) {
    let mut texts: Vec<Arc<str>> = Vec::new();
    let mut raw_of = |value: &Value| match value {
        Value::F64(float) => float.to_bits().cast_signed(),
        Value::I64(integer) => *integer,
        Value::Bool(truth) => i64::from(*truth),
        Value::Text(text) => {
            texts.push(Arc::clone(text));
            i64::from(position(texts.len() - 1))
        }
    };
    let raw: Vec<i64> = values.iter().map(&mut raw_of).collect();
    let kinds: Vec<ValueKind> = values.iter().map(Value::kind).collect();
    column::encode(Input { raw: &raw, kinds: Kinds::Each(&kinds), texts: &texts, starts }, scratch, out);
}

/// Appends times in the coarsest unit that all are whole numbers of, and before them the unit's number.
pub(super) fn put_unit(times: &[i64], starts: Starts<'_>, out: &mut Vec<u8>) {
    let whole = |unit: i64| times.iter().all(|time| time % unit == 0);
    let numbered = UNITS.into_iter().zip([0, 1, 2, 3]).rev();
    let (unit, number) = numbered.into_iter().find(|(unit, _)| whole(*unit)).unwrap_or((1, 0));
    out.push(number);
    let times: Vec<i64> = times.iter().map(|time| time / unit).collect();
    integer::encode(&times, starts, &mut Vec::new(), out);
}

/// The unit of a number.
pub(super) fn unit_of(number: u8) -> Result<i64, Malformed> {
    UNITS.get(usize::from(number)).copied().ok_or(Malformed::Invalid("a unit of time that is none"))
}
