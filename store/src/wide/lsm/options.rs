//! What an embedded store is opened with, and the reasons for the defaults.

use std::path::PathBuf;
use std::time::Duration;

use super::super::Expiry;

/// Options of [`super::Lsm::open`]. Every bound of I6 that the store keeps is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LsmOptions {
    /// The directory; created where absent. One process at a time may use it.
    pub dir: PathBuf,
    /// Bytes of blocks and bodies kept in memory for reads.
    pub cache_bytes: u64,
    /// Bytes of a table's rows that are written to a file of their own at a time. In memory there are at most
    /// five times as many of each table that is being written.
    pub write_buffer_bytes: u64,
    /// Bytes of rows that expire, of all windows of time together, after which the largest window's are written to a
    /// file of their own.
    pub window_buffers_bytes_max: u64,
    /// Deleted bytes of a table, or of a window of it, that are left on disk until they are worth reclaiming.
    pub reclaim_bytes_min: u64,
    /// How long rows that expire are kept. May be changed between openings.
    pub expiry: Expiry,
    /// Bytes of journals on disk after which tables are flushed so that the oldest can go; bounds the time that
    /// opening after a crash takes. At least 64 MiB.
    pub journal_bytes_max: u64,
    /// Writes that may wait for a commit; beyond them callers wait.
    pub commit_queue_max: usize,
    /// Bytes of rows that may wait for a commit; beyond them callers wait.
    pub commit_bytes_max: u32,
    /// Reads at a time; beyond them callers wait.
    pub reads_max: u32,
    /// How long an operation may take before its caller is told that the store is unavailable.
    pub deadline: Duration,
    /// Threads that flush and compact, at least three: one of them only flushes.
    pub workers: usize,
}

impl LsmOptions {
    /// Enough for marks, seals and the index blocks of a large store; bodies are in the system's cache as well.
    pub const CACHE_BYTES: u64 = 64 * 1024 * 1024;
    /// Large files mean little compaction; five of them are still little memory.
    pub const WRITE_BUFFER_BYTES: u64 = 32 * 1024 * 1024;
    /// Three full buffers: what is written at a time is of few windows; late data trickles into many.
    pub const WINDOW_BUFFERS_BYTES_MAX: u64 = 96 * 1024 * 1024;
    /// Little beside what a store holds whose deletes matter; merging it takes a moment.
    pub const RECLAIM_BYTES_MIN: u64 = 1024 * 1024;
    /// A second or two of replay.
    pub const JOURNAL_BYTES_MAX: u64 = 256 * 1024 * 1024;
    /// Above the number of shards, each of which has one write under way.
    pub const COMMIT_QUEUE_MAX: usize = 4096;
    /// 128 full bodies: several times what a disk takes during one sync.
    pub const COMMIT_BYTES_MAX: u32 = 32 * 1024 * 1024;
    /// Each holds a thread and one page.
    pub const READS_MAX: u32 = 16;
    /// Longer than any pause of a healthy disk.
    pub const DEADLINE: Duration = Duration::from_secs(10);
    /// One flushes while the others compact. Two are too few: after each flush as many compactions are asked for as
    /// there are threads, and the one that only flushes hands those that nobody takes round to itself, without a
    /// pause, for as long as the only other one compacts.
    pub const WORKERS: usize = 3;

    /// The defaults, in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            cache_bytes: Self::CACHE_BYTES,
            write_buffer_bytes: Self::WRITE_BUFFER_BYTES,
            window_buffers_bytes_max: Self::WINDOW_BUFFERS_BYTES_MAX,
            reclaim_bytes_min: Self::RECLAIM_BYTES_MIN,
            expiry: Expiry::NEVER,
            journal_bytes_max: Self::JOURNAL_BYTES_MAX,
            commit_queue_max: Self::COMMIT_QUEUE_MAX,
            commit_bytes_max: Self::COMMIT_BYTES_MAX,
            reads_max: Self::READS_MAX,
            deadline: Self::DEADLINE,
            workers: Self::WORKERS,
        }
    }
}
