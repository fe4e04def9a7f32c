//! A column of sums: as the decimals that they are near to, where most are near to some, else as doubles.
//!
//! ```text
//! sums       = 0  length  doubles  rests                       column of doubles after its length, rests: see `rests`
//!            | 1  exponent  shift  exceptions  wholes  offs    fraction = whole / (10^exponent · count)
//! exceptions = count  positions  (high low)…     positions: integer column, ascending; two doubles each, little-endian
//! wholes     = integer column                    less what is predicted; of an exception, the one before it
//! offs       = integer column                    how far the sum lies above the fraction
//! ```
//!
//! A sensor sends decimals, what is added up are the doubles nearest to them, and all these roundings leave the sum a
//! little off. How far is told in units of 2^-shift (u8), of which every sum is a multiple. Deviations are one double
//! each, and a fraction over the number of samples as well: how far they are off is told in units in the last place.
//! What is predicted is a double that both sides compute from columns before this one.

use std::ops::Range;

use crate::codec::bytes::{Malformed, Reader, put_length};
use crate::codec::column::decimal::POWERS;
use crate::codec::column::integer::{self, ONE_RUN, Starts};
use crate::codec::column::{self, Extent, Input, Kinds, Scratch, Values};
use crate::model::ValueKind;

use super::fraction::{SHIFT_MAX, above, doubles, integer, multiple, multiple_near, quotient, shift};
use super::rests;

const DOUBLES: u8 = 0;
const FRACTIONS: u8 = 1;

/// How many sums are looked at to choose an exponent.
const SAMPLE: usize = 32;
/// A sum is taken for the fraction that it is so near to, relative to itself.
const NEAR: f64 = 1.0 / 1_099_511_627_776.0;
/// No sum that is farther off is told by its fraction.
const OFF_MAX: u64 = 1 << 24;
/// One in so many may be an exception.
const EXCEPTIONS: usize = 8;
const EXCEPTION_BYTES: usize = 16;

const WHAT: &str = "sums";

/// A sum, or deviations, with what the other side knows as well.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// As two doubles, the second what rounding took away from the first; of deviations it is 0.
    pub(super) parts: [f64; 2],
    pub(super) known: Known,
}

/// What both sides know of a sum.
#[derive(Debug, Clone, Copy)]
pub(super) enum Known {
    /// About what a sum is.
    Sum { predicted: f64 },
    /// Of how many samples these are the deviations.
    Deviations { count: f64 },
}

/// What a column of fractions has in common.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Scale {
    exponent: u8,
    power: f64,
    shift: i32,
}

impl Known {
    fn divisor(self, power: f64) -> f64 {
        match self {
            Self::Sum { .. } => power,
            Self::Deviations { count } => power * count,
        }
    }

    /// What stands above the line of what is predicted.
    fn predicted(self, power: f64) -> i64 {
        match self {
            Self::Sum { predicted } => integer((predicted * power).round_ties_even()),
            Self::Deviations { .. } => 0,
        }
    }

    /// The sum that lies so far above a fraction.
    fn parts(self, above: i64, off: i64, scale: Scale) -> [f64; 2] {
        let divisor = self.divisor(scale.power);
        match self {
            Self::Sum { .. } => {
                let near = multiple_near(above, divisor, scale.shift);
                doubles(near.saturating_add(off.into()), scale.shift)
            }
            Self::Deviations { .. } => {
                let bits = quotient(above, divisor).to_bits().cast_signed().wrapping_add(off);
                [f64::from_bits(bits.cast_unsigned()), 0.0]
            }
        }
    }
}

impl Entry {
    fn is_zero(&self) -> bool {
        self.parts.map(f64::to_bits) == [0; 2]
    }

    /// What stands above the fraction over the power of ten that the sum is nearest to, and how far it is off; `None`
    /// where they do not give the sum back.
    fn fraction(&self, scale: Scale) -> Option<(i64, i64)> {
        let [high, _] = self.parts;
        let divisor = self.known.divisor(scale.power);
        let above = above(high, divisor)?;
        let off = match self.known {
            Known::Sum { .. } => {
                let near = multiple_near(above, divisor, scale.shift);
                i64::try_from(multiple(self.parts, scale.shift)?.checked_sub(near)?).ok()?
            }
            Known::Deviations { .. } => {
                high.to_bits().cast_signed().wrapping_sub(quotient(above, divisor).to_bits().cast_signed())
            }
        };
        let given = self.known.parts(above, off, scale);
        let is_same = given.map(f64::to_bits) == self.parts.map(f64::to_bits);
        (is_same && off.unsigned_abs() < OFF_MAX).then_some((above, off))
    }

    /// Whether it is a fraction over the power of ten, but for roundings.
    fn is_near(&self, power: f64) -> bool {
        let [high, _] = self.parts;
        let divisor = self.known.divisor(power);
        above(high, divisor).is_some_and(|above| (quotient(above, divisor) - high).abs() <= NEAR * high.abs())
    }
}

/// Appends a column; nothing where all are 0.
pub(super) fn encode(entries: &[Entry], starts: Starts<'_>, scratch: &mut Scratch, out: &mut Vec<u8>) {
    if entries.iter().all(Entry::is_zero) {
        return;
    }
    if !encode_fractions(entries, starts, out) {
        encode_doubles(entries, starts, scratch, out);
    }
}

fn encode_doubles(entries: &[Entry], starts: Starts<'_>, scratch: &mut Scratch, out: &mut Vec<u8>) {
    let raw: Vec<i64> = entries.iter().map(|entry| entry.parts[0].to_bits().cast_signed()).collect();
    let mut column = Vec::new();
    column::encode(
        Input { raw: &raw, kinds: Kinds::All(ValueKind::F64), texts: &[], starts },
        scratch,
        &mut column,
    );
    out.push(DOUBLES);
    put_length(out, column.len());
    out.extend_from_slice(&column);
    let rests: Vec<f64> = entries.iter().map(|entry| entry.parts[1]).collect();
    rests::encode(&rests, starts, scratch, out);
}

/// Appends sums by their fractions, where that serves.
fn encode_fractions(entries: &[Entry], starts: Starts<'_>, out: &mut Vec<u8>) -> bool {
    let Some(scale) = choose(entries) else { return false };
    let (mut wholes, mut offs, mut exceptions) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = (0, 0);
    for (entry, at) in entries.iter().zip(0..) {
        match entry.fraction(scale) {
            Some((above, off)) => last = (above.wrapping_sub(entry.known.predicted(scale.power)), off),
            None => exceptions.push((at, entry.parts)),
        }
        wholes.push(last.0);
        offs.push(last.1);
    }
    if exceptions.len() > entries.len() / EXCEPTIONS {
        return false;
    }
    out.extend([FRACTIONS, scale.exponent, u8::try_from(scale.shift).unwrap_or(0)]);
    put_length(out, exceptions.len());
    let positions: Vec<i64> = exceptions.iter().map(|(at, _)| *at).collect();
    integer::encode(&positions, ONE_RUN, &mut Vec::new(), out);
    out.extend(exceptions.iter().flat_map(|(_, parts)| parts).flat_map(|part| part.to_le_bytes()));
    integer::encode(&wholes, starts, &mut Vec::new(), out);
    integer::encode(&offs, starts, &mut Vec::new(), out);
    true
}

/// The least exponent that serves most of a sample, and of what all that it serves are multiples.
fn choose(entries: &[Entry]) -> Option<Scale> {
    let stride = entries.len().div_ceil(SAMPLE).max(1);
    let seen = entries.len().div_ceil(stride);
    let mut needs = [0_usize; POWERS.len()];
    for entry in entries.iter().step_by(stride) {
        let need = POWERS.iter().position(|power| entry.is_near(*power));
        if let Some(count) = need.and_then(|need| needs.get_mut(need)) {
            *count += 1;
        }
    }
    let mut covered = 0;
    let (exponent, power) = (0..).zip(POWERS).zip(needs).find_map(|(found, count)| {
        covered += count;
        (covered * EXCEPTIONS >= seen * (EXCEPTIONS - 1)).then_some(found)
    })?;
    let served = entries.iter().filter(|entry| entry.is_near(power));
    Some(Scale { exponent, power, shift: shift(served.map(|entry| entry.parts)) })
}

/// The wanted sums of a column, without what is known besides.
#[derive(Debug, Default)]
pub(super) enum Sums {
    /// All are 0.
    #[default]
    Zero,
    /// As doubles with their rests.
    Doubles { high: Vec<f64>, rests: Vec<f64> },
    /// By their fractions.
    Fractions(Fractions),
}

/// Sums by their fractions.
#[derive(Debug)]
pub(super) struct Fractions {
    scale: Scale,
    wholes: Vec<i64>,
    offs: Vec<i64>,
    exceptions: Vec<(usize, [f64; 2])>,
}

impl Sums {
    /// The wanted part of a column that is not empty.
    pub(super) fn decode(bytes: &[u8], extent: &Extent<'_>) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        match reader.byte(WHAT)? {
            DOUBLES => Self::decode_doubles(&mut reader, extent),
            FRACTIONS => Fractions::decode(&mut reader, extent).map(Self::Fractions),
            _ => Err(Malformed::Invalid("sums in a form that is none")),
        }
    }

    fn decode_doubles(reader: &mut Reader<'_>, extent: &Extent<'_>) -> Result<Self, Malformed> {
        let length = reader.length(WHAT)?;
        let Values::F64(high) = column::decode(reader.take(length, WHAT)?, extent)? else {
            return Err(Malformed::Invalid("a column of doubles has other values"));
        };
        let rests = match reader.take(reader.remaining(), WHAT)? {
            [] => Vec::new(),
            bytes => rests::decode(bytes, extent)?,
        };
        Ok(Self::Doubles { high, rests })
    }

    /// One of the wanted sums, of which this is known.
    pub(super) fn get(&self, next: usize, known: Known) -> [f64; 2] {
        let at = |doubles: &[f64]| doubles.get(next).copied().unwrap_or(0.0);
        match self {
            Self::Zero => [0.0; 2],
            Self::Doubles { high, rests } => [at(high), at(rests)],
            Self::Fractions(fractions) => fractions.get(next, known),
        }
    }
}

impl Fractions {
    fn decode(reader: &mut Reader<'_>, extent: &Extent<'_>) -> Result<Self, Malformed> {
        const WRONG: Malformed = Malformed::Invalid("sums of a scale that is none");
        let exponent = reader.byte(WHAT)?;
        let power = *POWERS.get(usize::from(exponent)).ok_or(WRONG)?;
        let shift = i32::from(reader.byte(WHAT)?);
        if shift > SHIFT_MAX {
            return Err(WRONG);
        }
        let exceptions = exceptions(extent.values, &extent.wanted, reader)?;
        let (wholes, offs) = (column::integers(reader, extent)?, column::integers(reader, extent)?);
        if reader.remaining() > 0 {
            return Err(Malformed::Invalid("a column goes on after its values"));
        }
        Ok(Self { scale: Scale { exponent, power, shift }, wholes, offs, exceptions })
    }

    fn get(&self, next: usize, known: Known) -> [f64; 2] {
        if let Ok(found) = self.exceptions.binary_search_by_key(&next, |(at, _)| *at) {
            return self.exceptions.get(found).map_or([0.0; 2], |(_, parts)| *parts);
        }
        let at = |integers: &[i64]| integers.get(next).copied().unwrap_or(0);
        let above = at(&self.wholes).wrapping_add(known.predicted(self.scale.power));
        known.parts(above, at(&self.offs), self.scale)
    }
}

/// Exceptions among the wanted ones of `n` sums, by their position in these.
fn exceptions(
    n: usize,
    wanted: &Range<usize>,
    reader: &mut Reader<'_>,
) -> Result<Vec<(usize, [f64; 2])>, Malformed> {
    let count = reader.count(EXCEPTION_BYTES, WHAT)?;
    let positions = column::positions(count, n, reader)?;
    let bytes = reader.take(count * EXCEPTION_BYTES, WHAT)?.as_chunks::<8>().0;
    let parts = bytes.as_chunks::<2>().0.iter().map(|parts| parts.map(f64::from_le_bytes));
    let places = positions.into_iter().map(|at| usize::try_from(at).ok()?.checked_sub(wanted.start));
    Ok(places.zip(parts).filter_map(|(at, parts)| Some((at?, parts))).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rollup::Sum;

    /// The sum of so many hundredths, twice.
    fn hundredths(terms: u32, each: i32) -> [f64; 2] {
        let mut sum = Sum::ZERO;
        for _ in 0..terms {
            sum.add(f64::from(each) / 100.0);
        }
        let parts = sum.parts();
        [parts.high, parts.low]
    }

    /// Of whatever character.
    fn parts() -> impl Strategy<Value = [f64; 2]> {
        prop_oneof![
            8 => (1..300_u32, -99_999..99_999_i32).prop_map(|(terms, each)| hundredths(terms, each)),
            1 => any::<f64>().prop_map(|high| [high, 0.0]),
            1 => (-1e9..1e9, -1e-9..1e-9).prop_map(|(high, low)| [high, low]),
        ]
    }

    fn decoded(entries: &[Entry], wanted: Range<usize>) -> Sums {
        let mut out = Vec::new();
        encode(entries, ONE_RUN, &mut Scratch::default(), &mut out);
        let extent = Extent { values: entries.len(), starts: ONE_RUN, wanted };
        if out.is_empty() { Sums::Zero } else { Sums::decode(&out, &extent).unwrap() }
    }

    proptest! {
        #[test]
        fn sums_come_back_bit_for_bit(
            sums in prop::collection::vec((parts(), 1..5_000_u32, any::<f64>()), 1..60), are_sums: bool,
            part in any::<(prop::sample::Index, prop::sample::Index)>(),
        ) {
            let entry = |(parts, count, predicted): &([f64; 2], u32, f64)| {
                let count = f64::from(*count);
                if are_sums {
                    Entry { parts: *parts, known: Known::Sum { predicted: *predicted } }
                } else {
                    Entry { parts: [parts[0] / count, 0.0], known: Known::Deviations { count } }
                }
            };
            let entries: Vec<Entry> = sums.iter().map(entry).collect();
            let (a, b) = (part.0.index(entries.len() + 1), part.1.index(entries.len() + 1));
            let wanted = a.min(b)..a.max(b);
            let back = decoded(&entries, wanted.clone());
            for (entry, next) in entries[wanted].iter().zip(0..) {
                prop_assert_eq!(back.get(next, entry.known).map(f64::to_bits), entry.parts.map(f64::to_bits));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 1..60), n in 1..90_usize) {
            let extent = Extent { values: n, starts: ONE_RUN, wanted: n / 2..n };
            for form in [DOUBLES, FRACTIONS] {
                let bytes = [&[form], bytes.as_slice()].concat();
                if let Ok(sums) = Sums::decode(&bytes, &extent) {
                    for next in 0..n {
                        sums.get(next, Known::Sum { predicted: 1e300 });
                        sums.get(next, Known::Deviations { count: 3.0 });
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_as_predicted_costs_its_roundings_alone() {
        let entry = |each: i32| {
            let parts = hundredths(360, each);
            Entry { parts, known: Known::Sum { predicted: parts[0] } }
        };
        let mut out = Vec::new();
        encode(&(1_601..2_601).map(entry).collect::<Vec<_>>(), ONE_RUN, &mut Scratch::default(), &mut out);
        assert!(out.len() < 1_400, "{}", out.len());
    }
}
