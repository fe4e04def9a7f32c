//! Entropy coding of numbers by their classes, with tables (tANS, as in Duda: Asymmetric numeral systems, 2013).
//!
//! ```text
//! coded  = padding  state  state  number…     bits, low bits of a byte first
//! number = bits of the next state but one     none for the last two numbers
//!          bits below the leading ones        as many as its class leaves
//! ```
//!
//! The padding is zeros and a one, at most eight bits, so that the rest ends with a byte. Two states take turns, so
//! that a processor can look up one while it waits for the other. A state is a slot, `log` bits; its class is that
//! of the slot. The `k`-th slot of a class (from its share on, ascending) needs `log - floor(log2 k)` bits more to
//! give the next state: `k` shifted left by as many, those bits in its place, less the number of slots.
//! Numbers are coded from the last to the first, which is why they can be decoded from the first to the last.

use crate::codec::bits;
use crate::codec::bytes::Malformed;
use crate::codec::convert::{index, position};

use super::class::{self, CLASSES};
use super::shares::{LOG_MAX, Shares};

const SLOTS_MAX: usize = 1 << LOG_MAX;

/// Tables to encode with.
#[derive(Debug)]
pub(super) struct Encoder {
    log: u32,
    classes: Box<[ClassCode; CLASSES]>,
    /// The states of each class, in order.
    states: Box<[u16; SLOTS_MAX]>,
}

/// How a class moves a state.
#[derive(Debug, Clone, Copy, Default)]
struct ClassCode {
    /// Added to a state: how many bits it gives off is then in the upper half.
    bits: u32,
    /// Added to what is left of a state: where the next one is found.
    find: u32,
    /// Where the states of the class begin.
    start: u32,
}

impl Encoder {
    pub(super) fn new(shares: &Shares) -> Self {
        let mut classes = Box::new([ClassCode::default(); CLASSES]);
        let mut next = vec![0; CLASSES];
        let mut start = 0_u32;
        for (class, &share) in (shares.first..).zip(&shares.slots).filter(|(_, share)| **share > 0) {
            let bits_most = shares.log - share.saturating_sub(1).checked_ilog2().unwrap_or(0);
            let bits = (bits_most << 16).wrapping_sub(share << bits_most);
            if let (Some(code), Some(next)) = (classes.get_mut(class), next.get_mut(class)) {
                *code = ClassCode { bits, find: start.wrapping_sub(share), start };
                *next = start;
            }
            start += share;
        }
        let mut states = Box::new([0; SLOTS_MAX]);
        for (state, class) in (1_u16 << shares.log..).zip(shares.spread()) {
            let Some(next) = next.get_mut(usize::from(class)) else { continue };
            states.get_mut(index(*next)).into_iter().for_each(|place| *place = state);
            *next += 1;
        }
        Self { log: shares.log, classes, states }
    }

    /// Appends numbers, all of classes that have a share; at least one.
    #[expect(clippy::indexing_slicing, reason = "the hot loop: masked or checked by the tables' making")]
    pub(super) fn put(&self, numbers: &[u64], backward: &mut Backward, out: &mut Vec<u8>) {
        let (before, last) = numbers.split_at(numbers.len().saturating_sub(2));
        let mut states = [1_u32 << self.log; 2];
        for (at, &number) in last.iter().enumerate().rev() {
            let (class, rest) = class::of(number);
            backward.put(number & mask(rest), rest);
            // Any state of the class will do to begin with.
            states[(before.len() + at) % 2] =
                u32::from(self.states[index(self.classes[class].start) % SLOTS_MAX]);
        }
        for (at, &number) in before.iter().enumerate().rev() {
            let (class, rest) = class::of(number);
            backward.put(number & mask(rest), rest);
            let (code, state) = (self.classes[class], states[at % 2]);
            let bits = state.wrapping_add(code.bits) >> 16;
            backward.put(u64::from(state) & mask(bits), bits);
            states[at % 2] =
                u32::from(self.states[index((state >> bits).wrapping_add(code.find)) % SLOTS_MAX]);
        }
        for state in states.into_iter().rev() {
            backward.put(u64::from(state) & mask(self.log), self.log);
        }
        backward.finish(out);
    }
}

/// The lowest bits; fewer than 64.
const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// Bits that are written from the last to the first.
#[derive(Debug, Default)]
pub(super) struct Backward {
    /// Whole words, the last of them first.
    words: Vec<u64>,
    word: u64,
    filled: u32,
}

impl Backward {
    /// Puts fewer than 64 bits before all others.
    #[inline]
    fn put(&mut self, bits: u64, count: u32) {
        let filled = self.filled + count;
        if filled < u64::BITS {
            self.word = self.word << count | bits;
            self.filled = filled;
        } else {
            let left = filled - u64::BITS;
            self.words.push(self.word << (u64::BITS - self.filled) | bits >> left);
            self.word = bits & mask(left);
            self.filled = left;
        }
    }

    /// Appends the padding and all bits, and is empty again.
    fn finish(&mut self, out: &mut Vec<u8>) {
        let bytes = index(self.filled + 1).div_ceil(8);
        let padding = position(bytes) * 8 - self.filled - 1;
        let head = (u128::from(self.word) << 1 | 1) << padding;
        out.extend(head.to_le_bytes().iter().take(bytes));
        out.extend(self.words.iter().rev().flat_map(|word| word.to_le_bytes()));
        self.words.clear();
        (self.word, self.filled) = (0, 0);
    }
}

/// Tables to decode with.
#[derive(Debug)]
pub(super) struct Decoder {
    log: u32,
    rest_max: u32,
    slots: Box<[Slot; SLOTS_MAX]>,
}

/// What a state stands for: all that a number and the next state are made of, so that nothing is computed from it.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// The least number of the class; where classes leave more than [`REST_NARROW`] bits, its leading bits.
    least: u32,
    /// The bits that the class leaves, all set; not where they are more than [`REST_NARROW`].
    rest_mask: u32,
    /// What the bits of the next state are added to.
    next: u16,
    /// These bits, all set.
    next_mask: u16,
    /// How many they are.
    bits: u8,
    /// How many with those that the class leaves.
    taken: u8,
}

/// Most bits left by a class whose numbers are 32 bits at most.
const REST_NARROW: u32 = 28;

impl Decoder {
    pub(super) fn new(shares: &Shares) -> Self {
        let mut counts = vec![0_u32; CLASSES];
        for (class, &share) in (shares.first..).zip(&shares.slots) {
            counts.get_mut(class).into_iter().for_each(|count| *count = share);
        }
        let rest_max = shares.rest_max();
        let mut slots = Box::new([Slot::default(); SLOTS_MAX]);
        for (slot, class) in slots.iter_mut().zip(shares.spread()) {
            let class = usize::from(class);
            let (lead, rest) = class::parts(class);
            let Some(count) = counts.get_mut(class) else { continue };
            let bits = shares.log - count.checked_ilog2().unwrap_or(0);
            let next = (*count << bits) - (1 << shares.log);
            let is_narrow = rest_max <= REST_NARROW;
            *slot = Slot {
                least: if is_narrow { u32::from(lead) << rest } else { lead.into() },
                rest_mask: if is_narrow { (1 << rest) - 1 } else { 0 },
                next: u16::try_from(next).unwrap_or(0),
                next_mask: u16::try_from(mask(bits)).unwrap_or(0),
                bits: u8::try_from(bits).unwrap_or(0),
                taken: u8::try_from(bits).unwrap_or(0) + rest,
            };
            *count += 1;
        }
        Self { log: shares.log, rest_max, slots }
    }

    /// Writes what `each` makes of the numbers, in order, to all places of `out`. `coded` must be what they take, no
    /// more and no less.
    #[inline]
    pub(super) fn decode(
        &self,
        coded: &[u8],
        out: &mut [i64],
        each: impl FnMut(u64) -> i64,
    ) -> Result<(), Malformed> {
        let end = match BITS_IN_A_LOAD / (self.log + self.rest_max) {
            _ if self.rest_max > REST_NARROW => self.decode_by::<WIDE>(coded, out, each)?,
            0 | 1 => self.decode_by::<1>(coded, out, each)?,
            2 | 3 => self.decode_by::<2>(coded, out, each)?,
            _ => self.decode_by::<4>(coded, out, each)?,
        };
        if end == coded.len() * 8 { Ok(()) } else { Err(Malformed::Invalid(WRONG)) }
    }

    /// Gives the bit after the last number. So many numbers are read with one load of eight bytes, a power of two;
    /// [`WIDE`] means several loads for each.
    #[inline]
    fn decode_by<const TOGETHER: usize>(
        &self,
        coded: &[u8],
        out: &mut [i64],
        mut each: impl FnMut(u64) -> i64,
    ) -> Result<usize, Malformed> {
        let padding = coded.first().copied().filter(|&head| head != 0).ok_or(Malformed::Invalid(WRONG))?;
        let mut bits = Bits { coded, at: index(padding.trailing_zeros()) + 1, word: 0 };
        let [mut even, mut odd] = [0; 2];
        for state in [&mut even, &mut odd] {
            bits.load();
            *state = index_of(bits.take(self.log));
        }
        let (moving, last) = out.split_at_mut(out.len().saturating_sub(2));
        let (fours, few) = moving.as_chunks_mut::<4>();
        for [a, b, c, d] in fours {
            bits.load();
            *a = each(self.step::<TOGETHER>(&mut even, &mut bits));
            if TOGETHER < 2 {
                bits.load();
            }
            *b = each(self.step::<TOGETHER>(&mut odd, &mut bits));
            if TOGETHER < 4 {
                bits.load();
            }
            *c = each(self.step::<TOGETHER>(&mut even, &mut bits));
            if TOGETHER < 2 {
                bits.load();
            }
            *d = each(self.step::<TOGETHER>(&mut odd, &mut bits));
        }
        for place in few {
            bits.load();
            *place = each(self.step::<TOGETHER>(&mut even, &mut bits));
            std::mem::swap(&mut even, &mut odd);
        }
        for (place, state) in last.iter_mut().zip([even, odd]) {
            bits.load();
            let slot = self.slot(state);
            // No state follows.
            *place = each(bits.number::<TOGETHER>(Slot { bits: 0, taken: slot.taken - slot.bits, ..slot }));
        }
        Ok(bits.at)
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "the hot loop: masked to the table's size")]
    const fn slot(&self, state: usize) -> Slot {
        self.slots[state % SLOTS_MAX]
    }

    #[inline]
    fn step<const TOGETHER: usize>(&self, state: &mut usize, bits: &mut Bits<'_>) -> u64 {
        let slot = self.slot(*state);
        *state = usize::from(slot.next) + index_of(bits.word & u64::from(slot.next_mask));
        bits.number::<TOGETHER>(slot)
    }
}

/// Instead of how many numbers are read together: each is read in several parts.
const WIDE: usize = 0;

const WRONG: &str = "coded numbers are longer or shorter than they should be";

/// Eight bytes hold as many bits from wherever in the first byte on.
const BITS_IN_A_LOAD: u32 = 57;

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "at most ten bits, in the hot loop"
)]
const fn index_of(bits: u64) -> usize {
    bits as usize
}

/// Bits that are read from the first to the last.
struct Bits<'a> {
    coded: &'a [u8],
    at: usize,
    word: u64,
}

impl Bits<'_> {
    /// Brings the next 57 bits within reach.
    #[inline]
    fn load(&mut self) {
        self.word = bits::load(self.coded, self.at / 8) >> (self.at % 8);
    }

    /// The number of a class, whose bits follow those of the next state.
    #[inline]
    fn number<const TOGETHER: usize>(&mut self, slot: Slot) -> u64 {
        if TOGETHER != WIDE {
            let rest = (self.word >> slot.bits) & u64::from(slot.rest_mask);
            self.word >>= slot.taken;
            self.at += usize::from(slot.taken);
            return u64::from(slot.least) + rest;
        }
        self.take(slot.bits.into());
        self.load();
        let rest = u32::from(slot.taken - slot.bits);
        let below = rest / 2;
        let low = self.take(below);
        self.load();
        (u64::from(slot.least) << (rest - below) | self.take(rest - below)) << below | low
    }

    /// The next bits of those within reach.
    #[inline]
    fn take(&mut self, count: u32) -> u64 {
        let taken = self.word & mask(count);
        self.word >>= count;
        self.at += index(count);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shares(numbers: &[u64]) -> Shares {
        let mut counts = [0; CLASSES];
        for &number in numbers {
            counts[class::of(number).0] += 1;
        }
        Shares::of(&counts)
    }

    fn encode(numbers: &[u64]) -> Vec<u8> {
        let (mut out, mut backward) = (Vec::new(), Backward::default());
        Encoder::new(&shares(numbers)).put(numbers, &mut backward, &mut out);
        out
    }

    fn decode(numbers: &[u64], coded: &[u8]) -> Result<Vec<u64>, Malformed> {
        let mut back = vec![0; numbers.len()];
        Decoder::new(&shares(numbers)).decode(coded, &mut back, u64::cast_signed)?;
        Ok(back.into_iter().map(i64::cast_unsigned).collect())
    }

    proptest! {
        #[test]
        fn numbers_come_back(
            numbers in prop_oneof![
                prop::collection::vec(any::<u64>(), 1..300),
                prop::collection::vec((any::<u64>(), 0..64_u32).prop_map(|(n, shift)| n >> shift), 1..300),
                prop::collection::vec(0..40_u64, 1..2000),
                prop::collection::vec(prop_oneof![99 => Just(3), 1 => 0..1000_u64], 1..2000),
            ],
        ) {
            let coded = encode(&numbers);
            prop_assert_eq!(decode(&numbers, &coded), Ok(numbers));
        }

        #[test]
        fn arbitrary_bytes_give_as_many_numbers_or_an_error(
            numbers in prop::collection::vec(0..5000_u64, 1..100), bytes in prop::collection::vec(any::<u8>(), 0..90),
            n in 1..300_usize,
        ) {
            let (mut back, mut out) = (0, vec![0; n]);
            let _ = Decoder::new(&shares(&numbers)).decode(&bytes, &mut out, |_| { back += 1; 0 });
            prop_assert!(back == n || bytes.first().is_none_or(|&head| head == 0));
        }
    }

    #[test]
    fn what_seldom_changes_takes_a_fraction_of_a_bit() {
        let numbers: Vec<_> = (0..4000).map(|n| u64::from(n % 100 == 7)).collect();
        assert!(encode(&numbers).len() < 4000 / 10 / 8 + 10);
    }

    #[test]
    fn sixty_bits_left_to_tell_are_read_with_a_load_of_their_own() {
        let numbers: Vec<_> = (0..100_u64).map(|n| u64::MAX - n * n).collect();
        assert_eq!(decode(&numbers, &encode(&numbers)), Ok(numbers));
    }
}
