//! What range functions give where only facts of a window are known and not its samples: the same as over the samples.
//!
//! Sums are compensated on both ways, so that they agree to 1e-12; what would not is refused, and the samples are
//! asked for instead.

use super::super::function::RangeFunction;
use super::super::value::{ABSENT, seconds};
use super::counter::{Ends, Extrapolated};

/// The variance of values whose mean is larger than their deviations by more than this (in squares) is not told: the
/// recurrence over samples rounds away more than 1e-12 of it.
const MEAN_SQUARED_MAX: f64 = 1e6;

/// What is known of the samples of a window; never of none. All values are finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowFacts {
    /// How many samples.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Their mean.
    pub mean: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// The sum of squared deviations from the mean, where that was asked for.
    pub m2: f64,
    /// Time in nanoseconds and value of the first.
    pub first: (i64, f64),
    /// Time in nanoseconds and value of the last.
    pub last: (i64, f64),
    /// The sum of the values from which a counter fell, where that was asked for.
    pub lost: f64,
    /// How often a value was below the one before, where that was asked for.
    pub resets: u64,
    /// How often a value was another than the one before, where that was asked for.
    pub changes: u64,
}

impl RangeFunction {
    /// Whether facts tell its value.
    pub fn is_told_by_facts(self) -> bool {
        self.of_facts(&WindowFacts::OF_ONE, (0, 1)).is_some()
    }

    /// Its value over the window `(after, through]`, or [`ABSENT`]; `None` where the samples must be asked.
    pub fn of_facts(self, facts: &WindowFacts, (after, through): (i64, i64)) -> Option<f64> {
        use RangeFunction as F;
        #[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        let number = |count: u64| count as f64;
        let ends = Ends {
            first: facts.first,
            last: facts.last,
            count: number(facts.count),
            lost: facts.lost,
            after,
            through,
        };
        Some(match self {
            F::AvgOverTime => facts.mean,
            F::Changes => number(facts.changes),
            F::CountOverTime => number(facts.count),
            F::Delta => Extrapolated::delta().of(&Ends { lost: 0.0, ..ends }),
            F::FirstOverTime => facts.first.1,
            F::Increase => Extrapolated::increase().of(&ends),
            F::LastOverTime => facts.last.1,
            F::MaxOverTime => facts.max,
            F::MinOverTime => facts.min,
            F::PresentOverTime => 1.0,
            F::Rate => Extrapolated::rate().of(&ends),
            F::Resets => number(facts.resets),
            F::StddevOverTime => variance(facts, number(facts.count))?.sqrt(),
            F::StdvarOverTime => variance(facts, number(facts.count))?,
            F::SumOverTime => facts.sum,
            F::TimeOfFirst => seconds(facts.first.0),
            F::TimeOfLast => seconds(facts.last.0),
            F::AbsentOverTime
            | F::Deriv
            | F::DoubleExponentialSmoothing
            | F::Idelta
            | F::Irate
            | F::MadOverTime
            | F::PredictLinear
            | F::QuantileOverTime
            | F::TimeOfMax
            | F::TimeOfMin => return None,
        })
    }
}

fn variance(facts: &WindowFacts, count: f64) -> Option<f64> {
    if facts.min.to_bits() == facts.max.to_bits() {
        return Some(0.0);
    }
    let variance = facts.m2 / count;
    (variance.is_finite() && facts.mean * facts.mean <= variance * MEAN_SQUARED_MAX).then_some(variance)
}

impl WindowFacts {
    /// Of one sample, a one at the beginning: nothing about it keeps a value from being told.
    const OF_ONE: Self = Self {
        count: 1,
        sum: 1.0,
        mean: 1.0,
        min: 1.0,
        max: 1.0,
        m2: 0.0,
        first: (0, 1.0),
        last: (0, 1.0),
        lost: 0.0,
        resets: 0,
        changes: 0,
    };

    /// The newest value, unless it is older than `lookback` at `end`.
    pub fn latest(&self, end: i64, lookback: i64) -> f64 {
        if self.last.0 > end.saturating_sub(lookback) { self.last.1 } else { ABSENT }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_tell_what_needs_no_samples() {
        for told in [RangeFunction::AvgOverTime, RangeFunction::Rate, RangeFunction::StdvarOverTime] {
            assert!(told.is_told_by_facts(), "{told:?}");
        }
        for not in [RangeFunction::Irate, RangeFunction::QuantileOverTime, RangeFunction::AbsentOverTime] {
            assert!(!not.is_told_by_facts(), "{not:?}");
        }
    }
}
