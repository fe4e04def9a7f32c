//! Aggregations that make one value of a group at each step: a state for each step, fed row by row, so that each
//! row is read once from end to end.

use super::super::function::Aggregation;
use super::super::kahan::{Mean, Sum};
use super::super::ranges::quantile;
use super::super::value::{ABSENT, Row, Steps, is_absent, present};

/// One value for each step, or [`ABSENT`] where no row has one.
pub(super) fn values(op: Aggregation, rows: &[&Row], parameter: &[f64], steps: Steps) -> Vec<f64> {
    match op {
        Aggregation::Sum => Totals::of(rows, steps)
            .values(|total, _| total.total())
            .unwrap_or_else(|| fold(rows, steps, Sum::of, Sum::add, Sum::total)),
        Aggregation::Avg => Totals::of(rows, steps)
            .values(Sum::over)
            .unwrap_or_else(|| fold(rows, steps, Mean::of, Mean::add, Mean::mean)),
        Aggregation::Count => fold(rows, steps, |_| 1.0, |count, _| *count += 1.0, |count| count),
        Aggregation::Min => extreme(rows, steps, |value, best| value < best),
        Aggregation::Max => extreme(rows, steps, |value, best| value > best),
        Aggregation::Stddev => fold(rows, steps, Spread::of, Spread::add, |spread| spread.variance().sqrt()),
        Aggregation::Stdvar => fold(rows, steps, Spread::of, Spread::add, Spread::variance),
        Aggregation::Quantile => quantiles(rows, parameter, steps),
        Aggregation::Group
        | Aggregation::CountValues
        | Aggregation::Topk
        | Aggregation::Bottomk
        | Aggregation::Limitk
        | Aggregation::LimitRatio => fold(rows, steps, |_| 1.0, |_, _| {}, |one| one),
    }
}

fn fold<S: Copy>(
    rows: &[&Row],
    steps: Steps,
    first: impl Fn(f64) -> S,
    add: impl Fn(&mut S, f64),
    done: impl Fn(S) -> f64,
) -> Vec<f64> {
    let mut states: Vec<Option<S>> = vec![None; steps.count];
    for row in rows {
        for (state, value) in states.iter_mut().zip(&row.values) {
            if is_absent(*value) {
                continue;
            }
            match state {
                Some(state) => add(state, *value),
                None => *state = Some(first(*value)),
            }
        }
    }
    states.into_iter().map(|state| state.map_or(ABSENT, &done)).collect()
}

/// Sums of all steps in columns, added up without a branch as long as nothing overflows.
struct Totals {
    sums: Vec<f64>,
    lost: Vec<f64>,
    counts: Vec<f64>,
}

impl Totals {
    fn of(rows: &[&Row], steps: Steps) -> Self {
        let none = || vec![0.0; steps.count];
        let mut totals = Self { sums: none(), lost: none(), counts: none() };
        for row in rows {
            if row.values.iter().fold(true, |all, value| all & !is_absent(*value)) {
                totals.add(row, |_| true);
            } else {
                totals.add(row, |value| !is_absent(value));
            }
        }
        totals
    }

    #[inline]
    fn add(&mut self, row: &Row, is_there: impl Fn(f64) -> bool) {
        let states = self.sums.iter_mut().zip(&mut self.lost).zip(&mut self.counts);
        for (((sum, lost), count), value) in states.zip(&row.values) {
            if is_there(*value) {
                let more = Sum { sum: *sum, lost: *lost }.plus_plain(*value);
                (*sum, *lost) = (more.sum, more.lost);
                *count += 1.0;
            }
        }
    }

    /// What `of` makes of the total and the count of each step; `None` where one is not finite.
    fn values(self, of: impl Fn(Sum, f64) -> f64) -> Option<Vec<f64>> {
        let totals = self.sums.into_iter().zip(self.lost).zip(self.counts);
        let value = |((sum, lost), count): ((f64, f64), f64)| {
            let total = Sum { sum, lost };
            total.is_finite().then(|| if count > 0.0 { of(total, count) } else { ABSENT })
        };
        totals.map(value).collect()
    }
}

/// NaN gives way to any number.
fn extreme(rows: &[&Row], steps: Steps, beyond: impl Fn(f64, f64) -> bool) -> Vec<f64> {
    let take = |best: &mut f64, value| {
        if beyond(value, *best) || best.is_nan() {
            *best = value;
        }
    };
    fold(rows, steps, |value| value, take, |best| best)
}

/// Count, mean and squared distances from it, by Welford's recurrence.
#[derive(Clone, Copy)]
struct Spread {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Spread {
    fn of(value: f64) -> Self {
        // The spread of what is not finite is unknown, also of one such value.
        Self { count: 1.0, mean: value, squares: if value.is_finite() { 0.0 } else { f64::NAN } }
    }

    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let before = value - self.mean;
        self.mean += before / self.count;
        self.squares += before * (value - self.mean);
    }

    fn variance(self) -> f64 {
        self.squares / self.count
    }
}

/// Steps that are gathered from rows at once: as many as a line of the cache holds.
const STEPS_AT_ONCE: usize = 8;

fn quantiles(rows: &[&Row], parameter: &[f64], steps: Steps) -> Vec<f64> {
    let mut columns: [Vec<f64>; STEPS_AT_ONCE] = Default::default();
    let mut quantiles = Vec::with_capacity(steps.count);
    while quantiles.len() < steps.count {
        columns.iter_mut().for_each(Vec::clear);
        for row in rows {
            let values = row.values.get(quantiles.len()..).unwrap_or_default();
            for (column, value) in columns.iter_mut().zip(values) {
                column.extend(present(*value));
            }
        }
        for column in columns.iter_mut().take(steps.count - quantiles.len()) {
            let q = parameter.get(quantiles.len()).copied().unwrap_or(f64::NAN);
            quantiles.push(if column.is_empty() { ABSENT } else { quantile(q, column) });
        }
    }
    quantiles
}

#[cfg(test)]
mod tests {
    use super::super::super::labels::Labels;
    use super::*;

    fn of(op: Aggregation, columns: &[&[f64]]) -> Vec<f64> {
        let rows: Vec<Row> = columns
            .iter()
            .map(|values| Row { labels: Labels::default(), drop_name: false, values: values.to_vec() })
            .collect();
        let rows: Vec<&Row> = rows.iter().collect();
        values(op, &rows, &[0.5, 0.5, 0.5], Steps { start: 0, step: 1, count: 3 })
    }

    #[test]
    fn each_step_is_aggregated_by_itself() {
        let columns: [&[f64]; 3] = [&[1.0, ABSENT, ABSENT], &[3.0, 5.0, ABSENT], &[8.0, f64::NAN, ABSENT]];
        for (op, first) in [
            (Aggregation::Sum, 12.0),
            (Aggregation::Avg, 4.0),
            (Aggregation::Count, 3.0),
            (Aggregation::Min, 1.0),
            (Aggregation::Max, 8.0),
            (Aggregation::Quantile, 3.0),
            (Aggregation::Group, 1.0),
            (Aggregation::Stdvar, 26.0 / 3.0),
        ] {
            let values = of(op, &columns);
            assert!((values[0] - first).abs() < 1e-12, "{op:?}: {values:?}");
            assert!(is_absent(values[2]), "{op:?}");
        }
        assert_eq!(of(Aggregation::Max, &columns)[1], 5.0);
    }

    #[test]
    fn sums_that_overflow_are_added_up_with_care() {
        let columns: [&[f64]; 3] = [&[f64::MAX, 1.0], &[f64::MAX, f64::INFINITY], &[-f64::MAX, 2.0]];
        let mean = of(Aggregation::Avg, &columns);
        assert!((mean[0] / (f64::MAX / 3.0) - 1.0).abs() < 1e-12 && mean[1] == f64::INFINITY, "{mean:?}");
        let large: [&[f64]; 4] = [&[1.0], &[1e100], &[1.0], &[-1e100]];
        assert_eq!((of(Aggregation::Sum, &large)[0], of(Aggregation::Avg, &large)[0]), (2.0, 0.5));
    }

    #[test]
    fn the_spread_of_an_infinite_value_is_unknown() {
        assert!(of(Aggregation::Stddev, &[&[f64::INFINITY, 1.0, 2.0]])[0].is_nan());
        let same: &[f64] = &[1.33, 1.0, 2.0];
        assert_eq!(of(Aggregation::Stddev, &[same; 3])[0], 0.0);
    }
}
