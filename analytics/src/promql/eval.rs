//! Evaluation: the tree from its leaves up, each node once, over all steps at once.
//!
//! Pure and synchronous. What the selectors need was gathered before; the clock is a flag that somebody else sets.

use std::cell::{Cell, RefCell};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::expr::{Expr, Node, Place};
use super::labels::Labels;
use super::notes::{Note, Notes};
use super::settings::{Mode, Settings, Stop};
use super::source::{Selected, WindowSeries};
use super::value::{Answer, Row, Steps, is_absent};
use super::{aggregate, binary, functions, selectors};

/// Why an evaluation gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// It was told to stop.
    #[error("the query was stopped")]
    Stopped,
    /// It made more values than allowed.
    #[error("query processing would load too many samples into memory in query execution (the limit is {0})")]
    TooManySamples(usize),
    /// The query makes no sense of these values.
    #[error("{0}")]
    Invalid(String),
}

impl EvalError {
    pub(super) fn invalid(why: impl Into<String>) -> Self {
        Self::Invalid(why.into())
    }
}

/// The error of two series that would be one.
pub(super) fn same_labels() -> EvalError {
    EvalError::invalid("vector cannot contain metrics with the same labelset")
}

/// What a node gives.
#[derive(Debug)]
pub(super) enum Value {
    Scalar(Vec<f64>),
    Rows(Vec<Row>),
}

pub(super) struct Evaluator<'a> {
    pub(super) gathered: &'a [Selected],
    /// Of each selector the values that its source made, until the selector takes them.
    windows: RefCell<Vec<Vec<WindowSeries>>>,
    pub(super) settings: &'a Settings,
    stop: &'a Stop,
    notes: RefCell<Notes>,
    made: Cell<usize>,
}

impl<'a> Evaluator<'a> {
    /// Takes what was made of windows out of `gathered`.
    pub(super) fn new(gathered: &'a mut [Selected], settings: &'a Settings, stop: &'a Stop) -> Self {
        let made = Cell::new(gathered.iter().map(Selected::len).sum());
        let taken = |selected: &mut Selected| match selected {
            Selected::Samples(_) => Vec::new(),
            Selected::Windows(series) => std::mem::take(series),
        };
        let windows = RefCell::new(gathered.iter_mut().map(taken).collect());
        Self { gathered, windows, settings, stop, notes: RefCell::default(), made }
    }

    /// The values that the source of a selector made. The one node that has the selector takes them, once.
    pub(super) fn windows(&self, slot: usize) -> Vec<WindowSeries> {
        self.windows.borrow_mut().get_mut(slot).map(std::mem::take).unwrap_or_default()
    }

    /// Evaluates a whole query.
    pub(super) fn answer(&self, root: &Node) -> Result<Answer, EvalError> {
        if let Some(text) = root.text() {
            return Ok(Answer::Text(text.text.clone()));
        }
        if matches!(root.expr, Expr::Range(_) | Expr::Subquery(_)) {
            return Ok(Answer::Ranges(selectors::raw(self, root, self.settings.steps)?));
        }
        match self.value(root, self.settings.steps)? {
            Value::Scalar(values) => Ok(Answer::Scalar(values)),
            Value::Rows(rows) => {
                let mut rows = finish(rows)?;
                if self.settings.mode == Mode::Range {
                    rows.sort_by(|a, b| a.labels.cmp(&b.labels));
                }
                Ok(Answer::Rows(rows))
            }
        }
    }

    pub(super) fn into_notes(self) -> Notes {
        self.notes.into_inner()
    }

    pub(super) fn note(&self, note: Note<'_>, place: Place) {
        self.notes.borrow_mut().add(note, place);
    }

    /// Counts values that are about to be made, and looks whether to stop.
    pub(super) fn charge(&self, values: usize) -> Result<(), EvalError> {
        self.check()?;
        let made = self.made.get().saturating_add(values);
        self.made.set(made);
        let limit = self.settings.samples_max;
        if made > limit { Err(EvalError::TooManySamples(limit)) } else { Ok(()) }
    }

    /// Whether it shall stop.
    pub(super) fn check(&self) -> Result<(), EvalError> {
        if self.stop.is_stopped() { Err(EvalError::Stopped) } else { Ok(()) }
    }

    /// The value of a node. A row for each node is counted here; what makes more rows counts those.
    pub(super) fn value(&self, node: &Node, steps: Steps) -> Result<Value, EvalError> {
        self.charge(steps.count)?;
        match &node.expr {
            Expr::Number(number) => Ok(Value::Scalar(vec![*number; steps.count])),
            Expr::Selector(selector) => selectors::latest(self, selector, steps).map(Value::Rows),
            Expr::Negate(inner) => Ok(match self.value(inner, steps)? {
                Value::Scalar(values) => Value::Scalar(values.into_iter().map(|value| -value).collect()),
                Value::Rows(rows) => Value::Rows(mapped(rows, |value| -value)),
            }),
            Expr::Binary(operation) => binary::value(self, operation, steps),
            Expr::Aggregate(aggregation) => aggregate::rows(self, aggregation, steps).map(Value::Rows),
            Expr::Call(call) => functions::value(self, node, call, steps),
            Expr::Text(_) | Expr::Range(_) | Expr::Subquery(_) => {
                Err(EvalError::invalid("a text or a range has no value by itself"))
            }
        }
    }

    /// The rows of a node that gives rows.
    pub(super) fn rows(&self, node: &Node, steps: Steps) -> Result<Vec<Row>, EvalError> {
        match self.value(node, steps)? {
            Value::Rows(rows) => Ok(rows),
            Value::Scalar(_) => Err(EvalError::invalid("an instant vector is wanted, not a scalar")),
        }
    }

    /// The numbers of a node that gives one for each step.
    pub(super) fn scalar(&self, node: &Node, steps: Steps) -> Result<Vec<f64>, EvalError> {
        match self.value(node, steps)? {
            Value::Scalar(values) => Ok(values),
            Value::Rows(_) => Err(EvalError::invalid("a scalar is wanted, not an instant vector")),
        }
    }
}

/// Every value through `f`; the results are no longer what the metric's name says.
pub(super) fn mapped(mut rows: Vec<Row>, f: impl Fn(f64) -> f64) -> Vec<Row> {
    for row in &mut rows {
        row.map(&f);
        row.drop_name = true;
    }
    rows
}

/// Takes out the names that are to be dropped and joins rows that become the same series by that.
fn finish(mut rows: Vec<Row>) -> Result<Vec<Row>, EvalError> {
    for row in &mut rows {
        if std::mem::take(&mut row.drop_name) {
            row.labels = row.labels.without_name();
        }
    }
    rows.retain(Row::is_present);
    joined(rows)
}

/// Joins rows of the same labels, in the place of the first. An error where two have a value at the same step.
pub(super) fn joined(rows: Vec<Row>) -> Result<Vec<Row>, EvalError> {
    let mut places: HashMap<Labels, usize> = HashMap::with_capacity(rows.len());
    let mut all: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        match places.entry(row.labels.clone()) {
            Entry::Vacant(vacant) => {
                vacant.insert(all.len());
                all.push(row);
            }
            Entry::Occupied(place) => {
                if let Some(known) = all.get_mut(*place.get()) {
                    join(known, &row)?;
                }
            }
        }
    }
    Ok(all)
}

fn join(known: &mut Row, row: &Row) -> Result<(), EvalError> {
    known.drop_name |= row.drop_name;
    for (value, other) in known.values.iter_mut().zip(&row.values) {
        if is_absent(*other) {
            continue;
        }
        if !is_absent(*value) {
            return Err(same_labels());
        }
        *value = *other;
    }
    Ok(())
}
