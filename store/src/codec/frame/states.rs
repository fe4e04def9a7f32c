//! The states of windows: how many each has, then all of them in order.
//!
//! ```text
//! states = numbers  values  counts  unit  held
//! numbers = integer column of the windows: how many states follow for it, 0–16, or 17: too many
//! values = length  column         booleans and texts, ascending within a window
//! counts = integer column         how many samples
//! unit   = u8                     of time, as in `codec::segment`
//! held   = integer column         how long
//! ```
//!
//! The columns after `numbers` have an entry for each state and are one run; they are missing where there is none.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::bytes::{Malformed, Reader, put_length};
use crate::codec::column::integer::{self, Integers, ONE_RUN, Starts};
use crate::codec::column::{self, Extent, Input, Kinds, Scratch, Values};
use crate::model::{Value, ValueKind};
use crate::rollup::{STATES_MAX, State, StateSpan, States, WindowState};

use super::COUNT_MAX;
use super::encode::{put_unit, unit_of};

const TOO_MANY: usize = STATES_MAX + 1;

/// Most states in a frame, over all its windows.
const ENTRIES_MAX: usize = 1 << 18;

const WHAT: &str = "states";

/// Appends the states of windows; nothing where there are none.
pub(super) fn encode(windows: &[&WindowState], starts: Starts<'_>, scratch: &mut Scratch, out: &mut Vec<u8>) {
    let states = windows.iter().map(|window| window.interior.states());
    if states.clone().all(|states| states.is_none()) {
        return;
    }
    let as_integer = |number| i64::try_from(number).unwrap_or(i64::MAX);
    let numbers: Vec<i64> = states
        .map(|spans| spans.map_or(0, |spans| spans.map_or(TOO_MANY, <[StateSpan]>::len)))
        .map(as_integer)
        .collect();
    integer::encode(&numbers, starts, &mut Vec::new(), out);
    let entries: Vec<&StateSpan> =
        windows.iter().filter_map(|window| window.interior.states()?.ok()).flatten().collect();
    if entries.is_empty() {
        return;
    }
    let mut column = Vec::new();
    put_values(&entries, scratch, &mut column);
    put_length(out, column.len());
    out.extend_from_slice(&column);
    let counts: Vec<i64> = entries.iter().map(|span| span.count.cast_signed()).collect();
    integer::encode(&counts, ONE_RUN, &mut Vec::new(), out);
    let held: Vec<i64> =
        entries.iter().map(|span| i64::try_from(span.held.as_nanos()).unwrap_or(i64::MAX)).collect();
    put_unit(&held, ONE_RUN, out);
}

fn put_values(entries: &[&StateSpan], scratch: &mut Scratch, out: &mut Vec<u8>) {
    let mut texts: Vec<Arc<str>> = Vec::new();
    let mut kinds = Vec::with_capacity(entries.len());
    let mut raw = Vec::with_capacity(entries.len());
    for span in entries {
        match &span.state {
            State::Bool(truth) => {
                kinds.push(ValueKind::Bool);
                raw.push(i64::from(*truth));
            }
            State::Text(text) => {
                kinds.push(ValueKind::Text);
                raw.push(i64::try_from(texts.len()).unwrap_or(i64::MAX));
                texts.push(Arc::clone(text));
            }
        }
    }
    let kinds = Kinds::Each(&kinds);
    column::encode(Input { raw: &raw, kinds, texts: &texts, starts: ONE_RUN }, scratch, out);
}

/// The states of the wanted windows, of a column that is not empty; `None` where a window has none.
pub(super) fn decode(bytes: &[u8], extent: &Extent<'_>) -> Result<Vec<Option<Box<States>>>, Malformed> {
    let mut reader = Reader::new(bytes);
    let mut numbers = Vec::new();
    let column = Integers::parse(extent.values, extent.starts.len(), &mut reader)?;
    column.decode(0..extent.values, extent.starts, &mut numbers);
    let mut ends = Vec::with_capacity(numbers.len());
    let mut entries = 0_usize;
    for number in &numbers {
        let number = usize::try_from(*number).ok().filter(|number| *number <= TOO_MANY);
        let number = number.ok_or(Malformed::Invalid("a window has more states than can be"))?;
        entries += if number == TOO_MANY { 0 } else { number };
        ends.push(entries);
    }
    if entries > ENTRIES_MAX {
        return Err(Malformed::Invalid("a frame has more states than can be"));
    }
    let end_of = |at: Option<usize>| at.and_then(|at| ends.get(at)).copied().unwrap_or(0);
    let place = end_of(extent.wanted.start.checked_sub(1))..end_of(extent.wanted.end.checked_sub(1));
    let mut before = place.start;
    let mut spans = parse_spans(entries, place, &mut reader)?.into_iter();
    let wanted = numbers.iter().zip(&ends).take(extent.wanted.end).skip(extent.wanted.start);
    let too_many = i64::try_from(TOO_MANY).unwrap_or(i64::MAX);
    let states = wanted.map(|(number, end)| {
        let own: Vec<StateSpan> = spans.by_ref().take(end - before).collect();
        before = *end;
        Ok(match *number {
            0 => None,
            number if number == too_many => Some(Box::new(States::TOO_MANY)),
            _ => Some(Box::new(States::new(own).ok_or(Malformed::Invalid("states do not ascend"))?)),
        })
    });
    states.collect()
}

/// The entries at `wanted`, of all.
fn parse_spans(
    entries: usize,
    wanted: Range<usize>,
    reader: &mut Reader<'_>,
) -> Result<Vec<StateSpan>, Malformed> {
    if entries == 0 {
        return Ok(Vec::new());
    }
    let length = reader.length(WHAT)?;
    let all = Extent { values: entries, starts: ONE_RUN, wanted: wanted.clone() };
    let values: Values = column::decode(reader.take(length, WHAT)?, &all)?;
    let (mut counts, mut held) = (Vec::new(), Vec::new());
    Integers::parse(entries, 1, reader)?.decode(wanted.clone(), ONE_RUN, &mut counts);
    let unit = unit_of(reader.byte(WHAT)?)?;
    Integers::parse(entries, 1, reader)?.decode(wanted, ONE_RUN, &mut held);
    let span = |((value, count), held): ((Value, i64), i64)| {
        let held = u64::try_from(held).ok()?.checked_mul(unit.unsigned_abs())?;
        Some(StateSpan {
            state: State::of(&value)?,
            count: u64::try_from(count).ok().filter(|count| *count <= COUNT_MAX)?,
            held: Duration::from_nanos(held),
        })
    };
    let spans: Option<Vec<StateSpan>> = values.iter().zip(counts).zip(held).map(span).collect();
    spans.ok_or(Malformed::Invalid("a state has a value, a count or a time that no state has"))
}
