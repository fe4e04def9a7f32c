//! Fleets and what serves them: those that are small enough to run, and those that README speaks of.

use std::time::Duration;

use anyhow::Result;
use tidemill_store::layout::{BucketWidth, Era, ShardCount};
use tidemill_store::model::Timestamp;

/// A fleet and what serves it. Numbers are as formulas want them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Fleet {
    /// Devices, each a source.
    pub(crate) devices: f64,
    /// Metrics of each message.
    pub(crate) metrics: f64,
    /// Seconds between the messages of a device.
    pub(crate) interval: f64,
    /// Ingesters; each takes messages of its share of the devices.
    pub(crate) ingesters: f64,
    /// Mills.
    pub(crate) mills: f64,
    /// Shards of the era.
    pub(crate) shards: f64,
    /// Hours of a bucket.
    pub(crate) bucket_hours: f64,
    /// Bytes from which on the tail of an open bucket is ground.
    pub(crate) tail_bytes_min: f64,
    /// Nodes of the cluster.
    pub(crate) nodes: f64,
}

/// Bytes of a mebibyte.
pub(crate) const MIB: f64 = 1024.0 * 1024.0;

impl Fleet {
    const fn small(devices: f64, shards: f64, bucket_hours: f64) -> Self {
        Self {
            devices,
            metrics: 3.0,
            interval: 60.0,
            ingesters: 1.0,
            mills: 1.0,
            shards,
            bucket_hours,
            tail_bytes_min: 4.0 * MIB,
            nodes: 1.0,
        }
    }

    /// Fleets whose day takes a second to run.
    pub(crate) const SMALL: [Self; 5] = [
        Self::small(30.0, 2.0, 1.0),
        Self::small(30.0, 2.0, 6.0),
        Self { ingesters: 2.0, ..Self::small(60.0, 4.0, 6.0) },
        Self { mills: 2.0, tail_bytes_min: 48.0 * 1024.0, ..Self::small(120.0, 2.0, 24.0) },
        Self { metrics: 5.0, ..Self::small(240.0, 2.0, 24.0) },
    ];

    const fn large(devices: f64, ingesters: f64, shards: f64, bucket_hours: f64, nodes: f64) -> Self {
        Self {
            metrics: 5.0,
            ingesters,
            mills: ingesters,
            nodes,
            ..Self::small(devices, shards, bucket_hours)
        }
    }

    /// A message a minute of each device; an ingester for each 100,000 messages a second and one to spare; eras with
    /// which `tidemill era suggest` is content.
    pub(crate) const LARGE: [Self; 5] = [
        Self::large(1e3, 1.0, 4.0, 24.0, 1.0),
        Self::large(1e4, 2.0, 16.0, 24.0, 3.0),
        Self::large(1e5, 2.0, 32.0, 6.0, 3.0),
        Self::large(1e6, 2.0, 128.0, 3.0, 10.0),
        Self::large(1e7, 3.0, 1024.0, 3.0, 100.0),
    ];

    /// The era that it lives in.
    pub(crate) fn era(&self) -> Result<Era> {
        Ok(Era {
            starts_at: Timestamp::MIN,
            shards: ShardCount::new(whole(self.shards))?,
            bucket_width: BucketWidth::new(Duration::from_secs_f64(self.bucket_hours * 3_600.0))?,
        })
    }

    /// Its devices, each of which is a source.
    pub(crate) fn sources(&self) -> u64 {
        whole(self.devices)
    }
}

/// A number of things.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small and whole"
)]
pub(crate) fn whole(number: f64) -> u64 {
    number as u64
}
