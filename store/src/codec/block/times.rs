//! Times of a column: on a grid where devices measure at regular steps, late by a little each.
//!
//! ```text
//! times = unit  step  slots: stream  rests: stream      unit: u8, 0 ns, 1 µs, 2 ms, 3 s; step: varint, in units
//! page  = firsts  length  slots  rests                  firsts: integer column, of each part of a run the first
//!                                                       time, in units; length: varint, the bytes of the slots
//! ```
//!
//! Each time of a part is `base + step * slot + rest`: a slot is told as its distance from the one before it (1 for
//! the first, which stands in slot 0), the base is the first time less the first rest. At exact steps slots are
//! all 1 and rests all 0, and neither takes a byte. Where the step is 0, rests are all there is.

use crate::codec::Even;
use crate::codec::bits;
use crate::codec::bytes::{Malformed, Reader, put_length, put_varint, zigzag};
use crate::codec::column::integer::{self, Integers, ONE_RUN};
use crate::codec::convert::position;
use crate::model::Timestamp;

use super::cuts::{Cuts, Page};
use super::stream::{StreamReader, StreamWriter};

/// Nanoseconds in each unit of time, by its number.
const UNITS: [i64; 4] = [1, 1_000, 1_000_000, 1_000_000_000];

/// Times on their way into bytes. Memory that is used again.
#[derive(Debug, Default)]
pub(super) struct TimesWriter {
    times: Vec<i64>,
    slots: Vec<i64>,
    rests: Vec<i64>,
    slot_stream: StreamWriter,
    rest_stream: StreamWriter,
    scratch: Vec<i64>,
    bytes: Vec<u8>,
}

impl TimesWriter {
    /// Appends what all pages of these times, in nanoseconds, have in common.
    pub(super) fn begin(&mut self, nanos: &[i64], cuts: &Cuts, out: &mut Vec<u8>) {
        let (unit, number) = unit(nanos);
        self.times.clear();
        match unit {
            1 => self.times.extend_from_slice(nanos),
            // Divisions by constants are several times faster.
            1_000_000 => self.times.extend(nanos.iter().map(|time| time / 1_000_000)),
            _ => self.times.extend(nanos.iter().map(|time| time / unit)),
        }
        let step = choose_step(&self.times, cuts, unit);
        self.slots.clear();
        self.rests.clear();
        for page in cuts.pages() {
            for part in cuts.parts(page) {
                let part = self.times.get(part).unwrap_or_default();
                lay(part, step, &mut self.slots, &mut self.rests);
            }
        }
        out.push(number);
        put_varint(out, step.cast_unsigned());
        self.slot_stream.begin(&self.slots, cuts, out);
        self.rest_stream.begin(&self.rests, cuts, out);
    }

    /// Appends a page.
    pub(super) fn put_page(&mut self, at: usize, cuts: &Cuts, out: &mut Vec<u8>) {
        let Some(page) = cuts.pages().get(at) else { return };
        self.scratch.clear();
        self.scratch.extend(cuts.parts(page).filter_map(|part| self.times.get(part.start)));
        integer::encode(&self.scratch, ONE_RUN, &mut Vec::new(), out);
        self.bytes.clear();
        self.slot_stream.put_page(at, &self.slots, cuts, &mut self.bytes);
        put_length(out, self.bytes.len());
        out.extend_from_slice(&self.bytes);
        self.rest_stream.put_page(at, &self.rests, cuts, out);
    }
}

/// The coarsest unit that all times are whole numbers of, and its number.
fn unit(nanos: &[i64]) -> (i64, u8) {
    let mut units = UNITS.into_iter().rev().zip((0..4).rev());
    let mut coarsest = units.next().unwrap_or((1, 0));
    for time in nanos {
        while time % coarsest.0 != 0 {
            coarsest = units.next().unwrap_or((1, 0));
        }
    }
    coarsest
}

/// Appends the slots and rests of the times of one part.
fn lay(part: &[i64], step: i64, slots: &mut Vec<i64>, rests: &mut Vec<i64>) {
    let start = rests.len();
    let base = part.first().copied().unwrap_or(0);
    let mut at = base.wrapping_sub(step);
    let mut least = i64::MAX;
    for &time in part {
        let slot = slot(time.wrapping_sub(at), step);
        at = at.wrapping_add(step.wrapping_mul(slot));
        slots.push(slot);
        let rest = time.wrapping_sub(at);
        least = least.min(rest);
        rests.push(rest);
    }
    rests.iter_mut().skip(start).for_each(|rest| *rest = rest.wrapping_sub(least));
}

/// How many slots on a time lies, to the nearest.
const fn slot(distance: i64, step: i64) -> i64 {
    let half = step / 2;
    if step == 0 || distance >= half && distance - step <= half {
        1
    } else if distance > i64::MAX / 2 || distance < 0 {
        0
    } else {
        (distance + half) / step
    }
}

/// Points of a part, and parts, that are looked at to choose a step: enough that a step that is a little wrong adds up.
const SAMPLE: usize = 128;
const SAMPLE_PARTS: usize = 4;

/// Devices measure at whole numbers of these, nanoseconds.
const ROUND: [i64; 8] = [
    10_000_000,
    100_000_000,
    1_000_000_000,
    5_000_000_000,
    10_000_000_000,
    60_000_000_000,
    300_000_000_000,
    3_600_000_000_000,
];

/// The step, in units, that leaves the smallest rests in a sample; 0 where plain differences are smaller.
fn choose_step(times: &[i64], cuts: &Cuts, unit: i64) -> i64 {
    let stride = cuts.pages().len().div_ceil(SAMPLE_PARTS).max(1);
    let pages = cuts.pages().iter().step_by(stride);
    let parts = pages.flat_map(|page| cuts.parts(page).take(2)).take(SAMPLE_PARTS);
    let sample: Vec<&[i64]> =
        parts.filter_map(|part| times.get(part)).map(|part| part.get(..SAMPLE).unwrap_or(part)).collect();
    let mut differences: Vec<i64> = sample
        .iter()
        .flat_map(|part| part.iter().zip(part.iter().skip(1)).map(|(a, b)| b.wrapping_sub(*a)))
        .collect();
    if differences.is_empty() {
        return 0;
    }
    let middle = differences.len() / 2;
    let (_, &mut median, _) = differences.select_nth_unstable(middle);
    if median <= 0 || differences.iter().all(|&difference| difference == median) {
        return median.max(0);
    }
    let plain = spread(&mut differences) + u64::from(position(differences.len()));
    let rounded = ROUND.iter().filter_map(|round| {
        let round = round / unit;
        let step = median.checked_add(round / 2)?.checked_div(round)? * round;
        (step > 0 && step.abs_diff(median) <= median.unsigned_abs() / 8).then_some(step)
    });
    let cost = |step| (cost(&sample, step), step);
    let (least, step) = rounded.chain([median]).map(cost).min().unwrap_or((u64::MAX, 0));
    if least <= plain { step } else { 0 }
}

/// About how many bits a sample takes on a grid of a step.
fn cost(sample: &[&[i64]], step: i64) -> u64 {
    let (mut slots, mut rests) = (Vec::new(), Vec::new());
    for part in sample {
        lay(part, step, &mut slots, &mut rests);
    }
    let odd_slots = slots.iter().filter(|&&slot| slot != 1).count();
    spread(&mut rests) + 8 * u64::from(position(odd_slots))
}

/// About how many bits numbers take that are told by their distance from the median.
fn spread(numbers: &mut [i64]) -> u64 {
    let middle = numbers.len() / 2;
    let (_, &mut median, _) = numbers.select_nth_unstable(middle);
    numbers.iter().map(|number| u64::from(bits::width(zigzag(number.wrapping_sub(median))))).sum()
}

/// What the pages of times have in common.
#[derive(Debug)]
pub(super) struct TimesReader {
    unit: i64,
    step: i64,
    slots: StreamReader,
    rests: StreamReader,
}

impl TimesReader {
    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let unit = UNITS.get(usize::from(reader.byte("the unit of time")?)).copied();
        let unit = unit.ok_or(Malformed::Invalid("it has a unit of time that this version does not know"))?;
        let step = reader.varint("times")?.cast_signed();
        Ok(Self { unit, step, slots: StreamReader::parse(reader)?, rests: StreamReader::parse(reader)? })
    }

    /// The first time of a page.
    pub(super) fn first(&self, page: &Page, cuts: &Cuts, bytes: &[u8]) -> Result<Timestamp, Malformed> {
        let mut first = Vec::new();
        let parts = cuts.parts(page).len();
        Integers::parse(parts, 1, &mut Reader::new(bytes))?.decode(0..1, ONE_RUN, &mut first);
        self.timestamp(first.first().copied().unwrap_or(0))
    }

    fn timestamp(&self, time: i64) -> Result<Timestamp, Malformed> {
        let nanos = time.checked_mul(self.unit);
        nanos.and_then(|nanos| Timestamp::from_nanos(nanos).ok()).ok_or(OUT_OF_RANGE)
    }

    /// The step in nanoseconds at which all times of a part follow each other, where it is one.
    pub(super) fn even_step(&self) -> Option<i64> {
        let is_exact = self.slots.constant() == Some(1) && self.rests.constant() == Some(0);
        self.step.checked_mul(self.unit).filter(|step| is_exact && *step > 0)
    }

    /// The times of a page of one part, where [`TimesReader::even_step`] is `step`.
    pub(super) fn even(&self, page: &Page, step: i64, bytes: &[u8]) -> Result<Even, Malformed> {
        let mut reader = Reader::new(bytes);
        let first = self.timestamp(reader.varint_signed("a page of times")?)?;
        if reader.length("a page of times")? + reader.remaining() > 0 {
            return Err(GOES_ON);
        }
        Even::new(first.nanos(), step, page.values.len()).ok_or(OUT_OF_RANGE)
    }

    /// The times of a page; they ascend strictly within each part.
    pub(super) fn page(&self, page: &Page, cuts: &Cuts, bytes: &[u8]) -> Result<Box<[Timestamp]>, Malformed> {
        let mut reader = Reader::new(bytes);
        let (mut firsts, n) = (Vec::new(), page.values.len());
        let (mut slots, mut rests) = (vec![0; n], vec![0; n]);
        let parts = cuts.parts(page).len();
        Integers::parse(parts, 1, &mut reader)?.decode(0..parts, ONE_RUN, &mut firsts);
        let length = reader.length("a page of times")?;
        let mut of_slots = Reader::new(reader.take(length, "a page of times")?);
        self.slots.page(page, cuts, &mut of_slots, &mut slots)?;
        self.rests.page(page, cuts, &mut reader, &mut rests)?;
        if of_slots.remaining() + reader.remaining() > 0 {
            return Err(GOES_ON);
        }
        let mut times = Vec::with_capacity(n);
        let (mut slots, mut rests) = (slots.into_iter(), rests.into_iter().peekable());
        for (first, part) in firsts.into_iter().zip(cuts.parts(page)) {
            let mut at = first.wrapping_sub(rests.peek().copied().unwrap_or(0)).wrapping_sub(self.step);
            let start = times.len();
            for (slot, rest) in slots.by_ref().zip(rests.by_ref()).take(part.len()) {
                let slot = if times.len() == start { 1 } else { slot };
                at = at.wrapping_add(self.step.wrapping_mul(slot));
                times.push(self.timestamp(at.wrapping_add(rest))?);
            }
            if !times.get(start..).unwrap_or_default().is_sorted_by(|a, b| a < b) {
                return Err(NOT_ASCENDING);
            }
        }
        Ok(times.into_boxed_slice())
    }
}

const GOES_ON: Malformed = Malformed::Invalid("a page of times goes on after them");
const OUT_OF_RANGE: Malformed = Malformed::Invalid("a time is out of range");
pub(super) const NOT_ASCENDING: Malformed = Malformed::Invalid("times of a series do not ascend");

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers from 0 to below `end`, none of them easy to guess.
    fn random(n: usize, end: u64) -> impl Iterator<Item = i64> {
        let mut state = 7_u64;
        let next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            i64::try_from((state >> 33) % end).unwrap()
        };
        std::iter::repeat_with(next).take(n)
    }

    /// Bytes that times in milliseconds take, which must come back.
    fn bytes(millis: &[i64]) -> usize {
        let nanos: Vec<_> = millis.iter().map(|time| (1_700_000_000_000 + time) * 1_000_000).collect();
        let cuts = Cuts::of([nanos.len()].into_iter());
        let (mut writer, mut head) = (TimesWriter::default(), Vec::new());
        writer.begin(&nanos, &cuts, &mut head);
        let reader = TimesReader::parse(&mut Reader::new(&head)).unwrap();
        let mut taken = head.len();
        for (at, cut) in cuts.pages().iter().enumerate() {
            let mut page = Vec::new();
            writer.put_page(at, &cuts, &mut page);
            let back = reader.page(cut, &cuts, &page).unwrap();
            assert!(back.iter().map(|time| time.nanos()).eq(nanos[cut.values.clone()].iter().copied()));
            assert_eq!(reader.first(cut, &cuts, &page), Ok(back[0]));
            taken += page.len();
        }
        taken
    }

    #[test]
    fn exact_steps_take_a_few_bytes_a_page() {
        assert!(bytes(&(0..8192).map(|n| n * 10_000).collect::<Vec<_>>()) < 10 * 8 + 20);
    }

    #[test]
    fn being_late_by_up_to_200_ms_takes_less_than_a_byte() {
        let late: Vec<_> = (0..8640).zip(random(8640, 200)).map(|(n, late)| n * 10_000 + late).collect();
        assert!(bytes(&late) < 8640 * 99 / 100, "{} bytes", bytes(&late));
    }

    #[test]
    fn messages_that_are_missing_do_not_make_the_others_expensive() {
        let slots = (0..8640).zip(random(8640, 20)).filter(|(_, n)| *n > 0).map(|(slot, _)| slot);
        let late: Vec<_> = slots.zip(random(8640, 200)).map(|(n, late)| n * 10_000 + late).collect();
        assert!(bytes(&late) < late.len() * 103 / 100, "{} bytes of {}", bytes(&late), late.len());
    }

    #[test]
    fn a_clock_that_drifts_takes_no_more_than_its_differences() {
        let drifting: Vec<_> = (0..8640).zip(random(8640, 4)).map(|(n, late)| n * 10_003 + late).collect();
        assert!(bytes(&drifting) < 8640 * 45 / 100, "{} bytes", bytes(&drifting));
    }
}
