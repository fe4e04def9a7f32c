//! What a window says about the samples in it: the answer that a fold gives to an aggregate.
//!
//! Integers stay exact throughout; doubles are summed with compensation; a sum that mixes them is rounded once.

use std::sync::Arc;
use std::time::Duration;

use tidemill_store::model::{Sample, Value};
use tidemill_store::rollup::{Fields, Fold, Number, State, Total};

/// Something to know about a window's samples. Booleans are the numbers 0 and 1; text is no number.
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
    /// The standard deviation of the numbers, as a population.
    Stddev,
    /// The variance of the numbers, as a population.
    Stdvar,
    /// How much a counter grew from the first to the last sample, resets to 0 included; none where there is text.
    Increase,
    /// The increase per second between the first and the last sample.
    Rate,
    /// How often a number was below the one before it.
    Resets,
    /// How often the value was another than before, whatever its kind.
    Changes,
    /// The area under the numbers in value · seconds, each held until the next sample; nothing after the last.
    Integral,
    /// The area under straight lines between the numbers, in value · seconds.
    LinearIntegral,
    /// The mean of the numbers weighted by the time that each was held; of one sample, its value.
    TimeWeightedAvg,
    /// How many seconds each boolean or text was held, until the next sample; none where there are too many of them.
    Durations,
    /// The median, within 1 %.
    P50,
    /// The 90th percentile, within 1 %.
    P90,
    /// The 95th percentile, within 1 %.
    P95,
    /// The 99th percentile, within 1 %.
    P99,
}

impl Aggregate {
    /// All of them, in the order in which they are listed to users.
    pub const ALL: [Self; 21] = [
        Self::Avg,
        Self::Min,
        Self::Max,
        Self::Sum,
        Self::Count,
        Self::First,
        Self::Last,
        Self::Stddev,
        Self::Stdvar,
        Self::Increase,
        Self::Rate,
        Self::Resets,
        Self::Changes,
        Self::Integral,
        Self::LinearIntegral,
        Self::TimeWeightedAvg,
        Self::Durations,
        Self::P50,
        Self::P90,
        Self::P95,
        Self::P99,
    ];

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
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Increase => "increase",
            Self::Rate => "rate",
            Self::Resets => "resets",
            Self::Changes => "changes",
            Self::Integral => "integral",
            Self::LinearIntegral => "linear_integral",
            Self::TimeWeightedAvg => "time_weighted_avg",
            Self::Durations => "durations",
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P95 => "p95",
            Self::P99 => "p99",
        }
    }

    /// What a fold must know to answer it.
    pub const fn fields(self) -> Fields {
        match self {
            Self::Avg | Self::Sum => Fields::SUM,
            Self::Min | Self::Max => Fields::MIN_MAX,
            Self::Count => Fields::COUNT,
            Self::First | Self::Last => Fields::FIRST_LAST,
            Self::Stddev | Self::Stdvar => Fields::M2,
            Self::Increase | Self::Rate | Self::Resets => Fields::RESETS,
            Self::Changes => Fields::CHANGES,
            Self::Integral | Self::LinearIntegral => Fields::INTEGRALS,
            Self::TimeWeightedAvg => Fields::INTEGRALS.with(Fields::SUM),
            Self::Durations => Fields::STATES,
            Self::P50 | Self::P90 | Self::P95 | Self::P99 => Fields::SKETCH,
        }
    }

    /// Its answer; [`Answer::Null`] where the fold has none, or does not know it.
    pub fn of(self, fold: &Fold) -> Answer {
        let number = |number: Option<Number>| number.map(Answer::from);
        let float = |float: Option<f64>| float.map(Answer::Float);
        let count = |count: Option<u64>| count.map(|count| Answer::Integer(count.into()));
        let value = |sample: Option<&Sample>| sample.map(|sample| Answer::from(&sample.value));
        let total = |total: Option<Total>| total.map(Answer::from);
        let answer = match self {
            Self::Avg => float(fold.mean()),
            Self::Min => number(fold.min()),
            Self::Max => number(fold.max()),
            Self::Sum => total(fold.sum()),
            Self::Count => count(Some(fold.count())),
            Self::First => value(fold.first()),
            Self::Last => value(fold.last()),
            Self::Stddev => float(fold.stddev()),
            Self::Stdvar => float(fold.variance()),
            Self::Increase => total(fold.increase()),
            Self::Rate => float(rate(fold)),
            Self::Resets => count(fold.resets()),
            Self::Changes => count(fold.changes()),
            Self::Integral => float(fold.step_integral()),
            Self::LinearIntegral => float(fold.linear_integral()),
            Self::TimeWeightedAvg => float(time_weighted_avg(fold)),
            Self::Durations => durations(fold),
            Self::P50 => float(fold.quantile(0.5)),
            Self::P90 => float(fold.quantile(0.9)),
            Self::P95 => float(fold.quantile(0.95)),
            Self::P99 => float(fold.quantile(0.99)),
        };
        answer.unwrap_or(Answer::Null)
    }
}

/// `None` where first and last are one sample.
fn rate(fold: &Fold) -> Option<f64> {
    let span = fold.duration().filter(|span| !span.is_zero())?;
    Some(fold.increase()?.nearest() / span.as_secs_f64())
}

fn time_weighted_avg(fold: &Fold) -> Option<f64> {
    match fold.duration() {
        Some(span) if !span.is_zero() => Some(fold.step_integral()? / span.as_secs_f64()),
        Some(_) => fold.mean(),
        None => None,
    }
}

fn durations(fold: &Fold) -> Option<Answer> {
    let spans = fold.states()?.ok()?;
    Some(Answer::Durations(spans.iter().map(|span| (span.state.clone(), span.held)).collect()))
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
    /// How long each state was held, ascending by state.
    Durations(Vec<(State, Duration)>),
}

impl From<Number> for Answer {
    fn from(number: Number) -> Self {
        match number {
            Number::Integer(integer) => Self::Integer(i128::from(integer)),
            Number::Float(float) => Self::Float(float),
        }
    }
}

impl From<Total> for Answer {
    fn from(total: Total) -> Self {
        match total {
            Total::Integer(integer) => Self::Integer(integer),
            Total::Float(float) => Self::Float(float),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidemill_store::model::Timestamp;
    use tidemill_store::rollup::nearest;

    use super::*;

    fn folded(values: &[Value]) -> Fold {
        let sample = |(at, value): (i64, &Value)| Sample {
            time: Timestamp::from_nanos(at).unwrap(),
            value: value.clone(),
        };
        let samples: Vec<Sample> = (0..).zip(values).map(sample).collect();
        let mut fold = Fold::with_sketch();
        let (some, more) = samples.split_at(samples.len() / 3);
        fold.extend_samples(some);
        fold.extend_samples(more);
        fold
    }

    fn answers(values: &[Value]) -> Vec<String> {
        let fold = folded(values);
        Aggregate::ALL.iter().take(7).map(|aggregate| format!("{:?}", aggregate.of(&fold))).collect()
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

    /// Of samples ten seconds apart.
    fn answer(aggregate: Aggregate, values: &[Value]) -> String {
        let time = |n| Timestamp::from_millis(n * 10_000).unwrap();
        let sample = |(n, value): (i64, &Value)| Sample { time: time(n), value: value.clone() };
        let mut fold = Fold::with_sketch();
        fold.extend_samples(&(0..).zip(values).map(sample).collect::<Vec<_>>());
        format!("{:?}", aggregate.of(&fold))
    }

    #[test]
    fn a_counter_has_an_increase_a_rate_and_resets() {
        let counter = [7, 9, 1, 4].map(Value::I64);
        assert_eq!(answer(Aggregate::Increase, &counter), "Integer(6)");
        assert_eq!(answer(Aggregate::Rate, &counter), "Float(0.2)");
        assert_eq!(answer(Aggregate::Resets, &counter), "Integer(1)");
        assert_eq!(answer(Aggregate::Rate, &counter[..1]), "Null");
    }

    #[test]
    fn a_value_counts_for_as_long_as_it_is_held() {
        let values = [2.0, 4.0, 0.0].map(Value::F64);
        assert_eq!(answer(Aggregate::Integral, &values), "Float(60.0)");
        assert_eq!(answer(Aggregate::LinearIntegral, &values), "Float(50.0)");
        assert_eq!(answer(Aggregate::TimeWeightedAvg, &values), "Float(3.0)");
        assert_eq!(answer(Aggregate::TimeWeightedAvg, &values[..1]), "Float(2.0)");
        assert_eq!(answer(Aggregate::Changes, &values), "Integer(2)");
        assert_eq!(answer(Aggregate::Stdvar, &[1.0, 3.0].map(Value::F64)), "Float(1.0)");
        assert_eq!(answer(Aggregate::Stddev, &[1.0, 5.0].map(Value::F64)), "Float(2.0)");
    }

    #[test]
    fn states_have_durations_and_numbers_have_quantiles() {
        let states = [true, false, true].map(Value::Bool);
        let held = "Durations([(Bool(false), 10s), (Bool(true), 10s)])";
        assert_eq!(answer(Aggregate::Durations, &states), held);
        assert_eq!(answer(Aggregate::Durations, &[Value::F64(1.0)]), "Null");
        let many: Vec<Value> = (0..20).map(|n| Value::Text(n.to_string().into())).collect();
        assert_eq!(answer(Aggregate::Durations, &many), "Null");
        assert_eq!(answer(Aggregate::P99, &many), "Null");
        let numbers: Vec<Value> = (1..=1000).map(Value::I64).collect();
        for (aggregate, exact) in [(Aggregate::P50, 500.0), (Aggregate::P99, 990.0)] {
            let answer = answer(aggregate, &numbers).replace("Float(", "").replace(')', "");
            assert!((answer.parse::<f64>().unwrap() / exact - 1.0).abs() < 0.011, "{answer}");
        }
    }

    #[test]
    fn an_empty_window_counts_zero_and_knows_nothing_else() {
        assert_eq!(answers(&[]), ["Null", "Null", "Null", "Null", "Integer(0)", "Null", "Null"]);
    }

    proptest! {
        #[test]
        fn answers_equal_a_naive_fold_over_integers(values in prop::collection::vec(any::<i64>(), 1..200)) {
            let taken = folded(&values.iter().map(|v| Value::I64(*v)).collect::<Vec<_>>());
            let integer = |aggregate| {
                let answer = Aggregate::of(aggregate, &taken);
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
            let taken = folded(&values.iter().map(|v| Value::F64(*v)).collect::<Vec<_>>());
            let float = |aggregate| {
                let answer = Aggregate::of(aggregate, &taken);
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
