//! How an answer came about: what was read for it, and what it could not have.

use std::collections::BTreeSet;

use crate::layout::Resolution;
use crate::model::Timestamp;

/// How an answer was computed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explain {
    /// The resolutions of the frames that are in the answer.
    pub resolutions: BTreeSet<Resolution>,
    /// Whether samples themselves are in the answer, too.
    pub raw: bool,
    /// (shard, bucket) pairs that were looked into.
    pub buckets: usize,
    /// Segments that were decoded and merged: what no seal covers yet.
    pub segments_merged: usize,
    /// Rows of blocks that were read.
    pub block_rows: usize,
    /// Rows of frames that were read.
    pub frame_rows: usize,
    /// Bytes of the bodies of all of these.
    pub bytes_read: usize,
    /// How often a bucket was read again because it was ground meanwhile.
    pub retries: usize,
    /// Before this, samples of some bucket have expired and are not in the answer.
    pub expired_before: Option<Timestamp>,
    /// Series that the search for their latest sample gave up on, because they have been silent for too long.
    pub series_silent: usize,
}

impl Explain {
    /// Rows that were read, of any kind.
    pub fn rows_read(&self) -> usize {
        self.segments_merged + self.block_rows + self.frame_rows
    }

    /// Takes in what was done for a part of the answer.
    pub fn add(&mut self, part: &Self) {
        self.resolutions.extend(&part.resolutions);
        self.raw |= part.raw;
        self.buckets += part.buckets;
        self.segments_merged += part.segments_merged;
        self.block_rows += part.block_rows;
        self.frame_rows += part.frame_rows;
        self.bytes_read += part.bytes_read;
        self.retries += part.retries;
        self.expired_before = self.expired_before.max(part.expired_before);
        self.series_silent += part.series_silent;
    }
}
