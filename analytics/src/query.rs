//! What the API asks of the store.
//!
//! A small trait, so that handlers are tested against canned answers and failures. The API knows nothing else of
//! where samples lie.

use std::future::Future;
use std::sync::Arc;

use tidemill_store::model::TimeRange;
use tidemill_store::read::{Excess, Latest, Order, ReadFailure, Reader, Selector, Series, SourceEntry};
use tidemill_store::wide::Wide;

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
    /// The sources that match, in the order of tenant, device and tags.
    fn sources(
        &self,
        selector: &Selector,
    ) -> impl Future<Output = Result<Vec<Arc<SourceEntry>>, QueryError>> + Send;

    /// The samples that match in `range`: each series once, its samples ascending with unique times.
    fn samples(
        &self,
        selector: &Selector,
        range: TimeRange,
    ) -> impl Future<Output = Result<Vec<Series>, QueryError>> + Send;

    /// The newest sample of each series that matches, in the order of tenant, device, tags and metric.
    fn latest(&self, selector: &Selector) -> impl Future<Output = Result<Vec<Latest>, QueryError>> + Send;

    /// Parts of `range` that may hold samples, disjoint, in the order asked for; each can be read at once.
    fn slices(
        &self,
        selector: &Selector,
        range: TimeRange,
        order: Order,
    ) -> impl Future<Output = Result<Vec<TimeRange>, QueryError>> + Send;
}

impl<W: Wide> Query for Reader<W> {
    async fn sources(&self, selector: &Selector) -> Result<Vec<Arc<SourceEntry>>, QueryError> {
        Ok(Reader::sources(self, selector).await?)
    }

    async fn samples(&self, selector: &Selector, range: TimeRange) -> Result<Vec<Series>, QueryError> {
        Ok(Reader::samples(self, selector, range).await?)
    }

    async fn latest(&self, selector: &Selector) -> Result<Vec<Latest>, QueryError> {
        Ok(Reader::latest(self, selector).await?)
    }

    async fn slices(
        &self,
        selector: &Selector,
        range: TimeRange,
        order: Order,
    ) -> Result<Vec<TimeRange>, QueryError> {
        Ok(Reader::slices(self, selector, range, order).await?)
    }
}

impl From<ReadFailure> for QueryError {
    fn from(failure: ReadFailure) -> Self {
        if let ReadFailure::TooLarge { what, .. } = &failure {
            return Self::TooLarge { why: failure.to_string(), halves_may_do: shrinks_with_the_range(*what) };
        }
        let why = causes(&failure);
        if failure.is_transient() { Self::Unavailable(why) } else { Self::Broken(why) }
    }
}

/// Whether a shorter range of time has less of it.
fn shrinks_with_the_range(what: Excess) -> bool {
    match what {
        Excess::Samples | Excess::Bytes | Excess::Marks => true,
        Excess::Sources | Excess::BucketBytes => false,
    }
}

/// An error and its sources in one line, for the log.
fn causes(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
