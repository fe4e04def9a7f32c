//! Columns of some of a frame's windows, unpacked, and the windows made of them one after another.

use std::ops::Range;

use crate::codec::bytes::{Malformed, Reader};
use crate::codec::column::integer::{Integers, ONE_RUN, Starts};
use crate::codec::column::{self, Extent, Values};
use crate::model::{Sample, Timestamp, Value};
use crate::rollup::{
    Counts, Ends, Extremes, Fields, Fold, Integrals, Number, NumberSum, Sketch, States, Sum, SumParts,
    WindowState,
};

use super::decode::Frame;
use super::encode::{deviations, unit_of};
use super::sums::{Known, Sums};
use super::{COUNT_MAX, Column, predict, sketches, states};

/// The wanted part of the columns of a frame.
pub(super) struct Unpacked<'a> {
    frame: &'a Frame,
    /// Position of the window that comes next.
    at: usize,
    /// The same within the wanted ones.
    next: usize,
    known: Fields,
    counts: [Vec<i64>; 4],
    boundary: Boundary,
    first_times: Vec<i64>,
    last_times: Vec<i64>,
    first_values: Values,
    last_values: Values,
    min: Values,
    max: Values,
    sum: NumberSums,
    scaled: Vec<i64>,
    m2: Sums,
    resets: Vec<i64>,
    reset_sum: NumberSums,
    changes: Vec<i64>,
    step: Sums,
    linear: Sums,
    states: Vec<Option<Box<States>>>,
    sketches: Vec<Option<Box<Sketch>>>,
}

/// Boundary samples: a value for each window that has one.
struct Boundary {
    present: Vec<bool>,
    values: Values,
    next: usize,
}

#[derive(Default)]
struct NumberSums {
    low: Vec<i64>,
    high: Vec<i64>,
    floats: Sums,
}

/// Reads columns of the wanted windows, or nothing where they are not asked for.
struct Columns<'a> {
    frame: &'a Frame,
    wanted: Range<usize>,
    fields: Fields,
}

impl<'a> Columns<'a> {
    /// The bytes of a column, where they are asked for and there are some.
    fn bytes(&self, column: Column, field: Fields) -> Option<&'a [u8]> {
        let place = self.frame.columns.get(column.index()).cloned()?;
        let bytes = self.frame.body.get(place)?;
        (self.fields.contains(field) && !bytes.is_empty()).then_some(bytes)
    }

    fn extent(&self) -> Extent<'a> {
        Extent { values: self.frame.len(), starts: &self.frame.starts, wanted: self.wanted.clone() }
    }

    fn integers(&self, column: Column, field: Fields) -> Result<Vec<i64>, Malformed> {
        let Some(bytes) = self.bytes(column, field) else { return Ok(Vec::new()) };
        self.integers_of(Reader::new(bytes))
    }

    fn integers_of(&self, mut reader: Reader<'_>) -> Result<Vec<i64>, Malformed> {
        let Extent { values, starts, wanted } = self.extent();
        let mut out = Vec::new();
        let column = Integers::parse(values, starts.len(), &mut reader)?;
        if reader.remaining() > 0 {
            return Err(Malformed::Invalid("a column goes on after its values"));
        }
        column.decode(wanted, starts, &mut out);
        Ok(out)
    }

    /// In nanoseconds.
    fn times(&self, column: Column) -> Result<Vec<i64>, Malformed> {
        let Some(bytes) = self.bytes(column, Fields::FIRST_LAST) else { return Ok(Vec::new()) };
        let mut reader = Reader::new(bytes);
        let unit = unit_of(reader.byte("times")?)?;
        let mut times = self.integers_of(reader)?;
        for time in &mut times {
            *time = time.saturating_mul(unit);
        }
        Ok(times)
    }

    fn values(&self, column: Column, field: Fields) -> Result<Values, Malformed> {
        match self.bytes(column, field) {
            Some(bytes) => column::decode(bytes, &self.extent()),
            None => Ok(Values::EMPTY),
        }
    }

    fn sums(&self, column: Column, field: Fields) -> Result<Sums, Malformed> {
        match self.bytes(column, field) {
            Some(bytes) => Sums::decode(bytes, &self.extent()),
            None => Ok(Sums::Zero),
        }
    }

    fn number_sums(&self, [low, high, floats]: [Column; 3], field: Fields) -> Result<NumberSums, Malformed> {
        Ok(NumberSums {
            low: self.integers(low, field)?,
            high: self.integers(high, field)?,
            floats: self.sums(floats, field)?,
        })
    }

    fn boundary(&self) -> Result<Boundary, Malformed> {
        let Some(bytes) = self.bytes(Column::BoundaryPresence, Fields::COUNT) else {
            return Ok(Boundary { present: Vec::new(), values: Values::EMPTY, next: 0 });
        };
        let all = self.frame.len();
        let Values::Bool(mut present) = column::decode(bytes, &Extent { wanted: 0..all, ..self.extent() })?
        else {
            return Err(Malformed::Invalid("the presence of boundary samples is not a column of booleans"));
        };
        let count = |present: &[bool]| present.iter().filter(|present| **present).count();
        let values = count(&present);
        let before = count(present.get(..self.wanted.start).unwrap_or_default());
        present.truncate(self.wanted.end);
        present.drain(..self.wanted.start.min(present.len()));
        let starts: Starts<'_> = if values == all { &self.frame.starts } else { ONE_RUN };
        let wanted = before..before + count(&present);
        let bytes = self.bytes(Column::BoundaryValues, Fields::COUNT).filter(|_| values > 0);
        let values = match bytes {
            Some(bytes) => column::decode(bytes, &Extent { values, starts, wanted })?,
            None => Values::EMPTY,
        };
        Ok(Boundary { present, values, next: 0 })
    }

    fn states(&self) -> Result<Vec<Option<Box<States>>>, Malformed> {
        match self.bytes(Column::States, Fields::STATES) {
            Some(bytes) => states::decode(bytes, &self.extent()),
            None => Ok(Vec::new()),
        }
    }

    fn sketches(&self) -> Result<Vec<Option<Box<Sketch>>>, Malformed> {
        match self.bytes(Column::Sketches, Fields::SKETCH) {
            Some(bytes) => sketches::decode(bytes, &self.extent()),
            None => Ok(Vec::new()),
        }
    }
}

fn at<T: Copy + Default>(values: &[T], next: usize) -> T {
    values.get(next).copied().unwrap_or_default()
}

impl<'a> Unpacked<'a> {
    /// The windows at `wanted`, with `fields` and what they need.
    pub(super) fn new(frame: &'a Frame, wanted: Range<usize>, fields: Fields) -> Result<Self, Malformed> {
        let known = fields.with_needed();
        let columns = Columns { frame, wanted: wanted.clone(), fields: known };
        let any_sum = Fields::SUM | Fields::RESETS | Fields::INTEGRALS;
        let scaled = if known.intersects(any_sum) { Fields::COUNT } else { any_sum };
        let counts = |column| columns.integers(column, Fields::COUNT);
        Ok(Self {
            frame,
            at: wanted.start,
            next: 0,
            known,
            counts: [
                counts(Column::Floats)?,
                counts(Column::Integers)?,
                counts(Column::Bools)?,
                counts(Column::Texts)?,
            ],
            boundary: columns.boundary()?,
            first_times: columns.times(Column::FirstTimes)?,
            last_times: columns.times(Column::LastTimes)?,
            first_values: columns.values(Column::FirstValues, Fields::FIRST_LAST)?,
            last_values: columns.values(Column::LastValues, Fields::FIRST_LAST)?,
            min: columns.values(Column::Min, Fields::MIN_MAX)?,
            max: columns.values(Column::Max, Fields::MIN_MAX)?,
            sum: columns.number_sums([Column::SumLow, Column::SumHigh, Column::SumFloats], Fields::SUM)?,
            scaled: columns.integers(Column::Scaled, scaled)?,
            m2: columns.sums(Column::M2, Fields::M2)?,
            resets: columns.integers(Column::Resets, Fields::RESETS)?,
            reset_sum: columns
                .number_sums([Column::ResetLow, Column::ResetHigh, Column::ResetFloats], Fields::RESETS)?,
            changes: columns.integers(Column::Changes, Fields::CHANGES)?,
            step: columns.sums(Column::Step, Fields::INTEGRALS)?,
            linear: columns.sums(Column::Linear, Fields::INTEGRALS)?,
            states: columns.states()?,
            sketches: columns.sketches()?,
        })
    }

    /// Makes `state` the next window, of those that were wanted.
    pub(super) fn next(&mut self, state: &mut WindowState) -> Result<(), Malformed> {
        let next = self.next;
        let start = self.frame.start_nanos(self.frame.index(self.at));
        self.next += 1;
        self.at += 1;
        state.boundary = self.boundary.next(next, start)?;
        let fold = &mut state.interior;
        fold.known = self.known;
        fold.counts = self.counts(next)?;
        fold.ends = self.ends(next, start, fold.counts)?;
        fold.extremes = self.extremes(next, fold.counts)?;
        let scaled = at(&self.scaled, next);
        fold.sum = self.sum.get(next, scaled & 1 != 0, fold.counts)?;
        [fold.m2, _] = self.m2.get(next, deviations(fold));
        fold.resets = event_count(at(&self.resets, next), fold)?;
        fold.reset_sum = self.reset_sum.get(next, scaled & 2 != 0, fold.counts)?;
        fold.changes = event_count(at(&self.changes, next), fold)?;
        fold.integrals = Integrals::default();
        if self.known.contains(Fields::INTEGRALS) {
            fold.integrals.step = sum(&self.step, next, predict::step(fold), scaled & 4 != 0);
            fold.integrals.linear = sum(&self.linear, next, predict::linear(fold), scaled & 8 != 0);
        }
        fold.states = self.states.get_mut(next).and_then(Option::take);
        fold.sketch = self.sketches.get_mut(next).and_then(Option::take);
        Ok(())
    }

    fn counts(&self, next: usize) -> Result<Counts, Malformed> {
        let count = |values: &[i64]| {
            let count = u64::try_from(at(values, next)).ok().filter(|count| *count <= COUNT_MAX);
            count.ok_or(Malformed::Invalid("a window has more samples than can be"))
        };
        let [floats, integers, bools, texts] = &self.counts;
        Ok(Counts {
            floats: count(floats)?,
            integers: count(integers)?,
            bools: count(bools)?,
            texts: count(texts)?,
        })
    }

    fn ends(&self, next: usize, start: i64, counts: Counts) -> Result<Option<Ends>, Malformed> {
        if counts.all() == 0 || !self.known.contains(Fields::FIRST_LAST) {
            return Ok(None);
        }
        let width = self.frame.resolution.nanos();
        let (after, before) = (at(&self.first_times, next), at(&self.last_times, next));
        let is_inside = |time: i64| time > 0 && time < width;
        let is_one = counts.all() == 1;
        let lasts = width.saturating_sub(after).saturating_sub(before);
        if !is_inside(after) || !is_inside(before) || lasts < 0 || (lasts == 0) != is_one {
            return Err(Malformed::Invalid("the first or the last sample lies outside of its window"));
        }
        Ok(Some(Ends {
            first: sample(start + after, self.first_values.get(next))?,
            last: sample(start + width - before, self.last_values.get(next))?,
        }))
    }

    fn extremes(&self, next: usize, counts: Counts) -> Result<Option<Extremes>, Malformed> {
        if counts.numbers() == 0 || !self.known.contains(Fields::MIN_MAX) {
            return Ok(None);
        }
        let number = |values: &Values| {
            let number = values.get(next).as_ref().and_then(Number::of);
            number.ok_or(Malformed::Invalid("a window with numbers has no least or greatest"))
        };
        Ok(Some(Extremes { min: number(&self.min)?, max: number(&self.max)? }))
    }
}

fn sample(nanos: i64, value: Option<Value>) -> Result<Sample, Malformed> {
    let time =
        Timestamp::from_nanos(nanos).map_err(|_| Malformed::Invalid("a sample lies outside of time"))?;
    let value = value.ok_or(Malformed::Invalid("a sample has no value"))?;
    Ok(Sample { time, value })
}

/// How often something happened between neighbours.
fn event_count(count: i64, fold: &Fold) -> Result<u64, Malformed> {
    let count = u64::try_from(count).ok().filter(|count| *count <= fold.counts.all());
    count.ok_or(Malformed::Invalid("more changes or resets than samples"))
}

impl Boundary {
    fn next(&mut self, next: usize, start: i64) -> Result<Option<Sample>, Malformed> {
        if !at(&self.present, next) {
            return Ok(None);
        }
        let value = self.values.get(self.next);
        self.next += 1;
        sample(start, value).map(Some)
    }
}

impl NumberSums {
    fn get(&self, next: usize, scaled: bool, counts: Counts) -> Result<NumberSum, Malformed> {
        let integers = (i128::from(at(&self.high, next)) << 64) + i128::from(at(&self.low, next));
        let most = u128::from(counts.numbers()) << 63;
        if integers.unsigned_abs() > most {
            return Err(Malformed::Invalid("a sum is larger than its numbers can be"));
        }
        Ok(NumberSum { integers, floats: sum(&self.floats, next, 0.0, scaled) })
    }
}

fn sum(sums: &Sums, next: usize, predicted: f64, scaled: bool) -> Sum {
    let [high, low] = sums.get(next, Known::Sum { predicted });
    Sum::from_parts(SumParts { high, low, scaled })
}
