//! Whether two states of one window say the same: counts, ends, extremes, resets, changes and states to the bit, sums
//! and what is made of them as near as the order of addition leaves them. Pure.

use std::cmp::Ordering;

use crate::rollup::{Fold, Number, Total, WindowState};

/// How far sums may differ, relative to the greatest number that went into them.
const RELATIVE: f64 = 1e-12;

/// What differs first.
pub(in super::super) fn difference(a: &WindowState, b: &WindowState) -> Option<&'static str> {
    if a.boundary != b.boundary {
        return Some("the sample at its start");
    }
    let (a, b) = (&a.interior, &b.interior);
    let exact = [
        ("its counts", a.counts() == b.counts()),
        ("its first sample", a.first() == b.first()),
        ("its last sample", a.last() == b.last()),
        ("its least number", same(a.min(), b.min())),
        ("its greatest number", same(a.max(), b.max())),
        ("its resets", a.resets() == b.resets()),
        ("its changes", a.changes() == b.changes()),
        ("its states", a.states() == b.states()),
        ("its quantile sketch", a.sketch() == b.sketch()),
    ];
    let scale = scale(a).max(scale(b));
    let of_time = scale * a.duration().unwrap_or_default().as_secs_f64().max(1.0);
    let close = [
        ("its sum", near(total(a.sum()), total(b.sum()), scale)),
        ("its increase", near(total(a.increase()), total(b.increase()), scale)),
        ("its deviations", near(a.m2(), b.m2(), scale * scale)),
        ("its step integral", near(a.step_integral(), b.step_integral(), of_time)),
        ("its linear integral", near(a.linear_integral(), b.linear_integral(), of_time)),
    ];
    exact.into_iter().chain(close).find(|(_, is_same)| !is_same).map(|(what, _)| what)
}

fn same(a: Option<Number>, b: Option<Number>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.compare(b) == Some(Ordering::Equal) || (a.is_nan() && b.is_nan()),
        (a, b) => a.is_none() && b.is_none(),
    }
}

fn total(total: Option<Total>) -> Option<f64> {
    total.map(Total::nearest)
}

/// The greatest sum of numbers that a fold can have.
fn scale(fold: &Fold) -> f64 {
    // NaN is an extreme only where there is no number.
    let magnitude = |number: Option<Number>| {
        number.filter(|number| !number.is_nan()).map_or(0.0, |number| number.nearest().abs())
    };
    let count = u32::try_from(fold.count()).map_or(f64::MAX, f64::from);
    magnitude(fold.min()).max(magnitude(fold.max())) * count
}

fn near(a: Option<f64>, b: Option<f64>, scale: f64) -> bool {
    match (a, b) {
        (Some(a), Some(b)) if a.is_finite() && b.is_finite() => (a - b).abs() <= RELATIVE * scale,
        (Some(a), Some(b)) => a.is_nan() && b.is_nan() || a.partial_cmp(&b) == Some(Ordering::Equal),
        (a, b) => a.is_none() && b.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Timestamp, Value};

    fn state(values: &[f64]) -> WindowState {
        let mut state = WindowState::default();
        for (second, value) in (1..).zip(values) {
            state.interior.push(Timestamp::from_millis(second * 1000).unwrap(), &Value::F64(*value));
        }
        state
    }

    #[test]
    fn a_missing_sketch_differs() {
        let mut sketched = WindowState { boundary: None, interior: Fold::with_sketch() };
        sketched.interior.push(Timestamp::from_millis(1_000).unwrap(), &Value::F64(2.0));
        assert_eq!(difference(&sketched, &sketched.clone()), None);
        assert_eq!(difference(&sketched, &state(&[2.0])), Some("its quantile sketch"));
    }

    #[test]
    fn the_same_samples_say_the_same_and_others_do_not() {
        let values = [0.1, 1e9, -1e9, f64::NAN, 3.0];
        assert_eq!(difference(&state(&values), &state(&values)), None);
        assert_eq!(difference(&state(&values), &state(&values[..4])), Some("its counts"));
        assert_eq!(difference(&state(&[1.0, 2.0, 4.0]), &state(&[1.0, 3.0, 4.0])), Some("its sum"));
        assert_eq!(
            difference(&state(&[1.0, 5.0, 1.0]), &state(&[1.0, 4.0, 1.0])),
            Some("its greatest number")
        );
    }
}
