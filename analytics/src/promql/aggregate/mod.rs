//! Aggregations over groups of series, step by step within each group's columns.

mod pick;
mod reduce;
mod values;

use hashbrown::HashMap;

use super::eval::{EvalError, Evaluator};
use super::expr::{Aggregate, Grouping, Node};
use super::function::Aggregation;
use super::labels::{Labels, NAME};
use super::notes::Note;
use super::value::{Row, Steps};

/// The series that are put together, in the order of the input.
struct Group<'a> {
    labels: Labels,
    rows: Vec<&'a Row>,
}

impl Group<'_> {
    /// A result of the group. It loses its name where any of its series would.
    fn row(&self, values: Vec<f64>) -> Row {
        let drop_name = self.rows.iter().any(|row| row.drop_name);
        Row { labels: self.labels.clone(), drop_name, values }
    }
}

fn group_labels(labels: &Labels, grouping: &Grouping) -> Labels {
    match grouping {
        Grouping::By(by) => labels.filtered(|name| by.iter().any(|wanted| wanted == name)),
        Grouping::Without(without) => {
            labels.filtered(|name| name != NAME && !without.iter().any(|unwanted| unwanted == name))
        }
    }
}

/// Groups in the order in which their first series come.
fn groups<'a>(rows: &'a [Row], grouping: &Grouping) -> Vec<Group<'a>> {
    if let Grouping::By(by) = grouping
        && by.is_empty()
    {
        let one = Group { labels: Labels::default(), rows: rows.iter().collect() };
        return if rows.is_empty() { Vec::new() } else { vec![one] };
    }
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<Group<'a>> = Vec::new();
    for row in rows {
        let labels = group_labels(&row.labels, grouping);
        let place = *places.entry(labels.clone()).or_insert_with(|| {
            groups.push(Group { labels, rows: Vec::new() });
            groups.len() - 1
        });
        if let Some(group) = groups.get_mut(place) {
            group.rows.push(row);
        }
    }
    groups
}

/// The rows of an aggregation.
pub(super) fn rows(
    evaluator: &Evaluator<'_>,
    aggregate: &Aggregate,
    steps: Steps,
) -> Result<Vec<Row>, EvalError> {
    let op = aggregate.op;
    if op == Aggregation::CountValues {
        return values::rows(evaluator, aggregate, steps);
    }
    let parameter = aggregate.parameter.as_ref().map(|node| evaluator.scalar(node, steps)).transpose()?;
    if let (Some(node), Some(numbers)) = (&aggregate.parameter, &parameter) {
        check(evaluator, op, node, numbers)?;
    }
    let rows = evaluator.rows(&aggregate.inner, steps)?;
    let groups = groups(&rows, &aggregate.grouping);
    let parameter = parameter.unwrap_or_default();
    match op {
        Aggregation::Topk | Aggregation::Bottomk | Aggregation::Limitk | Aggregation::LimitRatio => {
            pick::rows(evaluator, op, &groups, (&parameter, steps))
        }
        Aggregation::Avg
        | Aggregation::Count
        | Aggregation::CountValues
        | Aggregation::Group
        | Aggregation::Max
        | Aggregation::Min
        | Aggregation::Quantile
        | Aggregation::Stddev
        | Aggregation::Stdvar
        | Aggregation::Sum => {
            let mut all = Vec::with_capacity(groups.len());
            for group in &groups {
                evaluator.charge(steps.count)?;
                let row = group.row(reduce::values(op, &group.rows, &parameter, steps));
                if row.is_present() {
                    all.push(row);
                }
            }
            Ok(all)
        }
    }
}

/// Refuses parameters that make no sense, and warns of those that are cut.
fn check(evaluator: &Evaluator<'_>, op: Aggregation, node: &Node, numbers: &[f64]) -> Result<(), EvalError> {
    match op {
        Aggregation::Quantile => {
            let wrong = numbers.iter().filter(|q| !(0.0..=1.0).contains(*q));
            wrong.for_each(|q| evaluator.note(Note::InvalidQuantile(*q), node.place));
            Ok(())
        }
        Aggregation::LimitRatio if numbers.iter().any(|ratio| ratio.is_nan()) => {
            Err(EvalError::invalid("Ratio value is NaN"))
        }
        Aggregation::LimitRatio => {
            let wrong = numbers.iter().filter(|ratio| !(-1.0..=1.0).contains(*ratio));
            wrong.for_each(|ratio| evaluator.note(Note::InvalidRatio(*ratio), node.place));
            Ok(())
        }
        Aggregation::Topk
        | Aggregation::Bottomk
        | Aggregation::Limitk
        | Aggregation::Avg
        | Aggregation::Count
        | Aggregation::CountValues
        | Aggregation::Group
        | Aggregation::Max
        | Aggregation::Min
        | Aggregation::Stddev
        | Aggregation::Stdvar
        | Aggregation::Sum => check_counts(numbers),
    }
}

fn check_counts(numbers: &[f64]) -> Result<(), EvalError> {
    if numbers.iter().any(|k| k.is_nan()) {
        return Err(EvalError::invalid("Parameter value is NaN"));
    }
    match numbers.iter().find(|k| k.abs() >= 9.2e18) {
        Some(k) => Err(EvalError::invalid(format!("Scalar value {k} overflows int64"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_grouped_by_some_labels_or_by_all_others() {
        let row =
            |labels: &[(&str, &str)]| Row { labels: Labels::of(labels), drop_name: false, values: vec![] };
        let rows = [row(&[(NAME, "m"), ("a", "1"), ("b", "1")]), row(&[(NAME, "n"), ("a", "1"), ("b", "2")])];
        let count = |grouping: &Grouping| groups(&rows, grouping).len();
        assert_eq!(count(&Grouping::By(vec!["a".into(), "none".into()])), 1);
        assert_eq!(count(&Grouping::By(vec![NAME.into()])), 2);
        assert_eq!(count(&Grouping::Without(vec!["b".into()])), 1);
        assert_eq!(count(&Grouping::Without(vec![])), 2);
        assert_eq!(groups(&rows, &Grouping::By(vec![])).len(), 1);
        assert_eq!(groups(&[], &Grouping::By(vec![])).len(), 0);
    }
}
