//! Classes of unsigned numbers: what an entropy coder has symbols for, and how many bits are left to tell.
//!
//! Below 16 each number is a class of its own; above, each octave has eight, so that a number is the four leading
//! bits that its class knows, and the rest.

use crate::codec::convert::index;

/// How many classes 64 bits have.
pub(super) const CLASSES: usize = 16 + 8 * 60;

/// The numbers below this are their own class.
const SINGLES: u64 = 16;

/// The class of a number and how many bits below the leading ones are left.
#[inline]
pub(super) fn of(number: u64) -> (usize, u32) {
    // With the lowest of the leading bits set no number has fewer than four bits; small ones have nothing left.
    let rest = (u64::BITS - 4).saturating_sub((number | (SINGLES >> 1)).leading_zeros());
    let lead = number >> rest;
    (index(rest) * 8 + index(narrow_lead(lead)), rest)
}

/// The least number of a class is its leading bits, shifted by how many bits are left.
pub(super) fn parts(class: usize) -> (u8, u8) {
    if class < 16 {
        return (narrow(class), 0);
    }
    (narrow(8 + class % 8), narrow(class / 8 - 1))
}

fn narrow(small: usize) -> u8 {
    u8::try_from(small).unwrap_or(u8::MAX)
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "leading bits are four, in the hot loop"
)]
const fn narrow_lead(lead: u64) -> u32 {
    lead as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_class_and_the_bits_left_tell_the_number(number: u64, shift in 0..64_u32) {
            let number = number >> shift;
            let (class, rest) = of(number);
            let (lead, bits) = parts(class);
            prop_assert!(class < CLASSES && u32::from(bits) == rest);
            let left = number & ((1 << rest) - 1);
            prop_assert_eq!(u64::from(lead) << bits | left, number);
        }
    }

    #[test]
    fn classes_follow_each_other_without_a_gap() {
        let classes: Vec<_> = (0..100).map(|number| of(number).0).collect();
        assert_eq!(&classes[..20], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 16, 17, 17]);
        assert!(classes.windows(2).all(|pair| pair[1] - pair[0] <= 1));
        assert_eq!(of(u64::MAX).0, CLASSES - 1);
    }
}
