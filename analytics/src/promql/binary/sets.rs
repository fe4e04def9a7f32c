//! `and`, `or`, `unless`: which series have a partner at each step.

use hashbrown::HashMap;

use super::super::eval::{EvalError, joined};
use super::super::expr::{MatchLabels, SetOp};
use super::super::labels::Labels;
use super::super::value::{ABSENT, Row, Steps, is_absent};
use super::matching::signature;

pub(super) fn rows(
    op: SetOp,
    mut left: Vec<Row>,
    mut right: Vec<Row>,
    labels: &MatchLabels,
    steps: Steps,
) -> Result<Vec<Row>, EvalError> {
    match op {
        SetOp::And => keep(&mut left, labels, &presence(&right, labels, steps), true),
        SetOp::Unless => keep(&mut left, labels, &presence(&right, labels, steps), false),
        SetOp::Or => {
            keep(&mut right, labels, &presence(&left, labels, steps), false);
            left.extend(right);
            // The two sides may hold the same series at different steps.
            return one_of_each(left);
        }
    }
    Ok(left)
}

/// At which steps there is any series, by what is matched on.
fn presence(rows: &[Row], labels: &MatchLabels, steps: Steps) -> HashMap<Labels, Vec<bool>> {
    let mut all: HashMap<Labels, Vec<bool>> = HashMap::new();
    for row in rows {
        let here = all.entry(signature(&row.labels, labels)).or_insert_with(|| vec![false; steps.count]);
        here.iter_mut().zip(&row.values).for_each(|(here, value)| *here |= !is_absent(*value));
    }
    all
}

/// Keeps the values with a partner, or those without one.
fn keep(rows: &mut Vec<Row>, labels: &MatchLabels, others: &HashMap<Labels, Vec<bool>>, with_partner: bool) {
    rows.retain_mut(|row| {
        let Some(there) = others.get(&signature(&row.labels, labels)) else { return !with_partner };
        for (value, there) in row.values.iter_mut().zip(there) {
            if *there != with_partner {
                *value = ABSENT;
            }
        }
        row.is_present()
    });
}

/// Joins what is the same series in every respect; the same labels with and without a name to be dropped stay apart.
fn one_of_each(rows: Vec<Row>) -> Result<Vec<Row>, EvalError> {
    let (dropping, keeping): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.drop_name);
    let mut all = joined(keeping)?;
    all.extend(joined(dropping)?);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(label: &str, values: &[f64]) -> Row {
        Row { labels: Labels::of(&[("a", label)]), drop_name: false, values: values.to_vec() }
    }

    fn shown(op: SetOp, left: Vec<Row>, right: Vec<Row>) -> Vec<(String, Vec<Option<String>>)> {
        let steps = Steps { start: 0, step: 1, count: 2 };
        let whole = |value: &f64| super::super::super::value::present(*value).map(|value| value.to_string());
        rows(op, left, right, &MatchLabels::default(), steps)
            .unwrap()
            .iter()
            .map(|row| (row.labels.get("a").to_owned(), row.values.iter().map(whole).collect()))
            .collect()
    }

    #[test]
    fn partners_are_looked_for_at_each_step() {
        let some = |value: i32| Some(value.to_string());
        let left = || vec![row("x", &[1.0, 2.0]), row("y", &[3.0, 4.0])];
        let right = || vec![row("x", &[5.0, ABSENT]), row("z", &[6.0, 7.0])];
        assert_eq!(shown(SetOp::And, left(), right()), [("x".into(), vec![some(1), None])]);
        assert_eq!(
            shown(SetOp::Unless, left(), right()),
            [("x".into(), vec![None, some(2)]), ("y".into(), vec![some(3), some(4)])]
        );
        let or = shown(SetOp::Or, right(), left());
        assert_eq!(or[0], ("x".into(), vec![some(5), some(2)]));
        assert_eq!(or.len(), 3);
    }
}
