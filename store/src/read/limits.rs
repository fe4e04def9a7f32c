//! How much one query may take (I6). Passing a limit ends the query with an error that says what to ask instead.

use std::time::Duration;

/// What a [`super::Reader`] allows each query, and itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Most samples that a query collects, duplicates included.
    pub samples_max: usize,
    /// Most bytes that these samples take in memory.
    pub bytes_max: usize,
    /// Most sources that a query lists.
    pub sources_max: usize,
    /// Most marks, of (shard, bucket, writer), and seals, of (shard, bucket), that a query looks at.
    pub marks_max: usize,
    /// Most bytes of segments, and of blocks or frames, that a query reads of one (shard, bucket).
    pub bucket_bytes_max: usize,
    /// Most buckets of each shard that a query for the latest samples walks back through, counting those with data.
    pub latest_buckets_max: usize,
    /// Most bytes of bodies that such a query looks through before it looks back no further.
    pub latest_bytes_max: usize,
    /// Most reads of marks and catalog rows of a query in flight at once.
    pub reads_in_flight_max: usize,
    /// Most (shard, bucket) pairs of a query fetched and decoded at once.
    pub buckets_in_flight_max: usize,
    /// Bytes of recent segments, and of what was made of them, that are kept for the next query.
    pub head_bytes_max: usize,
    /// From so many samples of a series on in one of the finest windows, a fold of that window is kept of recent
    /// samples in their place.
    pub folded_from: usize,
    /// Bytes of last samples that are kept for the next query for the latest ones.
    pub lasts_bytes_max: usize,
    /// Bytes of blocks and frames that are kept for the next query.
    pub packs_bytes_max: usize,
    /// Bytes of what is remembered of where silent sources are not.
    pub presence_bytes_max: usize,
    /// How long a query goes by a seal without looking whether it is still in force. Below the time for which the
    /// mill keeps what a seal does not name any more.
    pub seals_trusted_for: Duration,
    /// After which time the eras are read again. Far below the time by which a new era is announced before it
    /// starts, so that no reader is surprised by it.
    pub eras_age_max: Duration,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self {
            // 160 MB as values: a day of one-second samples of 58 series.
            samples_max: 5_000_000,
            bytes_max: 256 * MIB,
            sources_max: 1_000_000,
            // 64 MB as marks: a month of hours in 128 shards by 10 writers.
            marks_max: 1_000_000,
            // Four times what the bucket width is chosen for.
            bucket_bytes_max: 256 * MIB,
            latest_buckets_max: 1_000,
            latest_bytes_max: 512 * MIB,
            reads_in_flight_max: 16,
            buckets_in_flight_max: 4,
            head_bytes_max: 256 * MIB,
            // As samples they take about as much.
            folded_from: 64,
            lasts_bytes_max: 128 * MIB,
            packs_bytes_max: 128 * MIB,
            presence_bytes_max: 32 * MIB,
            seals_trusted_for: Duration::from_secs(10),
            eras_age_max: Duration::from_secs(30),
        }
    }
}

const MIB: usize = 1024 * 1024;
