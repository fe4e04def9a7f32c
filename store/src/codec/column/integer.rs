//! A column of `n` integers that fall into runs; `n` and the runs are known to both sides and not stored.
//!
//! ```text
//! column  = ""                            n = 0
//!         | first                         n = 1
//!         | 0x00 + width  frame           frame of reference: every value minus the least, packed
//!         | 0x80 + width  steps firsts    in runs: each value minus the one before it in its run
//! frame   = least  packed                 least: signed varint; packed: n numbers of `width` bits
//! firsts  = column of the first values of the runs, never itself in runs
//! steps   = least  packed                 the frame of the n - runs steps, in order
//! ```
//!
//! Differences wrap around, so that every `i64` survives. Constants have width 0.
//! Any part of a column can be decoded without the rest.

use std::ops::Range;

use crate::codec::bits;
use crate::codec::bytes::{Malformed, Reader, put_varint_signed};
use crate::codec::convert::{index, position};

const STEPS: u8 = 0x80;

/// Starts of the runs of a column, ascending; the first is 0.
pub(crate) type Starts<'a> = &'a [u32];

/// The starts of a column that is one run.
pub(crate) const ONE_RUN: Starts<'static> = &[0];

/// The least and the greatest of some numbers.
#[derive(Clone, Copy)]
struct Span {
    least: i64,
    greatest: i64,
}

impl Span {
    const EMPTY: Self = Self { least: i64::MAX, greatest: i64::MIN };

    fn of(values: impl Iterator<Item = i64>) -> Self {
        values.fold(Self::EMPTY, |span, value| Self {
            least: span.least.min(value),
            greatest: span.greatest.max(value),
        })
    }

    fn width(self) -> u32 {
        if self.greatest < self.least { 0 } else { bits::width(offset(self.greatest, self.least)) }
    }
}

/// How far `value` lies above `least`, exact for every pair in order.
const fn offset(value: i64, least: i64) -> u64 {
    value.wrapping_sub(least).cast_unsigned()
}

/// The values of each run.
fn runs<'a>(values: &'a [i64], starts: Starts<'a>) -> impl Iterator<Item = &'a [i64]> {
    let end = position(values.len());
    let ends = starts.iter().skip(1).copied().chain([end]);
    starts.iter().zip(ends).map(|(&start, end)| values.get(index(start)..index(end)).unwrap_or_default())
}

/// The steps within all runs, into `steps`.
fn put_steps(values: &[i64], starts: Starts<'_>, steps: &mut Vec<i64>) {
    steps.clear();
    steps.reserve(values.len());
    for run in runs(values, starts) {
        let neighbours = run.iter().zip(run.iter().skip(1));
        steps.extend(neighbours.map(|(before, value)| value.wrapping_sub(*before)));
    }
}

/// Appends `values` in whichever form is smaller. `steps` is memory to use.
pub(crate) fn encode(values: &[i64], starts: Starts<'_>, steps: &mut Vec<i64>, out: &mut Vec<u8>) {
    let (first, others) = match values {
        [] => return,
        [first, others @ ..] => (*first, others),
    };
    if others.is_empty() {
        return put_varint_signed(out, first);
    }
    let frame = Span::of(values.iter().copied());
    if frame.width() == 0 || starts.len() == values.len() {
        return put_frame(values.iter().copied(), frame, out);
    }
    put_steps(values, starts, steps);
    let firsts = || starts.iter().filter_map(|&start| values.get(index(start)).copied());
    let (step, head) = (Span::of(steps.iter().copied()), Span::of(firsts()));
    let bits_in = |n: usize, span: Span| position(n).saturating_mul(span.width());
    let stepped = bits_in(starts.len(), head).saturating_add(bits_in(steps.len(), step));
    if stepped.saturating_add(STEPS_HEADER_BITS) >= bits_in(values.len(), frame) {
        return put_frame(values.iter().copied(), frame, out);
    }
    put_packed(STEPS, steps.iter().copied(), step, out);
    match starts.len() {
        1 => put_varint_signed(out, first),
        _ => put_frame(firsts(), head, out),
    }
}

/// About what the second header costs.
const STEPS_HEADER_BITS: u32 = 32;

fn put_packed(form: u8, values: impl Iterator<Item = i64>, span: Span, out: &mut Vec<u8>) {
    out.push(form | u8::try_from(span.width()).unwrap_or(0));
    put_varint_signed(out, span.least);
    bits::pack(values.map(|value| offset(value, span.least)), span.width(), out);
}

fn put_frame(values: impl Iterator<Item = i64>, span: Span, out: &mut Vec<u8>) {
    put_packed(0, values, span, out);
}

/// Packed numbers above a least one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    least: i64,
    width: u32,
    packed: &'a [u8],
}

impl<'a> Frame<'a> {
    const fn constant(least: i64) -> Self {
        Self { least, width: 0, packed: &[] }
    }

    fn parse(width: u8, n: usize, reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let width = u32::from(width);
        if width > bits::WIDTH_MAX {
            return Err(Malformed::Invalid("integers of more than 64 bits"));
        }
        let least = reader.varint_signed(WHAT)?;
        let packed = reader.take(bits::packed_bytes(n, width)?, WHAT)?;
        Ok(Self { least, width, packed })
    }

    fn values(&self, range: Range<usize>) -> impl ExactSizeIterator<Item = i64> {
        let least = self.least;
        bits::unpack(self.packed, self.width, range).map(move |value| least.wrapping_add(value.cast_signed()))
    }
}

const WHAT: &str = "a column of integers";

/// A column whose lengths are checked and whose values are not unpacked yet.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Integers<'a> {
    /// A frame of reference.
    Frame(Frame<'a>),
    /// Steps within runs.
    Steps {
        /// The first value of each run.
        firsts: Frame<'a>,
        /// The steps of all runs.
        steps: Frame<'a>,
    },
}

impl<'a> Integers<'a> {
    /// Reads the form of a column of `n` values in `runs` runs.
    pub(crate) fn parse(n: usize, runs: usize, reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        match n {
            0 => return Ok(Self::Frame(Frame::constant(0))),
            1 => return Ok(Self::Frame(Frame::constant(reader.varint_signed(WHAT)?))),
            _ => {}
        }
        let form = reader.byte(WHAT)?;
        if form & STEPS == 0 {
            return Ok(Self::Frame(Frame::parse(form, n, reader)?));
        }
        let steps = Frame::parse(form & !STEPS, n.saturating_sub(runs), reader)?;
        let firsts = match runs {
            1 => Frame::constant(reader.varint_signed(WHAT)?),
            _ => Frame::parse(reader.byte(WHAT)?, runs, reader)?,
        };
        Ok(Self::Steps { firsts, steps })
    }

    /// Appends the values at `range`, which must lie within the column; `starts` as they were encoded with.
    pub(crate) fn decode(&self, range: Range<usize>, starts: Starts<'_>, out: &mut Vec<i64>) {
        match self {
            Self::Frame(frame) => out.extend(frame.values(range)),
            Self::Steps { firsts, steps } => decode_steps(firsts, steps, range, starts, out),
        }
    }
}

fn decode_steps(
    firsts: &Frame<'_>,
    steps: &Frame<'_>,
    range: Range<usize>,
    starts: Starts<'_>,
    out: &mut Vec<i64>,
) {
    if range.is_empty() {
        return;
    }
    // From the start of the run that holds the first value to the last run that starts before the end.
    let run = starts.partition_point(|&start| index(start) <= range.start).saturating_sub(1);
    let run_end = starts.partition_point(|&start| index(start) < range.end);
    let starts = starts.get(run..run_end).unwrap_or_default();
    let first = starts.first().map_or(0, |&start| index(start));
    // Steps lie at the end of where the values will: no value is written over one that is still needed.
    let begin = out.len();
    out.resize(begin + starts.len(), 0);
    // A run has one step fewer than it has values, and so have all runs before it.
    out.extend(steps.values(first - run..range.end - run_end));
    let values = out.get_mut(begin..).unwrap_or_default();
    let ends = starts.iter().skip(1).map(|&start| index(start)).chain([range.end]);
    let (mut from, mut to) = (starts.len(), 0);
    for (mut value, end) in firsts.values(run..run_end).zip(ends) {
        values.get_mut(to).into_iter().for_each(|place| *place = value);
        to += 1;
        while to < end - first {
            value = value.wrapping_add(values.get(from).copied().unwrap_or(0));
            values.get_mut(to).into_iter().for_each(|place| *place = value);
            (from, to) = (from + 1, to + 1);
        }
    }
    out.drain(begin..begin + range.start - first);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Values of different characters, cut into runs.
    fn columns() -> impl Strategy<Value = (Vec<i64>, Vec<u32>)> {
        let value = prop_oneof![any::<i64>(), -50..50_i64, Just(i64::MIN), Just(i64::MAX), Just(7)];
        let walk = prop::collection::vec(-3..20_i64, 1..200).prop_map(|steps| {
            steps
                .into_iter()
                .scan(1_i64 << 40, |at, step| {
                    *at += step;
                    Some(*at)
                })
                .collect()
        });
        let values =
            prop_oneof![prop::collection::vec(value, 1..200), walk, prop::collection::vec(Just(5), 1..99)];
        (values, prop::collection::btree_set(1..200_u32, 0..40)).prop_map(|(values, cuts): (Vec<i64>, _)| {
            let n = position(values.len());
            let starts = [0].into_iter().chain(cuts.into_iter().filter(|&cut| cut < n)).collect();
            (values, starts)
        })
    }

    proptest! {
        #[test]
        fn any_part_of_a_column_decodes_to_what_was_encoded(
            (values, starts) in columns(),
            cut in any::<(prop::sample::Index, prop::sample::Index)>(),
        ) {
            let mut bytes = Vec::new();
            encode(&values, &starts, &mut Vec::new(), &mut bytes);
            let mut reader = Reader::new(&bytes);
            let column = Integers::parse(values.len(), starts.len(), &mut reader).unwrap();
            prop_assert_eq!(reader.remaining(), 0);
            let (a, b) = (cut.0.index(values.len() + 1), cut.1.index(values.len() + 1));
            for range in [0..values.len(), a.min(b)..a.max(b)] {
                let mut back = Vec::new();
                column.decode(range.clone(), &starts, &mut back);
                prop_assert_eq!(&back, &values[range]);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..60), n in 0..300_usize, starts in columns(),
        ) {
            let starts: Vec<_> = starts.1.into_iter().filter(|&start| index(start) < n.max(1)).collect();
            let mut back = Vec::new();
            if let Ok(column) = Integers::parse(n, starts.len(), &mut Reader::new(&bytes)) {
                column.decode(0..n, &starts, &mut back);
                prop_assert_eq!(back.len(), n);
            }
        }
    }

    fn encoded(values: &[i64], starts: Starts<'_>) -> usize {
        let mut bytes = Vec::new();
        encode(values, starts, &mut Vec::new(), &mut bytes);
        bytes.len()
    }

    #[test]
    fn constants_and_steady_counters_cost_a_header_alone() {
        assert_eq!(encoded(&[42; 1000], ONE_RUN), 2);
        let counter: Vec<_> = (0..1000).map(|n| n * 10).collect();
        assert_eq!(encoded(&counter, ONE_RUN), 3);
    }

    #[test]
    fn a_jump_between_runs_does_not_widen_the_steps_inside() {
        let values: Vec<_> = (0..100).map(|n| n % 2 + n / 50 * 1_000_000_000).collect();
        assert!(encoded(&values, &[0, 50]) < 50);
        assert!(encoded(&values, ONE_RUN) > 300);
    }
}
