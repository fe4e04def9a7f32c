//! What happens between two neighbouring samples: changes, resets, areas. The rules are in [`Fold`](super::Fold).

use std::cmp::Ordering;
use std::time::Duration;

use crate::model::{Sample, Value};

use super::Number;
use super::number::nearest;

/// From a sample to the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// Whether the value is another.
    pub(super) is_change: bool,
    /// The number before, where the next is below it.
    pub(super) reset_from: Option<Number>,
    /// The step and the linear area between them, where the earlier is a number.
    pub(super) areas: Option<(f64, f64)>,
    /// The time between them.
    pub(super) lasted: Duration,
}

impl Step {
    /// Panics where `next` is not later: folds are merged in the order of time.
    pub(super) fn between(before: &Sample, next: &Sample) -> Self {
        assert!(before.time < next.time, "samples were folded out of order");
        let lasted = next.time.saturating_since(before.time);
        let numbers = (Number::of(&before.value), Number::of(&next.value));
        let areas = numbers.0.map(|number| {
            let (span, value) =
                (nearest(i128::try_from(lasted.as_nanos()).unwrap_or(0)) / 1e9, number.nearest());
            areas(span, value, numbers.1.map_or(value, Number::nearest))
        });
        let reset_from = match numbers {
            (Some(a), Some(b)) => (b.compare(a) == Some(Ordering::Less)).then_some(a),
            _ => None,
        };
        Self { is_change: is_change(&before.value, &next.value), reset_from, areas, lasted }
    }
}

/// A span of nanoseconds in seconds.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "one instruction; exact below 104 days"
)]
#[inline]
pub(super) const fn seconds(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}

/// The step and the linear area between two values.
#[inline]
pub(super) fn areas(seconds: f64, before: f64, next: f64) -> (f64, f64) {
    (before * seconds, (before * 0.5 + next * 0.5) * seconds)
}

fn is_change(before: &Value, next: &Value) -> bool {
    match (before, next) {
        (Value::F64(a), Value::F64(b)) => {
            a.partial_cmp(b) != Some(Ordering::Equal) && !(a.is_nan() && b.is_nan())
        }
        (Value::F64(_) | Value::I64(_) | Value::Bool(_) | Value::Text(_), _) => before != next,
    }
}
