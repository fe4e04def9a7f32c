//! Functions of instant vectors and scalars, by family.

mod calendar;
mod histogram;
mod labels;
mod maths;
mod sort;

use super::eval::{EvalError, Evaluator, Value, mapped};
use super::expr::{Call, Node, Text};
use super::function::{Function, Moment};
use super::labels::{Labels, NAME};
use super::matcher::{MatchOp, Matcher};
use super::value::{ABSENT, Row, Steps, is_absent, present, seconds};
use super::{ranges, selectors};

pub(super) use self::sort::nan_last;

/// The arguments of a call.
pub(super) struct Arguments<'a> {
    nodes: &'a [Node],
}

impl<'a> Arguments<'a> {
    /// The argument at `n`.
    pub(super) fn node(&self, n: usize) -> Result<&'a Node, EvalError> {
        self.nodes.get(n).ok_or_else(|| EvalError::invalid("an argument is missing"))
    }

    /// The text at `n`.
    pub(super) fn text(&self, n: usize) -> Result<&'a Text, EvalError> {
        self.node(n)?.text().ok_or_else(|| EvalError::invalid("a text is wanted"))
    }

    /// The argument at `n` and those after it.
    pub(super) fn from(&self, n: usize) -> &'a [Node] {
        self.nodes.get(n..).unwrap_or_default()
    }
}

/// The value of a call.
pub(super) fn value(
    evaluator: &Evaluator<'_>,
    node: &Node,
    call: &Call,
    steps: Steps,
) -> Result<Value, EvalError> {
    let args = Arguments { nodes: &call.args };
    let rows = |n: usize| evaluator.rows(args.node(n)?, steps);
    let scalar = |n: usize| evaluator.scalar(args.node(n)?, steps);
    Ok(match call.function {
        Function::Range(function) => Value::Rows(ranges::rows(evaluator, function, call, steps)?),
        Function::Maths(function) => Value::Rows(mapped(rows(0)?, maths::function(function))),
        Function::Calendar(function) => Value::Rows(calendar::rows(evaluator, function, &args, steps)?),
        Function::Clamp(kind) => Value::Rows(maths::clamp(evaluator, kind, &args, steps)?),
        Function::Round => Value::Rows(maths::round(evaluator, &args, steps)?),
        Function::Moment(moment) => Value::Scalar(moments(evaluator, moment, steps)),
        Function::Pi => Value::Scalar(vec![std::f64::consts::PI; steps.count]),
        Function::MaxOf => Value::Scalar(maths::pairwise(&scalar(0)?, &scalar(1)?, maths::greater)),
        Function::MinOf => Value::Scalar(maths::pairwise(&scalar(0)?, &scalar(1)?, maths::lesser)),
        Function::Scalar => Value::Scalar(only_values(&rows(0)?, steps)),
        Function::Vector => {
            Value::Rows(vec![Row { labels: Labels::default(), drop_name: false, values: scalar(0)? }])
        }
        Function::Absent => Value::Rows(absent(evaluator, args.node(0)?, steps)?),
        Function::Timestamp => Value::Rows(timestamps(evaluator, args.node(0)?, steps)?),
        Function::Sort(order) => Value::Rows(sort::by_value(evaluator, node, rows(0)?, order)),
        Function::SortByLabel(order) => {
            Value::Rows(sort::by_labels(evaluator, node, rows(0)?, (order, args.from(1))))
        }
        Function::LabelJoin => Value::Rows(labels::join(rows(0)?, &args)?),
        Function::LabelReplace => Value::Rows(labels::replace(rows(0)?, &args)?),
        Function::HistogramQuantile => Value::Rows(histogram::quantile(evaluator, &args, steps)?),
        Function::HistogramQuantiles => Value::Rows(histogram::quantiles(evaluator, &args, steps)?),
        Function::HistogramFraction => Value::Rows(histogram::fraction(evaluator, &args, steps)?),
        Function::NativeHistogram => {
            rows(0)?;
            Value::Rows(Vec::new())
        }
    })
}

fn moments(evaluator: &Evaluator<'_>, moment: Moment, steps: Steps) -> Vec<f64> {
    let settings = evaluator.settings;
    let (start, end) = (settings.steps.start, settings.end);
    let fixed = match moment {
        Moment::Time => return steps.iter().map(seconds).collect(),
        Moment::Start => start,
        Moment::End => end,
        Moment::Range => end.saturating_sub(start),
        Moment::Step => settings.steps.step,
    };
    vec![seconds(fixed); steps.count]
}

/// `scalar`: the value where exactly one row has one.
fn only_values(rows: &[Row], steps: Steps) -> Vec<f64> {
    let mut only = vec![ABSENT; steps.count];
    for row in rows {
        for (only, value) in only.iter_mut().zip(&row.values) {
            if !is_absent(*value) {
                *only = if is_absent(*only) { *value } else { f64::NAN };
            }
        }
    }
    // A second value makes NaN, which a third leaves as it is.
    only.into_iter().map(|value| present(value).unwrap_or(f64::NAN)).collect()
}

fn absent(evaluator: &Evaluator<'_>, node: &Node, steps: Steps) -> Result<Vec<Row>, EvalError> {
    let rows = evaluator.rows(node, steps)?;
    let labels = node.matchers().map(labels_of_absent).unwrap_or_default();
    Ok(absent_row(&rows, labels, steps).into_iter().collect())
}

/// 1 at each step where no row has a value.
pub(super) fn absent_row(rows: &[Row], labels: Labels, steps: Steps) -> Option<Row> {
    let mut values = vec![1.0; steps.count];
    for row in rows {
        for (absent, value) in values.iter_mut().zip(&row.values) {
            if !is_absent(*value) {
                *absent = ABSENT;
            }
        }
    }
    Some(Row { labels, drop_name: false, values }).filter(Row::is_present)
}

/// The labels that every series would have that the matchers select: those of one `=` with no matcher of the same
/// label after it.
pub(super) fn labels_of_absent(matchers: &[Matcher]) -> Labels {
    let is_equal = |matcher: &&Matcher| matches!(matcher.op, MatchOp::Equal);
    let certain = |matcher: &&Matcher| {
        let mut same = matchers.iter().filter(|other| other.name == matcher.name);
        same.clone().filter(is_equal).count() == 1 && same.next_back().is_some_and(|last| is_equal(&last))
    };
    let known = matchers.iter().filter(is_equal).filter(|matcher| matcher.name != NAME).filter(certain);
    Labels::new(known.map(|matcher| (matcher.name.as_str().into(), matcher.value.as_str().into())))
}

/// When a selector's values were measured; of anything else, the moment of the evaluation.
fn timestamps(evaluator: &Evaluator<'_>, node: &Node, steps: Steps) -> Result<Vec<Row>, EvalError> {
    let mut rows = if let Some(selector) = node.selector() {
        selectors::latest_times(evaluator, selector, steps)?
    } else {
        let mut rows = evaluator.rows(node, steps)?;
        for row in &mut rows {
            for (value, at) in row.values.iter_mut().zip(steps.iter()) {
                if !is_absent(*value) {
                    *value = seconds(at);
                }
            }
        }
        rows
    };
    for row in &mut rows {
        row.drop_name = true;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scalar_is_the_only_value_of_its_step() {
        let row =
            |values: &[f64]| Row { labels: Labels::default(), drop_name: false, values: values.to_vec() };
        let rows = [
            row(&[1.0, 1.0, ABSENT, 1.0]),
            row(&[ABSENT, 2.0, ABSENT, 2.0]),
            row(&[ABSENT, ABSENT, ABSENT, 3.0]),
        ];
        let only = only_values(&rows, Steps { start: 0, step: 1, count: 4 });
        assert_eq!(only[0], 1.0);
        assert!(only[1..].iter().all(|value| value.is_nan() && !is_absent(*value)));
    }

    #[test]
    fn the_labels_of_what_is_absent_are_those_that_are_certain() {
        let equal = Matcher::equal;
        let matchers = [equal("__name__", "m"), equal("a", "1"), equal("b", "1"), equal("b", "2")];
        assert_eq!(labels_of_absent(&matchers), Labels::of(&[("a", "1")]));
    }
}
