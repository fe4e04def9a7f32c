//! The quantile sketches of windows.
//!
//! ```text
//! sketches = kinds  zeros  below  above  negative  positive
//! kinds    = integer column of the windows: 1 where a sketch is kept
//! zeros below above = integer columns of the windows: zeros, negative and positive infinities
//! negative positive = lengths  firsts  counts
//! lengths  = integer column of the windows: how many bins; firsts: the same: magnitude of the first of them
//! counts   = integer column of all bins in order
//! ```
//!
//! Each integer column is preceded by its length in bytes; length 0 means zeros.

use std::ops::Range;

use crate::codec::bytes::{Malformed, Reader, put_length};
use crate::codec::column::Extent;
use crate::codec::column::integer::{self, Integers, ONE_RUN, Starts};
use crate::rollup::{Bins, Sketch, WindowState};

use super::COUNT_MAX;

/// Most bins in a frame, over all its windows.
const BINS_MAX: usize = 1 << 20;

const WHAT: &str = "sketches";
const WRONG: Malformed = Malformed::Invalid("a sketch has bins or counts that no sketch has");

fn put(values: &[i64], starts: Starts<'_>, out: &mut Vec<u8>) {
    let mut column = Vec::new();
    if values.iter().any(|value| *value != 0) {
        integer::encode(values, starts, &mut Vec::new(), &mut column);
    }
    put_length(out, column.len());
    out.extend_from_slice(&column);
}

/// Appends the sketches of windows; nothing where there are none.
pub(super) fn encode(windows: &[&WindowState], starts: Starts<'_>, out: &mut Vec<u8>) {
    let sketches: Vec<Option<&Sketch>> = windows.iter().map(|window| window.interior.sketch()).collect();
    if sketches.iter().all(Option::is_none) {
        return;
    }
    let mut put_each = |of: &dyn Fn(&Sketch) -> i64| {
        let values: Vec<i64> = sketches.iter().map(|sketch| sketch.map_or(0, of)).collect();
        put(&values, starts, out);
    };
    put_each(&|_| 1);
    put_each(&|sketch| sketch.zeros.cast_signed());
    put_each(&|sketch| sketch.infinite[0].cast_signed());
    put_each(&|sketch| sketch.infinite[1].cast_signed());
    let negative: Vec<_> = sketches.iter().map(|sketch| sketch.map(|sketch| &sketch.negative)).collect();
    let positive: Vec<_> = sketches.iter().map(|sketch| sketch.map(|sketch| &sketch.positive)).collect();
    put_bins(&negative, starts, out);
    put_bins(&positive, starts, out);
}

fn put_bins(bins: &[Option<&Bins>], starts: Starts<'_>, out: &mut Vec<u8>) {
    let lengths =
        bins.iter().map(|bins| bins.map_or(0, |bins| i64::try_from(bins.counts().len()).unwrap_or(0)));
    put(&lengths.collect::<Vec<_>>(), starts, out);
    put(&bins.iter().map(|bins| bins.map_or(0, |bins| bins.first().into())).collect::<Vec<_>>(), starts, out);
    let counts = bins.iter().flatten().flat_map(|bins| bins.counts()).map(|count| count.cast_signed());
    put(&counts.collect::<Vec<_>>(), ONE_RUN, out);
}

fn take(n: usize, starts: Starts<'_>, reader: &mut Reader<'_>) -> Result<Vec<i64>, Malformed> {
    take_at(n, 0..n, starts, reader)
}

fn take_at(
    n: usize,
    wanted: Range<usize>,
    starts: Starts<'_>,
    reader: &mut Reader<'_>,
) -> Result<Vec<i64>, Malformed> {
    let length = reader.length(WHAT)?;
    let mut reader = Reader::new(reader.take(length, WHAT)?);
    if length == 0 {
        return Ok(vec![0; wanted.len()]);
    }
    let mut values = Vec::new();
    Integers::parse(n, starts.len(), &mut reader)?.decode(wanted, starts, &mut values);
    if reader.remaining() > 0 { Err(WRONG) } else { Ok(values) }
}

fn count(value: i64) -> Result<u64, Malformed> {
    u64::try_from(value).ok().filter(|count| *count <= COUNT_MAX).ok_or(WRONG)
}

/// The sketches of the wanted windows, of a column that is not empty.
pub(super) fn decode(bytes: &[u8], extent: &Extent<'_>) -> Result<Vec<Option<Box<Sketch>>>, Malformed> {
    let mut reader = Reader::new(bytes);
    let mut of_windows = || take(extent.values, extent.starts, &mut reader);
    let [kinds, zeros, below, above] = [of_windows()?, of_windows()?, of_windows()?, of_windows()?];
    let negative = take_bins(extent, &mut reader)?;
    let positive = take_bins(extent, &mut reader)?;
    let wanted = |values: &[i64]| values.get(extent.wanted.clone()).unwrap_or_default().to_vec();
    let numbers = wanted(&kinds).into_iter().zip(wanted(&zeros)).zip(wanted(&below)).zip(wanted(&above));
    let mut sketches = Vec::with_capacity(extent.wanted.len());
    for ((((kind, zeros), below), above), (negative, positive)) in
        numbers.zip(negative.into_iter().zip(positive))
    {
        let infinite = [count(below)?, count(above)?];
        let sketch = Sketch { negative, zeros: count(zeros)?, positive, infinite };
        sketches.push((kind != 0).then(|| Box::new(sketch)));
    }
    Ok(sketches)
}

fn take_bins(extent: &Extent<'_>, reader: &mut Reader<'_>) -> Result<Vec<Bins>, Malformed> {
    let lengths = take(extent.values, extent.starts, reader)?;
    let firsts = take(extent.values, extent.starts, reader)?;
    let mut total = 0_usize;
    let mut places: Vec<Range<usize>> = Vec::with_capacity(lengths.len());
    for length in lengths {
        let length = usize::try_from(length).ok().filter(|length| *length <= BINS_MAX).ok_or(WRONG)?;
        places.push(total..total + length);
        total += length;
        if total > BINS_MAX {
            return Err(WRONG);
        }
    }
    let wanted = places.get(extent.wanted.clone()).unwrap_or_default();
    let all = wanted.first().map_or(0, |first| first.start)..wanted.last().map_or(0, |last| last.end);
    let counts = take_at(total, all.clone(), ONE_RUN, reader)?;
    let mut bins = Vec::with_capacity(wanted.len());
    for (place, first) in wanted.iter().zip(firsts.into_iter().skip(extent.wanted.start)) {
        let own = counts.get(place.start - all.start..place.end - all.start).unwrap_or_default();
        let own: Vec<u64> = own.iter().map(|value| count(*value)).collect::<Result<_, _>>()?;
        let first = i32::try_from(first).map_err(|_| WRONG)?;
        bins.push(Bins::new(first, own).ok_or(WRONG)?);
    }
    Ok(bins)
}
