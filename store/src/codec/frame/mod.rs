//! The frame: what the windows of many sources say of one metric, in one bucket and one resolution, columnar.
//!
//! ```text
//! frame   = version  metric  bucket  resolution  sources  windows  columns  crc
//! version = u8                     2
//! metric  = length  text           its name, in UTF-8
//! bucket  = varint                 start of the bucket in ms, signed
//! resolution = varint              width of a window in seconds
//! sources = count  (16 bytes)…     little-endian, ascending; at least one
//! windows = counts  indexes        counts: integer column, windows of each source; none means: ask the samples
//! indexes = integer column         a window's number in the bucket, ascending within its source
//! columns = length…  column…       26 of them in the order of `Column`; lengths in bytes first, 0 = all default
//! crc     = u32, little-endian     CRC-32 (IEEE) of everything before it
//! ```
//!
//! Counts, lengths and positions are varints; integer columns and columns of values are described in `codec::column`,
//! varints in `codec::bytes`. Unless it says otherwise below, a column has an entry for each window, in the order of
//! sources and windows, and its runs are the sources with windows. An entry that means nothing (the first value of an
//! interior without samples) repeats the one before it.
//!
//! ```text
//! counts      0 floats  1 integers  2 bools  3 texts: samples in the interior, integer columns
//! boundary    4 presence: column of booleans  5 values: column of those that are present, in runs where all are
//! ends        6 first times  7 last times: unit: u8, then how long after the start, before the end: integer column
//!             8 first values  9 last values: columns of values; units as in `codec::segment`
//! extremes   10 min  11 max: columns of values
//! sum        12 integers low  13 high: sum = high · 2^64 + low, both signed integer columns  14 floats: see `sums`
//! scaled     15 integer column: a bit for each sum that is scaled down by 2^64: 1 sum, 2 reset sum, 4 step, 8 linear
//! deviations 16 sums over the counts of numbers
//! resets     17 count: integer column  18–20 sum of the values before them, as 12–14
//! changes    21 integer column
//! integrals  22 step  23 linear: sums, predicted as `predict` does
//! states     24 see `states`
//! sketches   25 see `sketches`
//! ```
//!
//! The decoder checks that times lie in their windows and that counts and sums stay where adding them cannot
//! overflow; all lengths are checked before anything is allocated for them, and windows, states and bins are
//! bounded, because few bytes can stand for many of them (I6). The same windows give the same bytes (I5).

mod build;
mod decode;
mod encode;
mod fraction;
mod predict;
mod rests;
mod sketches;
mod states;
mod sums;
mod unpack;

use crate::model::{NameError, SourceId};

use super::bytes::Malformed;

pub use crate::rollup::Fields;
pub use build::FrameBuilder;
pub use decode::Frame;

const VERSION: u8 = 2;
const CRC_BYTES: usize = 4;

/// Most windows in a frame.
const WINDOWS_MAX: usize = 1 << 16;

/// Nanoseconds in each unit of time, by its number.
const UNITS: [i64; 4] = [1, 1_000, 1_000_000, 1_000_000_000];

/// Most samples that a window may count: far beyond one each nanosecond of a day, and far from any overflow.
const COUNT_MAX: u64 = 1 << 48;

/// The columns of a frame, in the order in which they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Column {
    Floats,
    Integers,
    Bools,
    Texts,
    BoundaryPresence,
    BoundaryValues,
    FirstTimes,
    LastTimes,
    FirstValues,
    LastValues,
    Min,
    Max,
    SumLow,
    SumHigh,
    SumFloats,
    Scaled,
    M2,
    Resets,
    ResetLow,
    ResetHigh,
    ResetFloats,
    Changes,
    Step,
    Linear,
    States,
    Sketches,
}

const COLUMNS: usize = 26;

impl Column {
    #[expect(clippy::as_conversions, reason = "the discriminant is the position")]
    const fn index(self) -> usize {
        self as usize
    }
}

/// How large frames are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// A frame is finished when it has about this many bytes.
    pub target_bytes: usize,
    /// No frame has more.
    pub body_bytes_max: usize,
}

impl FrameLimits {
    /// 32 KiB: few rows for a scan of the fleet, and one source is still a small read. At most 256 KiB, which every
    /// managed service takes.
    pub const DEFAULT: Self = Self { target_bytes: 32 * 1024, body_bytes_max: 256 * 1024 };
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A finished frame: a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameBody {
    /// The first source in it.
    pub first_source: SourceId,
    /// The last source in it.
    pub last_source: SourceId,
    /// How many windows are in it, over all sources.
    pub windows: u32,
    /// The bytes.
    pub body: Vec<u8>,
}

/// Why a source's windows were not taken: its samples answer in their place, see [`FrameBuilder::push_without_windows`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameRefusal {
    /// They do not fit a frame.
    #[error("the windows of one source take about {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// About how many bytes they take.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// There are more windows than a frame may hold.
    #[error("one source has {0} windows, the limit is {WINDOWS_MAX}")]
    TooManyWindows(usize),
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Too short for any frame.
    #[error("a frame of {0} bytes is too short to be one")]
    TooShort(usize),
    /// The bytes are not those that were written.
    #[error("the frame's checksum is {stored:08x}, its bytes give {computed:08x}")]
    Checksum {
        /// What it should be.
        stored: u32,
        /// What it is.
        computed: u32,
    },
    /// Written by a later version.
    #[error("the frame has version {0}, this program reads version {VERSION}")]
    Version(u8),
    /// More windows than a frame may hold.
    #[error("the frame claims {0} windows, the limit is {WINDOWS_MAX}")]
    TooManyWindows(usize),
    /// The metric's name is not allowed.
    #[error("the frame's metric has no valid name")]
    Metric(#[source] NameError),
    /// The bytes are those that were written, but no encoder writes them.
    #[error("the frame is malformed")]
    Malformed(#[from] Malformed),
}

#[cfg(test)]
mod tests;
