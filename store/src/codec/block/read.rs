//! Reading a [`Pack`]: the run of one series in a range of time, from the pages that it touches.

use std::ops::Range;
use std::sync::Arc;

use crate::codec::bits;
use crate::codec::bytes::{Malformed, Reader};
use crate::codec::column::decimal::Scale;
use crate::codec::column::integer::{Integers, ONE_RUN};
use crate::codec::column::{self, Extent};
use crate::codec::convert::index;
use crate::codec::{Even, Piece, Run, Times, Values};
use crate::model::{Metric, SourceId, TimeRange, Timestamp, Value};

use super::BlockError;
use super::decode::{Column, Pack};
use super::form::{self, Form};

/// Memory for one series at a time.
#[derive(Debug)]
pub struct Scratch {
    times: Vec<Timestamp>,
    integers: Vec<i64>,
    values: Values,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { times: Vec::new(), integers: Vec::new(), values: Values::EMPTY }
    }
}

/// The samples of a series in a range.
enum Found {
    /// There are none.
    Nothing,
    /// Their times are even, and not in the scratch.
    Even(Even),
    /// Times and values are in the scratch.
    Listed,
}

/// A page of values.
#[derive(Debug)]
pub(super) struct PageValues {
    integers: Vec<i64>,
    odd: Vec<Odd>,
    /// Instead of integers, where the form is mixed.
    mixed: Option<Values>,
}

/// A value that its integer does not give back.
#[derive(Debug, Clone, Copy)]
struct Odd {
    at: usize,
    is_double: bool,
    /// To add to what the integer gives: to the integer, or to the bits of the double.
    difference: i64,
}

impl Pack {
    /// The sources, ascending; never none.
    pub fn sources(&self) -> &[SourceId] {
        &self.sources
    }

    /// The position of a source, where it is in the pack.
    pub fn position(&self, source: SourceId) -> Option<usize> {
        self.sources.binary_search(&source).ok()
    }

    /// How many samples.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The metrics of a source, in the order in which they were pushed; none past the last source.
    pub fn metrics(&self, source_position: usize) -> impl Iterator<Item = &Metric> {
        let series = self.shape(source_position).map(|shape| shape.series.as_slice()).unwrap_or_default();
        series.iter().filter_map(|&(column, _)| {
            let column = self.columns.get(index(column))?;
            self.metrics.get(index(column.metric))
        })
    }

    /// The samples of one metric of one source in a range of time; `None` where there are none.
    pub fn run(
        &self,
        source_position: usize,
        metric: &Metric,
        range: TimeRange,
    ) -> Result<Option<Run>, BlockError> {
        match self.metrics(source_position).position(|known| known == metric) {
            Some(series) => self.run_at(source_position, series, range),
            None => Ok(None),
        }
    }

    /// The samples of all metrics of a source in a range of time, those of them that have any.
    pub fn runs(&self, source_position: usize, range: TimeRange) -> Result<Vec<(Metric, Run)>, BlockError> {
        let mut runs = Vec::new();
        for (series, metric) in self.metrics(source_position).enumerate() {
            let run = self.run_at(source_position, series, range)?;
            runs.extend(run.map(|run| (metric.clone(), run)));
        }
        Ok(runs)
    }

    /// [`Pack::run`] of the metric at this position among those of the source.
    pub fn run_at(
        &self,
        source_position: usize,
        metric_position: usize,
        range: TimeRange,
    ) -> Result<Option<Run>, BlockError> {
        let mut scratch = Scratch::default();
        let times = match self.read(source_position, metric_position, range, &mut scratch)? {
            Found::Nothing => return Ok(None),
            Found::Even(even) => even.iter().collect(),
            Found::Listed => scratch.times,
        };
        Ok(Some(Run::from_checked(times, scratch.values)))
    }

    /// The same, in memory that is used again.
    pub fn piece_at<'a>(
        &self,
        source_position: usize,
        metric_position: usize,
        range: TimeRange,
        scratch: &'a mut Scratch,
    ) -> Result<Option<Piece<'a>>, BlockError> {
        let found = self.read(source_position, metric_position, range, scratch)?;
        let Scratch { times, values, .. } = scratch;
        let times = match found {
            Found::Nothing => return Ok(None),
            Found::Even(even) => Times::Even(even),
            Found::Listed => Times::Listed(times),
        };
        Ok(Some(Piece { times, values }))
    }

    /// Reads the samples of a series in a range into `scratch`.
    fn read(
        &self,
        source_position: usize,
        metric_position: usize,
        range: TimeRange,
        scratch: &mut Scratch,
    ) -> Result<Found, BlockError> {
        let Some(place) = self.place(source_position, metric_position) else { return Ok(Found::Nothing) };
        let Some(column) = self.columns.get(place.column) else { return Ok(Found::Nothing) };
        let (even, wanted) = match self.times.even(&self.body, &place)? {
            Some(all) => {
                let wanted = all.before(range.start().nanos())..all.before(range.end().nanos());
                (all.within(range), wanted)
            }
            None => (None, self.times.read(&self.body, &place, range, &mut scratch.times)?),
        };
        if wanted.is_empty() {
            return Ok(Found::Nothing);
        }
        let values = place.values_start + wanted.start..place.values_start + wanted.end;
        column.read(&self.body, values, &mut scratch.integers, &mut scratch.values)?;
        Ok(even.map_or(Found::Listed, Found::Even))
    }
}

pub(super) fn bytes_of<'a>(body: &'a [u8], pages: &[Range<usize>], page: usize) -> &'a [u8] {
    pages.get(page).and_then(|place| body.get(place.clone())).unwrap_or_default()
}

impl Column {
    /// Reads the values at a range of the column into `values`, in place of what was there.
    fn read(
        &self,
        body: &[u8],
        range: Range<usize>,
        integers: &mut Vec<i64>,
        values: &mut Values,
    ) -> Result<(), Malformed> {
        self.clear(range.len(), values);
        let mut page = self.cuts.page_of(range.start);
        while let Some(cut) = self.cuts.pages().get(page).filter(|cut| cut.values.start < range.end) {
            let start = range.start.max(cut.values.start) - cut.values.start;
            let wanted = start..range.end.min(cut.values.end) - cut.values.start;
            if cut.is_of_one_run() {
                let decoded = self.page(body, page, std::mem::take(integers))?;
                self.append(&decoded, wanted, values);
                *integers = decoded.integers;
            } else if let Some(kept) = self.decoded.get(page) {
                let decoded = kept.get_or_init(|| self.page(body, page, Vec::new()).map(Arc::new));
                self.append(decoded.as_ref().map_err(|error| *error)?, wanted, values);
            }
            page += 1;
        }
        Ok(())
    }

    /// No values of the column's kind, in memory that is used again where they are doubles.
    fn clear(&self, capacity: usize, values: &mut Values) {
        match (values, self.form) {
            (Values::F64(values), Form::Decimals(_) | Form::Bits) => {
                values.clear();
                values.reserve(capacity);
            }
            (values, _) => *values = self.empty(capacity),
        }
    }

    /// No values of the column's kind.
    fn empty(&self, capacity: usize) -> Values {
        match self.form {
            Form::Integers => Values::I64(Vec::with_capacity(capacity)),
            Form::Decimals(_) | Form::Bits => Values::F64(Vec::with_capacity(capacity)),
            Form::Booleans => Values::Bool(Vec::with_capacity(capacity)),
            Form::Texts => Values::Text(Vec::with_capacity(capacity)),
            Form::Numbers(_) | Form::Mixed => Values::Mixed(Vec::with_capacity(capacity)),
        }
    }

    /// A page, its integers in memory that held others.
    fn page(&self, body: &[u8], at: usize, integers: Vec<i64>) -> Result<PageValues, Malformed> {
        let bytes = bytes_of(body, &self.pages, at);
        let mut page = PageValues { integers, odd: Vec::new(), mixed: None };
        let Some(cut) = self.cuts.pages().get(at) else { return Ok(page) };
        let n = cut.values.len();
        let Some(stream) = &self.stream else {
            page.mixed = Some(column::decode(bytes, &Extent { values: n, starts: ONE_RUN, wanted: 0..n })?);
            return Ok(page);
        };
        let mut reader = Reader::new(bytes);
        if self.form.is_patched() {
            page.odd = parse_odd(self.form, n, &mut reader)?;
        }
        page.integers.resize(n, 0);
        stream.page(cut, &self.cuts, &mut reader, &mut page.integers)?;
        if reader.remaining() > 0 {
            return Err(Malformed::Invalid("a page goes on after its values"));
        }
        let texts = i64::try_from(self.texts.len()).unwrap_or(i64::MAX);
        if self.form == Form::Texts && !page.integers.iter().all(|at| (0..texts).contains(at)) {
            return Err(Malformed::Invalid("a text is not among those of its column"));
        }
        Ok(page)
    }

    /// Appends the wanted values of a page.
    fn append(&self, page: &PageValues, wanted: Range<usize>, values: &mut Values) {
        let integers = page.integers.get(wanted.clone()).unwrap_or_default();
        let odd = page.odd.iter().filter(|odd| wanted.contains(&odd.at));
        match (self.form, values) {
            (Form::Integers, Values::I64(values)) => values.extend_from_slice(integers),
            (Form::Booleans, Values::Bool(values)) => values.extend(integers.iter().map(|&bit| bit != 0)),
            (Form::Bits, Values::F64(values)) => {
                let bits = |&integer: &i64| form::unordered(integer, self.zeros).cast_unsigned();
                values.extend(integers.iter().map(|integer| f64::from_bits(bits(integer))));
            }
            (Form::Decimals(exponent), Values::F64(values)) => {
                let (start, scale) = (values.len(), exponent.scale());
                values.extend(integers.iter().map(|&integer| scale.unscaled(integer)));
                for odd in odd {
                    if let Some(value) = values.get_mut(start + odd.at - wanted.start) {
                        *value = odd.double(*value);
                    }
                }
            }
            (Form::Numbers(exponent), Values::Mixed(values)) => {
                let (start, scale) = (values.len(), exponent.scale());
                values.extend(integers.iter().map(|&integer| number(scale, integer)));
                for odd in odd {
                    let integer = page.integers.get(odd.at).copied().unwrap_or(0);
                    if let Some(value) = values.get_mut(start + odd.at - wanted.start) {
                        *value = odd.number(scale, integer);
                    }
                }
            }
            (Form::Texts, Values::Text(values)) => {
                let text = |&at: &i64| usize::try_from(at).ok().and_then(|at| self.texts.get(at));
                values.extend(integers.iter().filter_map(text).map(Arc::clone));
            }
            (_, Values::Mixed(values)) => {
                let all = page.mixed.iter().flat_map(Values::iter);
                values.extend(all.skip(wanted.start).take(wanted.len()));
            }
            (_, Values::I64(_) | Values::F64(_) | Values::Bool(_) | Values::Text(_)) => {}
        }
    }
}

/// The number that an integer stands for, if it is not odd.
fn number(scale: Scale, integer: i64) -> Value {
    if scale.is_whole(integer) {
        Value::I64(scale.unscaled_i64(integer))
    } else {
        Value::F64(scale.unscaled(integer))
    }
}

impl Odd {
    fn number(self, scale: Scale, integer: i64) -> Value {
        if self.is_double {
            Value::F64(self.double(scale.unscaled(integer)))
        } else {
            Value::I64(scale.unscaled_i64(integer).wrapping_add(self.difference))
        }
    }

    fn double(self, near: f64) -> f64 {
        f64::from_bits(near.to_bits().wrapping_add(self.difference.cast_unsigned()))
    }
}

fn parse_odd(form: Form, n: usize, reader: &mut Reader<'_>) -> Result<Vec<Odd>, Malformed> {
    let count = reader.count(1, "odd values")?;
    let mut positions = Vec::new();
    Integers::parse(count, 1, reader)?.decode(0..count, ONE_RUN, &mut positions);
    let mut is_double = vec![true; count];
    if matches!(form, Form::Numbers(_)) {
        let packed = reader.take(bits::packed_bytes(count, 1)?, "odd values")?;
        is_double = bits::unpack(packed, 1, 0..count).map(|bit| bit != 0).collect();
    }
    let mut odd: Vec<Odd> = Vec::with_capacity(count);
    for (at, is_double) in positions.into_iter().zip(is_double) {
        let at = usize::try_from(at).ok().filter(|&at| at < n && odd.last().is_none_or(|odd| odd.at < at));
        let at = at.ok_or(Malformed::Invalid("an odd value has no place on its page"))?;
        odd.push(Odd { at, is_double, difference: reader.varint_signed("odd values")? });
    }
    Ok(odd)
}
