//! The embedded backend of [`super::Wide`]: an LSM tree in a directory, for one process on one machine.
//!
//! A write becomes bytes in its caller's task, waits in a bounded queue, and is committed in a group by the one
//! thread that writes ([`committer`]); `Ok` follows the sync (I1). Reads go straight to the tree, on blocking
//! threads, as many as the options allow. Every operation ends within the deadline, with an error if need be (I6).
//! Rows that expire lie in windows of time, which [`Lsm::expire`] drops whole ([`spaces`], [`windows`]); deleted rows
//! give their bytes back by [`reclaim`], and [`journals`] stay small beside the rest. The formats: [`key`], [`value`], [`open`]; nothing below this folder is part of the crate's interface.

mod committer;
mod journals;
mod key;
mod migrate;
mod open;
mod options;
mod pending;
mod reclaim;
mod spaces;
mod tree;
mod value;
mod windows;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, OnceLock};
use std::thread;

use bytes::Bytes;
use prometheus::Registry;
use tokio::sync::{Semaphore, mpsc, oneshot};

use self::committer::{Answer, COMMITTER_PANICKED, Change, Command, Committer, Done, Message};
use self::journals::Large;
use self::pending::{DiskError, Encoded, Put, Swap, Sweep};
use self::reclaim::Reclaimer;
use self::tree::{Tree, Writer};
use super::expiry::ends_at_millis;
use super::{
    Deletion, Effect, Exchange, Expected, Key, Page, PageToken, ReadError, Row, Scan, Table, Wide,
    WriteError, WriteTime,
};
use crate::metrics::CommitMetrics;
use crate::model::Timestamp;

pub use open::OpenError;
pub use options::LsmOptions;

/// What an expiry dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expired {
    /// The windows of time, by name.
    pub windows: Vec<String>,
    /// Their bytes on disk, which are free as soon as nothing reads them any more.
    pub bytes: u64,
}

/// The write time of rows that are changed by compare-and-set alone: nothing compares it.
const UNTIMED: WriteTime = WriteTime::from_micros(0);

/// An embedded store. Share it in an [`Arc`]. Dropping it waits for the commits under way.
pub struct Lsm {
    // In this order: without a sender the committer ends, then it is joined, then without it the thread that reclaims,
    // then the tree is closed.
    inbox: mpsc::Sender<Message>,
    _committer: Joined,
    _reclaimer: Joined,
    tree: Arc<Tree>,
    reads: Arc<Semaphore>,
    waiting_bytes: Arc<Semaphore>,
    broken: Arc<OnceLock<String>>,
    examined: Arc<AtomicBool>,
    options: LsmOptions,
}

/// A thread that is waited for, but in a broken store, where it may never end.
struct Joined {
    thread: Option<thread::JoinHandle<()>>,
    broken: Arc<OnceLock<String>>,
}

impl Joined {
    fn spawn(
        name: &str,
        options: &LsmOptions,
        broken: &Arc<OnceLock<String>>,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<Self, OpenError> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
        let thread = thread.map_err(|source| OpenError::Io { path: options.dir.clone(), source })?;
        Ok(Self { thread: Some(thread), broken: Arc::clone(broken) })
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        if self.broken.get().is_none() {
            // A panic in there was answered to every caller as a broken store.
            let _ = self.thread.take().map(thread::JoinHandle::join);
        }
    }
}

impl Lsm {
    /// Opens the store in `options.dir`, created where absent, with these tables; adds its metrics to `registry`.
    /// Blocks, for as long as it takes to replay the journals.
    pub fn open(
        options: LsmOptions,
        tables: &[&'static Table],
        registry: &Registry,
    ) -> Result<Self, OpenError> {
        let claim = open::Claim::new(&options.dir)?;
        let tree = Arc::new(Tree::open(claim, &options, tables)?);
        let metrics = CommitMetrics::register(registry)?;
        let broken = Arc::new(OnceLock::new());
        let (inbox, messages) = mpsc::channel(options.commit_queue_max);
        let (turns, waiting) = sync_channel(reclaim::WAITING_MAX);
        let reclaimer = Reclaimer::new(options.reclaim_bytes_min, turns);
        let writer = Writer { tree: Arc::clone(&tree), reclaimer };
        let queue_max = options.commit_queue_max;
        let committer = Committer::new(writer, messages, queue_max, Arc::clone(&broken), metrics);
        let committer = Joined::spawn("tidemill-commit", &options, &broken, || committer.run())?;
        let reclaimer = Joined::spawn("tidemill-reclaim", &options, &broken, move || reclaim::run(&waiting))?;
        Ok(Self {
            inbox,
            _committer: committer,
            _reclaimer: reclaimer,
            tree,
            reads: Arc::new(Semaphore::new(usize::try_from(options.reads_max).unwrap_or(1).max(1))),
            waiting_bytes: Arc::new(Semaphore::new(usize::try_from(options.commit_bytes_max).unwrap_or(1))),
            broken,
            examined: Arc::default(),
            options,
        })
    }

    /// Takes no more operations, finishes those under way and syncs. The directory is given up when the last
    /// handle is dropped. Closing again does nothing.
    ///
    /// # Errors
    ///
    /// Where what is under way does not end within the deadline, or the store is broken.
    pub async fn close(&self) -> Result<(), WriteError> {
        let finished = async {
            let (closed, done) = oneshot::channel();
            if self.inbox.send(Message::Close(closed)).await.is_ok() {
                let _ = done.await;
            }
            let _reads = self.reads.acquire_many(self.options.reads_max.max(1)).await;
            self.reads.close();
        };
        if tokio::time::timeout(self.options.deadline, finished).await.is_err() {
            let reason = format!("not closed within {:?}", self.options.deadline);
            return Err(WriteError::Unavailable { effect: Effect::Unknown, reason });
        }
        self.on_tree(Tree::sync).await?;
        // Only space is lost where that is cut short.
        let settling = self.on_tree(|tree| tree.settle(Large::AT_CLOSE));
        let settled = tokio::time::timeout(self.options.deadline, settling).await;
        if !matches!(settled, Ok(Ok(()))) {
            tracing::warn!(?settled, "the store is closed with large journals");
        }
        Ok(())
    }

    /// Makes the journals small where they are large beside what is stored. Call it now and then: nothing else does.
    pub async fn settle(&self) -> Result<(), WriteError> {
        self.on_tree(|tree| tree.settle(Large::IN_USE)).await
    }

    /// Works on a blocking thread.
    async fn on_tree(&self, work: fn(&Tree) -> Result<(), DiskError>) -> Result<(), WriteError> {
        let tree = Arc::clone(&self.tree);
        match tokio::task::spawn_blocking(move || work(&tree)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(WriteError::Broken { reason: error.to_string() }),
            Err(error) => Err(WriteError::Broken { reason: error.to_string() }),
        }
    }

    /// Drops every window of time whose rows have all expired at `now`, by [`LsmOptions::expiry`]. Call it now and
    /// then: nothing else removes what has expired. Reads under way give its rows or none. May be repeated after any
    /// error.
    pub async fn expire(&self, now: Timestamp) -> Result<Expired, WriteError> {
        let (answer, answered) = oneshot::channel();
        let expired = async {
            let sent = self.inbox.send(Message::Expire(now, answer)).await;
            sent.map_err(|_| self.no_longer_writes())?;
            answered
                .await
                .unwrap_or_else(|_| Err(WriteError::Broken { reason: COMMITTER_PANICKED.to_owned() }))
        };
        tokio::time::timeout(self.options.deadline, expired).await.unwrap_or_else(|_| {
            let reason = format!("not dropped within {:?}", self.options.deadline);
            Err(WriteError::Unavailable { effect: Effect::Unknown, reason })
        })
    }

    /// Bytes that the store takes on disk.
    pub fn disk_bytes(&self) -> Result<u64, ReadError> {
        self.tree.disk_bytes().map_err(|error| ReadError::Unavailable { reason: error.to_string() })
    }

    /// Hands a change to the committer and waits for its answer, within the deadline.
    async fn commit(&self, table: &Table, change: Change, bytes: usize) -> Result<Done, WriteError> {
        if self.broken.get().is_some() {
            return Err(self.no_longer_writes());
        }
        let table = self.tree.id(table);
        let mut effect = Effect::NotApplied;
        let committed = async {
            let share = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.options.commit_bytes_max);
            let share = Arc::clone(&self.waiting_bytes).acquire_many_owned(share).await;
            let share = share.map_err(|_| self.no_longer_writes())?;
            let (answer, answered): (Answer, _) = oneshot::channel();
            let command = Command { table, change, answer, share };
            self.inbox.send(Message::Change(command)).await.map_err(|_| self.no_longer_writes())?;
            effect = Effect::Unknown;
            // Only a panic of the committer leaves a change without an answer.
            answered
                .await
                .unwrap_or_else(|_| Err(WriteError::Broken { reason: COMMITTER_PANICKED.to_owned() }))
        };
        tokio::time::timeout(self.options.deadline, committed).await.unwrap_or_else(|_| {
            self.examine();
            let reason = format!("not committed within {:?}", self.options.deadline);
            Err(WriteError::Unavailable { effect, reason })
        })
    }

    /// Why nothing is written any more.
    fn no_longer_writes(&self) -> WriteError {
        match self.broken.get() {
            Some(reason) => WriteError::Broken { reason: reason.clone() },
            None => WriteError::Refused { reason: "the store is closed".to_owned() },
        }
    }

    /// Finds out, beside the caller, whether the tree has failed in the background: a commit then may wait for it
    /// for ever.
    fn examine(&self) {
        if self.examined.swap(true, Ordering::Relaxed) {
            return;
        }
        let (tree, broken, examined) =
            (Arc::clone(&self.tree), Arc::clone(&self.broken), Arc::clone(&self.examined));
        tokio::task::spawn_blocking(move || {
            if let Err(error) = tree.examine() {
                tracing::error!(%error, "the tree has failed; nothing more is written until restart");
                let _ = broken.set(error.to_string());
            }
            examined.store(false, Ordering::Relaxed);
        });
    }

    /// Reads on a blocking thread, within the deadline. A caller that goes away leaves its read to end by itself.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Tree) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let done = async {
            let permit = Arc::clone(&self.reads).acquire_owned().await;
            let permit =
                permit.map_err(|_| ReadError::Refused { reason: "the store is closed".to_owned() })?;
            let tree = Arc::clone(&self.tree);
            let task = tokio::task::spawn_blocking(move || {
                let result = read(&tree);
                drop((tree, permit));
                result
            });
            task.await.unwrap_or_else(|error| Err(ReadError::Unavailable { reason: error.to_string() }))
        };
        tokio::time::timeout(self.options.deadline, done).await.unwrap_or_else(|_| {
            Err(ReadError::Unavailable { reason: format!("no answer within {:?}", self.options.deadline) })
        })
    }
}

fn encode(partition: &Key, row: &Row, at: WriteTime) -> Result<Encoded, WriteError> {
    let key = key::encode(partition, &row.clustering);
    if key.len() > key::BYTES_MAX || value::size(row) > value::BYTES_MAX {
        let reason = format!("a row of {} bytes with a key of {}", value::size(row), key.len());
        return Err(WriteError::Refused { reason });
    }
    let value = value::encode(&key, row, at);
    Ok(Encoded { key: key.into(), value: value.into() })
}

impl Wide for Lsm {
    async fn put(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[Row],
        at: WriteTime,
    ) -> Result<(), WriteError> {
        table.assert_put_and_deleted();
        table.assert_partition(partition);
        let (mut bytes, mut ends_at) = (0, None);
        let mut encoded = Vec::with_capacity(rows.len());
        for row in rows {
            table.assert_row(row);
            ends_at = ends_at.max(ends_at_millis(table, partition, row));
            let row = encode(partition, row, at)?;
            bytes += row.key.len() + row.value.len();
            encoded.push(row);
        }
        let put = Put { kind: table.rows, rows: encoded, at, ends_at };
        self.commit(table, Change::Put(put), bytes).await.map(drop)
    }

    async fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        clustering: &Key,
    ) -> Result<Option<Row>, ReadError> {
        table.assert_partition(partition);
        table.assert_clustering(clustering);
        let key = key::encode(partition, clustering);
        let clustering = clustering.clone();
        self.read(move |tree| tree.row(table, &key, clustering)).await
    }

    async fn scan(&self, scan: &Scan, from: Option<PageToken>) -> Result<Page, ReadError> {
        scan.assert_valid();
        let Some(range) = key::range(&scan.partition, &scan.remaining(from)) else {
            return Ok(Page { rows: Vec::new(), next: None });
        };
        let clustering_at = key::encode(&scan.partition, &Key::default()).len();
        let scan = scan.clone();
        self.read(move |tree| tree.page(&scan, range, clustering_at)).await
    }

    async fn delete(
        &self,
        table: &'static Table,
        partition: &Key,
        deletion: &Deletion,
        at: WriteTime,
    ) -> Result<(), WriteError> {
        table.assert_put_and_deleted();
        table.assert_partition(partition);
        let change = match deletion {
            Deletion::Row(clustering) => {
                table.assert_clustering(clustering);
                Change::Delete { key: Bytes::from(key::encode(partition, clustering)), at }
            }
            Deletion::Range(bounds) => {
                table.assert_bounds(bounds);
                let Some(range) = key::range(partition, bounds) else { return Ok(()) };
                Change::Sweep(Sweep { table: self.tree.id(table), range, at })
            }
        };
        self.commit(table, change, key::BYTES_MAX).await.map(drop)
    }

    async fn compare_and_set(
        &self,
        table: &'static Table,
        partition: &Key,
        expected: &Expected,
        row: &Row,
    ) -> Result<Exchange, WriteError> {
        table.assert_exchanged();
        table.assert_partition(partition);
        table.assert_row(row);
        let replacement = encode(partition, row, UNTIMED)?;
        let bytes = replacement.key.len() + replacement.value.len();
        let (expected, clustering) = (expected.clone(), row.clustering.clone());
        let swap = Swap { table, expected, clustering, replacement };
        match self.commit(table, Change::Exchange(Box::new(swap)), bytes).await? {
            Done::Exchanged(exchange) => Ok(exchange),
            Done::Written => {
                Err(WriteError::Broken { reason: "a compare-and-set was answered like a put".to_owned() })
            }
        }
    }

    fn revision(&self, table: &'static Table) -> Option<u64> {
        Some(self.tree.revision(table))
    }
}

impl std::fmt::Debug for Lsm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lsm").field("options", &self.options).finish_non_exhaustive()
    }
}
