//! Aggregations that make one value of a group at each step: a state for each step, fed row by row, so that each
//! row is read once from end to end.

use super::super::function::Aggregation;
use super::super::kahan::{Mean, Sum};
use super::super::ranges::quantile;
use super::super::value::{ABSENT, Row, Steps, is_absent, present};

/// One value for each step, or [`ABSENT`] where no row has one.
pub(super) fn values(op: Aggregation, rows: &[&Row], parameter: &[f64], steps: Steps) -> Vec<f64> {
    match op {
        Aggregation::Sum => fold(rows, steps, Sum::of, Sum::add, Sum::total),
        Aggregation::Avg => fold(rows, steps, Mean::of, Mean::add, Mean::mean),
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

fn quantiles(rows: &[&Row], parameter: &[f64], steps: Steps) -> Vec<f64> {
    let mut values = Vec::with_capacity(rows.len());
    let wanted = (0..steps.count).map(|step| parameter.get(step).copied().unwrap_or(f64::NAN));
    let at = |(step, q): (usize, f64)| {
        values.clear();
        values.extend(rows.iter().filter_map(|row| row.values.get(step).copied().and_then(present)));
        if values.is_empty() { ABSENT } else { quantile(q, &mut values) }
    };
    wanted.enumerate().map(at).collect()
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
    fn the_spread_of_an_infinite_value_is_unknown() {
        assert!(of(Aggregation::Stddev, &[&[f64::INFINITY, 1.0, 2.0]])[0].is_nan());
        let same: &[f64] = &[1.33, 1.0, 2.0];
        assert_eq!(of(Aggregation::Stddev, &[same; 3])[0], 0.0);
    }
}
