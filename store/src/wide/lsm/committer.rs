//! Group commit: one thread takes what waits, commits it with one sync, and answers every caller.
//!
//! While a commit is on its way to the disk the next group collects, so groups grow with load and no timer is
//! needed. It is the only writer of the tree, which is what makes its reads before writes and its compare-and-set
//! free of races. Keeps I1 (an answer follows the sync) and I6 (bounded queue; long deletes go in small steps
//! between the commits of others). After a failed commit nothing is written any more and everything is answered
//! [`WriteError::Broken`]: what a failed sync left on disk is unknown.

use std::sync::{Arc, OnceLock};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::super::{Effect, Exchange, WriteError, WriteTime};
use super::Expired;
use super::pending::{Disk, DiskError, Pending, Put, Swap, SwapError, Sweep, TableId};
use crate::metrics::CommitMetrics;
use crate::model::Timestamp;

/// Why a store is broken whose committer panicked.
pub(super) const COMMITTER_PANICKED: &str = "the thread that commits has panicked";

/// What a caller wants done to one table.
#[derive(Debug)]
pub(super) enum Change {
    /// Write rows.
    Put(Put),
    /// Remove a row.
    Delete { key: bytes::Bytes, at: WriteTime },
    /// Remove a range of rows.
    Sweep(Sweep),
    /// Compare and set.
    Exchange(Box<Swap>),
}

/// What a caller is told.
#[derive(Debug)]
pub(super) enum Done {
    /// The rows are written or removed, durably.
    Written,
    /// How the compare-and-set ended.
    Exchanged(Exchange),
}

/// The way back to a caller. Dropped without an answer only when the committer panics.
pub(super) type Answer = oneshot::Sender<Result<Done, WriteError>>;

/// A change under way.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) table: TableId,
    pub(super) change: Change,
    pub(super) answer: Answer,
    /// Its share of the bytes that may wait, given back when it is answered.
    pub(super) share: OwnedSemaphorePermit,
}

/// What reaches the committer.
#[derive(Debug)]
pub(super) enum Message {
    /// A change.
    Change(Command),
    /// Drop what has expired.
    Expire(Timestamp, oneshot::Sender<Result<Expired, WriteError>>),
    /// Finish what waits, take no more, and say when done.
    Close(oneshot::Sender<()>),
}

/// A caller with what it will be told once the commit is durable.
struct Due {
    answer: Answer,
    result: Result<Done, WriteError>,
    share: OwnedSemaphorePermit,
}

struct RunningSweep {
    sweep: Sweep,
    answer: Answer,
    share: OwnedSemaphorePermit,
}

/// The only writer.
pub(super) struct Committer<D> {
    disk: D,
    inbox: mpsc::Receiver<Message>,
    group_max: usize,
    sweeps: Vec<RunningSweep>,
    closing: Vec<oneshot::Sender<()>>,
    broken: Arc<OnceLock<String>>,
    metrics: CommitMetrics,
}

impl<D: Disk> Committer<D> {
    /// A committer over `disk` that takes at most `group_max` messages into a commit. It sets `broken` when a
    /// commit fails.
    pub(super) fn new(
        disk: D,
        inbox: mpsc::Receiver<Message>,
        group_max: usize,
        broken: Arc<OnceLock<String>>,
        metrics: CommitMetrics,
    ) -> Self {
        Self { disk, inbox, group_max, sweeps: Vec::new(), closing: Vec::new(), broken, metrics }
    }

    /// Commits until every sender is gone or a close was asked for, and nothing waits any more.
    pub(super) fn run(mut self) {
        let mut group = Vec::new();
        while self.take(&mut group) {
            self.commit(&mut group);
        }
        for closed in std::mem::take(&mut self.closing) {
            let _ = closed.send(());
        }
    }

    /// Takes what waits into `group`; waits only where there is nothing else to do.
    fn take(&mut self, group: &mut Vec<Message>) -> bool {
        if self.sweeps.is_empty() {
            return self.inbox.blocking_recv_many(group, self.group_max) > 0;
        }
        while group.len() < self.group_max {
            match self.inbox.try_recv() {
                Ok(message) => group.push(message),
                Err(_) => break,
            }
        }
        true
    }

    fn commit(&mut self, group: &mut Vec<Message>) {
        let mut pending = Pending::default();
        let mut due = Vec::with_capacity(group.len());
        let mut expiries = Vec::new();
        self.step_sweeps(&mut pending, &mut due);
        for message in group.drain(..) {
            match message {
                Message::Change(command) => self.apply(command, &mut pending, &mut due),
                Message::Expire(now, answer) => expiries.push((now, answer)),
                Message::Close(closed) => {
                    self.inbox.close();
                    self.closing.push(closed);
                }
            }
        }
        self.write(pending);
        for Due { answer, result, share } in due {
            let _ = answer.send(self.unless_broken(result));
            drop(share);
        }
        for (now, answer) in expiries {
            let _ = answer.send(self.expire(now));
        }
    }

    /// After the commit of the group: what was written before an expiry is judged by it.
    fn expire(&mut self, now: Timestamp) -> Result<Expired, WriteError> {
        if let Some(reason) = self.broken.get() {
            return Err(WriteError::Broken { reason: reason.clone() });
        }
        self.disk.expire(now).map_err(|error| unread(&error))
    }

    /// Nothing that was decided counts where the commit failed.
    fn unless_broken(&self, result: Result<Done, WriteError>) -> Result<Done, WriteError> {
        match self.broken.get() {
            Some(reason) => Err(WriteError::Broken { reason: reason.clone() }),
            None => result,
        }
    }

    fn step_sweeps(&mut self, pending: &mut Pending, due: &mut Vec<Due>) {
        for RunningSweep { sweep, answer, share } in std::mem::take(&mut self.sweeps) {
            match pending.sweep(&self.disk, &sweep) {
                Ok(Some(sweep)) => self.sweeps.push(RunningSweep { sweep, answer, share }),
                Ok(None) => due.push(Due { answer, result: Ok(Done::Written), share }),
                Err(error) => due.push(Due { answer, result: Err(unread(&error)), share }),
            }
        }
    }

    fn apply(&mut self, command: Command, pending: &mut Pending, due: &mut Vec<Due>) {
        let Command { table, change, answer, share } = command;
        if answer.is_closed() {
            return;
        }
        let result = match change {
            Change::Put(put) => written(pending.put(&self.disk, table, put)),
            Change::Delete { key, at } => written(pending.delete(&self.disk, table, key, at)),
            Change::Exchange(swap) => exchange(pending, &self.disk, table, *swap),
            Change::Sweep(sweep) => return self.sweeps.push(RunningSweep { sweep, answer, share }),
        };
        due.push(Due { answer, result, share });
    }

    fn write(&mut self, pending: Pending) {
        let commit = pending.into_commit();
        if commit.items.is_empty() || self.broken.get().is_some() {
            return;
        }
        let timer = self.metrics.begin(commit.items.len());
        if let Err(error) = self.disk.commit(commit) {
            tracing::error!(%error, "a commit failed; nothing more is written until restart");
            let _ = self.broken.set(error.to_string());
        }
        timer.observe_duration();
    }
}

impl<D> Drop for Committer<D> {
    /// Before the inbox closes: whoever finds it closed shall find out why.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.broken.set(COMMITTER_PANICKED.to_owned());
        }
    }
}

fn written(result: Result<(), DiskError>) -> Result<Done, WriteError> {
    result.map(|()| Done::Written).map_err(|error| unread(&error))
}

fn exchange(pending: &mut Pending, disk: &impl Disk, table: TableId, swap: Swap) -> Result<Done, WriteError> {
    match pending.exchange(disk, table, swap) {
        Ok(exchange) => Ok(Done::Exchanged(exchange)),
        Err(SwapError::Disk(error)) => Err(unread(&error)),
        Err(error @ SwapError::Damaged(_)) => Err(WriteError::Refused { reason: error.to_string() }),
    }
}

/// What was to be read before the write could not be.
fn unread(error: &DiskError) -> WriteError {
    WriteError::Unavailable { effect: Effect::Unknown, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::super::Rows;
    use super::super::key::KeyRange;
    use super::super::pending::{Chunk, Commit, Encoded, Item};
    use super::super::value;
    use super::*;
    use bytes::Bytes;
    use prometheus::Registry;
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use tokio::sync::Semaphore;
    use tokio::sync::oneshot::error::TryRecvError;

    type Answered = oneshot::Receiver<Result<Done, WriteError>>;

    enum Fails {
        Error,
        Panic,
    }

    /// A disk in memory that records its commits, and can fail them.
    #[derive(Default)]
    struct Fake {
        rows: Mutex<BTreeMap<Vec<u8>, Bytes>>,
        commits: Mutex<Vec<usize>>,
        fails: Option<Fails>,
        /// Whoever must not have an answer during a commit.
        watched: Mutex<Vec<Answered>>,
    }

    impl Disk for Arc<Fake> {
        fn value(&self, _: TableId, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
            Ok(self.rows.lock().unwrap().get(key).cloned())
        }

        fn chunk(&self, _: TableId, range: &KeyRange) -> Result<Chunk, DiskError> {
            let rows = self.rows.lock().unwrap();
            let mut within = rows.range(range.start.clone()..range.end.clone().unwrap());
            let entry = |(key, value): (&Vec<u8>, &Bytes)| Encoded {
                key: Bytes::copy_from_slice(key),
                value: value.clone(),
            };
            let rows = within.by_ref().take(Chunk::ROWS_MAX).map(entry).collect();
            let rest = within.next().map(|(key, _)| KeyRange { start: key.clone(), end: range.end.clone() });
            Ok(Chunk { rows, rest })
        }

        fn expire(&mut self, _: Timestamp) -> Result<Expired, DiskError> {
            Ok(Expired::default())
        }

        fn commit(&mut self, commit: Commit) -> Result<(), DiskError> {
            for answered in self.watched.lock().unwrap().iter_mut() {
                assert_eq!(answered.try_recv().err(), Some(TryRecvError::Empty), "an answer before the sync");
            }
            self.commits.lock().unwrap().push(commit.items.len());
            match self.fails {
                Some(Fails::Error) => return Err(DiskError("input/output error".into())),
                Some(Fails::Panic) => panic!("as asked"),
                None => {}
            }
            let mut rows = self.rows.lock().unwrap();
            for Item { key, value, .. } in commit.items {
                match value {
                    Some(value) => rows.insert(key.into(), value),
                    None => rows.remove(key.as_ref()),
                };
            }
            Ok(())
        }
    }

    fn row(key: &str, time: i64) -> Encoded {
        let row = super::super::super::Row { clustering: super::super::super::Key::default(), cells: vec![] };
        let value = value::encode(key.as_bytes(), &row, WriteTime::from_micros(time));
        Encoded { key: Bytes::copy_from_slice(key.as_bytes()), value: value.into() }
    }

    fn put(key: &str, time: i64) -> Change {
        let (rows, at) = (vec![row(key, time)], WriteTime::from_micros(time));
        Change::Put(Put { kind: Rows::Versioned, rows, at, ends_at: None })
    }

    fn command(change: Change) -> (Message, Answered) {
        let (answer, answered) = oneshot::channel();
        let share = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        (Message::Change(Command { table: TableId(0), change, answer, share }), answered)
    }

    /// Runs a committer over what is waiting, until the end.
    fn run(disk: &Arc<Fake>, messages: Vec<Message>) -> Arc<OnceLock<String>> {
        let (inbox, waiting) = mpsc::channel(messages.len().max(1));
        for message in messages {
            inbox.try_send(message).unwrap();
        }
        drop(inbox);
        let broken = Arc::new(OnceLock::new());
        let metrics = CommitMetrics::register(&Registry::new()).unwrap();
        Committer::new(Arc::clone(disk), waiting, 100, Arc::clone(&broken), metrics).run();
        broken
    }

    fn times(disk: &Fake) -> Vec<(String, i64)> {
        let rows = disk.rows.lock().unwrap();
        let time = |value: &Bytes| value::write_time(value).unwrap().micros();
        rows.iter().map(|(key, value)| (String::from_utf8(key.clone()).unwrap(), time(value))).collect()
    }

    #[test]
    fn all_that_waits_is_one_commit_and_answers_follow_it() {
        let disk = Arc::new(Fake::default());
        let (messages, answered): (Vec<_>, Vec<_>) =
            (0..50).map(|n| command(put(&format!("key {n}"), 1))).unzip();
        *disk.watched.lock().unwrap() = answered;
        run(&disk, messages);
        assert_eq!(*disk.commits.lock().unwrap(), [50]);
        for answered in disk.watched.lock().unwrap().iter_mut() {
            assert!(matches!(answered.try_recv(), Ok(Ok(Done::Written))));
        }
    }

    #[test]
    fn changes_of_one_commit_see_each_other_and_each_key_is_written_once() {
        let disk = Arc::new(Fake::default());
        let delete = |key: &str, time| Change::Delete {
            key: Bytes::copy_from_slice(key.as_bytes()),
            at: WriteTime::from_micros(time),
        };
        let changes = [
            put("a", 5),
            put("a", 9),
            put("a", 7),
            delete("a", 8),
            put("b", 1),
            delete("b", 1),
            put("c", 1),
            delete("c", 1),
            put("c", 2),
        ];
        let (messages, _answered): (Vec<_>, Vec<_>) = changes.into_iter().map(command).unzip();
        run(&disk, messages);
        assert_eq!(times(&disk), [("a".to_owned(), 9), ("c".to_owned(), 2)]);
        assert_eq!(*disk.commits.lock().unwrap(), [3]);
    }

    #[test]
    fn what_changes_nothing_is_not_committed() {
        let disk = Arc::new(Fake::default());
        let (newer, _newer) = command(put("a", 9));
        run(&disk, vec![newer]);
        let (older, mut answered) = command(put("a", 3));
        run(&disk, vec![older]);
        assert!(matches!(answered.try_recv(), Ok(Ok(Done::Written))));
        assert_eq!(*disk.commits.lock().unwrap(), [1]);
    }

    #[test]
    fn after_a_failed_commit_nothing_is_written_and_everything_is_broken() {
        let disk = Arc::new(Fake { fails: Some(Fails::Error), ..Fake::default() });
        let (messages, answered): (Vec<_>, Vec<_>) =
            (0..250).map(|n| command(put(&format!("key {n}"), 1))).unzip();
        let broken = run(&disk, messages);
        assert_eq!(broken.get().map(String::as_str), Some("input/output error"));
        assert_eq!(*disk.commits.lock().unwrap(), [100], "groups of 100; only the first was tried");
        for mut answered in answered {
            assert!(matches!(answered.try_recv(), Ok(Err(WriteError::Broken { .. }))));
        }
    }

    #[test]
    fn a_panic_leaves_the_store_broken() {
        let disk = Arc::new(Fake { fails: Some(Fails::Panic), ..Fake::default() });
        let (message, mut answered) = command(put("a", 1));
        let (inbox, waiting) = mpsc::channel(1);
        inbox.try_send(message).unwrap();
        let broken = Arc::new(OnceLock::new());
        let metrics = CommitMetrics::register(&Registry::new()).unwrap();
        let committer = Committer::new(disk, waiting, 100, Arc::clone(&broken), metrics);
        assert!(std::thread::spawn(|| committer.run()).join().is_err());
        assert!(broken.get().is_some() && inbox.is_closed());
        assert_eq!(answered.try_recv().err(), Some(TryRecvError::Closed));
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_left_out() {
        let disk = Arc::new(Fake::default());
        let ((gone, dropped), (stays, _waits)) = (command(put("gone", 1)), command(put("stays", 1)));
        drop(dropped);
        run(&disk, vec![gone, stays]);
        assert_eq!(times(&disk), [("stays".to_owned(), 1)]);
    }

    #[test]
    fn a_sweep_goes_in_steps_and_spares_what_is_newer() {
        let disk = Arc::new(Fake::default());
        for n in 0..2500 {
            let Encoded { key, value } = row(&format!("k{n:04}"), if n == 2000 { 6 } else { 5 });
            disk.rows.lock().unwrap().insert(key.into(), value);
        }
        let range = KeyRange { start: b"k".to_vec(), end: Some(b"l".to_vec()) };
        let sweep = Sweep { table: TableId(0), range, at: WriteTime::from_micros(5) };
        let (message, mut answered) = command(Change::Sweep(sweep));
        let (other, _other) = command(put("other", 1));
        run(&disk, vec![message, other]);
        assert!(matches!(answered.try_recv(), Ok(Ok(Done::Written))));
        assert_eq!(*disk.commits.lock().unwrap(), [1, 1024, 1023, 452]);
        assert_eq!(times(&disk), [("k2000".to_owned(), 6), ("other".to_owned(), 1)]);
    }

    #[test]
    fn a_close_finishes_what_waits_and_takes_no_more() {
        let disk = Arc::new(Fake::default());
        let (closed, mut done) = oneshot::channel();
        let (after, mut answered) = command(put("behind the close", 1));
        run(&disk, vec![Message::Close(closed), after]);
        assert!(done.try_recv().is_ok());
        assert!(matches!(answered.try_recv(), Ok(Ok(Done::Written))));
    }
}
