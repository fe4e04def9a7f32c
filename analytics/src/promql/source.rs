//! What the engine asks of a store: series by matchers, with a hint of what will be done with them.
//!
//! A source may answer a demand in one of two forms: the samples, or, where the hint says that one value for each
//! step is all that is wanted, those values. The second form is how rollups come in; evaluation takes both alike.

use std::future::Future;

use super::expr::Grouping;
use super::function::{Aggregation, RangeFunction};
use super::labels::Labels;
use super::matcher::Matcher;
use super::value::Steps;

/// What one selector of a query needs.
#[derive(Debug, Clone)]
pub struct Demand {
    /// Which of the query's selectors asks, counted from 0.
    pub slot: usize,
    /// Which series: those that fit all of these.
    pub matchers: Vec<Matcher>,
    /// Samples after this moment (nanoseconds since the epoch), which is not in it …
    pub after: i64,
    /// … up to and with this one.
    pub through: i64,
    /// What will be done with them.
    pub hint: Hint,
    /// Most samples (or values) that may come; more are an error.
    pub samples_max: usize,
}

/// What will be done with the samples of a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// What is made of each window.
    pub wanted: Wanted,
    /// The windows' length in nanoseconds: the window of an end `t` is `(t − length, t]`. For [`Wanted::Latest`]
    /// it is the lookback of the metric that the matchers name; where they name none, the longest of any.
    pub window: i64,
    /// The windows' ends; `@` and `offset` are applied already.
    pub ends: Steps,
    /// The aggregation that the values go into next, unchanged.
    pub aggregation: Option<(Aggregation, Grouping)>,
}

/// What is made of the samples of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The newest value.
    Latest,
    /// What this function of one range gives.
    Function(RangeFunction),
    /// Something else; every sample is needed.
    Samples,
}

/// A series with its samples.
#[derive(Debug, Clone, PartialEq)]
pub struct PromSeries {
    /// Whose.
    pub labels: Labels,
    /// Nanoseconds since the epoch, ascending, each time once.
    pub times: Vec<i64>,
    /// One for each time. The staleness marker ([`ABSENT`](super::value::ABSENT)) ends a series.
    pub values: Vec<f64>,
}

/// A series with one value for each end of its hint, or [`ABSENT`](super::value::ABSENT).
#[derive(Debug, Clone, PartialEq)]
pub struct WindowSeries {
    /// Whose.
    pub labels: Labels,
    /// One for each end.
    pub values: Vec<f64>,
}

/// The answer to a demand; each series once, in any order.
#[derive(Debug, Clone, PartialEq)]
pub enum Selected {
    /// The samples.
    Samples(Vec<PromSeries>),
    /// What [`Hint::wanted`] makes of each window; never for [`Wanted::Samples`].
    Windows(Vec<WindowSeries>),
}

impl Selected {
    /// How many samples or values it holds.
    pub fn len(&self) -> usize {
        match self {
            Self::Samples(series) => series.iter().map(|series| series.times.len()).sum(),
            Self::Windows(series) => series.iter().map(|series| series.values.len()).sum(),
        }
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a source gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// More than the demand allows, or than the store gives: what, and what to ask instead.
    #[error("{0}")]
    TooMuch(String),
    /// The store cannot be read now.
    #[error("the store cannot be read now: {0}")]
    Unavailable(String),
    /// What is stored makes no sense, or the store refused.
    #[error("the store gave no usable answer: {0}")]
    Broken(String),
}

/// Where series come from. A future that is dropped stops its work.
pub trait SeriesSource: Send + Sync {
    /// The series of a demand.
    fn select(&self, demand: &Demand) -> impl Future<Output = Result<Selected, SourceError>> + Send;
}
