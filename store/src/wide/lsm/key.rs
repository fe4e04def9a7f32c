//! Keys as bytes, in the order of [`Key`]: the order of the bytes is the order of the keys.
//!
//! A row's key is the parts of its partition key, then those of its clustering key, each self-delimiting:
//!
//! | part | bytes |
//! |---|---|
//! | `Int`, `Instant` | 8, big endian, sign bit flipped |
//! | `Uuid` | 16, big endian |
//! | `Text`, `Blob` | each `00` as `00 FF`, the rest as is, then `00 00` |
//!
//! No part is a prefix of another, so a leading part of a key is a prefix of exactly the keys that begin with it,
//! and bounds of any length become one half-open range of bytes. Part of the format on disk: golden-tested.

use std::ops::Bound;

use super::super::{Bounds, Column, ColumnType, Datum, Key};

/// Longest key that the tree takes, in bytes.
pub(super) const BYTES_MAX: usize = 65_535;

const SIGN: u64 = 1 << 63;
const ESCAPE: u8 = 0x00;
const ESCAPED: u8 = 0xFF;

/// A half-open range of keys; without an end it reaches to the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyRange {
    /// First key within.
    pub(super) start: Vec<u8>,
    /// First key beyond.
    pub(super) end: Option<Vec<u8>>,
}

/// Bytes that are no key of the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its key is damaged at byte {0}")]
pub(super) struct Damaged(usize);

/// The key of a row, or of a partition where `clustering` is empty.
pub(super) fn encode(partition: &Key, clustering: &Key) -> Vec<u8> {
    let parts = partition.parts().iter().chain(clustering.parts());
    let mut bytes = Vec::with_capacity(partition.size_bytes() + clustering.size_bytes() + 8);
    parts.for_each(|part| encode_part(part, &mut bytes));
    bytes
}

fn encode_part(part: &Datum, into: &mut Vec<u8>) {
    match part {
        Datum::Int(number) | Datum::Instant(number) => {
            into.extend_from_slice(&(number.cast_unsigned() ^ SIGN).to_be_bytes());
        }
        Datum::Uuid(bits) => into.extend_from_slice(&bits.to_be_bytes()),
        Datum::Text(text) => encode_bytes(text.as_bytes(), into),
        Datum::Blob(bytes) => encode_bytes(bytes, into),
    }
}

fn encode_bytes(bytes: &[u8], into: &mut Vec<u8>) {
    for &byte in bytes {
        into.push(byte);
        if byte == ESCAPE {
            into.push(ESCAPED);
        }
    }
    into.extend_from_slice(&[ESCAPE, ESCAPE]);
}

/// The clustering key of `columns` that stands in `bytes` from `at` on.
pub(super) fn decode(columns: &[Column], bytes: &[u8], mut at: usize) -> Result<Key, Damaged> {
    let mut parts = Vec::with_capacity(columns.len());
    for column in columns {
        let rest = bytes.get(at..).ok_or(Damaged(at))?;
        let (part, taken) = decode_part(column.kind, rest).ok_or(Damaged(at))?;
        parts.push(part);
        at += taken;
    }
    if at == bytes.len() { Ok(Key::new(parts)) } else { Err(Damaged(at)) }
}

fn decode_part(kind: ColumnType, bytes: &[u8]) -> Option<(Datum, usize)> {
    let number = || bytes.first_chunk().map(|chunk| (u64::from_be_bytes(*chunk) ^ SIGN).cast_signed());
    match kind {
        ColumnType::Int => Some((Datum::Int(number()?), 8)),
        ColumnType::Instant => Some((Datum::Instant(number()?), 8)),
        ColumnType::Uuid => Some((Datum::Uuid(u128::from_be_bytes(*bytes.first_chunk()?)), 16)),
        ColumnType::Text => {
            let (text, taken) = decode_bytes(bytes)?;
            Some((Datum::Text(String::from_utf8(text).ok()?), taken))
        }
        ColumnType::Blob => {
            let (blob, taken) = decode_bytes(bytes)?;
            Some((Datum::Blob(blob.into()), taken))
        }
    }
}

fn decode_bytes(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut plain = Vec::new();
    let mut rest = bytes.iter().enumerate();
    while let Some((at, &byte)) = rest.next() {
        if byte == ESCAPE {
            match *rest.next()?.1 {
                ESCAPE => return Some((plain, at + 2)),
                ESCAPED => plain.push(ESCAPE),
                _ => return None,
            }
        } else {
            plain.push(byte);
        }
    }
    None
}

/// The keys of a partition within `bounds`, or `None` where none can be.
pub(super) fn range(partition: &Key, bounds: &Bounds) -> Option<KeyRange> {
    let start = match &bounds.start {
        Bound::Unbounded => encode(partition, &Key::default()),
        Bound::Included(start) => encode(partition, start),
        Bound::Excluded(start) => beyond(encode(partition, start))?,
    };
    let end = match &bounds.end {
        Bound::Unbounded => beyond(encode(partition, &Key::default())),
        Bound::Included(end) => beyond(encode(partition, end)),
        Bound::Excluded(end) => Some(encode(partition, end)),
    };
    (end.as_ref().is_none_or(|end| start < *end)).then_some(KeyRange { start, end })
}

/// The lowest bytes above all that begin with `prefix`, where there are any.
fn beyond(mut prefix: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            return Some(prefix);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
    }

    #[test]
    fn keys_have_the_bytes_that_older_versions_wrote() {
        let partition = Key::from([Datum::Int(3), Datum::Instant(-1)]);
        let clustering = Key::from([Datum::Int(i64::MIN), Datum::Uuid(0x0102), Datum::Text("a\0é".into())]);
        let golden = "80000000000000037fffffffffffffff0000000000000000\
                      000000000000000000000000000001026100ffc3a90000";
        assert_eq!(hex(&encode(&partition, &clustering)), golden);
    }

    #[test]
    fn damaged_keys_are_refused_and_never_guessed() {
        let columns = [Column::new("a", ColumnType::Int), Column::new("b", ColumnType::Text)];
        let whole = encode(&Key::default(), &Key::from([Datum::Int(1), Datum::Text("x".into())]));
        assert!(decode(&columns, &whole, 0).is_ok());
        for cut in 0..whole.len() {
            assert!(decode(&columns, &whole[..cut], 0).is_err(), "cut at {cut}");
        }
        assert!(decode(&columns, &[whole.as_slice(), &[0]].concat(), 0).is_err());
        assert!(decode(&columns[1..], &[0, 1, 0, 0], 0).is_err(), "an unknown escape");
        assert!(decode(&columns[1..], &[0xC3, 0, 0], 0).is_err(), "not UTF-8");
        assert!(decode(&columns, &whole, whole.len() + 1).is_err());
    }

    #[test]
    fn the_last_partition_of_all_has_ranges_too() {
        let last = Key::from([Datum::Int(i64::MAX)]);
        assert_eq!(range(&last, &Bounds::ALL).map(|range| range.end), Some(None));
        let after = Bounds { start: Bound::Excluded([Datum::Int(i64::MAX)].into()), end: Bound::Unbounded };
        assert_eq!(range(&last, &after), None);
    }

    /// Few distinct values, so that equal parts and common prefixes are frequent.
    fn number() -> impl Strategy<Value = i64> {
        prop_oneof![
            Just(i64::MIN),
            Just(-1),
            Just(0),
            Just(1),
            Just(255),
            Just(256),
            Just(i64::MAX),
            any::<i64>()
        ]
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[a\0b\u{1}\u{ff}é]{0,4}", any::<String>()]
    }

    fn clustering() -> impl Strategy<Value = Key> {
        (number(), text(), any::<u128>(), number()).prop_map(|(int, text, uuid, instant)| {
            Key::from([Datum::Int(int), Datum::Text(text), Datum::Uuid(uuid), Datum::Instant(instant)])
        })
    }

    fn bound() -> impl Strategy<Value = Bound<Key>> {
        (clustering(), 1..=4_usize, 0..3).prop_map(|(key, parts, kind)| {
            let key = Key::new(key.parts()[..parts].to_vec());
            match kind {
                0 => Bound::Unbounded,
                1 => Bound::Included(key),
                _ => Bound::Excluded(key),
            }
        })
    }

    const COLUMNS: [Column; 4] = [
        Column::new("int", ColumnType::Int),
        Column::new("text", ColumnType::Text),
        Column::new("uuid", ColumnType::Uuid),
        Column::new("instant", ColumnType::Instant),
    ];

    proptest! {
        #[test]
        fn bytes_have_the_order_of_keys(a in clustering(), b in clustering()) {
            let partition = Key::from([Datum::Text("p".into())]);
            prop_assert_eq!(a.cmp(&b), encode(&partition, &a).cmp(&encode(&partition, &b)));
        }

        #[test]
        fn keys_come_back(key in clustering(), partition in text()) {
            let partition = Key::from([Datum::Text(partition)]);
            let bytes = encode(&partition, &key);
            let at = encode(&partition, &Key::default()).len();
            prop_assert_eq!(decode(&COLUMNS, &bytes, at), Ok(key));
        }

        #[test]
        fn ranges_hold_exactly_what_bounds_hold(
            key in clustering(), start in bound(), end in bound(), partition in number(), other in number(),
        ) {
            let bounds = Bounds { start, end };
            let range = range(&Key::from([Datum::Int(partition)]), &bounds);
            prop_assert!(!bounds.hold_nothing() || range.is_none());
            let bytes = encode(&Key::from([Datum::Int(other)]), &key);
            let within = range.is_some_and(|range| {
                range.start <= bytes && range.end.is_none_or(|end| bytes < end)
            });
            prop_assert_eq!(within, partition == other && bounds.contains(&key));
        }

        #[test]
        fn any_bytes_decode_to_a_key_that_encodes_to_them_or_are_refused(bytes in any::<Vec<u8>>()) {
            if let Ok(key) = decode(&COLUMNS, &bytes, 0) {
                prop_assert_eq!(encode(&Key::default(), &key), bytes);
            }
        }
    }
}
