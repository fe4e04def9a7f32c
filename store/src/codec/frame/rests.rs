//! What rounding took away from sums of doubles: tiny numbers that are multiples of a common power of two.
//!
//! ```text
//! rests = 0  exponent  multiples    exponent: signed varint; multiples: integer column; rest = multiple · 2^exponent
//!       | 1  column                 column of doubles, where the multiples do not fit
//! ```

use crate::codec::bits;
use crate::codec::bytes::{Malformed, Reader, put_varint_signed};
use crate::codec::column::integer::{self, Integers, Starts};
use crate::codec::column::{self, Extent, Input, Kinds, Scratch, Values};
use crate::model::ValueKind;

const MULTIPLES: u8 = 0;
const DOUBLES: u8 = 1;

/// Where a double's lowest bit may lie.
const EXPONENT_MIN: i32 = -1074;
const EXPONENT_MAX: i32 = 1023;

/// A multiple may have this many bits; no more than 53 of them are significant.
const MULTIPLE_BITS: u32 = 62;

/// A finite double as whole · 2^exponent, the whole odd or 0.
pub(super) fn split(double: f64) -> (i64, i32) {
    let bits = double.to_bits();
    let biased = i32::try_from((bits >> 52) & 0x7ff).unwrap_or(0);
    let fraction = bits & ((1 << 52) - 1);
    let whole = if biased == 0 { fraction } else { fraction | 1 << 52 };
    if whole == 0 {
        return (0, EXPONENT_MAX);
    }
    let trailing = whole.trailing_zeros();
    let whole = (whole >> trailing).cast_signed();
    let exponent = biased.max(1) - 1075 + i32::try_from(trailing).unwrap_or(0);
    (if double.is_sign_negative() { -whole } else { whole }, exponent)
}

/// Appends the rests of a column; nothing where all are 0.
pub(super) fn encode(rests: &[f64], starts: Starts<'_>, scratch: &mut Scratch, out: &mut Vec<u8>) {
    if rests.iter().all(|rest| rest.to_bits() == 0) {
        return;
    }
    if let Some((exponent, multiples)) = multiples(rests) {
        out.push(MULTIPLES);
        put_varint_signed(out, exponent.into());
        integer::encode(&multiples, starts, &mut Vec::new(), out);
        return;
    }
    out.push(DOUBLES);
    let raw: Vec<i64> = rests.iter().map(|rest| rest.to_bits().cast_signed()).collect();
    column::encode(Input { raw: &raw, kinds: Kinds::All(ValueKind::F64), texts: &[], starts }, scratch, out);
}

fn multiples(rests: &[f64]) -> Option<(i32, Vec<i64>)> {
    if rests.iter().any(|rest| !rest.is_finite() || rest.to_bits() == (-0.0_f64).to_bits()) {
        return None;
    }
    let parts: Vec<(i64, i32)> = rests.iter().map(|rest| split(*rest)).collect();
    let least = parts.iter().map(|(_, exponent)| *exponent).min()?;
    let multiple = |&(whole, exponent): &(i64, i32)| {
        let shift = if whole == 0 { 0 } else { exponent.abs_diff(least) };
        (bits::width(whole.unsigned_abs()) + shift <= MULTIPLE_BITS).then(|| whole << shift)
    };
    let multiples: Option<Vec<i64>> = parts.iter().map(multiple).collect();
    Some((least, multiples?))
}

/// The wanted rests of a column that has any.
pub(super) fn decode(bytes: &[u8], extent: &Extent<'_>) -> Result<Vec<f64>, Malformed> {
    let mut reader = Reader::new(bytes);
    if reader.byte("rests")? != MULTIPLES {
        let rest = reader.take(reader.remaining(), "rests")?;
        return match column::decode(rest, extent)? {
            Values::F64(doubles) => Ok(doubles),
            Values::I64(_) | Values::Bool(_) | Values::Text(_) | Values::Mixed(_) => {
                Err(Malformed::Invalid("rests are not doubles"))
            }
        };
    }
    let exponent = i32::try_from(reader.varint_signed("rests")?)
        .ok()
        .filter(|exponent| (EXPONENT_MIN..=EXPONENT_MAX).contains(exponent))
        .ok_or(Malformed::Invalid("rests have an exponent that no double has"))?;
    let mut multiples = Vec::new();
    let column = Integers::parse(extent.values, extent.starts.len(), &mut reader)?;
    if reader.remaining() > 0 {
        return Err(Malformed::Invalid("a column goes on after its values"));
    }
    column.decode(extent.wanted.clone(), extent.starts, &mut multiples);
    let [first, second] = powers(exponent);
    Ok(multiples.into_iter().map(|multiple| whole(multiple) * first * second).collect())
}

/// Two powers of two whose product is that of `exponent`: one alone could be too small for a normal double.
fn powers(exponent: i32) -> [f64; 2] {
    let half = exponent / 2;
    [half, exponent - half].map(|exponent| f64::from(exponent).exp2())
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "at most 53 bits as encoded; anything as damaged"
)]
pub(super) const fn whole(multiple: i64) -> f64 {
    multiple as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::column::integer::ONE_RUN;

    proptest! {
        #[test]
        fn rests_come_back_bit_for_bit(rests in prop::collection::vec(prop_oneof![
            any::<f64>(), (-5000..5000_i32).prop_map(|n| f64::from(n) * 2.0_f64.powi(-46)), Just(0.0), Just(-0.0),
            (0..4_u32).prop_map(|n| f64::from(n) * 5e-324),
        ], 1..50)) {
            let mut out = Vec::new();
            encode(&rests, ONE_RUN, &mut Scratch::default(), &mut out);
            let extent = Extent { values: rests.len(), starts: ONE_RUN, wanted: 0..rests.len() };
            let back = if out.is_empty() { vec![0.0; rests.len()] } else { decode(&out, &extent).unwrap() };
            let bits = |doubles: &[f64]| doubles.iter().map(|double| double.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&back), bits(&rests));
        }
    }

    #[test]
    fn multiples_of_a_power_of_two_take_their_own_bits_alone() {
        let rests: Vec<f64> = (0..100).map(|n| f64::from(n * 37 % 1000 - 500) * 2.0_f64.powi(-46)).collect();
        let mut out = Vec::new();
        encode(&rests, ONE_RUN, &mut Scratch::default(), &mut out);
        assert!(out.len() < 100 * 10 / 8 + 12);
    }
}
