//! The loops of a mill: one says that it lives and shares the shards, one looks at the shards and does what is due.
//! Stopping drops whatever is under way: every piece of work may be cut anywhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::attempts::Attempts;
use super::grind::{Effort, Grinder, Ground};
use super::lease::Leases;
use super::metrics::{BucketCounts, Work};
use super::persistent::Persistent;
use super::plan::{Decision, Reason, Why};
use super::survey::{ShardView, width_of};
use super::{MillFailure, MillMetrics, MillOptions, Site};
use crate::append::RetryPolicy;
use crate::layout::{Bucket, Eras, Place, load_eras};
use crate::model::{Clock, SealVersion, Shard, Timestamp};
use crate::wide::Wide;

/// Waits after a bucket failed: some things take a person to mend.
const FAILED: RetryPolicy = RetryPolicy { first: Duration::from_secs(5), longest: Duration::from_mins(10) };
/// For how long a mill that ends gives its shards back.
const RELEASE_MAX: Duration = Duration::from_secs(3);
/// Shards looked at at once.
const SHARDS_IN_FLIGHT: usize = 4;

/// A mill.
pub struct Mill<W> {
    pub(super) grinder: Grinder<W>,
    leases: Leases<W>,
    eras: std::sync::Mutex<Arc<Eras>>,
    views: Mutex<BTreeMap<Shard, ShardView>>,
}

/// A piece of work that is due.
#[derive(Debug)]
struct Due {
    site: Site,
    task: Task,
    attempts: Arc<Attempts>,
    failures: u32,
}

#[derive(Debug, Clone, Copy)]
enum Task {
    Grind(Option<Reason>),
    Collect(SealVersion),
}

impl<W: Wide> Mill<W> {
    /// A mill over `wide` under a `name` that no other process has or will have. Does nothing until it runs.
    pub fn new(
        wide: Arc<W>,
        eras: Arc<Eras>,
        name: String,
        options: MillOptions,
        clock: Arc<dyn Clock>,
        metrics: MillMetrics,
    ) -> Self {
        let store = Persistent::new(wide, options.retry, xxh3_64(name.as_bytes()));
        let leases = Leases::new(store.clone(), name, options.leases);
        let grinder = Grinder::new(store, options, clock, metrics);
        Self { grinder, leases, eras: std::sync::Mutex::new(eras), views: Mutex::default() }
    }

    /// Works until `stop` becomes true or its sender is gone, then gives its shards back. Fails on nothing: what goes
    /// wrong is counted, logged and tried again. May be dropped at any moment.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.keep_leases() => {}
            () = self.work() => {}
        }
        let released = tokio::time::timeout(RELEASE_MAX, self.leases.release()).await;
        if !matches!(released, Ok(Ok(()))) {
            tracing::info!("leases were not given back; others take them when they have grown old");
        }
    }

    /// Grinds what has settled of a bucket, whoever has the lease of its shard, and whatever the planner says.
    pub async fn grind_bucket(&self, place: Place) -> Result<Ground, MillFailure> {
        self.grind_by_hand(place, Effort::New).await
    }

    /// The same, and where nothing came, blocks and frames are made anew from the blocks there are: with resolutions and
    /// sketches as configured now, and in place of frames that were damaged.
    pub async fn grind_again(&self, place: Place) -> Result<Ground, MillFailure> {
        self.grind_by_hand(place, Effort::Again).await
    }

    async fn grind_by_hand(&self, place: Place, effort: Effort) -> Result<Ground, MillFailure> {
        let site = Site { place, width: width_of(&self.eras(), place.bucket) };
        let attempts = self.leases.by_hand(place.shard).await?;
        self.grinder.grind(site, &attempts, effort).await
    }

    pub(super) fn eras(&self) -> Arc<Eras> {
        Arc::clone(&self.eras.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    async fn keep_leases(&self) {
        loop {
            let result = self.leases.beat(self.eras().shards_max()).await;
            if let Err(error) = &result {
                tracing::warn!(%error, "leases were not renewed");
            }
            self.grinder.metrics.worked(Work::Lease, &result);
            let (shards, mills) = self.leases.counts();
            self.grinder.metrics.show_leases(shards, mills);
            tokio::time::sleep(self.grinder.options.leases.beat_every).await;
        }
    }

    async fn work(&self) {
        loop {
            self.read_eras().await;
            let due = self.survey().await;
            let in_flight = self.grinder.options.grinds_in_flight_max.max(1);
            stream::iter(due).for_each_concurrent(in_flight, |due| self.do_one(due)).await;
            tokio::time::sleep(self.grinder.options.survey_every).await;
        }
    }

    async fn read_eras(&self) {
        match load_eras(&**self.grinder.store.wide()).await {
            Ok(eras) => {
                *self.eras.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(eras);
            }
            Err(error) => tracing::warn!(%error, "the eras were not read; those known before are used"),
        }
    }

    /// Looks at all shards that are held, and gives what is due, what is over first.
    async fn survey(&self) -> Vec<Due> {
        let held = self.leases.held();
        let mut views = self.views.lock().await;
        let mut before = std::mem::take(&mut *views);
        // Owned: a closure over borrowed items would make this future one that no other thread may run.
        let shards: Vec<(Shard, ShardView)> =
            held.iter().map(|(shard, _)| (*shard, before.remove(shard).unwrap_or_default())).collect();
        let looked: Vec<(Shard, ShardView, bool)> = stream::iter(shards)
            .map(|(shard, view)| self.look(shard, view))
            .buffer_unordered(SHARDS_IN_FLIGHT)
            .collect()
            .await;
        let failed: Vec<Shard> = looked.iter().filter(|(.., ok)| !ok).map(|(shard, ..)| *shard).collect();
        views.extend(looked.into_iter().map(|(shard, view, _)| (shard, view)));
        let mut due = Vec::new();
        for (shard, attempts) in held.iter().filter(|(shard, _)| !failed.contains(shard)) {
            let Some(view) = views.get(shard) else { continue };
            due.extend(self.due_of(*shard, view, attempts));
        }
        self.show(&views);
        due.sort_by_key(|due| due.site.place.bucket.end());
        due
    }

    /// Looks at a shard; whether that succeeded comes last.
    async fn look(&self, shard: Shard, mut view: ShardView) -> (Shard, ShardView, bool) {
        let result = view.look(&self.grinder.store, &self.eras(), shard).await;
        self.grinder.metrics.worked(Work::Survey, &result);
        if let Err(error) = &result {
            let error: &dyn std::error::Error = error;
            tracing::warn!(%shard, error, "a shard was not looked at");
        }
        (shard, view, result.is_ok())
    }

    fn due_of(&self, shard: Shard, view: &ShardView, attempts: &Arc<Attempts>) -> Vec<Due> {
        let (patience, times) = (self.grinder.patience(), &self.grinder.options.times);
        let ready = view
            .buckets
            .iter()
            .filter(|(_, known)| known.not_before.is_none_or(|not_before| not_before <= Instant::now()));
        let due = ready.filter_map(|(&bucket, known)| {
            let task = match known.view(bucket, &patience).decide(times, patience.now) {
                Decision::Grind(reason) => Task::Grind(Some(reason)),
                Decision::Unmark => Task::Grind(None),
                Decision::Collect => Task::Collect(known.version()?),
                Decision::Leave(_) => return None,
            };
            let site = Site { place: Place { shard, bucket }, width: known.width };
            Some(Due { site, task, attempts: Arc::clone(attempts), failures: known.failures })
        });
        due.collect()
    }

    async fn do_one(&self, due: Due) {
        let (site, began) = (due.site, Instant::now());
        let result = match due.task {
            Task::Grind(reason) => {
                let result = self.grinder.grind(site, &due.attempts, Effort::New).await;
                self.grinder.metrics.worked(Work::Grind, &result);
                self.grinder.metrics.took(began.elapsed().as_secs_f64());
                result.map(|ground| log_ground(site, reason, &ground, began.elapsed()))
            }
            Task::Collect(version) => {
                let result = self.grinder.collect(site, version).await;
                self.grinder.metrics.worked(Work::Collect, &result);
                result.map(|_| ())
            }
        };
        let mut views = self.views.lock().await;
        let known =
            views.get_mut(&site.place.shard).and_then(|view| view.buckets.get_mut(&site.place.bucket));
        let Some(known) = known else { return };
        known.was_worked_on = true;
        match result {
            Ok(()) => (known.failures, known.not_before) = (0, None),
            Err(MillFailure::Overtaken(_)) => {}
            Err(error) => {
                known.failures = due.failures.saturating_add(1);
                let random = xxh3_64(&site.place.bucket.start_millis().to_le_bytes());
                let wait = FAILED.wait(known.failures, random);
                known.not_before = Some(Instant::now() + wait);
                let error: &dyn std::error::Error = &error;
                tracing::warn!(
                    shard = %site.place.shard, bucket = ?site.place.bucket.start(), ?wait, error, "work on a bucket failed; it is tried again"
                );
            }
        }
    }

    /// Shows how many buckets are in which state, and how far behind the mill is.
    fn show(&self, views: &BTreeMap<Shard, ShardView>) {
        let (patience, times) = (self.grinder.patience(), &self.grinder.options.times);
        let (mut counts, mut oldest) = (BucketCounts::default(), None::<Timestamp>);
        let all = views.values().flat_map(|view| &view.buckets);
        for (&bucket, known) in all {
            let decision = known.view(bucket, &patience).decide(times, patience.now);
            counts.add(bucket, known.is_dirty(), known.seal.is_some(), patience.now);
            counts.collectable +=
                i64::from(matches!(decision, Decision::Collect | Decision::Leave(Why::Grace)));
            if known.is_dirty() && bucket.end() <= patience.now {
                oldest = Some(oldest.map_or(bucket.end(), |oldest| oldest.min(bucket.end())));
            }
        }
        let lag = oldest.map_or(Duration::ZERO, |oldest| patience.now.saturating_since(oldest));
        self.grinder.metrics.show_lag(lag.as_secs_f64());
        self.grinder.metrics.show_buckets(counts);
    }
}

impl BucketCounts {
    /// Counts a bucket: open until it is over; then closed and not ground yet, or ground and dirty again.
    fn add(&mut self, bucket: Bucket, is_dirty: bool, is_sealed: bool, now: Timestamp) {
        match (bucket.end() > now, is_dirty, is_sealed) {
            (true, _, _) => self.open += 1,
            (false, true, false) => self.closed += 1,
            (false, true, true) => self.dirty += 1,
            (false, false, _) => {}
        }
    }
}

fn log_ground(site: Site, reason: Option<Reason>, ground: &Ground, took: Duration) {
    tracing::info!(
        shard = %site.place.shard, bucket = ?site.place.bucket.start(), ?reason, outcome = ?ground.outcome,
        segments = ground.segments, samples = ground.samples, written_bytes = ground.written_bytes, ?took,
        "a bucket was ground"
    );
}
