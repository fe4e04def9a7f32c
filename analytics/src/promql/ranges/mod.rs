//! Functions of ranges: windows slide over the columns of each series, and a kernel makes a value of each.

mod counter;
mod facts;
mod moving;
mod over_time;
mod quantile;
mod times;
mod trend;

use super::eval::{EvalError, Evaluator};
use super::expr::{Call, Node};
use super::function::RangeFunction;
use super::labels::NAME;
use super::notes::Note;
use super::selectors::{Column, RangeArgument, Ranges, applied, argument, push};
use super::value::{ABSENT, Row, Steps, is_absent};

pub use self::facts::WindowFacts;
pub use self::moving::Moving;
pub(super) use self::quantile::quantile;
use self::times::Passed;
pub use self::times::Times;

/// A window of one series. Never empty.
pub(super) struct Window<'a> {
    /// The times of the column.
    pub(super) column: Times<'a>,
    /// Where in the column it starts.
    pub(super) first: usize,
    /// The values of its samples.
    pub(super) values: &'a [f64],
    /// It holds what is after this …
    pub(super) after: i64,
    /// … up to this.
    pub(super) through: i64,
    /// The moment of the evaluation.
    pub(super) at: i64,
    /// Its number among the steps.
    pub(super) step: usize,
}

impl Window<'_> {
    /// The time of its first sample.
    pub(super) fn first_time(&self) -> Option<i64> {
        self.column.get(self.first)
    }

    /// The time of its last sample.
    pub(super) fn last_time(&self) -> Option<i64> {
        self.column.get((self.first + self.values.len()).checked_sub(1)?)
    }

    /// Times and values of its samples.
    pub(super) fn samples(&self) -> impl Iterator<Item = (i64, f64)> {
        self.column.iter_from(self.first).zip(self.values.iter().copied())
    }
}

/// Makes a value of each window of a column, or [`ABSENT`]. The bounds of windows never go back within a column.
pub(super) trait Kernel {
    /// A new column of values begins.
    fn begin(&mut self, values: &[f64]) {
        let _ = values;
    }

    /// The value of a window.
    fn value(&mut self, window: &Window<'_>) -> f64;

    /// Whether the value depends on the step and not on the window's samples alone.
    fn depends_on_step(&self) -> bool {
        false
    }
}

/// A kernel that looks at a window's values alone.
struct Values<F>(F);

impl<F: FnMut(&[f64]) -> f64> Kernel for Values<F> {
    fn value(&mut self, window: &Window<'_>) -> f64 {
        (self.0)(window.values)
    }
}

/// The rows of a range function. The range is the argument that is one; the others are numbers for each step.
pub(super) fn rows(
    evaluator: &Evaluator<'_>,
    function: RangeFunction,
    call: &Call,
    steps: Steps,
) -> Result<Vec<Row>, EvalError> {
    use RangeFunction as F;
    let place = usize::from(function == RangeFunction::QuantileOverTime);
    let node = call.args.get(place).ok_or_else(|| EvalError::invalid("an argument is missing"))?;
    let numbers = |n: usize| -> Result<Vec<f64>, EvalError> {
        let node = call.args.get(n).ok_or_else(|| EvalError::invalid("an argument is missing"))?;
        evaluator.scalar(node, steps)
    };
    let mut rows = match function {
        F::QuantileOverTime => {
            let quantiles = numbers(0)?;
            let place = call.args.first().map_or((1, 1), |node| node.place);
            for q in quantiles.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
                evaluator.note(Note::InvalidQuantile(*q), place);
            }
            apply(evaluator, node, steps, &mut quantile::Quantile::new(quantiles))?
        }
        F::PredictLinear => apply(evaluator, node, steps, &mut trend::Predict { ahead: numbers(1)? })?,
        F::DoubleExponentialSmoothing => {
            let kernel = trend::Smoothing::new(numbers(1)?, numbers(2)?)?;
            apply(evaluator, node, steps, &mut { kernel })?
        }
        F::AbsentOverTime => return absent(evaluator, node, steps),
        F::AvgOverTime
        | F::Changes
        | F::CountOverTime
        | F::Delta
        | F::Deriv
        | F::FirstOverTime
        | F::Idelta
        | F::Increase
        | F::Irate
        | F::LastOverTime
        | F::MadOverTime
        | F::MaxOverTime
        | F::MinOverTime
        | F::PresentOverTime
        | F::Rate
        | F::Resets
        | F::StddevOverTime
        | F::StdvarOverTime
        | F::SumOverTime
        | F::TimeOfFirst
        | F::TimeOfLast
        | F::TimeOfMax
        | F::TimeOfMin => simple(evaluator, function, node, steps)?,
    };
    if !matches!(function, F::LastOverTime | F::FirstOverTime) {
        for row in &mut rows {
            row.drop_name = true;
        }
    }
    if matches!(function, F::Rate | F::Increase) {
        note_non_counters(evaluator, node, &rows);
    }
    Ok(rows)
}

fn simple(
    evaluator: &Evaluator<'_>,
    function: RangeFunction,
    node: &Node,
    steps: Steps,
) -> Result<Vec<Row>, EvalError> {
    let kernel = kernel(function);
    let mut kernel = kernel.ok_or_else(|| EvalError::invalid("the function takes other arguments"))?;
    apply(evaluator, node, steps, &mut *kernel)
}

/// The kernel of a function that takes nothing but a range.
fn kernel(function: RangeFunction) -> Option<Box<dyn Kernel>> {
    use RangeFunction as F;
    fn values(of: impl FnMut(&[f64]) -> f64 + 'static) -> Box<dyn Kernel> {
        Box::new(Values(of))
    }
    Some(match function {
        F::Rate => Box::new(counter::Extrapolated::rate()),
        F::Increase => Box::new(counter::Extrapolated::increase()),
        F::Delta => Box::new(counter::Extrapolated::delta()),
        F::Irate => Box::new(counter::LastTwo::rate()),
        F::Idelta => Box::new(counter::LastTwo::delta()),
        F::Changes => values(counter::changes),
        F::Resets => values(counter::resets),
        F::Deriv => Box::new(trend::Slope),
        F::SumOverTime => values(over_time::sum),
        F::AvgOverTime => values(over_time::mean),
        F::CountOverTime => values(over_time::count),
        F::MinOverTime => Box::new(over_time::Extreme::min()),
        F::MaxOverTime => Box::new(over_time::Extreme::max()),
        F::StddevOverTime => values(|values| over_time::variance(values).sqrt()),
        F::StdvarOverTime => values(over_time::variance),
        F::MadOverTime => values(quantile::absolute_deviation),
        F::LastOverTime => values(over_time::last),
        F::FirstOverTime => values(over_time::first),
        F::PresentOverTime => values(|_| 1.0),
        F::TimeOfFirst => Box::new(over_time::TimeOf::First),
        F::TimeOfLast => Box::new(over_time::TimeOf::Last),
        F::TimeOfMax => Box::new(over_time::TimeOf::Max),
        F::TimeOfMin => Box::new(over_time::TimeOf::Min),
        F::AbsentOverTime | F::QuantileOverTime | F::PredictLinear | F::DoubleExponentialSmoothing => {
            return None;
        }
    })
}

fn apply(
    evaluator: &Evaluator<'_>,
    node: &Node,
    steps: Steps,
    kernel: &mut dyn Kernel,
) -> Result<Vec<Row>, EvalError> {
    match argument(evaluator, node, steps)? {
        RangeArgument::Applied(series) => applied(evaluator, series, steps),
        RangeArgument::Ranges(ranges) => {
            let mut rows = Vec::with_capacity(ranges.columns.len());
            for column in &ranges.columns {
                evaluator.charge(steps.count)?;
                let values = slide(evaluator, column, &ranges, (steps, kernel))?;
                let row = Row { labels: column.labels.clone(), drop_name: column.drop_name, values };
                push(&mut rows, row, steps);
            }
            Ok(rows)
        }
    }
}

/// The values of all windows of a column: one for each step, or one for all of them.
fn slide(
    evaluator: &Evaluator<'_>,
    column: &Column<'_>,
    ranges: &Ranges<'_>,
    (steps, kernel): (Steps, &mut dyn Kernel),
) -> Result<Vec<f64>, EvalError> {
    kernel.begin(&column.values);
    let fixed = ranges.ends.count < steps.count;
    let wanted = if fixed && !kernel.depends_on_step() { 1 } else { steps.count };
    let times = Times::Listed(&column.times);
    let (mut starts, mut ends) = (Passed::of(times), Passed::of(times));
    let mut through = ranges.ends.start;
    let mut values = Vec::with_capacity(wanted);
    for (step, at) in steps.iter().enumerate().take(wanted) {
        // A window may be long; the clock is looked at before each.
        evaluator.check()?;
        let after = through.saturating_sub(ranges.length);
        let (first, past) = (starts.up_to(after), ends.up_to(through));
        values.push(match column.values.get(first..past) {
            Some(values) if !values.is_empty() => {
                kernel.value(&Window { column: times, first, values, after, through, at, step })
            }
            Some(_) | None => ABSENT,
        });
        if !fixed {
            through = through.saturating_add(ranges.ends.step);
        }
    }
    Ok(values)
}

fn absent(evaluator: &Evaluator<'_>, node: &Node, steps: Steps) -> Result<Vec<Row>, EvalError> {
    let labels = node.matchers().map(super::functions::labels_of_absent).unwrap_or_default();
    let rows = apply(evaluator, node, steps, &mut Values(|_: &[f64]| 1.0))?;
    Ok(super::functions::absent_row(&rows, labels, steps).into_iter().collect())
}

/// Warns of metrics that are not named as counters are.
fn note_non_counters(evaluator: &Evaluator<'_>, node: &Node, rows: &[Row]) {
    let mut last = "";
    for row in rows {
        let name = row.labels.get(NAME);
        let counter = ["_total", "_sum", "_count", "_bucket"].iter().any(|end| name.ends_with(end));
        if !name.is_empty() && !counter && name != last && row.values.iter().any(|value| !is_absent(*value)) {
            evaluator.note(Note::PossibleNonCounter(name), node.place);
        }
        last = name;
    }
}
