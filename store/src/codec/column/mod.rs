//! One column of values of any kinds, in the form that suits them. Knows nothing of points, sources or segments.
//!
//! ```text
//! column = tag  rest            tag: form in the low four bits, a parameter in the high four
//!   0 integers                  an integer column
//!   1 decimals (exponent)       doubles as an integer column, divided by 10^exponent
//!   2 patched decimals (…)      the same, after the exceptions: values that have no short decimal
//!   3 bits                      doubles as trailing: u8, then an integer column of their bits >> trailing
//!   4 numbers (exponent)        integers and doubles: n bits (1 = double), then as 1
//!   5 patched numbers (…)       the same, exceptions between the bits and the integers
//!   6 false   7 true            n equal booleans
//!   8 booleans                  n bits
//!   9 texts                     lengths: integer column; then the bytes of all
//!  10 dictionary                entries: varint; lengths: integer column of them; bytes; integer column of positions
//!  11 mixed (kinds)             see `mixed`
//! exceptions = count: varint   positions: integer column, ascending   values: 8 bytes each, little-endian
//! ```
//!
//! How many values there are, and how they fall into runs, is known to both sides and not stored (see `integer`).

mod boolean;
pub(crate) mod decimal;
pub(crate) mod integer;
mod kinds;
mod mixed;
mod number;
mod text;
mod values;

use std::ops::Range;
use std::sync::Arc;

use crate::model::ValueKind;

use super::bytes::{Malformed, Reader};
use integer::{Integers, ONE_RUN, Starts};
pub(crate) use kinds::KindSet;
pub use values::Values;

const INTEGERS: u8 = 0;
const DECIMALS: u8 = 1;
const DECIMALS_PATCHED: u8 = 2;
const BITS: u8 = 3;
const NUMBERS: u8 = 4;
const NUMBERS_PATCHED: u8 = 5;
const FALSE: u8 = 6;
const TRUE: u8 = 7;
const BOOLEANS: u8 = 8;
const TEXTS: u8 = 9;
const DICTIONARY: u8 = 10;
const MIXED: u8 = 11;

/// The kinds of the values of a column.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kinds<'a> {
    /// All of one kind.
    All(ValueKind),
    /// One for each value; they may be equal after all.
    Each(&'a [ValueKind]),
}

/// A column to encode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a> {
    /// An integer itself; the bits of a double; 0 or 1 for a boolean; for a text its position in `texts`.
    pub(crate) raw: &'a [i64],
    /// The kinds of the values.
    pub(crate) kinds: Kinds<'a>,
    /// Where texts are found.
    pub(crate) texts: &'a [Arc<str>],
    /// The runs.
    pub(crate) starts: Starts<'a>,
}

/// Memory that encoding reuses from column to column.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    integers: Vec<i64>,
    steps: Vec<i64>,
    exceptions: Vec<(u32, i64)>,
}

/// Appends a column.
pub(crate) fn encode(input: Input<'_>, scratch: &mut Scratch, out: &mut Vec<u8>) {
    match input.kinds {
        Kinds::All(ValueKind::I64) => {
            out.push(INTEGERS);
            integer::encode(input.raw, input.starts, &mut scratch.steps, out);
        }
        Kinds::All(ValueKind::F64) => number::encode(input, scratch, out),
        Kinds::All(ValueKind::Bool) => boolean::encode(input.raw, out),
        Kinds::All(ValueKind::Text) => text::encode(input.raw, input.texts, scratch, out),
        Kinds::Each(kinds) => mixed::encode(input, kinds, scratch, out),
    }
}

/// How a column that is decoded lies: what both sides know.
#[derive(Debug, Clone)]
pub(crate) struct Extent<'a> {
    /// How many values it has.
    pub(crate) values: usize,
    /// The runs they fall into.
    pub(crate) starts: Starts<'a>,
    /// Which of them are wanted; within the column.
    pub(crate) wanted: Range<usize>,
}

/// The wanted values of the column that `bytes` are, all of them.
pub(crate) fn decode(bytes: &[u8], extent: &Extent<'_>) -> Result<Values, Malformed> {
    let mut reader = Reader::new(bytes);
    let tag = reader.byte("a column")?;
    let parameter = tag >> 4;
    let values = match tag & 0x0f {
        INTEGERS => Values::I64(integers(&mut reader, extent)?),
        form @ (DECIMALS | DECIMALS_PATCHED) => {
            number::decode_decimals(parameter, form == DECIMALS_PATCHED, &mut reader, extent)?
        }
        BITS => number::decode_bits(&mut reader, extent)?,
        form @ (NUMBERS | NUMBERS_PATCHED) => {
            number::decode_numbers(parameter, form == NUMBERS_PATCHED, &mut reader, extent)?
        }
        form @ (FALSE | TRUE) => Values::Bool(vec![form == TRUE; extent.wanted.len()]),
        BOOLEANS => boolean::decode(&mut reader, extent)?,
        TEXTS => text::decode(&mut reader, extent)?,
        DICTIONARY => text::decode_dictionary(&mut reader, extent)?,
        MIXED => mixed::decode(parameter, &mut reader, extent)?,
        _ => return Err(Malformed::Invalid("a column has a form that this version does not know")),
    };
    if reader.remaining() > 0 {
        return Err(Malformed::Invalid("a column goes on after its values"));
    }
    Ok(values)
}

/// The wanted values of the integer column that comes next.
pub(crate) fn integers(reader: &mut Reader<'_>, extent: &Extent<'_>) -> Result<Vec<i64>, Malformed> {
    let column = Integers::parse(extent.values, extent.starts.len(), reader)?;
    let mut out = Vec::new();
    column.decode(extent.wanted.clone(), extent.starts, &mut out);
    Ok(out)
}

/// Where the `count` exceptions of a column of `n` values stand, ascending: the integer column that comes next.
pub(crate) fn positions(count: usize, n: usize, reader: &mut Reader<'_>) -> Result<Vec<i64>, Malformed> {
    let positions = integers(reader, &Extent { values: count, starts: ONE_RUN, wanted: 0..count })?;
    let inside = |at: &i64| usize::try_from(*at).is_ok_and(|at| at < n);
    if !positions.is_sorted_by(|a, b| a < b) || !positions.iter().all(inside) {
        return Err(Malformed::Invalid("an exception has no place in its column"));
    }
    Ok(positions)
}

#[cfg(test)]
mod tests;
