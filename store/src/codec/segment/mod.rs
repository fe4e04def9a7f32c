//! The segment: many points of many sources in one body, columnar, as ingest writes them.
//!
//! ```text
//! segment = version  metrics  points  sources  times  shapes  columns  crc
//! version = u8                  1
//! metrics = count  (length text)…           names, in UTF-8; each once
//! points  = count                           at least 1
//! sources = count  gaps  [lengths]          the runs of points of one source, ascending by source
//! gaps    = integer column                  a run's source minus that before it, less 1; the first as it is
//! lengths = integer column                  points in a run, less 1; only where there are several runs
//! times   = unit  integer column            unit: u8, 0 ns, 1 µs, 2 ms, 3 s; of all points, in runs of a source
//! shapes  = count  shape…  [integer column] a point's position among the shapes; only where there are several
//! shape   = (n << 1 | 0)  metric…           the positions of a point's metrics, in order; at least one
//!         | (n << 1 | 1)  metric            n metrics in a row from this one on
//! columns = length…  column…                one for each metric that has values; lengths in bytes first
//! crc     = u32, little-endian              CRC-32 (IEEE) of everything before it
//! ```
//!
//! Counts, lengths and positions are varints; columns are described in `codec::column`, varints in `codec::bytes`.
//! A column holds the values of its metric in the order of points, and of the shape where it names a metric twice;
//! its runs are those of the sources. Sources are numbered by the writer's catalog rows.
//!
//! Points are ordered by (source, time) and stay in order of arrival where these are equal, so that the later
//! position wins (design: same series, same time twice). The decoder refuses any other order.
//! A few bytes can stand for very many equal points, hence [`Limits`]; all other lengths are checked against the
//! bytes that are there before anything is allocated for them (I6). The same points in the same order of arrival
//! give the same bytes (I5).

mod build;
mod columns;
mod decode;
mod encode;
mod layout;
mod read;
mod shapes;
mod sort;

use crate::model::{CatalogN, NameError, Timestamp, Value};

use super::bytes::Malformed;

pub use build::SegmentBuilder;
pub(crate) use decode::points_told;
pub use decode::{Heading, Segment};
pub use read::{Column, Samples};

const VERSION: u8 = 1;
const CRC_BYTES: usize = 4;

/// Nanoseconds in each unit of time, by its number.
const UNITS: [i64; 4] = [1, 1_000, 1_000_000, 1_000_000_000];

/// Position of a metric in a segment's dictionary. Means nothing outside of its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricPosition(u32);

impl MetricPosition {
    /// As an index into [`Segment::metrics`].
    pub const fn index(self) -> usize {
        super::convert::index(self.0)
    }
}

/// What was encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentStats {
    /// How many samples.
    pub samples: usize,
    /// The earliest time.
    pub min_time: Timestamp,
    /// The latest time; inclusive.
    pub max_time: Timestamp,
}

/// How much a segment may claim to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most points.
    pub points_max: usize,
    /// Most samples.
    pub samples_max: usize,
}

impl Limits {
    /// What a builder takes at most, and more than any batch that the body limit allows in practice.
    pub const DEFAULT: Self = Self { points_max: 1 << 20, samples_max: 1 << 22 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Why bytes are not a segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Too short for any segment.
    #[error("a segment of {0} bytes is too short to be one")]
    TooShort(usize),
    /// The bytes are not those that were written.
    #[error("the segment's checksum is {stored:08x}, its bytes give {computed:08x}")]
    Checksum {
        /// What it should be.
        stored: u32,
        /// What it is.
        computed: u32,
    },
    /// Written by a later version.
    #[error("the segment has version {0}, this program reads version {VERSION}")]
    Version(u8),
    /// More points than the caller allows.
    #[error("the segment claims {points} points, the limit is {limit}")]
    TooManyPoints {
        /// How many it claims.
        points: usize,
        /// The limit.
        limit: usize,
    },
    /// More samples than the caller allows.
    #[error("the segment claims {samples} samples, the limit is {limit}")]
    TooManySamples {
        /// How many it claims.
        samples: usize,
        /// The limit.
        limit: usize,
    },
    /// A metric's name is not allowed.
    #[error("a metric of the segment has no valid name")]
    Metric(#[source] NameError),
    /// The bytes are those that were written, but no encoder writes them.
    #[error("the segment is malformed")]
    Malformed(#[from] Malformed),
}

/// One sample of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentSample {
    /// Position of its point: where source, metric and time are equal, the last in stored order wins.
    pub point: usize,
    /// Whose, by catalog row of the segment's writer.
    pub source: CatalogN,
    /// When.
    pub time: Timestamp,
    /// Of what.
    pub metric: MetricPosition,
    /// The value.
    pub value: Value,
}

#[cfg(test)]
mod tests;
