//! Bit-packing: `n` unsigned numbers of `width` bits each, back to back, low bits first, in ⌈n·width/8⌉ bytes.
//!
//! A width of 0 takes no bytes and means zeros. Any part of a packed sequence can be unpacked without the rest.

use std::ops::Range;

use super::bytes::Malformed;

/// The largest width.
pub(crate) const WIDTH_MAX: u32 = u64::BITS;

/// How many bits `max` needs.
pub(crate) const fn width(max: u64) -> u32 {
    u64::BITS - max.leading_zeros()
}

/// How many bytes `n` numbers of `width` bits take.
pub(crate) fn packed_bytes(n: usize, width: u32) -> Result<usize, Malformed> {
    usize::try_from(width)
        .ok()
        .and_then(|width| n.checked_mul(width))
        .map(|bits| bits.div_ceil(8))
        .ok_or(Malformed::Truncated("packed numbers"))
}

/// Appends `values`, of which none may need more than `width` bits.
pub(crate) fn pack(values: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let (mut word, mut filled) = (0_u64, 0_u32);
    if let Ok(bytes) = packed_bytes(values.size_hint().0, width) {
        out.reserve(bytes + 8);
    }
    for value in values {
        word |= value << filled;
        let end = filled + width;
        if end < u64::BITS {
            filled = end;
        } else {
            out.extend_from_slice(&word.to_le_bytes());
            // What did not fit; in two steps, because a shift by 64 is none.
            word = (value >> 1) >> (63 - filled);
            filled = end - u64::BITS;
        }
    }
    out.extend(word.to_le_bytes().iter().zip((0..filled).step_by(8)).map(|(byte, _)| byte));
}

/// The numbers at `range` of a packed sequence, in order. What lies past the end reads as 0.
pub(crate) fn unpack(packed: &[u8], width: u32, range: Range<usize>) -> impl ExactSizeIterator<Item = u64> {
    let mask = u64::MAX.checked_shr(WIDTH_MAX - width).unwrap_or(0);
    let bits = usize::try_from(width).unwrap_or(0);
    range.map(move |position| {
        let (at, shift) = (position * bits / 8, position * bits % 8);
        let word = load(packed, at) >> shift;
        if bits <= BITS_IN_ONE_LOAD {
            return word & mask;
        }
        // In two steps, because a shift by 64 is none.
        let rest = u64::from(packed.get(at + 8).copied().unwrap_or(0)) << 1 << (63 - shift);
        (word | rest) & mask
    })
}

/// A number of this width lies within eight bytes wherever in a byte it begins.
const BITS_IN_ONE_LOAD: usize = 57;

/// Eight bytes from `at` on.
#[inline]
pub(crate) fn load(packed: &[u8], at: usize) -> u64 {
    match packed.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        Some(word) => u64::from_le_bytes(*word),
        None => load_tail(packed, at),
    }
}

/// The last bytes of a sequence, zeros after them.
#[cold]
fn load_tail(packed: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(packed.iter().skip(at)) {
        *to = *from;
    }
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_part_of_a_packed_sequence_unpacks_to_what_was_packed(
            values in prop::collection::vec(any::<u64>(), 0..200),
            bits in 0..=64_u32,
            cut in any::<(prop::sample::Index, prop::sample::Index)>(),
        ) {
            let mask = u64::MAX.checked_shr(64 - bits).unwrap_or(0);
            let values: Vec<_> = values.into_iter().map(|value| value & mask).collect();
            let mut packed = Vec::new();
            pack(values.iter().copied(), bits, &mut packed);
            prop_assert_eq!(packed.len(), packed_bytes(values.len(), bits).unwrap());
            let (a, b) = (cut.0.index(values.len() + 1), cut.1.index(values.len() + 1));
            let back: Vec<_> = unpack(&packed, bits, a.min(b)..a.max(b)).collect();
            prop_assert_eq!(&back, &values[a.min(b)..a.max(b)]);
        }
    }

    #[test]
    fn width_is_the_number_of_significant_bits() {
        assert_eq!([width(0), width(1), width(255), width(256), width(u64::MAX)], [0, 1, 8, 9, 64]);
    }
}
