//! Which parts of a fold are known or wanted: a set of bits, stored nowhere.

use std::fmt;
use std::ops::{BitAnd, BitOr};

/// A set of the parts of a [`Fold`](super::Fold).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Fields(u16);

impl Fields {
    /// How many samples of which kind; in every fold.
    pub const COUNT: Self = Self(1);
    /// The sum of the numbers.
    pub const SUM: Self = Self(1 << 1);
    /// The least and the greatest number.
    pub const MIN_MAX: Self = Self(1 << 2);
    /// The first and the last sample.
    pub const FIRST_LAST: Self = Self(1 << 3);
    /// The sum of squared deviations.
    pub const M2: Self = Self(1 << 4);
    /// Resets of a counter, and with first and last its increase.
    pub const RESETS: Self = Self(1 << 5);
    /// How often the value changed.
    pub const CHANGES: Self = Self(1 << 6);
    /// The step and the linear integral.
    pub const INTEGRALS: Self = Self(1 << 7);
    /// Counts and durations of states.
    pub const STATES: Self = Self(1 << 8);
    /// The quantile sketch, where there is one.
    pub const SKETCH: Self = Self(1 << 9);
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self((1 << 10) - 1);

    /// Everything that changes where two samples meet, so that merging needs first and last.
    const OF_NEIGHBOURS: Self = Self(Self::RESETS.0 | Self::CHANGES.0 | Self::INTEGRALS.0 | Self::STATES.0);

    /// Whether all of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in this set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// This set and `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set with all that is needed to merge it: counts always, sums for deviations, first and last for what
    /// happens between neighbours; and sums for integrals, which are stored as what they differ by from that.
    #[must_use]
    pub const fn with_needed(self) -> Self {
        let mut bits = self.0 | Self::COUNT.0;
        if self.intersects(Self(Self::M2.0 | Self::INTEGRALS.0)) {
            bits |= Self::SUM.0;
        }
        if self.intersects(Self::OF_NEIGHBOURS) {
            bits |= Self::FIRST_LAST.0;
        }
        Self(bits)
    }
}

impl BitOr for Fields {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Fields {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fields({:#b})", self.0)
    }
}
