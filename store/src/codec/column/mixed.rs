//! A column whose values are of several kinds.
//!
//! Integers among doubles have a form of their own (see `number`) where it serves. The general form:
//!
//! ```text
//! mixed (kinds) = ranks  columns     kinds: a bit for each kind that occurs: 1 double, 2 integer, 4 boolean, 8 text
//! ranks         = packed             for each value, which of the kinds that occur; 1 bit, or 2 where more than two
//! columns       = (length column)…   of each kind that occurs, in the order above, as one run; length: varint
//! ```

use crate::codec::bits;
use crate::codec::bytes::{Malformed, Reader, put_length};
use crate::model::{Value, ValueKind};

use super::integer::ONE_RUN;
use super::kinds::KindSet;
use super::{Extent, Input, Kinds, MIXED, Scratch, Values, number};

fn rank_width(present: &[ValueKind]) -> u32 {
    if present.len() > 2 { 2 } else { 1 }
}

pub(super) fn encode(input: Input<'_>, kinds: &[ValueKind], scratch: &mut Scratch, out: &mut Vec<u8>) {
    let set: KindSet = kinds.iter().copied().collect();
    if let Some(kind) = set.only() {
        return super::encode(Input { kinds: Kinds::All(kind), ..input }, scratch, out);
    }
    if set == KindSet::NUMBERS && number::encode_numbers(input, kinds, scratch, out) {
        return;
    }
    let present: Vec<_> = set.kinds().collect();
    out.push(MIXED | set.bits() << 4);
    let rank =
        |&kind: &ValueKind| present.iter().zip(0_u64..).find(|(k, _)| **k == kind).map_or(0, |(_, r)| r);
    bits::pack(kinds.iter().map(rank), rank_width(&present), out);
    let mut column = Vec::new();
    for &kind in &present {
        let raw: Vec<_> =
            input.raw.iter().zip(kinds).filter(|(_, k)| **k == kind).map(|(&raw, _)| raw).collect();
        column.clear();
        let part = Input { raw: &raw, kinds: Kinds::All(kind), texts: input.texts, starts: ONE_RUN };
        super::encode(part, scratch, &mut column);
        put_length(out, column.len());
        out.extend_from_slice(&column);
    }
}

pub(super) fn decode(kinds: u8, reader: &mut Reader<'_>, extent: &Extent<'_>) -> Result<Values, Malformed> {
    let present: Vec<_> = KindSet::from_bits(kinds).kinds().collect();
    let width = rank_width(&present);
    let packed = reader.take(bits::packed_bytes(extent.values, width)?, "the kinds of values")?;
    let mut counts = [0_usize; 4];
    let ranks = || bits::unpack(packed, width, 0..extent.values).map(|rank| usize::try_from(rank).ok());
    for rank in ranks() {
        rank.and_then(|rank| counts.get_mut(rank)).into_iter().for_each(|count| *count += 1);
    }
    let mut columns = Vec::with_capacity(present.len());
    for (kind, count) in present.iter().zip(counts) {
        let length = reader.length("a column of one kind")?;
        let part = Extent { values: count, starts: ONE_RUN, wanted: 0..count };
        columns.push(decode_part(*kind, reader.take(length, "a column of one kind")?, &part)?.into_iter());
    }
    let mut values = Vec::with_capacity(extent.values);
    for rank in ranks() {
        let column = rank.and_then(|rank| columns.get_mut(rank));
        values.extend(column.and_then(Iterator::next));
    }
    if values.len() < extent.values {
        return Err(Malformed::Invalid("a value is of a kind that its column does not have"));
    }
    values.truncate(extent.wanted.end);
    values.drain(..extent.wanted.start.min(values.len()));
    Ok(Values::Mixed(values))
}

/// A column of one kind; this is what keeps columns from nesting.
fn decode_part(kind: ValueKind, bytes: &[u8], extent: &Extent<'_>) -> Result<Vec<Value>, Malformed> {
    if bytes.first().is_some_and(|tag| tag & 0x0f == MIXED) {
        return Err(Malformed::Invalid("a mixed column in a mixed column"));
    }
    let values = super::decode(bytes, extent)?;
    let fits = matches!(
        (kind, &values),
        (ValueKind::F64, Values::F64(_))
            | (ValueKind::I64, Values::I64(_))
            | (ValueKind::Bool, Values::Bool(_))
            | (ValueKind::Text, Values::Text(_))
    );
    if fits { Ok(values.iter().collect()) } else { Err(Malformed::Invalid("a column is of another kind")) }
}
