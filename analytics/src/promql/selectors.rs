//! Selectors over steps: the newest value at each, or the window of samples before each.

use std::borrow::Cow;

use super::demands::{shifted, subquery_steps};
use super::eval::{EvalError, Evaluator};
use super::expr::{Expr, Node, RangeSelector, Selector, Subquery};
use super::labels::Labels;
use super::source::{PromSeries, Selected, WindowSeries};
use super::value::{ABSENT, RawSeries, Row, Steps, is_absent, present, seconds};

/// Samples of one series for windows to slide over; none is [`ABSENT`].
pub(super) struct Column<'a> {
    pub(super) labels: Labels,
    pub(super) drop_name: bool,
    pub(super) times: Cow<'a, [i64]>,
    pub(super) values: Cow<'a, [f64]>,
}

/// Columns and the windows over them.
pub(super) struct Ranges<'a> {
    pub(super) columns: Vec<Column<'a>>,
    /// The windows' ends: as many as there are steps, or one for all of them.
    pub(super) ends: Steps,
    /// The windows' length.
    pub(super) length: i64,
}

/// A range argument: its samples, or, where the store has applied the function already, its values.
pub(super) enum RangeArgument<'a> {
    Ranges(Ranges<'a>),
    Applied(Vec<WindowSeries>),
}

fn selected<'a>(evaluator: &Evaluator<'a>, selector: &Selector) -> Result<&'a Selected, EvalError> {
    let found = evaluator.gathered.get(selector.slot);
    found.ok_or_else(|| EvalError::invalid("a selector was not gathered"))
}

/// The newest value of each series at each step.
pub(super) fn latest(
    evaluator: &Evaluator<'_>,
    selector: &Selector,
    steps: Steps,
) -> Result<Vec<Row>, EvalError> {
    match selected(evaluator, selector)? {
        Selected::Samples(series) => newest(evaluator, selector, steps, series, |_, value| value),
        Selected::Windows(_) => applied(evaluator, evaluator.windows(selector.slot), steps),
    }
}

/// When the newest value of each series at each step was measured.
pub(super) fn latest_times(
    evaluator: &Evaluator<'_>,
    selector: &Selector,
    steps: Steps,
) -> Result<Vec<Row>, EvalError> {
    match selected(evaluator, selector)? {
        Selected::Samples(series) => newest(evaluator, selector, steps, series, |time, _| seconds(time)),
        Selected::Windows(_) => Err(EvalError::invalid("the times of samples were not gathered")),
    }
}

fn newest(
    evaluator: &Evaluator<'_>,
    selector: &Selector,
    steps: Steps,
    series: &[PromSeries],
    of: impl Fn(i64, f64) -> f64,
) -> Result<Vec<Row>, EvalError> {
    let ends = shifted(selector.shift, steps, evaluator.settings);
    let mut rows = Vec::with_capacity(series.len());
    for series in series {
        evaluator.charge(steps.count)?;
        let lookback = evaluator.settings.lookback.of_series(&series.labels);
        let mut values = Vec::with_capacity(steps.count);
        let mut samples = series.times.iter().zip(&series.values).peekable();
        let mut newest = None;
        for end in ends.iter() {
            while let Some(sample) = samples.next_if(|(time, _)| **time <= end) {
                newest = Some(sample);
            }
            let current =
                newest.filter(|(time, value)| **time > end.saturating_sub(lookback) && !is_absent(**value));
            values.push(current.map_or(ABSENT, |(time, value)| of(*time, *value)));
        }
        push(&mut rows, Row { labels: series.labels.clone(), drop_name: false, values }, steps);
    }
    Ok(rows)
}

/// Values that the store made, as rows.
pub(super) fn applied(
    evaluator: &Evaluator<'_>,
    series: Vec<WindowSeries>,
    steps: Steps,
) -> Result<Vec<Row>, EvalError> {
    let mut rows = Vec::with_capacity(series.len());
    for WindowSeries { labels, values } in series {
        evaluator.charge(steps.count)?;
        push(&mut rows, Row { labels, drop_name: false, values }, steps);
    }
    Ok(rows)
}

/// Enters a row that has a value, which is repeated for all steps where there is just one.
pub(super) fn push(rows: &mut Vec<Row>, mut row: Row, steps: Steps) {
    if row.values.len() < steps.count {
        let fixed = row.values.first().copied().unwrap_or(ABSENT);
        row.values = vec![fixed; steps.count];
    }
    if row.is_present() {
        rows.push(row);
    }
}

/// What a range function works on.
pub(super) fn argument<'a>(
    evaluator: &Evaluator<'a>,
    node: &'a Node,
    steps: Steps,
) -> Result<RangeArgument<'a>, EvalError> {
    if let Expr::Range(range) = &node.expr {
        return Ok(match selected(evaluator, &range.selector)? {
            Selected::Samples(series) => RangeArgument::Ranges(of_samples(evaluator, range, steps, series)),
            Selected::Windows(_) => RangeArgument::Applied(evaluator.windows(range.selector.slot)),
        });
    }
    if let Expr::Subquery(subquery) = &node.expr {
        return of_subquery(evaluator, subquery, steps).map(RangeArgument::Ranges);
    }
    Err(EvalError::invalid("a range vector is wanted"))
}

fn of_samples<'a>(
    evaluator: &Evaluator<'a>,
    range: &'a RangeSelector,
    steps: Steps,
    series: &'a [PromSeries],
) -> Ranges<'a> {
    Ranges {
        columns: series.iter().map(column).collect(),
        ends: shifted(range.selector.shift, steps, evaluator.settings),
        length: range.range,
    }
}

/// The samples without staleness markers, which ranges do not see.
fn column(series: &PromSeries) -> Column<'_> {
    let labels = series.labels.clone();
    if !series.values.iter().any(|value| is_absent(*value)) {
        let (times, values) = (Cow::Borrowed(&*series.times), Cow::Borrowed(&*series.values));
        return Column { labels, drop_name: false, times, values };
    }
    let (times, values) = present_samples(series.times.iter().copied(), &series.values);
    Column { labels, drop_name: false, times: times.into(), values: values.into() }
}

fn present_samples(times: impl Iterator<Item = i64>, values: &[f64]) -> (Vec<i64>, Vec<f64>) {
    times.zip(values).filter_map(|(time, value)| Some((time, present(*value)?))).unzip()
}

fn of_subquery<'a>(
    evaluator: &Evaluator<'a>,
    subquery: &'a Subquery,
    steps: Steps,
) -> Result<Ranges<'a>, EvalError> {
    let ends = shifted(subquery.shift, steps, evaluator.settings);
    let inner = subquery_steps(subquery, ends);
    let rows = match evaluator.value(&subquery.inner, inner)? {
        super::eval::Value::Rows(rows) => rows,
        super::eval::Value::Scalar(values) => {
            vec![Row { labels: Labels::default(), drop_name: false, values }]
        }
    };
    let column = |row: Row| {
        let (times, values) = present_samples(inner.iter(), &row.values);
        Column { labels: row.labels, drop_name: row.drop_name, times: times.into(), values: values.into() }
    };
    let columns = rows.into_iter().map(column).collect();
    Ok(Ranges { columns, ends, length: subquery.range })
}

/// A range by itself: the samples of the window before the one step.
pub(super) fn raw(evaluator: &Evaluator<'_>, node: &Node, steps: Steps) -> Result<Vec<RawSeries>, EvalError> {
    let RangeArgument::Ranges(ranges) = argument(evaluator, node, steps)? else {
        return Err(EvalError::invalid("the samples were not gathered"));
    };
    let mut all = Vec::new();
    for column in &ranges.columns {
        let end = ranges.ends.last();
        let samples = column.times.iter().zip(&*column.values);
        let within = samples.filter(|(time, _)| **time > end.saturating_sub(ranges.length) && **time <= end);
        let (times, values): (Vec<i64>, Vec<f64>) = within.map(|(time, value)| (*time, *value)).unzip();
        evaluator.charge(times.len())?;
        if !times.is_empty() {
            let labels = if column.drop_name { column.labels.without_name() } else { column.labels.clone() };
            all.push(RawSeries { labels, drop_name: false, times, values });
        }
    }
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(all)
}
