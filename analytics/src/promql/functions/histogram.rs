//! Classic histograms: buckets are series with an upper bound as their label `le` and a cumulative count as value.

use hashbrown::HashMap;

use super::super::eval::{EvalError, Evaluator};
use super::super::expr::{Expr, Node};
use super::super::format::open_metrics_float;
use super::super::labels::{BUCKET, Labels, NAME};
use super::super::notes::Note;
use super::super::value::{ABSENT, Row, Steps, is_absent};
use super::Arguments;

/// Counts that differ by no more than this part of them are the same: what rounding does to sums of rates.
const SMALL_DELTA: f64 = 1e-12;

/// A bucket at one step: its upper bound and how many are at most that.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bucket {
    bound: f64,
    count: f64,
}

/// The buckets of one histogram, by bound.
struct Histogram<'a> {
    labels: Labels,
    rows: Vec<(f64, &'a Row)>,
}

/// Groups rows by all labels but `le`. Says so where that is no number.
fn histograms<'a>(evaluator: &Evaluator<'_>, node: &Node, rows: &'a [Row]) -> Vec<Histogram<'a>> {
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut all: Vec<Histogram<'a>> = Vec::new();
    for row in rows {
        let bound = row.labels.get(BUCKET);
        let Ok(number) = bound.parse::<f64>() else {
            evaluator.note(Note::BadBucketLabel(row.labels.get(NAME), bound), node.place);
            continue;
        };
        let labels = row.labels.filtered(|name| name != BUCKET);
        let place = *places.entry(labels.clone()).or_insert_with(|| {
            all.push(Histogram { labels, rows: Vec::new() });
            all.len() - 1
        });
        if let Some(histogram) = all.get_mut(place) {
            histogram.rows.push((number, row));
        }
    }
    for histogram in &mut all {
        histogram.rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    all
}

impl Histogram<'_> {
    /// The buckets at a step: bounds ascending, each once, counts never falling. `true` where they did fall.
    fn buckets(&self, step: usize) -> (Vec<Bucket>, bool) {
        let mut buckets: Vec<Bucket> = Vec::with_capacity(self.rows.len());
        for (bound, row) in &self.rows {
            let Some(count) = row.values.get(step).copied().filter(|value| !is_absent(*value)) else {
                continue;
            };
            match buckets.last_mut() {
                #[expect(clippy::float_cmp, reason = "one bound written in two ways is the same number")]
                Some(last) if last.bound == *bound => last.count += count,
                Some(_) | None => buckets.push(Bucket { bound: *bound, count }),
            }
        }
        let fell = make_monotonic(&mut buckets);
        (buckets, fell)
    }

    /// What `of` makes of the buckets at each step that has any.
    fn row(&self, steps: Steps, mut of: impl FnMut(usize, &[Bucket], bool) -> f64) -> Row {
        let mut values = Vec::with_capacity(steps.count);
        for step in 0..steps.count {
            let (buckets, fell) = self.buckets(step);
            values.push(if buckets.is_empty() { ABSENT } else { of(step, &buckets, fell) });
        }
        Row { labels: self.labels.clone(), drop_name: true, values }
    }
}

fn make_monotonic(buckets: &mut [Bucket]) -> bool {
    let mut fell = false;
    let mut highest = f64::NEG_INFINITY;
    for bucket in buckets {
        let near = (bucket.count - highest).abs() <= SMALL_DELTA * bucket.count.abs().max(highest.abs());
        if highest.is_finite() && near {
            bucket.count = highest;
        } else if bucket.count < highest {
            fell = true;
            bucket.count = highest;
        }
        highest = bucket.count;
    }
    fell
}

/// The value below which the part `q` of all observations lies, interpolated within its bucket.
fn quantile_of(q: f64, buckets: &[Bucket]) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&q) {
        return if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    let Some((last, finite)) = buckets.split_last() else { return f64::NAN };
    if last.bound < f64::INFINITY || finite.is_empty() || last.count == 0.0 || last.count.is_nan() {
        return f64::NAN;
    }
    let rank = q * last.count;
    let Some(at) = finite.iter().position(|bucket| bucket.count >= rank) else {
        return finite.last().map_or(f64::NAN, |bucket| bucket.bound);
    };
    let Some(bucket) = finite.get(at) else { return f64::NAN };
    match at.checked_sub(1).and_then(|before| finite.get(before)) {
        None if bucket.bound <= 0.0 => bucket.bound,
        None => bucket.bound * (rank / bucket.count),
        Some(before) => {
            let within = (rank - before.count) / (bucket.count - before.count);
            before.bound + (bucket.bound - before.bound) * within
        }
    }
}

/// The part of all observations that lies between two values, interpolated within buckets of finite width.
fn fraction_of(lower: f64, upper: f64, buckets: &[Bucket]) -> f64 {
    let Some(last) = buckets.last() else { return f64::NAN };
    if last.bound < f64::INFINITY
        || last.count == 0.0
        || [last.count, lower, upper].iter().any(|x| x.is_nan())
    {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets, last.count) - rank_of(lower, buckets, last.count)) / last.count
}

/// How many observations lie below `value`.
fn rank_of(value: f64, buckets: &[Bucket], total: f64) -> f64 {
    let mut below = Bucket { bound: f64::NEG_INFINITY, count: 0.0 };
    if buckets.first().is_some_and(|first| first.bound > 0.0) {
        below.bound = 0.0;
    }
    for bucket in buckets {
        if value <= below.bound {
            return below.count;
        }
        if value < bucket.bound {
            return match (below.bound.is_finite(), bucket.bound.is_finite()) {
                (_, false) => below.count,
                (false, true) => bucket.count,
                (true, true) => {
                    let within = (value - below.bound) / (bucket.bound - below.bound);
                    below.count + (bucket.count - below.count) * within
                }
            };
        }
        below = *bucket;
    }
    total
}

fn quantile_row(
    evaluator: &Evaluator<'_>,
    histogram: &Histogram<'_>,
    (node, steps): (&Node, Steps),
    quantiles: &[f64],
) -> Row {
    histogram.row(steps, |step, buckets, fell| {
        if fell {
            evaluator.note(Note::NotMonotonic(histogram.labels.get(NAME)), node.place);
        }
        quantile_of(quantiles.get(step).copied().unwrap_or(f64::NAN), buckets)
    })
}

/// The numbers of a quantile argument, with a warning where one is none.
fn checked(evaluator: &Evaluator<'_>, node: &Node, steps: Steps) -> Result<Vec<f64>, EvalError> {
    let quantiles = evaluator.scalar(node, steps)?;
    let wrong = quantiles.iter().filter(|q| !(0.0..=1.0).contains(*q));
    wrong.for_each(|q| evaluator.note(Note::InvalidQuantile(*q), node.place));
    Ok(quantiles)
}

/// `histogram_quantile(q, buckets)`.
pub(super) fn quantile(
    evaluator: &Evaluator<'_>,
    args: &Arguments<'_>,
    steps: Steps,
) -> Result<Vec<Row>, EvalError> {
    let quantiles = checked(evaluator, args.node(0)?, steps)?;
    let node = args.node(1)?;
    let rows = evaluator.rows(node, steps)?;
    let found = histograms(evaluator, node, &rows);
    Ok(found.iter().map(|one| quantile_row(evaluator, one, (node, steps), &quantiles)).collect())
}

/// `histogram_quantiles(buckets, label, q, …)`: each quantile as a series of its own.
pub(super) fn quantiles(
    evaluator: &Evaluator<'_>,
    args: &Arguments<'_>,
    steps: Steps,
) -> Result<Vec<Row>, EvalError> {
    let node = args.node(0)?;
    let rows = evaluator.rows(node, steps)?;
    let label = &args.text(1)?.text;
    let found = histograms(evaluator, node, &rows);
    let mut all = Vec::new();
    for wanted in args.from(2) {
        let quantiles = checked(evaluator, wanted, steps)?;
        let shown = quantiles.first().copied().unwrap_or(f64::NAN);
        if let Expr::Number(_) | Expr::Negate(_) | Expr::Binary(_) | Expr::Call(_) = wanted.expr {
            for histogram in &found {
                evaluator.charge(steps.count)?;
                let mut row = quantile_row(evaluator, histogram, (node, steps), &quantiles);
                if !row.labels.get(label).is_empty() {
                    let why = format!("the label {label:?} of histogram_quantiles is one of the histogram's");
                    return Err(EvalError::invalid(why));
                }
                row.labels = row.labels.with(label, &open_metrics_float(shown));
                all.push(row);
            }
        }
    }
    Ok(all)
}

/// `histogram_fraction(lower, upper, buckets)`.
pub(super) fn fraction(
    evaluator: &Evaluator<'_>,
    args: &Arguments<'_>,
    steps: Steps,
) -> Result<Vec<Row>, EvalError> {
    let lower = evaluator.scalar(args.node(0)?, steps)?;
    let upper = evaluator.scalar(args.node(1)?, steps)?;
    let node = args.node(2)?;
    let rows = evaluator.rows(node, steps)?;
    let at = |of: &[f64], step: usize| of.get(step).copied().unwrap_or(f64::NAN);
    let found = histograms(evaluator, node, &rows);
    let fractions = found.iter().map(|one| {
        one.row(steps, |step, buckets, _| fraction_of(at(&lower, step), at(&upper, step), buckets))
    });
    Ok(fractions.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        let mut buckets: Vec<Bucket> =
            pairs.iter().map(|(bound, count)| Bucket { bound: *bound, count: *count }).collect();
        make_monotonic(&mut buckets);
        buckets
    }

    #[test]
    fn quantiles_are_interpolated_within_their_bucket() {
        let all = buckets(&[(0.1, 50.0), (0.2, 70.0), (1.0, 110.0), (f64::INFINITY, 120.0)]);
        assert!((quantile_of(0.2, &all) - 0.048).abs() < 1e-12);
        assert_eq!(quantile_of(1.0, &all), 1.0);
        assert_eq!(quantile_of(-0.1, &all), f64::NEG_INFINITY);
        let negative = buckets(&[(-0.2, 1.0), (0.3, 2.0), (f64::INFINITY, 3.0)]);
        assert_eq!(quantile_of(0.1, &negative), -0.2);
        assert!(quantile_of(0.5, &buckets(&[(1.0, 1.0)])).is_nan());
    }

    #[test]
    fn counts_that_fall_are_raised_and_small_differences_are_none() {
        let mut all = [(1.0, 5.0), (2.0, 4.0)].map(|(bound, count)| Bucket { bound, count });
        assert!(make_monotonic(&mut all));
        assert_eq!(all[1].count, 5.0);
        let mut near = [(1.0, 5.0), (2.0, 5.0 - 1e-14)].map(|(bound, count)| Bucket { bound, count });
        assert!(!make_monotonic(&mut near));
    }

    #[test]
    fn fractions_take_nothing_from_buckets_without_an_end() {
        let all = buckets(&[(1.0, 1.0), (2.0, 3.0), (3.0, 6.0), (f64::INFINITY, 100.0)]);
        assert_eq!(fraction_of(0.0, 1.5, &all), 0.02);
        assert_eq!(fraction_of(2.0, 5.0, &all), 0.03);
        assert_eq!(fraction_of(400.0, f64::INFINITY, &all), 0.94);
        assert_eq!(fraction_of(-10.0, -5.0, &all), 0.0);
        assert!(fraction_of(f64::NAN, 1.0, &all).is_nan());
    }
}
