//! A query as the evaluator sees it: the parser's tree with times in nanoseconds, functions as enums, parentheses
//! gone, and a number for each selector by which its samples are found. Pure data.

use super::function::{Aggregation, Function};
use super::matcher::Matcher;

/// Where a part of the query stands: line and column from 1.
pub(super) type Place = (usize, usize);

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) expr: Expr,
}

#[derive(Debug, Clone)]
pub(super) enum Expr {
    Number(f64),
    Text(Text),
    Selector(Box<Selector>),
    Range(Box<RangeSelector>),
    Subquery(Box<Subquery>),
    Negate(Box<Node>),
    Binary(Box<Binary>),
    Aggregate(Box<Aggregate>),
    Call(Box<Call>),
}

/// A quoted text. Not every one is UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    /// The text; what is not UTF-8 is replaced.
    pub(super) text: String,
    /// As it stands in the query, where it is not UTF-8.
    pub(super) not_utf8: Option<String>,
}

/// A moment other than that of the evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// The query's start.
    Start,
    /// The query's end.
    End,
    /// This one.
    Time(i64),
}

#[derive(Debug, Clone)]
pub(super) struct Selector {
    /// The number of this selector in its query.
    pub(super) slot: usize,
    pub(super) matchers: Vec<Matcher>,
    pub(super) shift: Shift,
}

/// `@` and `offset`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shift {
    pub(super) at: Option<At>,
    pub(super) offset: i64,
}

#[derive(Debug, Clone)]
pub(super) struct RangeSelector {
    pub(super) selector: Selector,
    pub(super) range: i64,
}

#[derive(Debug, Clone)]
pub(super) struct Subquery {
    pub(super) inner: Node,
    pub(super) range: i64,
    /// `None`: the default.
    pub(super) step: Option<i64>,
    pub(super) shift: Shift,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BinaryOp {
    Arithmetic(Arithmetic),
    Comparison(Comparison),
    Set(SetOp),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Atan2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SetOp {
    And,
    Or,
    Unless,
}

#[derive(Debug, Clone)]
pub(super) struct Binary {
    pub(super) op: BinaryOp,
    pub(super) left: Node,
    pub(super) right: Node,
    /// `bool`: 0 or 1 in place of a filter.
    pub(super) as_bool: bool,
    pub(super) matching: Matching,
}

/// Which series of two sides belong together.
#[derive(Debug, Clone, Default)]
pub(super) struct Matching {
    pub(super) labels: MatchLabels,
    pub(super) cardinality: Cardinality,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MatchLabels {
    On(Vec<String>),
    Ignoring(Vec<String>),
}

impl Default for MatchLabels {
    fn default() -> Self {
        Self::Ignoring(Vec::new())
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Cardinality {
    #[default]
    OneToOne,
    /// `group_left`: these labels come from the right.
    ManyToOne(Vec<String>),
    /// `group_right`: these labels come from the left.
    OneToMany(Vec<String>),
}

/// By which labels series are put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grouping {
    /// By these labels alone.
    By(Vec<String>),
    /// By all labels but these and the metric's name.
    Without(Vec<String>),
}

#[derive(Debug, Clone)]
pub(super) struct Aggregate {
    pub(super) op: Aggregation,
    pub(super) grouping: Grouping,
    pub(super) parameter: Option<Node>,
    pub(super) inner: Node,
}

#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) function: Function,
    pub(super) args: Vec<Node>,
}

impl Node {
    /// The text that it is.
    pub(super) const fn text(&self) -> Option<&Text> {
        if let Expr::Text(text) = &self.expr { Some(text) } else { None }
    }

    /// The instant selector that it is.
    pub(super) fn selector(&self) -> Option<&Selector> {
        if let Expr::Selector(selector) = &self.expr { Some(selector) } else { None }
    }

    /// The matchers of the instant or range selector that it is.
    pub(super) fn matchers(&self) -> Option<&[Matcher]> {
        if let Expr::Range(range) = &self.expr {
            return Some(&range.selector.matchers);
        }
        self.selector().map(|selector| selector.matchers.as_slice())
    }

    /// Calls `f` on this node and all below it, those above first; not below a node where `f` says `false`.
    pub(super) fn walk<'a>(&'a self, f: &mut impl FnMut(&'a Self) -> bool) {
        if !f(self) {
            return;
        }
        match &self.expr {
            Expr::Number(_) | Expr::Text(_) | Expr::Selector(_) | Expr::Range(_) => {}
            Expr::Subquery(subquery) => subquery.inner.walk(f),
            Expr::Negate(inner) => inner.walk(f),
            Expr::Binary(binary) => {
                binary.left.walk(f);
                binary.right.walk(f);
            }
            Expr::Aggregate(aggregate) => {
                if let Some(parameter) = &aggregate.parameter {
                    parameter.walk(f);
                }
                aggregate.inner.walk(f);
            }
            Expr::Call(call) => call.args.iter().for_each(|arg| arg.walk(f)),
        }
    }

    /// Evaluates each selector and subquery that has no `@`, outside of any other, at `at`.
    pub(super) fn pin(&mut self, at: i64) {
        let pin = |shift: &mut Shift| {
            shift.at.get_or_insert(At::Time(at));
        };
        match &mut self.expr {
            Expr::Number(_) | Expr::Text(_) => {}
            Expr::Selector(selector) => pin(&mut selector.shift),
            Expr::Range(range) => pin(&mut range.selector.shift),
            Expr::Subquery(subquery) => pin(&mut subquery.shift),
            Expr::Negate(inner) => inner.pin(at),
            Expr::Binary(binary) => {
                binary.left.pin(at);
                binary.right.pin(at);
            }
            Expr::Aggregate(aggregate) => {
                if let Some(parameter) = &mut aggregate.parameter {
                    parameter.pin(at);
                }
                aggregate.inner.pin(at);
            }
            Expr::Call(call) => call.args.iter_mut().for_each(|arg| arg.pin(at)),
        }
    }
}
