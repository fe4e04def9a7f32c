//! Doubles, alone or among integers (JSON's 21 and 21.5): as decimals, else by their bits.
//!
//! Integers among doubles are scaled like them, so that one sequence of integers holds both and neighbours stay
//! neighbours; a bit tells which is which. The forms are listed in the parent module.

use crate::codec::bits;
use crate::codec::bytes::{Malformed, Reader, put_length};
use crate::codec::convert::position;
use crate::model::{Value, ValueKind};

use super::decimal::{self, Exponent};
use super::integer::{self, ONE_RUN};
use super::{
    BITS, DECIMALS, DECIMALS_PATCHED, Extent, Input, Kinds, NUMBERS, NUMBERS_PATCHED, Scratch, Values,
};

/// Appends a column of doubles.
pub(super) fn encode(input: Input<'_>, scratch: &mut Scratch, out: &mut Vec<u8>) {
    let doubles = input.raw.iter().map(|&raw| double(raw));
    let start = out.len();
    if let Some(exponent) = decimal::choose(doubles) {
        scale(input, exponent, scratch);
        let form = if scratch.exceptions.is_empty() { DECIMALS } else { DECIMALS_PATCHED };
        out.push(form | exponent.get() << 4);
        put_scaled(input, scratch, out);
        if scratch.exceptions.is_empty() || out.len() - start < input.raw.len() * BITS_USUAL_BYTES {
            return;
        }
        out.truncate(start);
    }
    put_bits(input, scratch, out);
}

/// A column of patched decimals that takes more than this for a value is not kept.
const BITS_USUAL_BYTES: usize = 6;

/// Appends a column of integers and doubles, where decimals serve; else appends nothing and returns false.
pub(super) fn encode_numbers(
    input: Input<'_>,
    kinds: &[ValueKind],
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> bool {
    scratch.integers.clear();
    scratch.integers.extend(
        input.raw.iter().zip(kinds).filter(|(_, kind)| **kind == ValueKind::F64).map(|(&raw, _)| raw),
    );
    let Some(exponent) = decimal::choose(scratch.integers.iter().map(|&raw| double(raw))) else {
        return false;
    };
    scale(input, exponent, scratch);
    if scratch.exceptions.len() > input.raw.len() / 8 {
        return false;
    }
    let form = if scratch.exceptions.is_empty() { NUMBERS } else { NUMBERS_PATCHED };
    out.push(form | exponent.get() << 4);
    bits::pack(kinds.iter().map(|&kind| u64::from(kind == ValueKind::F64)), 1, out);
    put_scaled(input, scratch, out);
    true
}

fn double(raw: i64) -> f64 {
    f64::from_bits(raw.cast_unsigned())
}

/// Scales into the scratch; an exception takes the place of a copy of the value before it, which packs well.
fn scale(input: Input<'_>, exponent: Exponent, scratch: &mut Scratch) {
    let scale = exponent.scale();
    let Scratch { integers, exceptions, .. } = scratch;
    integers.clear();
    exceptions.clear();
    let mut last = 0;
    let mut put = |raw: i64, scaled: Option<i64>| {
        if let Some(scaled) = scaled {
            last = scaled;
        } else {
            exceptions.push((position(integers.len()), raw));
        }
        integers.push(last);
    };
    match input.kinds {
        Kinds::All(_) => input.raw.iter().for_each(|&raw| put(raw, scale.scaled(double(raw)))),
        Kinds::Each(kinds) => input.raw.iter().zip(kinds).for_each(|(&raw, &kind)| {
            put(raw, if kind == ValueKind::I64 { scale.scaled_i64(raw) } else { scale.scaled(double(raw)) });
        }),
    }
}

fn put_scaled(input: Input<'_>, scratch: &mut Scratch, out: &mut Vec<u8>) {
    if !scratch.exceptions.is_empty() {
        put_length(out, scratch.exceptions.len());
        let positions: Vec<_> = scratch.exceptions.iter().map(|&(at, _)| i64::from(at)).collect();
        integer::encode(&positions, ONE_RUN, &mut scratch.steps, out);
        out.extend(scratch.exceptions.iter().flat_map(|(_, raw)| raw.to_le_bytes()));
    }
    integer::encode(&scratch.integers, input.starts, &mut scratch.steps, out);
}

fn put_bits(input: Input<'_>, scratch: &mut Scratch, out: &mut Vec<u8>) {
    let used = input.raw.iter().fold(0, |used, raw| used | raw);
    let trailing = used.trailing_zeros().min(63);
    out.push(BITS);
    out.push(u8::try_from(trailing).unwrap_or(0));
    scratch.integers.clear();
    scratch.integers.extend(input.raw.iter().map(|raw| (raw.cast_unsigned() >> trailing).cast_signed()));
    integer::encode(&scratch.integers, input.starts, &mut scratch.steps, out);
}

/// Values that have no short decimal, with their positions.
struct Exceptions {
    positions: Vec<i64>,
    raw: Vec<i64>,
}

impl Exceptions {
    fn parse(patched: bool, n: usize, reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut exceptions = Self { positions: Vec::new(), raw: Vec::new() };
        if patched {
            let count = reader.count(8, "exceptions")?;
            exceptions.positions = super::positions(count, n, reader)?;
            let bytes = reader.take(count * 8, "exceptions")?;
            exceptions.raw.extend(bytes.as_chunks::<8>().0.iter().map(|raw| i64::from_le_bytes(*raw)));
        }
        Ok(exceptions)
    }

    /// Puts the exceptions among the wanted values in their places.
    fn patch<T>(&self, extent: &Extent<'_>, values: &mut [T], value: impl Fn(i64, &T) -> T) {
        for (at, raw) in self.positions.iter().zip(&self.raw) {
            let at = usize::try_from(*at).ok().and_then(|at| at.checked_sub(extent.wanted.start));
            if let Some(place) = at.and_then(|at| values.get_mut(at)) {
                *place = value(*raw, place);
            }
        }
    }
}

pub(super) fn decode_decimals(
    exponent: u8,
    patched: bool,
    reader: &mut Reader<'_>,
    extent: &Extent<'_>,
) -> Result<Values, Malformed> {
    let exceptions = Exceptions::parse(patched, extent.values, reader)?;
    let scale = Exponent::from_bits(exponent).scale();
    let scaled = super::integers(reader, extent)?;
    let mut values: Vec<f64> = scaled.into_iter().map(|scaled| scale.unscaled(scaled)).collect();
    exceptions.patch(extent, &mut values, |raw, _| double(raw));
    Ok(Values::F64(values))
}

pub(super) fn decode_numbers(
    exponent: u8,
    patched: bool,
    reader: &mut Reader<'_>,
    extent: &Extent<'_>,
) -> Result<Values, Malformed> {
    let kinds = reader.take(bits::packed_bytes(extent.values, 1)?, "the kinds of numbers")?;
    let exceptions = Exceptions::parse(patched, extent.values, reader)?;
    let scale = Exponent::from_bits(exponent).scale();
    let scaled = super::integers(reader, extent)?;
    let kinds = bits::unpack(kinds, 1, extent.wanted.clone());
    let value = |(is_double, scaled)| match is_double {
        0 => Value::I64(scale.unscaled_i64(scaled)),
        _ => Value::F64(scale.unscaled(scaled)),
    };
    let mut values: Vec<_> = kinds.zip(scaled).map(value).collect();
    exceptions.patch(extent, &mut values, |raw, place| match place.kind() {
        ValueKind::F64 => Value::F64(double(raw)),
        ValueKind::I64 | ValueKind::Bool | ValueKind::Text => Value::I64(raw),
    });
    Ok(Values::Mixed(values))
}

pub(super) fn decode_bits(reader: &mut Reader<'_>, extent: &Extent<'_>) -> Result<Values, Malformed> {
    let trailing = u32::from(reader.byte("doubles")?);
    if trailing > 63 {
        return Err(Malformed::Invalid("doubles of more than 64 bits"));
    }
    let shifted = super::integers(reader, extent)?;
    Ok(Values::F64(
        shifted.into_iter().map(|bits| f64::from_bits(bits.cast_unsigned() << trailing)).collect(),
    ))
}
