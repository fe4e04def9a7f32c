//! Blocks: what consecutive sources measured in one bucket, columnar, in packs of one source or many.
//!
//! ```text
//! pack    = version  sources  metrics  shapes  lengths  times  columns  pages  crc
//! version = u8                    1
//! sources = count  id  [width  gap…]      id: 16 bytes; the gap to each further one in `width` (u8) bytes
//! metrics = count  (length text)…         names, in UTF-8
//! shapes  = count  shape…  [integers]     of each source the position of its shape; only where there are several
//! shape   = count  (column axis)…         the series of a source: which column, and which of its sequences of times
//! lengths = integers                      of each axis of each source: how many times; at least one each
//! times   = (see `times`)  integers       the lengths of its pages in bytes
//! columns = count  column…
//! column  = metric  form  stream  integers     see `form` and `stream` (none where mixed); as for times
//! pages   = of the times, then of each column; see there; before a page of decimals or numbers its odd values:
//!           count  integers  [kinds]  difference…   positions; for numbers a bit each, 1 for a double; signed
//!                                                   varints, to add to the integer or to the bits of the double
//! crc     = u32                           CRC-32 (IEEE) of everything before it
//! ```
//!
//! Numbers of several bytes are little-endian; counts, lengths and positions are varints (`codec::bytes`); integers
//! are a column of `codec::column::integer` of one run. A column holds the values of one metric in one form, of all
//! sources that have it, in runs of a source, cut into pages by `cuts`. Axes of a source are numbered by first use.
//!
//! A [`PackBuilder`] takes sources in ascending order and gives packs as they fill; a [`Pack`] gives the run of one
//! metric of one source in one range of time, and decodes only the pages that hold it. A source too large for one
//! body continues in further parts, later times in later ones. Nothing here knows generations, rows or stores.
//! All lengths are checked against the bytes that are there before anything is allocated for them; a few bytes can
//! stand for very many equal samples, hence [`Limits`] (I6). The same runs give the same bytes (I5).

mod axis;
mod build;
mod collect;
mod cuts;
mod decode;
mod encode;
mod form;
mod read;
mod stream;
mod times;
mod view;

use crate::model::{NameError, SourceId, Timestamp};

use super::bytes::Malformed;

pub use build::PackBuilder;
pub use decode::Pack;
pub use read::Scratch;

const VERSION: u8 = 1;
const CRC_BYTES: usize = 4;

/// How large packs become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackLimits {
    /// A pack is closed once it has about as many bytes: small enough to read for one source, large enough that
    /// headers vanish.
    pub target_bytes: usize,
    /// No body is larger, unless a single instant of a source alone is.
    pub body_bytes_max: usize,
    /// No pack has more samples, however well they compress, unless a single instant of a source has. What
    /// [`Limits::samples_max`] of readers must allow.
    pub samples_max: usize,
}

impl PackLimits {
    /// Packs of about 16 KiB, bodies of at most 256 KiB.
    pub const DEFAULT: Self =
        Self { target_bytes: 16 << 10, body_bytes_max: 256 << 10, samples_max: 1 << 20 };
}

impl Default for PackLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// An encoded pack and what its row says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackBody {
    /// The least source in it.
    pub first_source: SourceId,
    /// The greatest source in it; equal to the first where it holds one.
    pub last_source: SourceId,
    /// 0, or where a source needs several packs, which of them this is: later times in later parts.
    pub part: u32,
    /// The earliest time.
    pub min_time: Timestamp,
    /// The latest time; inclusive.
    pub max_time: Timestamp,
    /// How many samples; at least one.
    pub samples: usize,
    /// What [`Pack::decode`] takes.
    pub body: Vec<u8>,
}

/// How much a pack may claim to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most samples.
    pub samples_max: usize,
}

impl Limits {
    /// More than any builder puts in a pack.
    pub const DEFAULT: Self = Self { samples_max: 1 << 22 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Why bytes are not a pack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Too short for any pack.
    #[error("a pack of {0} bytes is too short to be one")]
    TooShort(usize),
    /// The bytes are not those that were written.
    #[error("the pack's checksum is {stored:08x}, its bytes give {computed:08x}")]
    Checksum {
        /// What it should be.
        stored: u32,
        /// What it is.
        computed: u32,
    },
    /// Written by a later version.
    #[error("the pack has version {0}, this program reads version {VERSION}")]
    Version(u8),
    /// More samples than the caller allows.
    #[error("the pack claims {samples} samples, the limit is {limit}")]
    TooManySamples {
        /// How many it claims.
        samples: usize,
        /// The limit.
        limit: usize,
    },
    /// A metric's name is not allowed.
    #[error("a metric of the pack has no valid name")]
    Metric(#[source] NameError),
    /// The bytes are those that were written, but no encoder writes them.
    #[error("the pack is malformed")]
    Malformed(#[from] Malformed),
}

#[cfg(test)]
mod tests;
