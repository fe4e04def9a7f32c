//! Functions of one value.

use super::super::eval::{EvalError, Evaluator, mapped};
use super::super::function::{Clamp, Maths};
use super::super::value::{ABSENT, Row, Steps, is_absent};
use super::Arguments;

pub(super) fn function(function: Maths) -> fn(f64) -> f64 {
    match function {
        Maths::Abs => f64::abs,
        Maths::Acos => f64::acos,
        Maths::Acosh => f64::acosh,
        Maths::Asin => f64::asin,
        Maths::Asinh => f64::asinh,
        Maths::Atan => f64::atan,
        Maths::Atanh => f64::atanh,
        Maths::Ceil => f64::ceil,
        Maths::Cos => f64::cos,
        Maths::Cosh => f64::cosh,
        Maths::Deg => |value| value * 180.0 / std::f64::consts::PI,
        Maths::Exp => f64::exp,
        Maths::Floor => f64::floor,
        Maths::Ln => f64::ln,
        Maths::Log10 => f64::log10,
        Maths::Log2 => f64::log2,
        Maths::Rad => |value| value * std::f64::consts::PI / 180.0,
        Maths::Sgn => |value| match value {
            value if value > 0.0 => 1.0,
            value if value < 0.0 => -1.0,
            zero_or_nan => zero_or_nan,
        },
        Maths::Sin => f64::sin,
        Maths::Sinh => f64::sinh,
        Maths::Sqrt => f64::sqrt,
        Maths::Tan => f64::tan,
        Maths::Tanh => f64::tanh,
    }
}

/// The greater one; NaN where either is.
pub(super) fn greater(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// The lesser one; NaN where either is.
pub(super) fn lesser(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

pub(super) fn pairwise(a: &[f64], b: &[f64], f: fn(f64, f64) -> f64) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect()
}

/// Replaces each value by what `f` makes of it and of the step's bounds.
fn bounded(rows: Vec<Row>, low: &[f64], high: &[f64], f: impl Fn(f64, f64, f64) -> f64) -> Vec<Row> {
    let mut rows = mapped(rows, |value| value);
    for row in &mut rows {
        for ((value, low), high) in row.values.iter_mut().zip(low).zip(high) {
            if !is_absent(*value) {
                *value = f(*value, *low, *high);
            }
        }
    }
    rows.retain(Row::is_present);
    rows
}

pub(super) fn clamp(
    evaluator: &Evaluator<'_>,
    kind: Clamp,
    args: &Arguments<'_>,
    steps: Steps,
) -> Result<Vec<Row>, EvalError> {
    let rows = evaluator.rows(args.node(0)?, steps)?;
    let first = evaluator.scalar(args.node(1)?, steps)?;
    Ok(match kind {
        Clamp::Max => bounded(rows, &first, &first, |value, _, high| lesser(high, value)),
        Clamp::Min => bounded(rows, &first, &first, |value, low, _| greater(low, value)),
        Clamp::Both => {
            let high = evaluator.scalar(args.node(2)?, steps)?;
            bounded(
                rows,
                &first,
                &high,
                |value, low, high| {
                    if high < low { ABSENT } else { greater(low, lesser(high, value)) }
                },
            )
        }
    })
}

/// To the nearest multiple, halves upwards.
pub(super) fn round(
    evaluator: &Evaluator<'_>,
    args: &Arguments<'_>,
    steps: Steps,
) -> Result<Vec<Row>, EvalError> {
    let rows = evaluator.rows(args.node(0)?, steps)?;
    let to = match args.node(1) {
        Ok(node) => evaluator.scalar(node, steps)?,
        Err(_) => vec![1.0; steps.count],
    };
    // The inverse of a decimal fraction is whole, the fraction itself is not exact.
    Ok(bounded(rows, &to, &to, |value, to, _| {
        let inverse = 1.0 / to;
        (value * inverse + 0.5).floor() / inverse
    }))
}
