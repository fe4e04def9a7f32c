//! Operators between scalars, between scalars and vectors, and between vectors.

mod matching;
mod sets;

use super::eval::{EvalError, Evaluator, Value};
use super::expr::{Arithmetic, Binary, BinaryOp, Comparison};
use super::value::{ABSENT, Row, Steps, is_absent};

fn arithmetic(op: Arithmetic, a: f64, b: f64) -> f64 {
    match op {
        Arithmetic::Add => a + b,
        Arithmetic::Subtract => a - b,
        Arithmetic::Multiply => a * b,
        Arithmetic::Divide => a / b,
        Arithmetic::Modulo => a % b,
        Arithmetic::Power => a.powf(b),
        Arithmetic::Atan2 => a.atan2(b),
    }
}

#[expect(clippy::float_cmp, reason = "it is what == means in PromQL")]
fn compare(op: Comparison, a: f64, b: f64) -> bool {
    match op {
        Comparison::Equal => a == b,
        Comparison::NotEqual => a != b,
        Comparison::Greater => a > b,
        Comparison::GreaterOrEqual => a >= b,
        Comparison::Less => a < b,
        Comparison::LessOrEqual => a <= b,
    }
}

/// What an operator makes of two values of the same step.
#[derive(Debug, Clone, Copy)]
enum Operation {
    Arithmetic(Arithmetic),
    /// Keeps the vector's value where the comparison holds.
    Filter(Comparison),
    /// 0 or 1.
    Truth(Comparison),
}

impl Operation {
    /// `kept` is what a filter keeps.
    fn apply(self, a: f64, b: f64, kept: f64) -> f64 {
        match self {
            Self::Arithmetic(op) => arithmetic(op, a, b),
            Self::Filter(op) if compare(op, a, b) => kept,
            Self::Filter(_) => ABSENT,
            Self::Truth(op) => f64::from(u8::from(compare(op, a, b))),
        }
    }

    /// Whether the result is no longer what the metric's name says.
    const fn drops_name(self) -> bool {
        !matches!(self, Self::Filter(_))
    }
}

/// The value of an operation.
pub(super) fn value(evaluator: &Evaluator<'_>, binary: &Binary, steps: Steps) -> Result<Value, EvalError> {
    let left = evaluator.value(&binary.left, steps)?;
    let right = evaluator.value(&binary.right, steps)?;
    let operation = match binary.op {
        BinaryOp::Arithmetic(op) => Operation::Arithmetic(op),
        BinaryOp::Comparison(op) if binary.as_bool => Operation::Truth(op),
        BinaryOp::Comparison(op) => Operation::Filter(op),
        BinaryOp::Set(op) => {
            return match (left, right) {
                (Value::Rows(left), Value::Rows(right)) => {
                    sets::rows(op, left, right, &binary.matching.labels, steps).map(Value::Rows)
                }
                _ => Err(EvalError::invalid("set operators are between vectors")),
            };
        }
    };
    Ok(match (left, right) {
        (Value::Scalar(left), Value::Scalar(right)) => {
            let pairs = left.iter().zip(&right);
            Value::Scalar(pairs.map(|(a, b)| operation.apply(*a, *b, *a)).collect())
        }
        (Value::Rows(rows), Value::Scalar(numbers)) => {
            Value::Rows(with_numbers(rows, &numbers, operation, |value, number| (value, number)))
        }
        (Value::Scalar(numbers), Value::Rows(rows)) => {
            Value::Rows(with_numbers(rows, &numbers, operation, |value, number| (number, value)))
        }
        (Value::Rows(left), Value::Rows(right)) => {
            Value::Rows(matching::rows(evaluator, operation, &binary.matching, (&left, &right, steps))?)
        }
    })
}

/// A vector and a scalar; `order` puts the two on their sides.
fn with_numbers(
    mut rows: Vec<Row>,
    numbers: &[f64],
    operation: Operation,
    order: impl Fn(f64, f64) -> (f64, f64),
) -> Vec<Row> {
    for row in &mut rows {
        for (value, number) in row.values.iter_mut().zip(numbers) {
            if !is_absent(*value) {
                let (a, b) = order(*value, *number);
                *value = operation.apply(a, b, *value);
            }
        }
        row.drop_name |= operation.drops_name();
    }
    rows.retain(Row::is_present);
    rows
}

#[cfg(test)]
mod tests {
    use super::super::labels::Labels;
    use super::*;

    #[test]
    fn a_filter_keeps_the_vectors_value_on_either_side() {
        let rows =
            || vec![Row { labels: Labels::default(), drop_name: false, values: vec![1.0, 5.0, ABSENT] }];
        let greater = Operation::Filter(Comparison::Greater);
        let kept = with_numbers(rows(), &[3.0; 3], greater, |value, number| (value, number));
        assert!(is_absent(kept[0].values[0]) && kept[0].values[1] == 5.0 && is_absent(kept[0].values[2]));
        let kept = with_numbers(rows(), &[3.0; 3], greater, |value, number| (number, value));
        assert!(kept[0].values[0] == 1.0 && is_absent(kept[0].values[1]));
        assert!(!kept[0].drop_name);
    }

    #[test]
    fn operators_do_what_go_does() {
        assert_eq!(arithmetic(Arithmetic::Modulo, -5.0, 3.0), -2.0);
        assert_eq!(arithmetic(Arithmetic::Power, 2.0, -1.0), 0.5);
        assert!(arithmetic(Arithmetic::Modulo, 1.0, 0.0).is_nan());
    }
}
