//! Lines through a window (least squares) and smoothing with a trend.

use super::super::eval::EvalError;
use super::super::kahan::Sum;
use super::super::value::{ABSENT, count, seconds};
use super::{Kernel, Window};

/// `deriv`.
pub(super) struct Slope;

impl Kernel for Slope {
    fn value(&mut self, window: &Window<'_>) -> f64 {
        match window.first_time() {
            Some(first) if window.values.len() > 1 => line(window, first).0,
            Some(_) | None => ABSENT,
        }
    }
}

/// `predict_linear`.
pub(super) struct Predict {
    /// How many seconds after the moment of the evaluation, for each step.
    pub(super) ahead: Vec<f64>,
}

impl Kernel for Predict {
    fn value(&mut self, window: &Window<'_>) -> f64 {
        if window.values.len() < 2 {
            return ABSENT;
        }
        let (slope, now) = line(window, window.at);
        slope * self.ahead.get(window.step).copied().unwrap_or(f64::NAN) + now
    }

    fn depends_on_step(&self) -> bool {
        true
    }
}

/// Slope per second, and value at `origin`, of the line through a window that is nearest by squares.
fn line(window: &Window<'_>, origin: i64) -> (f64, f64) {
    let first = window.values.first().copied().unwrap_or(f64::NAN);
    #[expect(clippy::float_cmp, reason = "values that are all the same need no line")]
    if window.values.iter().all(|value| *value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let (mut x, mut y, mut xy, mut xx) = (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    for (time, value) in window.samples() {
        let t = seconds(time - origin);
        x.add(t);
        y.add(value);
        xy.add(t * value);
        xx.add(t * t);
    }
    let n = count(window.values.len());
    let (x, y) = (x.total(), y.total());
    let covariance = xy.total() - x * y / n;
    let variance = xx.total() - x * x / n;
    let slope = covariance / variance;
    (slope, y / n - slope * x / n)
}

/// `double_exponential_smoothing`.
pub(super) struct Smoothing {
    level: Vec<f64>,
    trend: Vec<f64>,
}

impl Smoothing {
    /// The factors for each step, from 0 to 1.
    pub(super) fn new(level: Vec<f64>, trend: Vec<f64>) -> Result<Self, EvalError> {
        for (what, factors) in [("smoothing", &level), ("trend", &trend)] {
            if let Some(wrong) = factors.iter().find(|factor| !(0.0..=1.0).contains(*factor)) {
                let why = format!("invalid {what} factor. Expected: 0 <= factor <= 1, got: {wrong}");
                return Err(EvalError::invalid(why));
            }
        }
        Ok(Self { level, trend })
    }
}

impl Kernel for Smoothing {
    fn value(&mut self, window: &Window<'_>) -> f64 {
        let [first, second, ..] = window.values else { return ABSENT };
        let factor = |of: &[f64]| of.get(window.step).copied().unwrap_or(f64::NAN);
        let (by_level, by_trend) = (factor(&self.level), factor(&self.trend));
        let (mut before, mut level, mut slope) = (0.0, *first, second - first);
        for (n, value) in window.values.iter().skip(1).enumerate() {
            if n > 0 {
                slope = by_trend * (level - before) + (1.0 - by_trend) * slope;
            }
            before = level;
            level = by_level * value + (1.0 - by_level) * (level + slope);
        }
        level
    }

    fn depends_on_step(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::Times;
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn window<'a>(times: &'a [i64], values: &'a [f64]) -> Window<'a> {
        Window {
            column: Times::Listed(times),
            first: 0,
            values,
            after: 0,
            through: 0,
            at: 30 * SECOND,
            step: 0,
        }
    }

    #[test]
    fn a_line_is_found_and_followed() {
        let times = [0, 10 * SECOND, 20 * SECOND];
        let line = window(&times, &[1.0, 2.0, 3.0]);
        assert!((Slope.value(&line) - 0.1).abs() < 1e-12);
        assert!((Predict { ahead: vec![10.0] }.value(&line) - 5.0).abs() < 1e-12);
        assert!(Slope.value(&window(&times, &[f64::INFINITY; 3])).is_nan());
    }

    #[test]
    fn factors_outside_of_zero_to_one_are_refused() {
        assert!(Smoothing::new(vec![1.1], vec![0.5]).is_err());
        assert!(Smoothing::new(vec![0.5], vec![f64::NAN]).is_err());
    }
}
