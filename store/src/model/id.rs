//! Identifiers and positions, one type each, so that none can stand for another.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name($inner);

        impl $name {
            /// From its number.
            pub const fn new(number: $inner) -> Self {
                Self(number)
            }

            /// Its number.
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(
    /// A slice of the fleet: hash(tenant, device) modulo the shard count of the era.
    Shard, u16
);
number!(
    /// Position of a segment among those of one (writer, shard, bucket): dense, from 0.
    Seq, u32
);
number!(
    /// Position of a catalog row among those of one (writer, shard): dense, from 0. As a *count* it says that
    /// all rows below it are durable.
    CatalogN, u32
);
number!(
    /// How often a bucket's seal was changed; a compare-and-set goes from one version to the next.
    SealVersion, u32
);

/// One grind's output: every attempt writes under a fresh one, so that no two ever write the same rows.
/// Ordered by version first: a generation of a later seal is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation {
    /// The version of the seal that the attempt wants to put in force.
    pub version: SealVersion,
    /// Unique among all attempts of all mills; never negative.
    pub attempt: i64,
}

impl SealVersion {
    /// The version after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Seq {
    /// The position after this one. The counter is wide enough for a segment each microsecond for an hour and
    /// a bucket that nears the end is cut by the batch limits long before.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl CatalogN {
    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// One lifetime of an ingest process: random, never reused, never negative as an `i64`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriterId(i64);

impl WriterId {
    /// From 64 random bits, of which 63 are kept.
    pub const fn from_random(bits: u64) -> Self {
        Self((bits >> 1).cast_signed())
    }

    /// From a stored number; negative ones were never given out.
    pub const fn from_stored(number: i64) -> Option<Self> {
        if number < 0 { None } else { Some(Self(number)) }
    }

    /// Its number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Debug for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriterId({:016x})", self.0)
    }
}

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A source, wherever it is named without its text: a 128-bit hash of tenant, device and sorted tags.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(u128);

impl SourceId {
    /// From its bits.
    pub const fn new(bits: u128) -> Self {
        Self(bits)
    }

    /// Its bits.
    pub const fn get(self) -> u128 {
        self.0
    }
}

impl fmt::Debug for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceId({:032x})", self.0)
    }
}
