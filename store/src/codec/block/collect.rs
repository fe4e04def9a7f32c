//! Collecting runs for a pack: values go into the column of their metric and form, times into a column of their
//! own, once for all series of a source that share them.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::codec::column::decimal::{self, Exponent};
use crate::codec::convert::{index, position};
use crate::codec::{Run, Values};
use crate::model::{Metric, SourceId, Timestamp, Value, ValueKind};

use super::form::Form;

/// Sources on their way into a pack.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) sources: Vec<Source>,
    /// Column and axis of each series, source by source.
    pub(super) series: Vec<(u32, u32)>,
    /// Where the times of each axis end, source by source.
    pub(super) axis_ends: Vec<u32>,
    /// Nanoseconds.
    pub(super) times: Vec<i64>,
    pub(super) metrics: Vec<Metric>,
    pub(super) columns: Vec<Column>,
    positions: HashMap<Metric, u32>,
    /// The column that the last run of each metric went to.
    last_columns: Vec<Option<usize>>,
    /// The metric asked for after this one is most often the next.
    expected: usize,
}

/// A source: what was collected up to its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) id: SourceId,
    pub(super) series_end: usize,
    pub(super) axes_end: usize,
    pub(super) samples: usize,
    pub(super) min_time: Timestamp,
    pub(super) max_time: Timestamp,
}

/// Values of one metric in one form.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) metric: u32,
    pub(super) form: Form,
    /// The position of the source of each run, and where its values end.
    pub(super) runs: Vec<(u32, u32)>,
    /// What stands for the values; none where the form is mixed.
    pub(super) integers: Vec<i64>,
    pub(super) odd: Vec<Odd>,
    pub(super) texts: Vec<Arc<str>>,
    text_positions: HashMap<Arc<str>, u32>,
    pub(super) mixed: Vec<Value>,
}

/// A value that its integer does not give back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Odd {
    /// Position in the column.
    pub(super) at: u32,
    pub(super) kind: ValueKind,
    /// The integer, or the bits of the double.
    pub(super) raw: i64,
}

impl Column {
    fn new(metric: u32, form: Form) -> Self {
        Self {
            metric,
            form,
            runs: Vec::new(),
            integers: Vec::new(),
            odd: Vec::new(),
            texts: Vec::new(),
            text_positions: HashMap::new(),
            mixed: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.integers.len() + self.mixed.len()
    }

    fn cut(&mut self, len: usize) {
        self.integers.truncate(len);
        while self.odd.last().is_some_and(|odd| index(odd.at) >= len) {
            self.odd.pop();
        }
    }

    fn push_texts(&mut self, texts: &[Arc<str>]) {
        let mut last: Option<(&Arc<str>, u32)> = None;
        for text in texts {
            let at = match last {
                Some((before, at)) if before == text => at,
                _ => *self.text_positions.entry(Arc::clone(text)).or_insert_with(|| {
                    self.texts.push(Arc::clone(text));
                    position(self.texts.len() - 1)
                }),
            };
            last = Some((text, at));
            self.integers.push(at.into());
        }
    }

    /// Adds doubles as decimals; false, and nothing added, where too many are odd.
    fn push_decimals(&mut self, values: &[f64], exponent: Exponent) -> bool {
        let (start, odd_start) = (self.integers.len(), self.odd.len());
        let scale = exponent.scale();
        let mut last = 0;
        for &value in values {
            last = scale.scaled(value).unwrap_or_else(|| {
                let raw = value.to_bits().cast_signed();
                self.odd.push(Odd { at: position(self.integers.len()), kind: ValueKind::F64, raw });
                scale.nearest(value).unwrap_or(last)
            });
            self.integers.push(last);
        }
        let fits = (self.odd.len() - odd_start) * 8 <= values.len();
        if !fits {
            self.cut(start);
        }
        fits
    }

    /// Adds integers and doubles; false, and nothing added, where too many are odd.
    fn push_numbers(&mut self, values: &[Value], exponent: Exponent) -> bool {
        let (start, odd_start) = (self.integers.len(), self.odd.len());
        let scale = exponent.scale();
        let mut last = 0;
        for value in values {
            let (kind, raw, exact, near) = match *value {
                Value::I64(value) => (ValueKind::I64, value, scale.scaled_i64(value), None),
                Value::F64(value) => {
                    let raw = value.to_bits().cast_signed();
                    (ValueKind::F64, raw, scale.scaled(value), scale.nearest(value))
                }
                Value::Bool(_) | Value::Text(_) => continue,
            };
            let expected = |scaled: i64| scale.is_whole(scaled) == (kind == ValueKind::I64);
            if !exact.is_some_and(expected) {
                self.odd.push(Odd { at: position(self.integers.len()), kind, raw });
            }
            last = exact.or(near).unwrap_or(last);
            self.integers.push(last);
        }
        let fits = (self.odd.len() - odd_start) * 8 <= values.len();
        if !fits {
            self.cut(start);
        }
        fits
    }
}

impl Collected {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Adds a source with its series, of which at least one has samples.
    pub(super) fn push(&mut self, id: SourceId, series: &[(Metric, Run)]) {
        let mut axes: Vec<&[Timestamp]> = Vec::new();
        let source = position(self.sources.len());
        let mut samples = 0;
        for (metric, run) in series.iter().filter(|(_, run)| !run.is_empty()) {
            let known = axes.iter().position(|times| *times == run.times.as_slice());
            let number = known.unwrap_or_else(|| {
                self.times.extend(run.times.iter().map(|time| time.nanos()));
                self.axis_ends.push(position(self.times.len()));
                axes.push(&run.times);
                axes.len() - 1
            });
            let metric = self.metric(metric);
            let column = self.push_values(metric, &run.values);
            if let Some(column) = self.columns.get_mut(column) {
                column.runs.push((source, position(column.len())));
            }
            self.series.push((position(column), position(number)));
            samples += run.len();
        }
        let min_time = axes.iter().filter_map(|times| times.first()).min().copied();
        let max_time = axes.iter().filter_map(|times| times.last()).max().copied();
        self.sources.push(Source {
            id,
            series_end: self.series.len(),
            axes_end: self.axis_ends.len(),
            samples,
            min_time: min_time.unwrap_or(Timestamp::EPOCH),
            max_time: max_time.unwrap_or(Timestamp::EPOCH),
        });
    }

    fn metric(&mut self, metric: &Metric) -> usize {
        let at = match self.metrics.get(self.expected) {
            Some(expected) if expected == metric => self.expected,
            _ => index(*self.positions.entry(metric.clone()).or_insert_with(|| {
                self.metrics.push(metric.clone());
                self.last_columns.push(None);
                position(self.metrics.len() - 1)
            })),
        };
        self.expected = if at + 1 < self.metrics.len() { at + 1 } else { 0 };
        at
    }

    /// Gives the column that the values went to.
    fn push_values(&mut self, metric: usize, values: &Values) -> usize {
        match values {
            Values::F64(values) => self.push_doubles(metric, values),
            Values::Mixed(values) => self.push_mixed(metric, values),
            Values::I64(values) => self.push_to(metric, Form::Integers, |column| {
                column.integers.extend_from_slice(values);
            }),
            Values::Bool(values) => self.push_to(metric, Form::Booleans, |column| {
                column.integers.extend(values.iter().map(|&value| i64::from(value)));
            }),
            Values::Text(values) => self.push_to(metric, Form::Texts, |column| column.push_texts(values)),
        }
    }

    fn push_doubles(&mut self, metric: usize, values: &[f64]) -> usize {
        if let Some((at, exponent)) = self.last_exponent(metric)
            && let Some(column) = self.columns.get_mut(at)
        {
            let start = column.integers.len();
            if column.push_decimals(values, exponent) {
                let added = column.integers.get(start..).unwrap_or_default();
                if is_exponent_needed(added, exponent) {
                    return at;
                }
                column.cut(start);
            }
        }
        if let Some(exponent) = decimal::choose(values.iter().copied()) {
            let mut fits = false;
            let at = self.push_to(metric, Form::Decimals(exponent), |column| {
                fits = column.push_decimals(values, exponent);
            });
            if fits {
                return at;
            }
        }
        self.push_to(metric, Form::Bits, |column| {
            column.integers.extend(values.iter().map(|value| value.to_bits().cast_signed()));
        })
    }

    fn push_mixed(&mut self, metric: usize, values: &[Value]) -> usize {
        let is_number = |value: &Value| matches!(value, Value::I64(_) | Value::F64(_));
        if values.iter().all(is_number) {
            let doubles: Vec<f64> = values
                .iter()
                .filter_map(|value| match value {
                    Value::F64(value) => Some(*value),
                    Value::I64(_) | Value::Bool(_) | Value::Text(_) => None,
                })
                .collect();
            if let Some(exponent) = decimal::choose(doubles.into_iter()) {
                let mut fits = false;
                let at = self.push_to(metric, Form::Numbers(exponent), |column| {
                    fits = column.push_numbers(values, exponent);
                });
                if fits {
                    return at;
                }
            }
        }
        self.push_to(metric, Form::Mixed, |column| column.mixed.extend_from_slice(values))
    }

    fn last_exponent(&self, metric: usize) -> Option<(usize, Exponent)> {
        let at = self.last_columns.get(metric).copied().flatten()?;
        match self.columns.get(at)?.form {
            Form::Decimals(exponent) => Some((at, exponent)),
            Form::Integers | Form::Bits | Form::Numbers(_) | Form::Booleans | Form::Texts | Form::Mixed => {
                None
            }
        }
    }

    /// Lets `push` add to the column of a metric in a form, which it gives.
    fn push_to(&mut self, metric: usize, form: Form, push: impl FnOnce(&mut Column)) -> usize {
        let number = position(metric);
        let is_it = |column: &Column| column.metric == number && column.form == form;
        let last = self.last_columns.get(metric).copied().flatten();
        let last = last.filter(|&at| self.columns.get(at).is_some_and(is_it));
        let at = last.or_else(|| self.columns.iter().position(is_it)).unwrap_or_else(|| {
            self.columns.push(Column::new(number, form));
            self.columns.len() - 1
        });
        self.last_columns.get_mut(metric).into_iter().for_each(|last| *last = Some(at));
        if let Some(column) = self.columns.get_mut(at) {
            push(column);
        }
        at
    }
}

/// A run as short as this stays in a column that has one decimal more than it needs: another would cost more.
const SHORT: usize = 32;

/// Whether scaled values would not as well be scaled by less.
fn is_exponent_needed(scaled: &[i64], exponent: Exponent) -> bool {
    exponent.get() == 0
        || scaled.iter().any(|scaled| scaled % 10 != 0)
        || scaled.len() <= SHORT && scaled.iter().any(|scaled| scaled % 100 != 0)
        || scaled.iter().zip(scaled.iter().skip(1)).all(|(a, b)| a == b)
}
