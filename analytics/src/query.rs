//! What the API asks of the store.
//!
//! A small trait, so that handlers are tested against canned answers and failures. The API knows nothing else of
//! where samples lie.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use tidemill_store::codec::{Piece, Run};
use tidemill_store::model::{TimeRange, Timestamp, ValueKind};
use tidemill_store::read::{
    Condition, Excess, Explain, Explained, Fold, Label, Latest, MetricEntry, Order, ReadFailure, Reader,
    Selector, Series, SeriesFolds, SeriesRun, SourceEntry, Taken, Taker, Takers, Windowed, what_is_left,
};
use tidemill_store::rollup::{Fields, fold_run, fold_run_with_sketches};
use tidemill_store::wide::Wide;

use crate::moment::Utc;

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
    /// The query needs samples that have expired; says what is left and how to ask for it, for users.
    #[error("{0}")]
    Expired(String),
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

    /// As [`Query::sources`], without those of which it is cheap to tell that they have no sample in `range`.
    fn sources_within(
        &self,
        selector: &Selector,
        range: TimeRange,
    ) -> impl Future<Output = Result<Vec<Arc<SourceEntry>>, QueryError>> + Send {
        let _ = range;
        self.sources(selector)
    }

    /// The values of a label among the sources of [`Query::sources_within`], in order, each once.
    fn label_values(
        &self,
        selector: &Selector,
        label: &Label,
        range: TimeRange,
    ) -> impl Future<Output = Result<Vec<String>, QueryError>> + Send {
        async move {
            let entries = self.sources_within(selector, range).await?;
            let of = |entry: &Arc<SourceEntry>| values_of(entry, selector, label);
            let values: BTreeSet<String> = entries.iter().flat_map(of).collect();
            Ok(values.into_iter().collect())
        }
    }

    /// The keys of the tags of the sources of [`Query::sources_within`], in order, each once.
    fn tag_keys(
        &self,
        selector: &Selector,
        range: TimeRange,
    ) -> impl Future<Output = Result<Vec<String>, QueryError>> + Send {
        async move {
            let entries = self.sources_within(selector, range).await?;
            let keys = |entry: &Arc<SourceEntry>| {
                entry.source.tags().iter().map(|(key, _)| key.as_str().to_owned()).collect::<Vec<_>>()
            };
            let keys: BTreeSet<String> = entries.iter().flat_map(keys).collect();
            Ok(keys.into_iter().collect())
        }
    }

    /// The samples that match in `range`: each series once, its samples ascending with unique times.
    fn samples(
        &self,
        selector: &Selector,
        range: TimeRange,
    ) -> impl Future<Output = Result<Vec<Series>, QueryError>> + Send;

    /// The same, with how it came about.
    fn explained_samples(
        &self,
        selector: &Selector,
        range: TimeRange,
    ) -> impl Future<Output = Result<Explained<Vec<Series>>, QueryError>> + Send {
        async move {
            let answer = self.samples(selector, range).await?;
            Ok(Explained { answer, explain: Explain::default() })
        }
    }

    /// The folds of the series that match over the cells between ascending `cuts`, knowing `fields`: see
    /// [`Reader::folds`]. A store that knows none folds samples.
    fn folds(
        &self,
        selector: &Selector,
        cuts: &[Timestamp],
        fields: Fields,
    ) -> impl Future<Output = Result<Explained<Vec<SeriesFolds>>, QueryError>> + Send {
        async move {
            let range =
                cuts.first().zip(cuts.last()).and_then(|(start, end)| TimeRange::new(*start, *end).ok());
            let Some(range) = range else { return Ok(Explained::default()) };
            let Explained { answer, explain } = self.explained_samples(selector, range).await?;
            let answer = answer.into_iter().map(|series| folded(series, cuts, fields)).collect();
            Ok(Explained { answer, explain })
        }
    }

    /// The samples that match in `range`, columnar: each series once.
    fn runs(
        &self,
        selector: &Selector,
        range: TimeRange,
    ) -> impl Future<Output = Result<Explained<Vec<SeriesRun>>, QueryError>> + Send {
        async move {
            let Explained { answer, explain } = self.explained_samples(selector, range).await?;
            Ok(Explained { answer: answer.into_iter().map(run).collect(), explain })
        }
    }

    /// What is after the first of ascending `cuts`, up to and with the last: see [`Reader::windows`]. With `fold` it
    /// is folds in any case. A store that knows no rollups hands on samples, or folds them.
    fn windows<S: Takers>(
        &self,
        selector: &Selector,
        cuts: &[Timestamp],
        (fields, fold): (Fields, Fold),
        takers: Arc<S>,
    ) -> impl Future<Output = Result<Explained<Windowed<S::Taker>>, QueryError>> + Send {
        async move {
            let bounds = cuts.first().zip(cuts.last()).map(|(first, last)| [*first, *last].map(just_after));
            let [start, end] = match bounds {
                Some([Some(start), Some(end)]) => [start, end],
                _ => [Timestamp::EPOCH; 2],
            };
            if fold == Fold::Always {
                let cuts: Vec<Timestamp> = cuts.iter().copied().chain([end]).collect();
                let Explained { answer, explain } = self.folds(selector, &cuts, fields).await?;
                return Ok(Explained { answer: Windowed::Folds(answer), explain });
            }
            let Ok(range) = TimeRange::new(start, end) else {
                return Ok(Explained { answer: Windowed::Taken(Vec::new()), explain: Explain::default() });
            };
            let Explained { answer, explain } = self.taken(selector, range, takers).await?;
            Ok(Explained { answer: Windowed::Taken(answer), explain })
        }
    }

    /// Hands the samples that match in `range` to takers: see [`Reader::taken`].
    fn taken<S: Takers>(
        &self,
        selector: &Selector,
        range: TimeRange,
        takers: Arc<S>,
    ) -> impl Future<Output = Result<Explained<Vec<Taken<S::Taker>>>, QueryError>> + Send {
        async move {
            let Explained { answer, explain } = self.runs(selector, range).await?;
            let mut taken = Vec::new();
            for SeriesRun { source, metric, run } in answer {
                let begun = takers.begin(&source, &metric);
                let begun = begun.map_err(|(what, limit)| ReadFailure::TooLarge { what, limit })?;
                if let Some(mut taker) = begun.filter(|_| !run.is_empty()) {
                    taker.take(&Piece::from(&run));
                    taken.push(Taken { source, metric, taker });
                }
            }
            Ok(Explained { answer: taken, explain })
        }
    }

    /// The newest sample of each series that matches and has one in `range`, in the order of [`Query::latest`]. It may
    /// lie behind the range, which says nothing of what there is before; others may be among them.
    fn latest_within(
        &self,
        selector: &Selector,
        range: TimeRange,
    ) -> impl Future<Output = Result<Explained<Vec<Latest>>, QueryError>> + Send {
        let _ = range;
        self.latest(selector)
    }

    /// The newest sample of each series that matches, in the order of tenant, device, tags and metric.
    fn latest(
        &self,
        selector: &Selector,
    ) -> impl Future<Output = Result<Explained<Vec<Latest>>, QueryError>> + Send;

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

    async fn sources_within(
        &self,
        selector: &Selector,
        range: TimeRange,
    ) -> Result<Vec<Arc<SourceEntry>>, QueryError> {
        Ok(Reader::sources_within(self, selector, range).await?)
    }

    async fn label_values(
        &self,
        selector: &Selector,
        label: &Label,
        range: TimeRange,
    ) -> Result<Vec<String>, QueryError> {
        Ok(Reader::label_values(self, selector, label, range).await?)
    }

    async fn tag_keys(&self, selector: &Selector, range: TimeRange) -> Result<Vec<String>, QueryError> {
        Ok(Reader::tag_keys(self, selector, range).await?)
    }

    async fn samples(&self, selector: &Selector, range: TimeRange) -> Result<Vec<Series>, QueryError> {
        Ok(Reader::samples(self, selector, range).await?)
    }

    async fn explained_samples(
        &self,
        selector: &Selector,
        range: TimeRange,
    ) -> Result<Explained<Vec<Series>>, QueryError> {
        Ok(Reader::explained_samples(self, selector, range).await?)
    }

    async fn folds(
        &self,
        selector: &Selector,
        cuts: &[Timestamp],
        fields: Fields,
    ) -> Result<Explained<Vec<SeriesFolds>>, QueryError> {
        Ok(Reader::folds(self, selector, cuts, fields).await?)
    }

    async fn runs(
        &self,
        selector: &Selector,
        range: TimeRange,
    ) -> Result<Explained<Vec<SeriesRun>>, QueryError> {
        Ok(Reader::runs(self, selector, range).await?)
    }

    async fn windows<S: Takers>(
        &self,
        selector: &Selector,
        cuts: &[Timestamp],
        wanted: (Fields, Fold),
        takers: Arc<S>,
    ) -> Result<Explained<Windowed<S::Taker>>, QueryError> {
        Ok(Reader::windows(self, selector, cuts, wanted, takers).await?)
    }

    async fn taken<S: Takers>(
        &self,
        selector: &Selector,
        range: TimeRange,
        takers: Arc<S>,
    ) -> Result<Explained<Vec<Taken<S::Taker>>>, QueryError> {
        Ok(Reader::taken(self, selector, range, takers).await?)
    }

    async fn latest_within(
        &self,
        selector: &Selector,
        range: TimeRange,
    ) -> Result<Explained<Vec<Latest>>, QueryError> {
        Ok(Reader::latest_within(self, selector, range).await?)
    }

    async fn latest(&self, selector: &Selector) -> Result<Explained<Vec<Latest>>, QueryError> {
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

fn values_of(entry: &SourceEntry, selector: &Selector, label: &Label) -> Vec<String> {
    let source = &entry.source;
    match label {
        Label::Tenant => vec![source.tenant().to_string()],
        Label::Device => vec![source.device().to_string()],
        Label::Metric => {
            let is_number = |metric: &&MetricEntry| metric.kinds.iter().any(|kind| kind != ValueKind::Text);
            let numeric = selector.conditions.contains(&Condition::Numeric);
            let metrics = entry.metrics.iter().filter(|metric| selector.means_metric(metric.metric.as_str()));
            metrics
                .filter(|metric| !numeric || is_number(metric))
                .map(|metric| metric.metric.to_string())
                .collect()
        }
        Label::Tag(key) => source.tags().get(key).map(ToString::to_string).into_iter().collect(),
    }
}

fn just_after(time: Timestamp) -> Option<Timestamp> {
    Timestamp::from_nanos(time.nanos().checked_add(1)?).ok()
}

fn run(series: Series) -> SeriesRun {
    let run = series.samples.into_iter().map(|sample| (sample.time, sample.value)).collect();
    SeriesRun { source: series.source, metric: series.metric, run }
}

fn folded(series: Series, cuts: &[Timestamp], fields: Fields) -> SeriesFolds {
    let run: Run = series.samples.into_iter().map(|sample| (sample.time, sample.value)).collect();
    let cells = if fields.intersects(Fields::SKETCH) {
        fold_run_with_sketches(&run, cuts)
    } else {
        fold_run(&run, cuts)
    };
    SeriesFolds { source: series.source, metric: series.metric, cells }
}

impl From<ReadFailure> for QueryError {
    fn from(failure: ReadFailure) -> Self {
        if let ReadFailure::Expired { before, resolution } = &failure {
            let left = what_is_left(*resolution);
            return Self::Expired(format!("samples before {} have expired; {left}", Utc(*before)));
        }
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
        Excess::Samples | Excess::Bytes | Excess::Windows | Excess::Marks => true,
        Excess::Sources | Excess::Series | Excess::BucketBytes => false,
    }
}

/// An error and its sources in one line, for the log.
fn causes(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
