//! How the slots of a coder are shared out among classes: about in proportion to how often each occurs.
//!
//! ```text
//! shares = log  first  count  column      2^log slots; the shares of `count` classes from `first` on; none is 0 at
//! ```                                     either end; together they are all slots
//!
//! `log` is a byte, `first` and `count` are varints, the column is one of integers.

use crate::codec::bytes::{Malformed, Reader, put_length};
use crate::codec::column::integer::{self, Integers, ONE_RUN};
use crate::codec::convert::{index, position};

use super::class::{self, CLASSES};

/// The fewest and the most slots, as powers of two. With 2^10 a share is off by a thousandth at most, and the
/// tables stay in the first cache.
pub(super) const LOG_MIN: u32 = 5;
pub(super) const LOG_MAX: u32 = 10;

/// How often each class occurs.
pub(super) type Counts = [u32; CLASSES];

/// Shares of 2^log slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shares {
    pub(super) log: u32,
    /// The class of the first share.
    pub(super) first: usize,
    pub(super) slots: Vec<u32>,
}

impl Shares {
    /// For counts of which at least one is not 0.
    pub(super) fn of(counts: &Counts) -> Self {
        let first = counts.iter().position(|&count| count > 0).unwrap_or(0);
        let end = counts.iter().rposition(|&count| count > 0).map_or(first, |last| last + 1);
        let counts = counts.get(first..end).unwrap_or_default();
        let total: u32 = counts.iter().sum();
        let used = position(counts.iter().filter(|&&count| count > 0).count());
        let log_least = (u32::BITS - used.leading_zeros() + 1).max(LOG_MIN);
        let log = (u32::BITS - total.leading_zeros()).saturating_sub(1).clamp(log_least, LOG_MAX);
        let share = |&count: &u32| match count {
            0 => 0,
            _ => ((u64::from(count) << log) / u64::from(total)).max(1),
        };
        let mut shares: Vec<u32> =
            counts.iter().map(share).map(|share| u32::try_from(share).unwrap_or(1)).collect();
        settle(&mut shares, 1 << log);
        Self { log, first, slots: shares }
    }

    /// How many bits numbers of these counts take, without the bits below their leading ones.
    pub(super) fn bits(&self, counts: &Counts) -> u64 {
        let counts = counts.get(self.first..).unwrap_or_default();
        let all = u64::from(self.log) << FRACTION_BITS;
        let bits = |(&share, &count): (&u32, &u32)| (all - logarithm(share)) * u64::from(count);
        self.slots.iter().zip(counts).filter(|(share, _)| **share > 0).map(bits).sum::<u64>() >> FRACTION_BITS
    }

    /// About how many bits their description takes.
    pub(super) fn bits_described(&self) -> u64 {
        u64::from(position(self.slots.len())) * 8 + 40
    }

    /// The most bits that a class leaves below the leading ones.
    pub(super) fn rest_max(&self) -> u32 {
        class::parts(self.first + self.slots.len() - 1).1.into()
    }

    pub(super) fn put(&self, steps: &mut Vec<i64>, out: &mut Vec<u8>) {
        out.push(u8::try_from(self.log).unwrap_or(0));
        put_length(out, self.first);
        put_length(out, self.slots.len());
        let shares: Vec<_> = self.slots.iter().map(|&share| i64::from(share)).collect();
        integer::encode(&shares, ONE_RUN, steps, out);
    }

    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        const WRONG: Malformed = Malformed::Invalid("the shares of its classes do not fit");
        let log = u32::from(reader.byte("shares")?);
        let (first, count) = (reader.length("shares")?, reader.length("shares")?);
        let in_classes = first.checked_add(count).is_some_and(|end| end <= CLASSES);
        if !(LOG_MIN..=LOG_MAX).contains(&log) || count == 0 || !in_classes {
            return Err(WRONG);
        }
        let mut column = Vec::new();
        Integers::parse(count, 1, reader)?.decode(0..count, ONE_RUN, &mut column);
        let shares = column.into_iter().map(|share| u32::try_from(share).ok().filter(|&s| s <= 1 << log));
        let shares: Vec<u32> = shares.collect::<Option<_>>().ok_or(WRONG)?;
        let total: u64 = shares.iter().map(|&share| u64::from(share)).sum();
        if total != 1 << log || shares.first() == Some(&0) || shares.last() == Some(&0) {
            return Err(WRONG);
        }
        Ok(Self { log, first, slots: shares })
    }

    /// The class of each slot. The slots of a class lie apart, by a step that has no factor in common with 2^log.
    pub(super) fn spread(&self) -> Vec<u16> {
        let slots = index(1 << self.log);
        let step = slots / 2 + slots / 8 + 3;
        let mut classes = vec![0; slots];
        let mut at = 0;
        for (class, &share) in (self.first..).zip(&self.slots) {
            for _ in 0..share {
                if let Some(slot) = classes.get_mut(at) {
                    *slot = u16::try_from(class).unwrap_or(0);
                }
                at = (at + step) & (slots - 1);
            }
        }
        classes
    }
}

const FRACTION_BITS: u32 = 8;

/// The binary logarithm of a number above 0, in integers, so that every machine decides alike.
fn logarithm(number: u32) -> u64 {
    let whole = number.ilog2();
    let mut logarithm = u64::from(whole);
    // The number over its leading power of two, from 1 to below 2, with 31 bits of fraction.
    let mut rest = u64::from(number) << (31 - whole);
    for _ in 0..FRACTION_BITS {
        rest = (rest * rest) >> 31;
        logarithm <<= 1;
        if rest >> 32 > 0 {
            logarithm |= 1;
            rest >>= 1;
        }
    }
    logarithm
}

/// Makes shares add up to `slots`, at the cost of the largest, where it is noticed least.
fn settle(shares: &mut [u32], slots: u32) {
    loop {
        let total: u32 = shares.iter().sum();
        let Some(largest) = shares.iter_mut().max() else { return };
        match total.cmp(&slots) {
            std::cmp::Ordering::Equal => return,
            std::cmp::Ordering::Less => *largest += slots - total,
            std::cmp::Ordering::Greater => *largest -= (total - slots).min((*largest).div_ceil(4)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_logarithm_has_eight_bits_of_fraction() {
        assert_eq!([1, 2, 3, 1000, 1024].map(logarithm), [0, 256, 405, 2551, 2560]);
    }

    proptest! {
        #[test]
        fn shares_are_all_slots_and_come_back(some in prop::collection::vec((0..CLASSES, 1..100_000_u32), 1..500)) {
            let mut counts = [0; CLASSES];
            for (class, count) in some {
                counts[class] += count;
            }
            let shares = Shares::of(&counts);
            prop_assert_eq!(shares.slots.iter().sum::<u32>(), 1 << shares.log);
            let share = |class: usize| class.checked_sub(shares.first).and_then(|at| shares.slots.get(at)).copied();
            prop_assert!((0..CLASSES).all(|class| (share(class).unwrap_or(0) > 0) == (counts[class] > 0)));
            let mut out = Vec::new();
            shares.put(&mut Vec::new(), &mut out);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(Shares::parse(&mut reader).unwrap(), shares.clone());
            prop_assert_eq!(reader.remaining(), 0);
            let spread = shares.spread();
            let slots = |class: usize| spread.iter().filter(|&&slot| usize::from(slot) == class).count();
            prop_assert!((0..CLASSES).all(|class| slots(class) == index(share(class).unwrap_or(0))));
        }
    }
}
