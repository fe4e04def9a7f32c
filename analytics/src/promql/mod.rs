//! PromQL: from a query's text to its answer.
//!
//! The path, top to bottom: `syntax` (text to tree) → `demands` (which series, of which times) → a
//! [`SeriesSource`] gives them → `eval` (the tree over all steps at once: `selectors`, `ranges`, `functions`,
//! `aggregate`, `binary`) → [`Answer`] with [`Notes`]. All but [`gather`] is pure and synchronous: no clock, no I/O.
//! Times are nanoseconds; what is here knows neither HTTP nor where samples lie.

#![cfg_attr(test, expect(clippy::float_cmp, reason = "the tests' numbers are exact"))]

mod aggregate;
mod binary;
mod demands;
mod dialect;
mod eval;
mod expr;
mod format;
mod function;
mod functions;
mod kahan;
mod labels;
mod matcher;
mod memory;
mod notes;
mod plain;
mod quoted;
mod ranges;
mod recent;
mod selectors;
mod settings;
mod source;
mod syntax;
mod tokens;
mod value;

use futures_util::future::try_join_all;

pub use self::dialect::NoExpression;
pub use self::eval::EvalError;
pub use self::expr::Grouping;
pub use self::format::{float, plain_float, write_time};
pub use self::function::{Aggregation, RangeFunction};
pub use self::labels::{BUCKET, Label, Labels, NAME};
pub use self::matcher::{MatchOp, Matcher, Pattern, fit_all, metric_of, whole_value};
pub use self::memory::MemorySource;
pub use self::notes::Notes;
pub use self::ranges::{Moving, Times, WindowFacts};
pub use self::recent::RecentQueries;
pub use self::settings::{Lookback, Mode, Settings, Stop};
pub use self::source::{Demand, Hint, PromSeries, Selected, SeriesSource, SourceError, Wanted, WindowSeries};
pub use self::syntax::{ParseError, format, parse_selector, tree};
pub use self::value::{ABSENT, Answer, RawSeries, Row, Steps, is_absent, present, seconds};

/// A query that has been read.
#[derive(Debug, Clone)]
pub struct Query(syntax::Parsed);

/// What a query's selectors were given, each in its place.
#[derive(Debug, Clone)]
pub struct Gathered(Vec<Selected>);

/// What became of a query.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its answer.
    pub answer: Answer,
    /// What there is to say about it.
    pub notes: Notes,
}

impl Query {
    /// Reads a query.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        syntax::parse(text).map(Self)
    }

    /// What its selectors need under `settings`, in the order that [`Gathered`] has.
    pub fn demands(&self, settings: &Settings) -> Vec<Demand> {
        demands::demands(&self.0.root, self.0.slots, settings)
    }

    /// Whether it has an answer over a range of steps: a range or a text has none.
    pub fn can_be_ranged(&self) -> bool {
        self.kind_without_range().is_none()
    }

    /// What it gives, as Prometheus calls it, where it has no answer over a range of steps.
    pub fn kind_without_range(&self) -> Option<&'static str> {
        if matches!(self.0.root.expr, expr::Expr::Range(_) | expr::Expr::Subquery(_)) {
            return Some("range vector");
        }
        matches!(self.0.root.expr, expr::Expr::Text(_)).then_some("string")
    }

    /// The same query with every selector and subquery that has no `@` fixed at `at`: it gives at any time what
    /// this one gives at `at`. `None` where a function may read the time of the evaluation.
    #[must_use]
    pub fn pinned(&self, at: i64) -> Option<Self> {
        if self.calls(function::Function::reads_the_time) {
            return None;
        }
        let mut pinned = self.clone();
        pinned.0.root.pin(at);
        Some(pinned)
    }

    /// Whether it asks for the bounds or the step of the query.
    pub fn reads_its_bounds(&self) -> bool {
        use function::{Function, Moment};
        self.calls(|function| matches!(function, Function::Moment(moment) if moment != Moment::Time))
    }

    fn calls(&self, wanted: impl Fn(function::Function) -> bool) -> bool {
        let mut found = false;
        self.0.root.walk(&mut |node| {
            found |= matches!(&node.expr, expr::Expr::Call(call) if wanted(call.function));
            true
        });
        found
    }

    /// Evaluates the query over what was gathered for it under the same settings.
    pub fn evaluate(
        &self,
        settings: &Settings,
        gathered: Gathered,
        stop: &Stop,
    ) -> Result<Outcome, EvalError> {
        let mut gathered = gathered.0;
        let evaluator = eval::Evaluator::new(&mut gathered, settings, stop);
        evaluator.charge(0)?;
        let answer = evaluator.answer(&self.0.root)?;
        Ok(Outcome { answer, notes: evaluator.into_notes() })
    }
}

impl Gathered {
    /// How many samples there are.
    pub fn samples(&self) -> usize {
        self.0.iter().map(Selected::len).sum()
    }
}

/// Asks `source` for all that `query` needs, all selectors at once. A future that is dropped stops its work.
pub async fn gather<S: SeriesSource>(
    query: &Query,
    settings: &Settings,
    source: &S,
) -> Result<Gathered, SourceError> {
    let demands = query.demands(settings);
    let mut all = try_join_all(demands.iter().map(|demand| source.select(demand))).await?;
    for selected in &mut all {
        match selected {
            Selected::Samples(series) => series.sort_by(|a, b| a.labels.cmp(&b.labels)),
            Selected::Windows(series) => series.sort_by(|a, b| a.labels.cmp(&b.labels)),
        }
    }
    let gathered = Gathered(all);
    if gathered.samples() > settings.samples_max {
        let limit = settings.samples_max;
        return Err(SourceError::TooMuch(format!(
            "query processing would load too many samples into memory in query execution (the limit is {limit})"
        )));
    }
    Ok(gathered)
}

#[cfg(test)]
mod tests;
