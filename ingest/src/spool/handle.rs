//! The spool as tasks use it: many append at once and share one sync; the log itself works on a thread that may block.
//!
//! Whoever finds nobody writing takes all that waits and writes it as one group. What waits is bounded by the number of
//! those who append: each waits for its own record (I6). Cancel safe: a record whose appender went away is written, or
//! not, and harmless either way (I5).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidemill_store::append::PlannedWrite;
use tidemill_store::layout::tables::CATALOG;
use tidemill_store::model::Clock;
use tokio::sync::{Mutex as TurnMutex, Notify, oneshot, watch};
use tokio::time::Instant;

use super::disk::Disk;
use super::keys::Keys;
use super::log::{AppendError, Depth, Entry, Gone, Log, LogLimits, OpenError, Position, Taken};
use super::metrics::SpoolMetrics;
use super::record::{self, Record, Tally};
use crate::fail;
use crate::metrics::IngestMetrics;

/// How a spool works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolOptions {
    /// Bounds on disk.
    pub limits: LogLimits,
    /// How long a write may take before the spool takes it instead.
    pub store_deadline: Duration,
    /// Bytes that are forwarded in a second, at most, while messages go to the store themselves.
    pub forward_bytes_per_second: u64,
    /// Whether the spool takes every write first (`durability = "spool"`), or only what the store does not take.
    pub always: bool,
    /// Where the disk is waited for.
    pub work: Work,
}

/// Where the disk is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// On a thread for what blocks.
    Aside,
    /// At once: for disks in memory, in simulations that must run the same twice.
    Inline,
}

/// A spool; clones are the same one.
#[derive(Clone)]
pub struct Spool(Arc<Shared>);

struct Shared {
    log: Mutex<Log<Box<dyn Disk>>>,
    waiting: Mutex<Vec<Waiting>>,
    /// Held by whoever writes.
    turn: Arc<TurnMutex<()>>,
    /// Something came in.
    grown: Notify,
    /// When the store took something last.
    answered: watch::Sender<Option<Instant>>,
    depth: Mutex<Depth>,
    /// What was to be appended last was refused.
    refuses: AtomicBool,
    options: SpoolOptions,
    clock: Arc<dyn Clock>,
    metrics: SpoolMetrics,
    accounting: IngestMetrics,
}

struct Waiting {
    entries: Vec<Entry>,
    told: oneshot::Sender<Result<(), AppendError>>,
}

/// Pieces of the log with where each ends.
pub(super) type Chunk = Vec<(Taken, Position)>;

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool").field("options", &self.0.options).finish_non_exhaustive()
    }
}

impl Spool {
    /// Opens the spool on `disk`; reads all that is in it. What an earlier process left counts as recovered in
    /// `accounting`.
    pub fn open(
        disk: impl Disk,
        keys: Keys,
        options: SpoolOptions,
        clock: Arc<dyn Clock>,
        (metrics, accounting): (SpoolMetrics, IngestMetrics),
    ) -> Result<Self, OpenError> {
        let disk = fail::disk(Box::new(disk));
        // Without random bytes there is no salt, and with the same salt twice no secrecy: `open` fails then.
        let mut probe = [0; 1];
        getrandom::fill(&mut probe).map_err(|error| OpenError::Disk(std::io::Error::other(error)))?;
        let salt = || {
            let mut salt = [0; 32];
            let filled = getrandom::fill(&mut salt);
            assert!(filled.is_ok(), "the system has no more random bytes");
            salt
        };
        let log = Log::open(disk, keys, options.limits, salt)?;
        let depth = log.depth();
        accounting.recovered(depth.messages, depth.samples);
        let shared = Shared {
            log: Mutex::new(log),
            waiting: Mutex::default(),
            turn: Arc::default(),
            grown: Notify::new(),
            answered: watch::Sender::new(None),
            depth: Mutex::new(depth),
            refuses: AtomicBool::new(false),
            options,
            clock,
            metrics,
            accounting,
        };
        shared.show(depth);
        Ok(Self(Arc::new(shared)))
    }

    /// How it works.
    pub fn options(&self) -> &SpoolOptions {
        &self.0.options
    }

    /// What it holds, as of its last change.
    pub fn depth(&self) -> Depth {
        *lock(&self.0.depth)
    }

    /// How long its oldest file with something that waits is there.
    pub fn oldest_age(&self) -> Option<Duration> {
        self.0.age(self.depth())
    }

    /// Whether it has no room, or its disk takes nothing, as far as was tried.
    pub fn refuses(&self) -> bool {
        self.0.refuses.load(Ordering::Relaxed)
    }

    /// When the store took something from the spool last.
    pub(crate) fn answered_at(&self) -> Option<Instant> {
        *self.0.answered.borrow()
    }

    pub(super) fn note_answer(&self) {
        self.0.answered.send_replace(Some(Instant::now()));
    }

    /// Makes `record` durable. `Ok` survives every crash of process and machine.
    pub async fn append(&self, record: &Record) -> Result<(), AppendError> {
        let at_micros = self.0.clock.now().micros_floor();
        let entry = |writes: &[PlannedWrite], tally| Entry { body: record::encode(writes), tally, at_micros };
        // Segments of later records need the catalog rows of this one: they stand in the log twice, so that no single
        // damage makes more than one record unreadable.
        let catalog: Vec<_> = record.writes.iter().filter(|write| *write.table == CATALOG).cloned().collect();
        let mut entries = Vec::with_capacity(2);
        if !catalog.is_empty() {
            entries.push(entry(&catalog, Tally::default()));
        }
        entries.push(entry(&record.writes, record.tally));
        let (told, outcome) = oneshot::channel();
        lock(&self.0.waiting).push(Waiting { entries, told });
        let turn = Arc::clone(&self.0.turn).lock_owned().await;
        let group = std::mem::take(&mut *lock(&self.0.waiting));
        if !group.is_empty() {
            self.work(move |shared| {
                shared.write(group);
                drop(turn);
            })
            .await;
        }
        // A sender that is gone died in the middle of a sync.
        outcome.await.unwrap_or_else(|_| Err(AppendError::Broken("its thread ended".to_owned())))
    }

    /// Records that come next, at most about `bytes`, and at least one if one waits.
    pub(super) async fn peek(&self, bytes: usize) -> Option<std::io::Result<Chunk>> {
        self.work(move |shared| shared.peek(bytes)).await
    }

    /// Lets go of what was forwarded or set aside.
    pub(super) async fn forwarded(&self, done: Vec<(Position, Option<Tally>)>) {
        self.work(move |shared| {
            let mut log = lock(&shared.log);
            let gone = log.forwarded(&done);
            for (_, tally) in &done {
                match tally {
                    Some(tally) => {
                        shared.metrics.forwarded.inc();
                        shared.accounting.forwarded(*tally);
                    }
                    None => shared.metrics.set_aside.inc(),
                }
            }
            shared.refuses.store(false, Ordering::Relaxed);
            shared.lose(gone);
            shared.show(log.depth());
        })
        .await;
    }

    /// Goes on behind the file at `position`, which the disk does not read.
    pub(super) async fn pass_over(&self) {
        self.work(move |shared| {
            let mut log = lock(&shared.log);
            let gone = log.pass_over(None);
            shared.metrics.set_aside.inc();
            shared.lose(gone);
            shared.show(log.depth());
        })
        .await;
    }

    /// Makes an idle spool empty, and shows its age.
    pub(super) async fn tick(&self) {
        self.work(move |shared| {
            let mut log = lock(&shared.log);
            if let Ok(gone) = log.retire() {
                shared.lose(gone);
            }
            shared.show(log.depth());
        })
        .await;
    }

    /// Resolves when something was appended since the last time.
    pub(super) async fn grown(&self) {
        self.0.grown.notified().await;
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce(&Shared) -> T + Send + 'static) -> Option<T> {
        match self.0.options.work {
            Work::Inline => Some(work(&self.0)),
            Work::Aside => {
                let shared = Arc::clone(&self.0);
                tokio::task::spawn_blocking(move || work(&shared)).await.ok()
            }
        }
    }
}

impl Shared {
    fn write(&self, group: Vec<Waiting>) {
        let counts: Vec<usize> = group.iter().map(|waiting| waiting.entries.len()).collect();
        let (entries, told): (Vec<_>, Vec<_>) =
            group.into_iter().map(|waiting| (waiting.entries, waiting.told)).unzip();
        let tallies: Vec<Tally> = entries.iter().flatten().map(|entry| entry.tally).collect();
        let mut log = lock(&self.log);
        let outcomes = log.append(entries.into_iter().flatten().collect());
        // Counted before anybody can take them out again.
        for (tally, outcome) in tallies.iter().zip(&outcomes) {
            match outcome {
                Ok(()) => {
                    self.metrics.appended.inc();
                    self.accounting.spooled(*tally);
                }
                Err(_) => self.metrics.refused.inc(),
            }
        }
        self.refuses.store(outcomes.iter().any(Result::is_err), Ordering::Relaxed);
        self.show(log.depth());
        drop(log);
        let mut outcomes = outcomes.into_iter();
        for (count, told) in counts.into_iter().zip(told) {
            let outcome = outcomes.by_ref().take(count).fold(Ok(()), Result::and);
            // Nobody waits for it any more: it is there all the same.
            let _ = told.send(outcome);
        }
        self.grown.notify_one();
    }

    fn peek(&self, bytes_max: usize) -> std::io::Result<Chunk> {
        let mut log = lock(&self.log);
        let (mut chunk, mut from, mut bytes_seen) = (Chunk::new(), None, 0);
        while bytes_seen < bytes_max {
            let Some((taken, position)) = log.peek(from)? else { break };
            let (Taken::Record { bytes, .. } | Taken::SetAside { bytes }) = &taken;
            bytes_seen += bytes;
            from = Some(position);
            chunk.push((taken, position));
        }
        Ok(chunk)
    }

    fn lose(&self, gone: Gone) {
        if gone != Gone::default() {
            tracing::error!(?gone, "records of the spool were set aside: they cannot be read any more");
            self.accounting.set_aside(gone.messages, gone.samples);
        }
    }

    fn age(&self, depth: Depth) -> Option<Duration> {
        let age = self.clock.now().micros_floor().saturating_sub(depth.oldest_micros?);
        Some(Duration::from_micros(u64::try_from(age).unwrap_or(0)))
    }

    fn show(&self, depth: Depth) {
        *lock(&self.depth) = depth;
        let shown = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.records.set(shown(depth.records));
        self.metrics.messages.set(shown(depth.messages));
        self.metrics.bytes.set(shown(depth.bytes));
        self.metrics.oldest_age.set(self.age(depth).unwrap_or_default().as_secs_f64());
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
