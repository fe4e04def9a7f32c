//! In which form the values of a series stand in its column: as integers, with what it takes to get them back.
//!
//! ```text
//! form      tag  then  integers are
//! integers   0         the values
//! decimals   1         doubles times 10^exponent; the odd ones are patched
//! bits       2   u8    the bits of doubles, without as many zeros at their end, in the order of the doubles
//! numbers    3         like decimals; what is whole is an integer, all else a double, but for odd ones
//! booleans   4         0 or 1
//! texts      5   …     positions in the texts that follow: count, integer column of lengths, all bytes in UTF-8
//! mixed      6         no integers: each page is a column of `codec::column` of one run
//! ```
//!
//! The tag is in the low four bits of a byte, the exponent in the high four.

use crate::codec::bytes::{Malformed, Reader, put_length};
use crate::codec::column::decimal::Exponent;
use crate::codec::column::integer::{self, Integers, ONE_RUN};
use crate::codec::convert::position;

use std::sync::Arc;

const INTEGERS: u8 = 0;
const DECIMALS: u8 = 1;
const BITS: u8 = 2;
const NUMBERS: u8 = 3;
const BOOLEANS: u8 = 4;
const TEXTS: u8 = 5;
const MIXED: u8 = 6;

/// The form of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Integers,
    Decimals(Exponent),
    Bits,
    Numbers(Exponent),
    Booleans,
    Texts,
    Mixed,
}

impl Form {
    pub(super) const fn byte(self) -> u8 {
        match self {
            Self::Integers => INTEGERS,
            Self::Decimals(exponent) => DECIMALS | exponent.get() << 4,
            Self::Bits => BITS,
            Self::Numbers(exponent) => NUMBERS | exponent.get() << 4,
            Self::Booleans => BOOLEANS,
            Self::Texts => TEXTS,
            Self::Mixed => MIXED,
        }
    }

    pub(super) const fn from_byte(byte: u8) -> Result<Self, Malformed> {
        let exponent = Exponent::from_bits(byte >> 4);
        match byte & 0x0f {
            INTEGERS => Ok(Self::Integers),
            DECIMALS => Ok(Self::Decimals(exponent)),
            BITS => Ok(Self::Bits),
            NUMBERS => Ok(Self::Numbers(exponent)),
            BOOLEANS => Ok(Self::Booleans),
            TEXTS => Ok(Self::Texts),
            MIXED => Ok(Self::Mixed),
            _ => Err(Malformed::Invalid("a column has a form that this version does not know")),
        }
    }

    /// Whether pages tell the odd values apart.
    pub(super) const fn is_patched(self) -> bool {
        matches!(self, Self::Decimals(_) | Self::Numbers(_))
    }
}

/// The bits of a double as an integer in the order of doubles, without `zeros` zeros at their end.
pub(super) const fn ordered(bits: i64, zeros: u32) -> i64 {
    let number = bits >> zeros;
    if number < 0 { number ^ (i64::MAX >> zeros) } else { number }
}

/// The bits that an integer stands for.
pub(super) const fn unordered(number: i64, zeros: u32) -> i64 {
    (if number < 0 { number ^ (i64::MAX >> zeros) } else { number }) << zeros
}

pub(super) fn put_texts<'a>(texts: impl Iterator<Item = &'a str> + Clone, out: &mut Vec<u8>) {
    let lengths: Vec<_> = texts.clone().map(|text| i64::from(position(text.len()))).collect();
    put_length(out, lengths.len());
    integer::encode(&lengths, ONE_RUN, &mut Vec::new(), out);
    texts.for_each(|text| out.extend_from_slice(text.as_bytes()));
}

/// Texts of which no more than `count_max` can be.
pub(super) fn parse_texts(count_max: usize, reader: &mut Reader<'_>) -> Result<Vec<Arc<str>>, Malformed> {
    const WHAT: &str = "texts";
    let count = reader.length(WHAT)?;
    // All are different, so that no more than one is empty.
    if count > count_max || count > reader.remaining() + 1 {
        return Err(Malformed::Invalid("a column has more texts than values"));
    }
    let mut lengths = Vec::new();
    Integers::parse(count, 1, reader)?.decode(0..count, ONE_RUN, &mut lengths);
    let mut text = |length: i64| {
        let length = usize::try_from(length).map_err(|_| Malformed::Truncated(WHAT))?;
        let bytes = reader.take(length, WHAT)?;
        std::str::from_utf8(bytes).map(Arc::from).map_err(|_| Malformed::Invalid("a text is not UTF-8"))
    };
    lengths.into_iter().map(&mut text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ordered_bits_are_in_the_order_of_doubles_and_come_back(a: f64, b: f64, zeros in 0..60_u32) {
            let bits = |value: f64| (value.to_bits() >> zeros << zeros).cast_signed();
            for value in [a, b, -a, -0.0, f64::NAN, f64::NEG_INFINITY] {
                prop_assert_eq!(unordered(ordered(bits(value), zeros), zeros), bits(value));
            }
            prop_assert!(a.total_cmp(&b).then(std::cmp::Ordering::Equal)
                == ordered(bits(a), 0).cmp(&ordered(bits(b), 0)) || zeros > 0);
        }
    }

    #[test]
    fn forms_come_back() {
        let exponent = Exponent::from_bits(7);
        let all = [
            Form::Integers,
            Form::Decimals(exponent),
            Form::Bits,
            Form::Numbers(exponent),
            Form::Booleans,
            Form::Texts,
            Form::Mixed,
        ];
        assert!(all.into_iter().all(|form| Form::from_byte(form.byte()) == Ok(form)));
        assert!(Form::from_byte(7).is_err());
    }
}
