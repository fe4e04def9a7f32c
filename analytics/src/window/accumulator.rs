//! What a window says about the samples in it, gathered run by run.
//!
//! Integers stay exact throughout; doubles are summed with compensation; a sum that mixes them is rounded once.

use std::cmp::Ordering;
use std::sync::Arc;

use tidemill_store::model::Value;
use tidemill_store::read::Sample;

use tidemill_store::rollup::{Number, Sum, halves, nearest, quotient};

/// Something to know about a window's samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    /// The mean of the numbers.
    Avg,
    /// The least number; NaN only where there is nothing else.
    Min,
    /// The greatest number; NaN only where there is nothing else.
    Max,
    /// The sum of the numbers: an exact integer where all of them are.
    Sum,
    /// How many samples, whatever their kind.
    Count,
    /// The earliest value, whatever its kind.
    First,
    /// The latest value, whatever its kind.
    Last,
}

impl Aggregate {
    /// All of them, in the order in which they are listed to users.
    pub const ALL: [Self; 7] =
        [Self::Avg, Self::Min, Self::Max, Self::Sum, Self::Count, Self::First, Self::Last];

    /// Its name in requests and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Sum => "sum",
            Self::Count => "count",
            Self::First => "first",
            Self::Last => "last",
        }
    }
}

/// The answer to an [`Aggregate`].
#[derive(Debug, Clone)]
pub enum Answer {
    /// There is none: no sample, or no number among them.
    Null,
    /// An exact integer.
    Integer(i128),
    /// A double.
    Float(f64),
    /// A boolean, from first or last.
    Bool(bool),
    /// Text, from first or last.
    Text(Arc<str>),
}

impl From<Number> for Answer {
    fn from(number: Number) -> Self {
        match number {
            Number::Integer(integer) => Self::Integer(i128::from(integer)),
            Number::Float(float) => Self::Float(float),
        }
    }
}

impl From<&Value> for Answer {
    fn from(value: &Value) -> Self {
        match value {
            Value::F64(float) => Self::Float(*float),
            Value::I64(integer) => Self::Integer(i128::from(*integer)),
            Value::Bool(truth) => Self::Bool(*truth),
            Value::Text(text) => Self::Text(Arc::clone(text)),
        }
    }
}

/// The samples of one series in one window, taken in the order of time.
#[derive(Debug, Clone, Default)]
pub struct Accumulator {
    count: u64,
    integers: u64,
    floats: u64,
    integer_sum: i128,
    float_sum: Sum,
    extremes: Option<Extremes>,
    ends: Option<Ends>,
}

#[derive(Debug, Clone, Copy)]
struct Extremes {
    min: Number,
    max: Number,
}

#[derive(Debug, Clone)]
struct Ends {
    first: Sample,
    last: Sample,
}

impl Accumulator {
    /// Takes samples in the order of time, later than all before them.
    pub fn extend(&mut self, samples: &[Sample]) {
        let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return };
        match &mut self.ends {
            Some(ends) => ends.last = last.clone(),
            None => self.ends = Some(Ends { first: first.clone(), last: last.clone() }),
        }
        self.count += u64::try_from(samples.len()).unwrap_or(u64::MAX);
        for number in samples.iter().filter_map(|sample| Number::of(&sample.value)) {
            self.push_number(number);
        }
    }

    fn push_number(&mut self, number: Number) {
        match number {
            Number::Integer(integer) => {
                self.integers += 1;
                self.integer_sum += i128::from(integer);
            }
            Number::Float(float) => {
                self.floats += 1;
                self.float_sum.add(float);
            }
        }
        let extremes = self.extremes.get_or_insert(Extremes { min: number, max: number });
        extremes.min = extreme(extremes.min, number, Ordering::Less);
        extremes.max = extreme(extremes.max, number, Ordering::Greater);
    }

    /// How many samples were taken.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The answer to `aggregate`.
    pub fn answer(&self, aggregate: Aggregate) -> Answer {
        let extremes = self.extremes.as_ref();
        let ends = self.ends.as_ref();
        let answer = match aggregate {
            Aggregate::Avg => self.mean().map(Answer::Float),
            Aggregate::Min => extremes.map(|extremes| extremes.min.into()),
            Aggregate::Max => extremes.map(|extremes| extremes.max.into()),
            Aggregate::Sum => self.sum(),
            Aggregate::Count => Some(Answer::Integer(i128::from(self.count))),
            Aggregate::First => ends.map(|ends| Answer::from(&ends.first.value)),
            Aggregate::Last => ends.map(|ends| Answer::from(&ends.last.value)),
        };
        answer.unwrap_or(Answer::Null)
    }

    fn sum(&self) -> Option<Answer> {
        match (self.integers, self.floats) {
            (0, 0) => None,
            (_, 0) => Some(Answer::Integer(self.integer_sum)),
            (_, _) => Some(Answer::Float(self.mixed_sum().total())),
        }
    }

    fn mean(&self) -> Option<f64> {
        let count = self.integers + self.floats;
        match (count, self.floats) {
            (0, _) => None,
            (_, 0) => Some(quotient(self.integer_sum, count)),
            (_, _) => Some(self.mixed_sum().mean(nearest(i128::from(count)))),
        }
    }

    fn mixed_sum(&self) -> Sum {
        let mut sum = self.float_sum;
        if self.integers > 0 {
            let (high, low) = halves(self.integer_sum);
            sum.add(high);
            sum.add(low);
        }
        sum
    }
}

/// The one of two numbers that is `wanted` of the other; the earlier on a tie; NaN gives way to any number.
fn extreme(kept: Number, new: Number, wanted: Ordering) -> Number {
    if kept.is_nan() || new.compare(kept) == Some(wanted) { new } else { kept }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidemill_store::model::Timestamp;

    use super::*;

    fn accumulate(values: &[Value]) -> Accumulator {
        let sample = |(at, value): (i64, &Value)| Sample {
            time: Timestamp::from_nanos(at).unwrap(),
            value: value.clone(),
        };
        let samples: Vec<Sample> = (0..).zip(values).map(sample).collect();
        let mut accumulator = Accumulator::default();
        let (some, more) = samples.split_at(samples.len() / 3);
        accumulator.extend(some);
        accumulator.extend(more);
        accumulator
    }

    fn answers(values: &[Value]) -> Vec<String> {
        let accumulator = accumulate(values);
        Aggregate::ALL.iter().map(|aggregate| format!("{:?}", accumulator.answer(*aggregate))).collect()
    }

    #[test]
    fn integers_stay_integers_even_where_a_double_would_round() {
        assert_eq!(
            answers(&[Value::I64(i64::MAX), Value::I64(i64::MAX), Value::I64(1)]),
            [
                "Float(6.148914691236517e18)",
                "Integer(1)",
                "Integer(9223372036854775807)",
                "Integer(18446744073709551615)",
                "Integer(3)",
                "Integer(9223372036854775807)",
                "Integer(1)"
            ]
        );
    }

    #[test]
    fn booleans_count_as_zero_and_one_but_come_back_as_themselves() {
        assert_eq!(
            answers(&[Value::Bool(true), Value::Bool(false)]),
            [
                "Float(0.5)",
                "Integer(0)",
                "Integer(1)",
                "Integer(1)",
                "Integer(2)",
                "Bool(true)",
                "Bool(false)"
            ]
        );
    }

    #[test]
    fn text_has_a_count_and_ends_and_no_numbers() {
        let text = |text: &str| Value::Text(text.into());
        assert_eq!(
            answers(&[text("on"), text("off")]),
            ["Null", "Null", "Null", "Null", "Integer(2)", "Text(\"on\")", "Text(\"off\")"]
        );
        let mixed = answers(&[text("on"), Value::F64(2.0), Value::I64(4)]);
        assert_eq!(&mixed[..5], ["Float(3.0)", "Float(2.0)", "Integer(4)", "Float(6.0)", "Integer(3)"]);
    }

    #[test]
    fn nan_is_in_sums_and_means_and_an_extreme_only_when_alone() {
        let values = [Value::F64(f64::NAN), Value::F64(1.0), Value::F64(-1.0)];
        assert_eq!(answers(&values)[..4], ["Float(NaN)", "Float(-1.0)", "Float(1.0)", "Float(NaN)"]);
        assert_eq!(answers(&[Value::F64(f64::NAN)])[1..3], ["Float(NaN)", "Float(NaN)"]);
    }

    #[test]
    fn an_empty_window_counts_zero_and_knows_nothing_else() {
        assert_eq!(answers(&[]), ["Null", "Null", "Null", "Null", "Integer(0)", "Null", "Null"]);
    }

    proptest! {
        #[test]
        fn answers_equal_a_naive_fold_over_integers(values in prop::collection::vec(any::<i64>(), 1..200)) {
            let taken = accumulate(&values.iter().map(|v| Value::I64(*v)).collect::<Vec<_>>());
            let integer = |aggregate| {
                let answer = taken.answer(aggregate);
                if let Answer::Integer(integer) = answer { integer } else { panic!("{answer:?}") }
            };
            prop_assert_eq!(integer(Aggregate::Min), i128::from(*values.iter().min().unwrap()));
            prop_assert_eq!(integer(Aggregate::Max), i128::from(*values.iter().max().unwrap()));
            prop_assert_eq!(integer(Aggregate::Sum), values.iter().map(|v| i128::from(*v)).sum::<i128>());
            prop_assert_eq!(integer(Aggregate::First), i128::from(values[0]));
            prop_assert_eq!(integer(Aggregate::Last), i128::from(values[values.len() - 1]));
            prop_assert_eq!(taken.count(), u64::try_from(values.len()).unwrap());
        }

        #[test]
        fn answers_equal_a_naive_fold_over_doubles(values in prop::collection::vec(-1e9..1e9_f64, 1..200)) {
            let taken = accumulate(&values.iter().map(|v| Value::F64(*v)).collect::<Vec<_>>());
            let float = |aggregate| {
                let answer = taken.answer(aggregate);
                if let Answer::Float(float) = answer { float } else { panic!("{answer:?}") }
            };
            let naive: f64 = values.iter().sum();
            prop_assert_eq!(float(Aggregate::Min).to_bits(), values.iter().copied().fold(f64::INFINITY, f64::min).to_bits());
            prop_assert_eq!(float(Aggregate::Max).to_bits(), values.iter().copied().fold(f64::NEG_INFINITY, f64::max).to_bits());
            prop_assert!((float(Aggregate::Sum) - naive).abs() <= 1e-3);
            prop_assert!((float(Aggregate::Avg) - naive / nearest(i128::from(taken.count()))).abs() <= 1e-5);
        }
    }
}
