//! Aggregations that keep some of a group's series at each step: `topk`, `bottomk`, `limitk`, `limit_ratio`.

use std::cmp::Ordering;

use super::super::eval::{EvalError, Evaluator};
use super::super::function::{Aggregation, Order};
use super::super::functions::nan_last;
use super::super::settings::Mode;
use super::super::value::{ABSENT, Row, Steps, is_absent, whole};
use super::Group;

/// The series that are kept at any step. At one step, those of `topk` and `bottomk` are in their order.
pub(super) fn rows(
    evaluator: &Evaluator<'_>,
    op: Aggregation,
    groups: &[Group<'_>],
    (parameter, steps): (&[f64], Steps),
) -> Result<Vec<Row>, EvalError> {
    let mut all = Vec::new();
    for group in groups {
        evaluator.charge(group.rows.len().saturating_mul(steps.count))?;
        let mut kept: Vec<Row> = group
            .rows
            .iter()
            .map(|row| Row {
                values: vec![ABSENT; steps.count],
                labels: row.labels.clone(),
                drop_name: row.drop_name,
            })
            .collect();
        let mut order: Vec<usize> = Vec::new();
        let hashes = hashes(op, group);
        for (step, parameter) in parameter.iter().enumerate().take(steps.count) {
            order.clear();
            let here = |at: &usize| group.rows.get(*at).is_some_and(|row| !is_absent(value(row, step)));
            order.extend((0..group.rows.len()).filter(here));
            pick(op, *parameter, &mut order, &Candidates { group, step, hashes: &hashes });
            for at in &order {
                let from = group.rows.get(*at).map_or(ABSENT, |row| value(row, step));
                if let Some(to) = kept.get_mut(*at).and_then(|row| row.values.get_mut(step)) {
                    *to = from;
                }
            }
        }
        if evaluator.settings.mode == Mode::Instant && steps.count == 1 {
            all.extend(order.iter().filter_map(|at| kept.get(*at).cloned()));
        } else {
            all.extend(kept.into_iter().filter(Row::is_present));
        }
    }
    Ok(all)
}

fn value(row: &Row, step: usize) -> f64 {
    row.values.get(step).copied().unwrap_or(ABSENT)
}

fn hashes(op: Aggregation, group: &Group<'_>) -> Vec<f64> {
    if op == Aggregation::LimitRatio {
        group.rows.iter().map(|row| part_of_hashes(row.labels.stable_hash())).collect()
    } else {
        Vec::new()
    }
}

/// A hash as a number from 0 to 1.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "a ratio of hashes needs no more")]
fn part_of_hashes(hash: u64) -> f64 {
    hash as f64 / u64::MAX as f64
}

struct Candidates<'a> {
    group: &'a Group<'a>,
    step: usize,
    hashes: &'a [f64],
}

impl Candidates<'_> {
    fn value(&self, at: usize) -> f64 {
        self.group.rows.get(at).map_or(f64::NAN, |row| value(row, self.step))
    }

    /// The order of two series; of equal ones the first in the input comes first.
    fn compare(&self, a: usize, b: usize, order: Order) -> Ordering {
        nan_last(self.value(a), self.value(b), order).then(a.cmp(&b))
    }
}

/// Leaves in `order` what is kept.
fn pick(op: Aggregation, parameter: f64, order: &mut Vec<usize>, candidates: &Candidates<'_>) {
    match op {
        Aggregation::Topk => best(parameter, order, |a, b| candidates.compare(a, b, Order::Descending)),
        Aggregation::Bottomk => best(parameter, order, |a, b| candidates.compare(a, b, Order::Ascending)),
        Aggregation::LimitRatio => {
            let ratio = parameter.clamp(-1.0, 1.0);
            order.retain(|at| {
                let part = candidates.hashes.get(*at).copied().unwrap_or_default();
                // A ratio and its complement share the line between them.
                if ratio >= 0.0 { part < ratio || ratio >= 1.0 } else { part >= 1.0 + ratio }
            });
        }
        Aggregation::Limitk => order.truncate(whole(parameter)),
        Aggregation::Avg
        | Aggregation::Count
        | Aggregation::CountValues
        | Aggregation::Group
        | Aggregation::Max
        | Aggregation::Min
        | Aggregation::Quantile
        | Aggregation::Stddev
        | Aggregation::Stdvar
        | Aggregation::Sum => {}
    }
}

/// The first `k` by `compare`, in order. Where few of many are wanted, the rest is not sorted.
fn best(k: f64, order: &mut Vec<usize>, compare: impl Fn(usize, usize) -> Ordering) {
    let k = whole(k);
    if k == 0 {
        order.clear();
        return;
    }
    if k < order.len() {
        order.select_nth_unstable_by(k - 1, |a, b| compare(*a, *b));
        order.truncate(k);
    }
    order.sort_unstable_by(|a, b| compare(*a, *b));
}

#[cfg(test)]
mod tests {
    use super::super::super::labels::Labels;
    use super::*;

    fn kept(op: Aggregation, parameter: f64, values: &[f64]) -> Vec<usize> {
        let row = |(n, value): (usize, &f64)| Row {
            labels: Labels::of(&[("n", &n.to_string())]),
            drop_name: false,
            values: vec![*value],
        };
        let rows: Vec<Row> = values.iter().enumerate().map(row).collect();
        let group = Group { labels: Labels::default(), rows: rows.iter().collect() };
        let mut order: Vec<usize> = (0..values.len()).collect();
        let hashes = hashes(op, &group);
        pick(op, parameter, &mut order, &Candidates { group: &group, step: 0, hashes: &hashes });
        order
    }

    #[test]
    fn the_best_come_in_order_and_nan_last() {
        let values = [2.0, f64::NAN, 9.0, 1.0, 9.0];
        assert_eq!(kept(Aggregation::Topk, 3.0, &values), [2, 4, 0]);
        assert_eq!(kept(Aggregation::Bottomk, 9.0, &values), [3, 0, 2, 4, 1]);
        assert_eq!(kept(Aggregation::Topk, 0.9, &values), [0_usize; 0]);
        assert_eq!(kept(Aggregation::Limitk, -1.0, &values), [0_usize; 0]);
        assert_eq!(kept(Aggregation::Limitk, 2.0, &values), [0, 1]);
    }

    #[test]
    fn a_ratio_and_its_complement_share_all_series() {
        let values = [0.0; 100];
        for ratio in [0.0, 0.2, 0.5, 0.8, 1.0] {
            let mut both = kept(Aggregation::LimitRatio, ratio, &values);
            both.extend(kept(Aggregation::LimitRatio, ratio - 1.0, &values));
            both.sort_unstable();
            let expected = if ratio == 1.0 { 100 } else { both.len() };
            assert_eq!(expected, both.len());
            both.dedup();
            assert_eq!(both.len(), 100, "{ratio}");
        }
    }
}
