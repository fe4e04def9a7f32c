//! Which kinds of values occur together.

use crate::model::ValueKind;

/// A set of kinds, as its bits are stored: 1 double, 2 integer, 4 boolean, 8 text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct KindSet(u8);

impl KindSet {
    /// Integers and doubles.
    pub(super) const NUMBERS: Self = Self(1 | 2);

    pub(super) const fn from_bits(bits: u8) -> Self {
        Self(bits & 0x0f)
    }

    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    /// Puts a kind into the set.
    pub(crate) const fn insert(&mut self, kind: ValueKind) {
        self.0 |= match kind {
            ValueKind::F64 => 1,
            ValueKind::I64 => 2,
            ValueKind::Bool => 4,
            ValueKind::Text => 8,
        };
    }

    /// The kinds, in the order of their bits.
    pub(super) fn kinds(self) -> impl Iterator<Item = ValueKind> {
        let all = [(1, ValueKind::F64), (2, ValueKind::I64), (4, ValueKind::Bool), (8, ValueKind::Text)];
        all.into_iter().filter(move |(bit, _)| self.0 & bit != 0).map(|(_, kind)| kind)
    }

    /// The kind, where there is one alone.
    pub(crate) fn only(self) -> Option<ValueKind> {
        self.kinds().next().filter(|_| self.0.is_power_of_two())
    }
}

impl FromIterator<ValueKind> for KindSet {
    fn from_iter<I: IntoIterator<Item = ValueKind>>(kinds: I) -> Self {
        let mut set = Self::default();
        kinds.into_iter().for_each(|kind| set.insert(kind));
        set
    }
}
