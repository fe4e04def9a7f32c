//! `count_values`: a series for each value that occurs in a group.

use hashbrown::HashMap;

use super::super::eval::{EvalError, Evaluator, joined};
use super::super::expr::{Aggregate, Expr, Text};
use super::super::format::plain_float;
use super::super::value::{ABSENT, Row, Steps, is_absent};
use super::{Group, groups};

pub(super) fn rows(
    evaluator: &Evaluator<'_>,
    aggregate: &Aggregate,
    steps: Steps,
) -> Result<Vec<Row>, EvalError> {
    let label = match aggregate.parameter.as_ref().map(|node| &node.expr) {
        Some(Expr::Text(Text { not_utf8: Some(shown), .. })) => {
            return Err(EvalError::invalid(format!("invalid label name \"{shown}\"")));
        }
        Some(Expr::Text(text)) if text.text.is_empty() => {
            return Err(EvalError::invalid("invalid label name \"\""));
        }
        Some(Expr::Text(text)) => &text.text,
        _ => return Err(EvalError::invalid("count_values wants the name of a label")),
    };
    let rows = evaluator.rows(&aggregate.inner, steps)?;
    let mut all: Vec<Row> = Vec::new();
    for group in groups(&rows, &aggregate.grouping) {
        of_group(evaluator, &group, (label, steps), &mut all)?;
    }
    // The label may be one of those that told groups apart.
    merged(all)
}

fn of_group(
    evaluator: &Evaluator<'_>,
    group: &Group<'_>,
    (label, steps): (&str, Steps),
    all: &mut Vec<Row>,
) -> Result<(), EvalError> {
    let mut places: HashMap<u64, usize> = HashMap::new();
    for row in &group.rows {
        for (step, value) in row.values.iter().enumerate().filter(|(_, value)| !is_absent(**value)) {
            // Every NaN is the same value here.
            let key = if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
            let place = if let Some(place) = places.get(&key) {
                *place
            } else {
                evaluator.charge(steps.count)?;
                let mut counted = group.row(vec![ABSENT; steps.count]);
                counted.labels = counted.labels.with(label, &plain_float(*value));
                all.push(counted);
                places.insert(key, all.len() - 1);
                all.len() - 1
            };
            let count = all.get_mut(place).and_then(|row| row.values.get_mut(step));
            if let Some(count) = count {
                *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
            }
        }
    }
    Ok(())
}

/// Rows of the same labels are one, their counts added.
fn merged(rows: Vec<Row>) -> Result<Vec<Row>, EvalError> {
    let mut places = HashMap::new();
    let mut all: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        let place = *places.entry(row.labels.clone()).or_insert(all.len());
        match all.get_mut(place) {
            None => all.push(row),
            Some(known) => {
                for (count, more) in known.values.iter_mut().zip(&row.values) {
                    if !is_absent(*more) {
                        *count = if is_absent(*count) { *more } else { *count + more };
                    }
                }
            }
        }
    }
    joined(all)
}
