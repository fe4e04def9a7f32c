//! What a day of a fleet costs, line by line: arithmetic alone.

use tidemill_store::mill::MillOptions;

use super::fleet::{Fleet, MIB};

/// A line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// Partitions of segments, blocks, frames and seals that a day writes to.
    Partitions,
    /// The bytes that the mill keeps of a (shard, bucket): what is read and ground as one.
    BucketBytes,
    /// Rows of marks that a day writes.
    Marks,
    /// Rows of the catalog that new ingesters write.
    CatalogRows,
    /// Exchanges of seals in a day.
    SealExchanges,
    /// Exchanges of seals and leases in a day: all the lightweight transactions that there are.
    Exchanges,
    /// Buckets that one ingester has open, at most.
    OpenBuckets,
    /// Memory of the catalog in each process that answers queries.
    CatalogBytes,
    /// Rows that a question over a day reads, of one metric of all devices by the hour.
    FrameRows,
    /// Bytes that it reads.
    FrameBytes,
    /// Partitions written in a day on each node.
    NodePartitions,
    /// Exchanges in a second that each node takes part in.
    NodeExchanges,
}

/// A grind is one exchange; collecting what it replaced is two.
const EXCHANGES_PER_GRIND: f64 = 3.0;
/// Replicas of everything.
const REPLICAS: f64 = 3.0;
/// Bytes of a source in the catalog of a query process, measured with a million of them (`--bench catalog`).
const SOURCE_BYTES: f64 = 403.0;
/// Bytes of a sample in segments, and in blocks and frames, measured with noisy walks (`tests/bench versus`).
const SEGMENT_SAMPLE_BYTES: f64 = 1.3;
const BLOCK_SAMPLE_BYTES: f64 = 0.66;
/// Bytes of a series in a row of frames: what it takes by itself, and for each window.
const FRAME_SERIES_BYTES: f64 = 23.0;
const FRAME_WINDOW_BYTES: f64 = 10.6;
/// Bytes of a row of frames: cut at about 32 KiB, by what those before took, and the last one is what is left.
const FRAME_ROW_BYTES: f64 = 24.0 * 1024.0;

impl Line {
    pub(crate) const ALL: [Self; 12] = [
        Self::Partitions,
        Self::BucketBytes,
        Self::Marks,
        Self::CatalogRows,
        Self::SealExchanges,
        Self::Exchanges,
        Self::OpenBuckets,
        Self::CatalogBytes,
        Self::FrameRows,
        Self::FrameBytes,
        Self::NodePartitions,
        Self::NodeExchanges,
    ];

    /// Those that a day of a small fleet is counted for; the others follow from them, or from benchmarks.
    pub(crate) const COUNTED: [Self; 8] = [
        Self::Partitions,
        Self::Marks,
        Self::CatalogRows,
        Self::SealExchanges,
        Self::Exchanges,
        Self::OpenBuckets,
        Self::FrameRows,
        Self::FrameBytes,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Partitions => "partitions written to in a day",
            Self::BucketBytes => "MiB of a shard's bucket, ground",
            Self::Marks => "marks written in a day",
            Self::CatalogRows => "catalog rows written by new ingesters",
            Self::SealExchanges => "exchanges of seals in a day",
            Self::Exchanges => "lightweight transactions in a day",
            Self::OpenBuckets => "open buckets of an ingester, at most",
            Self::CatalogBytes => "MiB of catalog in a query process",
            Self::FrameRows => "rows read for a day of all devices by the hour",
            Self::FrameBytes => "MiB read for it",
            Self::NodePartitions => "partitions written to in a day, each node",
            Self::NodeExchanges => "lightweight transactions a second, each node",
        }
    }

    /// What it is for a day of `fleet`.
    pub(crate) fn of(self, fleet: &Fleet) -> f64 {
        let buckets = fleet.shards * fleet.buckets();
        match self {
            Self::Partitions => 2.0 * buckets + fleet.shards * (fleet.resolutions() + 1.0),
            Self::BucketBytes => fleet.bucket_samples() * BLOCK_SAMPLE_BYTES,
            // One opens it, one each further hour says that its writer lives, one closes it.
            Self::Marks => buckets * fleet.ingesters * (fleet.bucket_hours + 1.0),
            Self::CatalogRows => fleet.devices,
            Self::SealExchanges => buckets * fleet.grinds() * EXCHANGES_PER_GRIND,
            Self::Exchanges => Self::SealExchanges.of(fleet) + fleet.mills * beats(),
            // One is over and not yet idle while the next is open.
            Self::OpenBuckets => fleet.shards * fleet.buckets().min(2.0),
            Self::CatalogBytes => fleet.devices * SOURCE_BYTES,
            Self::FrameRows => buckets * (fleet.frame_bytes() / FRAME_ROW_BYTES).ceil(),
            Self::FrameBytes => buckets * fleet.frame_bytes(),
            Self::NodePartitions => Self::Partitions.of(fleet) * fleet.replicas() / fleet.nodes,
            Self::NodeExchanges => Self::Exchanges.of(fleet) * fleet.replicas() / fleet.nodes / 86_400.0,
        }
    }

    /// By how much what is counted may differ.
    pub(crate) const fn tolerance(self) -> f64 {
        if matches!(self, Self::FrameBytes) { 0.25 } else { 0.02 }
    }

    /// What is so little that its growth is no matter.
    pub(crate) const fn floor(self) -> f64 {
        if matches!(self, Self::NodeExchanges) { 1.0 } else { 100.0 * self.unit() }
    }

    /// What it is shown in: bytes as MiB.
    pub(crate) const fn unit(self) -> f64 {
        if matches!(self, Self::BucketBytes | Self::CatalogBytes | Self::FrameBytes) { MIB } else { 1.0 }
    }
}

impl Fleet {
    /// Messages in a second.
    pub(crate) fn messages(&self) -> f64 {
        self.devices / self.interval
    }

    /// Buckets of a shard in a day.
    fn buckets(&self) -> f64 {
        24.0 / self.bucket_hours
    }

    /// Samples of a (shard, bucket).
    fn bucket_samples(&self) -> f64 {
        self.devices / self.shards * self.metrics * self.bucket_hours * 3_600.0 / self.interval
    }

    /// How often a bucket is ground: when its tail is long enough, then each time it has doubled, and at last.
    fn grinds(&self) -> f64 {
        let tails = (self.bucket_samples() * SEGMENT_SAMPLE_BYTES / self.tail_bytes_min).log2().floor() + 1.0;
        1.0 + tails.max(0.0)
    }

    /// Resolutions that are kept: the coarsest that fits a bucket, and those whose windows hold enough samples.
    fn resolutions(&self) -> f64 {
        let options = MillOptions::default();
        let seconds = options.resolutions.iter().map(|resolution| f64::from(resolution.seconds()));
        let fitting: Vec<f64> = seconds.filter(|seconds| *seconds <= self.bucket_hours * 3_600.0).collect();
        let enough = self.interval * f64::from(options.frame_samples_min);
        let kept = fitting.iter().rev().enumerate().filter(|(at, seconds)| *at == 0 || **seconds >= enough);
        f64::from(u32::try_from(kept.count()).unwrap_or_default())
    }

    /// Bytes of the hours of one metric of a (shard, bucket).
    fn frame_bytes(&self) -> f64 {
        let series = self.devices / self.shards;
        series * (FRAME_SERIES_BYTES + self.bucket_hours * FRAME_WINDOW_BYTES)
    }

    fn replicas(&self) -> f64 {
        REPLICAS.min(self.nodes)
    }
}

/// Beats of a mill in a day; each is an exchange.
fn beats() -> f64 {
    86_400.0 / MillOptions::default().leases.beat_every.as_secs_f64()
}
