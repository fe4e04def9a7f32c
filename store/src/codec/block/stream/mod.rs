//! A stream: the integers of a column, cut into pages that are decoded one by one, with a model that all share.
//!
//! ```text
//! stream = form            order | coder << 2, a byte
//!          [center]        signed varint; of coders 0 and 2
//!          [shares]        of coder 2, see `shares`
//! page   = [firsts]        integer column: the first value of each part of a run; where the order is not 0
//!          least width packed      of coder 1: each residual less `least`; nothing where there are no residuals
//!        | coded                   of coder 2, see `coder`: zigzag(residual - center); the same
//! ```
//!
//! The residuals of order 0 are the values; of order 1 what each adds to the one before it in its part; of order 2
//! what that adds to the step before, the first of which adds to 0. All arithmetic wraps around, so that every
//! `i64` survives. Coder 0 means that every residual is the center.

mod class;
mod coder;
mod shares;

use std::sync::OnceLock;

use crate::codec::bits;
use crate::codec::bytes::{Malformed, Reader, put_varint_signed, unzigzag, zigzag};
use crate::codec::column::integer::{self, Integers, ONE_RUN};
use crate::codec::convert::position;

use super::cuts::{Cuts, Page};
use class::CLASSES;
use coder::{Backward, Decoder};
use shares::{Counts, Shares};

const CONSTANT: u8 = 0;
const PACKED: u8 = 1;
const CODED: u8 = 2;

/// How values become residuals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Values,
    Steps,
    Bends,
}

impl Order {
    const ALL: [Self; 3] = [Self::Values, Self::Steps, Self::Bends];

    const fn bits(self) -> u8 {
        match self {
            Self::Values => 0,
            Self::Steps => 1,
            Self::Bends => 2,
        }
    }

    fn residuals(self, part: &[i64], mut each: impl FnMut(i64)) {
        let steps =
            || part.iter().zip(part.iter().skip(1)).map(|(before, value)| value.wrapping_sub(*before));
        match self {
            Self::Values => part.iter().copied().for_each(each),
            Self::Steps => steps().for_each(each),
            Self::Bends => {
                let mut last = 0;
                steps().for_each(|step| {
                    each(step.wrapping_sub(last));
                    last = step;
                });
            }
        }
    }
}

/// A stream on its way into bytes. Memory that is used again from stream to stream.
#[derive(Debug)]
pub(super) struct StreamWriter {
    order: Order,
    form: Form,
    /// Zigzag of what residuals are above the center.
    numbers: Vec<u64>,
    center: i64,
    /// Where each page's numbers end.
    ends: Vec<usize>,
    backward: Backward,
    scratch: Vec<i64>,
    steps: Vec<i64>,
}

#[derive(Debug)]
enum Form {
    Constant,
    Packed,
    Coded(coder::Encoder),
}

impl Default for StreamWriter {
    fn default() -> Self {
        Self {
            order: Order::Values,
            form: Form::Constant,
            numbers: Vec::new(),
            center: 0,
            ends: Vec::new(),
            backward: Backward::default(),
            scratch: Vec::new(),
            steps: Vec::new(),
        }
    }
}

/// How many residuals are looked at to choose an order and a center.
const SAMPLE: usize = 512;

impl StreamWriter {
    /// Chooses a model for values and appends it.
    pub(super) fn begin(&mut self, values: &[i64], cuts: &Cuts, out: &mut Vec<u8>) {
        (self.order, self.center) = choose(values, cuts, &mut self.scratch);
        let mut counts = [0; CLASSES];
        let packed_bits = self.take_residuals(values, cuts, &mut counts);
        let tag = self.order.bits();
        if self.numbers.iter().all(|&number| number == 0) {
            self.form = Form::Constant;
            out.push(tag | CONSTANT << 2);
            return put_varint_signed(out, self.center);
        }
        let shares = Shares::of(&counts);
        let rest = counts
            .iter()
            .enumerate()
            .map(|(class, &count)| u64::from(count) * u64::from(class::parts(class).1));
        let pages = u64::from(position(cuts.pages().len()));
        let coded_bits = shares.bits(&counts)
            + rest.sum::<u64>()
            + shares.bits_described()
            + pages * u64::from(shares.log * 2 + 4);
        if coded_bits + coded_bits / 64 < packed_bits {
            out.push(tag | CODED << 2);
            put_varint_signed(out, self.center);
            shares.put(&mut self.steps, out);
            self.form = Form::Coded(coder::Encoder::new(&shares));
        } else {
            out.push(tag | PACKED << 2);
            self.form = Form::Packed;
        }
    }

    /// Gives about how many bits the residuals take when they are packed.
    fn take_residuals(&mut self, values: &[i64], cuts: &Cuts, counts: &mut Counts) -> u64 {
        self.numbers.clear();
        self.ends.clear();
        self.numbers.reserve(values.len());
        let mut packed_bits = 0;
        for page in cuts.pages() {
            let (start, mut all) = (self.numbers.len(), 0);
            for part in cuts.parts(page) {
                let part = values.get(part).unwrap_or_default();
                self.order.residuals(part, |residual| {
                    let number = zigzag(residual.wrapping_sub(self.center));
                    all |= number;
                    if let Some(count) = counts.get_mut(class::of(number).0) {
                        *count += 1;
                    }
                    self.numbers.push(number);
                });
            }
            let width = u64::from(bits::width(all));
            packed_bits += 24 + width * u64::from(position(self.numbers.len() - start));
            self.ends.push(self.numbers.len());
        }
        packed_bits
    }

    /// Appends the page at a position among those of the cuts that the stream began with.
    pub(super) fn put_page(&mut self, at: usize, values: &[i64], cuts: &Cuts, out: &mut Vec<u8>) {
        let Some(page) = cuts.pages().get(at) else { return };
        if self.order != Order::Values {
            self.scratch.clear();
            self.scratch.extend(cuts.parts(page).filter_map(|part| values.get(part.start)));
            integer::encode(&self.scratch, ONE_RUN, &mut self.steps, out);
        }
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(at).copied().unwrap_or(start);
        let numbers = self.numbers.get(start..end).unwrap_or_default();
        if numbers.is_empty() {
            return;
        }
        match &self.form {
            Form::Constant => {}
            Form::Coded(encoder) => encoder.put(numbers, &mut self.backward, out),
            Form::Packed => {
                let residual = |&number: &u64| unzigzag(number).wrapping_add(self.center);
                let least = numbers.iter().map(residual).min().unwrap_or(0);
                let above =
                    || numbers.iter().map(|number| residual(number).wrapping_sub(least).cast_unsigned());
                let width = bits::width(above().fold(0, |all, number| all | number));
                put_varint_signed(out, least);
                out.push(u8::try_from(width).unwrap_or(0));
                bits::pack(above(), width, out);
            }
        }
    }
}

/// The order whose residuals vary least, and their median, from a sample.
fn choose(values: &[i64], cuts: &Cuts, scratch: &mut Vec<i64>) -> (Order, i64) {
    let mut best = (u64::MAX, Order::Values, 0);
    for order in Order::ALL {
        scratch.clear();
        let stride = cuts.pages().len().div_ceil(8).max(1);
        for page in cuts.pages().iter().step_by(stride) {
            let end = scratch.len() + SAMPLE / 8;
            for part in cuts.parts(page) {
                let room = end.saturating_sub(scratch.len());
                if room == 0 {
                    break;
                }
                let part = values.get(part).unwrap_or_default();
                order.residuals(part.get(..room).unwrap_or(part), |residual| scratch.push(residual));
            }
        }
        let middle = scratch.len() / 2;
        if scratch.is_empty() {
            continue;
        }
        let (_, &mut center, _) = scratch.select_nth_unstable(middle);
        let bits = |&residual: &i64| u64::from(bits::width(zigzag(residual.wrapping_sub(center))));
        let mut total: u64 = scratch.iter().map(bits).sum();
        // What is not a residual is a first value, which takes about as much as a value.
        if order != Order::Values {
            total += total / 64 + 2;
        }
        if total < best.0 {
            best = (total, order, center);
        }
    }
    (best.1, best.2)
}

/// What the pages of a stream have in common.
#[derive(Debug)]
pub(super) struct StreamReader {
    order: Order,
    coder: Coder,
}

#[derive(Debug)]
enum Coder {
    Constant(i64),
    Packed,
    Coded(i64, Shares, OnceLock<Decoder>),
}

impl StreamReader {
    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let form = reader.byte("a stream")?;
        let order = match form & 3 {
            0 => Order::Values,
            1 => Order::Steps,
            2 => Order::Bends,
            _ => return Err(UNKNOWN),
        };
        let coder = match form >> 2 {
            CONSTANT => Coder::Constant(reader.varint_signed("a stream")?),
            PACKED => Coder::Packed,
            CODED => {
                let center = reader.varint_signed("a stream")?;
                Coder::Coded(center, Shares::parse(reader)?, OnceLock::new())
            }
            _ => return Err(UNKNOWN),
        };
        Ok(Self { order, coder })
    }

    /// The value that all have, where it is one and stored nowhere else.
    pub(super) fn constant(&self) -> Option<i64> {
        match (self.order, &self.coder) {
            (Order::Values, Coder::Constant(value)) => Some(*value),
            (_, Coder::Constant(_) | Coder::Packed | Coder::Coded(..)) => None,
        }
    }

    /// The values of a page, whose bytes are all that the reader has left, into `values`: as many as it has.
    pub(super) fn page(
        &self,
        page: &Page,
        cuts: &Cuts,
        reader: &mut Reader<'_>,
        values: &mut [i64],
    ) -> Result<(), Malformed> {
        if self.order == Order::Values {
            return self.residuals(reader, values, |residual| residual);
        }
        if !page.is_of_one_run() {
            return self.parts(page, cuts, reader, values);
        }
        let mut value = reader.varint_signed("a page")?;
        let Some((first, rest)) = values.split_first_mut() else { return Ok(()) };
        *first = value;
        let mut step = 0_i64;
        if self.order == Order::Steps {
            return self.residuals(reader, rest, |residual| {
                value = value.wrapping_add(residual);
                value
            });
        }
        self.residuals(reader, rest, |residual| {
            step = step.wrapping_add(residual);
            value = value.wrapping_add(step);
            value
        })
    }

    /// The same for a page with parts of several runs.
    fn parts(
        &self,
        page: &Page,
        cuts: &Cuts,
        reader: &mut Reader<'_>,
        values: &mut [i64],
    ) -> Result<(), Malformed> {
        let parts = cuts.parts(page);
        let mut firsts = Vec::new();
        Integers::parse(parts.len(), 1, reader)?.decode(0..parts.len(), ONE_RUN, &mut firsts);
        // Residuals lie at the end of where the values will: no value is written over one that is still needed.
        let residuals = values.get_mut(firsts.len()..).unwrap_or_default();
        self.residuals(reader, residuals, |residual| residual)?;
        match self.order {
            Order::Values | Order::Steps => {
                sum(values, &firsts, parts, |before, _, step| (before.wrapping_add(step), 0));
            }
            Order::Bends => sum(values, &firsts, parts, |before, last, bend| {
                let step = last.wrapping_add(bend);
                (before.wrapping_add(step), step)
            }),
        }
        Ok(())
    }

    /// Writes what is made of each residual, in order, to all places of `out`.
    #[inline]
    fn residuals(
        &self,
        reader: &mut Reader<'_>,
        out: &mut [i64],
        mut each: impl FnMut(i64) -> i64,
    ) -> Result<(), Malformed> {
        let n = out.len();
        if n == 0 {
            return Ok(());
        }
        match &self.coder {
            Coder::Constant(center) => out.iter_mut().for_each(|place| *place = each(*center)),
            Coder::Packed => {
                let least = reader.varint_signed("a page")?;
                let width = u32::from(reader.byte("a page")?);
                if width > bits::WIDTH_MAX {
                    return Err(Malformed::Invalid("integers of more than 64 bits"));
                }
                let packed = reader.take(bits::packed_bytes(n, width)?, "a page")?;
                for (place, number) in out.iter_mut().zip(bits::unpack(packed, width, 0..n)) {
                    *place = each(least.wrapping_add(number.cast_signed()));
                }
            }
            Coder::Coded(center, shares, decoder) => {
                let decoder = decoder.get_or_init(|| Decoder::new(shares));
                let coded = reader.take(reader.remaining(), "a page")?;
                decoder.decode(coded, out, |number| each(unzigzag(number).wrapping_add(*center)))?;
            }
        }
        Ok(())
    }
}

const UNKNOWN: Malformed = Malformed::Invalid("a stream has a form that this version does not know");

/// Turns residuals, which lie at the end of `values`, into values, part by part.
fn sum(
    values: &mut [i64],
    firsts: &[i64],
    parts: impl Iterator<Item = std::ops::Range<usize>>,
    add: impl Fn(i64, i64, i64) -> (i64, i64),
) {
    let (mut from, mut to) = (firsts.len(), 0);
    for (&first, part) in firsts.iter().zip(parts) {
        let (mut value, mut last) = (first, 0);
        if let Some(place) = values.get_mut(to) {
            *place = first;
        }
        to += 1;
        for _ in 1..part.len() {
            let Some(&residual) = values.get(from) else { return };
            (value, last) = add(value, last, residual);
            if let Some(place) = values.get_mut(to) {
                *place = value;
            }
            (from, to) = (from + 1, to + 1);
        }
    }
}

#[cfg(test)]
mod tests;
