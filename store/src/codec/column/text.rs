//! Texts: a dictionary where they repeat, else their lengths and all their bytes.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::codec::bits;
use crate::codec::bytes::{Malformed, Reader, put_length};
use crate::codec::convert::{index, position};

use super::integer::{self, Integers, ONE_RUN};
use super::{DICTIONARY, Extent, Scratch, TEXTS, Values};

const WHAT: &str = "texts";

pub(super) fn encode(raw: &[i64], texts: &[Arc<str>], scratch: &mut Scratch, out: &mut Vec<u8>) {
    let texts: Vec<&str> = raw
        .iter()
        .map(|&at| usize::try_from(at).ok().and_then(|at| texts.get(at)).map_or("", |text| &**text))
        .collect();
    let mut entries = Vec::new();
    let mut known = HashMap::new();
    let positions: Vec<i64> = texts
        .iter()
        .map(|&text| {
            let entry = known.entry(text).or_insert_with(|| {
                entries.push(text);
                position(entries.len() - 1)
            });
            i64::from(*entry)
        })
        .collect();
    let width = index(bits::width(u64::try_from(entries.len()).unwrap_or(u64::MAX)));
    if bytes_of(&entries) + texts.len() * width / 8 + DICTIONARY_BYTES < bytes_of(&texts) {
        out.push(DICTIONARY);
        put_length(out, entries.len());
        put_texts(&entries, scratch, out);
        integer::encode(&positions, ONE_RUN, &mut scratch.steps, out);
    } else {
        out.push(TEXTS);
        put_texts(&texts, scratch, out);
    }
}

/// About what a dictionary costs besides its entries and positions.
const DICTIONARY_BYTES: usize = 4;

/// About what texts take.
fn bytes_of(texts: &[&str]) -> usize {
    texts.iter().map(|text| text.len() + 1).sum()
}

fn put_texts(texts: &[&str], scratch: &mut Scratch, out: &mut Vec<u8>) {
    let lengths: Vec<_> = texts.iter().map(|text| i64::from(position(text.len()))).collect();
    integer::encode(&lengths, ONE_RUN, &mut scratch.steps, out);
    for text in texts {
        out.extend_from_slice(text.as_bytes());
    }
}

pub(super) fn decode(reader: &mut Reader<'_>, extent: &Extent<'_>) -> Result<Values, Malformed> {
    let texts = take_texts(extent.values, reader)?;
    let wanted = texts.get(extent.wanted.clone()).unwrap_or_default();
    // Texts without bytes can be many in few bytes: neighbours share their memory (I6).
    let mut last: Arc<str> = Arc::from("");
    let mut shared = |text: &&str| {
        if *last != **text {
            last = Arc::from(*text);
        }
        Arc::clone(&last)
    };
    Ok(Values::Text(wanted.iter().map(&mut shared).collect()))
}

pub(super) fn decode_dictionary(reader: &mut Reader<'_>, extent: &Extent<'_>) -> Result<Values, Malformed> {
    let count = reader.length(WHAT)?;
    if count > extent.values || count > reader.remaining() {
        return Err(Malformed::Invalid("a dictionary has more texts than can be"));
    }
    let entries: Vec<Arc<str>> = take_texts(count, reader)?.into_iter().map(Arc::from).collect();
    let whole = Extent { starts: ONE_RUN, ..extent.clone() };
    let positions = super::integers(reader, &whole)?;
    let text = |&at: &i64| usize::try_from(at).ok().and_then(|at| entries.get(at)).map(Arc::clone);
    let texts: Option<Vec<_>> = positions.iter().map(text).collect();
    texts.map(Values::Text).ok_or(Malformed::Invalid("a text is not in its dictionary"))
}

/// The next `count` texts, which is bounded by what the caller allows for a column.
fn take_texts<'a>(count: usize, reader: &mut Reader<'a>) -> Result<Vec<&'a str>, Malformed> {
    let mut lengths = Vec::new();
    Integers::parse(count, 1, reader)?.decode(0..count, ONE_RUN, &mut lengths);
    lengths
        .into_iter()
        .map(|length| {
            let length = usize::try_from(length).map_err(|_| Malformed::Truncated(WHAT))?;
            std::str::from_utf8(reader.take(length, WHAT)?)
                .map_err(|_| Malformed::Invalid("a text is not UTF-8"))
        })
        .collect()
}
