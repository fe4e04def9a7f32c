//! What the API asks of the store.
//!
//! A small trait, so that handlers are tested against canned answers and failures. The API knows nothing else of
//! where samples lie.

use std::future::Future;
use std::sync::Arc;

use tidemill_store::catalog::SourceEntry;
use tidemill_store::model::{Metric, Source, TimeRange};
use tidemill_store::read::{Sample, Selector, Series};
use tidemill_store::wide::Order;

/// The newest sample of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest {
    /// Whose.
    pub source: Arc<Source>,
    /// Of what.
    pub metric: Metric,
    /// The sample.
    pub sample: Sample,
}

/// Why a query gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The store cannot be read now; asking again may help.
    #[error("the store cannot be read now: {0}")]
    Unavailable(String),
    /// The query touches more than a query may.
    #[error("{why}")]
    TooLarge {
        /// What is too much and what to ask instead, for users.
        why: String,
        /// Whether the halves of its range may each be answered.
        halves_may_do: bool,
    },
    /// What is stored makes no sense, or the store refused; asking again does not help.
    #[error("the store gave no usable answer: {0}")]
    Broken(String),
}

/// What can be asked. A future that is dropped stops its work.
pub trait Query: Send + Sync + 'static {
    /// The sources that match, in no particular order.
    fn sources(
        &self,
        selector: &Selector,
    ) -> impl Future<Output = Result<Vec<Arc<SourceEntry>>, QueryError>> + Send;

    /// The samples that match in `range`: series in no particular order, samples ascending with unique times.
    fn samples(
        &self,
        selector: &Selector,
        range: TimeRange,
    ) -> impl Future<Output = Result<Vec<Series>, QueryError>> + Send;

    /// The newest sample of each series that matches, in no particular order.
    fn latest(&self, selector: &Selector) -> impl Future<Output = Result<Vec<Latest>, QueryError>> + Send;

    /// Parts of `range` that may hold samples, disjoint, in the order asked for; each can be read at once.
    fn slices(
        &self,
        selector: &Selector,
        range: TimeRange,
        order: Order,
    ) -> impl Future<Output = Result<Vec<TimeRange>, QueryError>> + Send;
}
