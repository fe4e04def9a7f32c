//! Cursors: where the next page of a query starts, as an opaque text.
//!
//! A cursor is a position and a checksum over it and over the query that gave it, in hexadecimal; so one that was
//! changed, or comes with another query, is recognised. It holds no state of the server: pages go on where the
//! last one ended, whatever was written meanwhile, and any node can answer them.

use std::fmt::Write;

use tidemill_store::model::{Metric, SourceId, TimeRange, Timestamp};
use tidemill_store::read::Selector;

/// Longest position in bytes; a cursor that is longer is none of ours.
const POSITION_BYTES_MAX: usize = 1024;

/// A cursor that this query did not give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a cursor that this query gave; repeat the query as it was and take `next` from its answer")]
pub(super) struct InvalidCursor;

/// What a query is, as far as its cursors depend on it: a running hash (FNV-1a, 64 bits).
#[derive(Debug, Clone, Copy)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    /// Of a route and what it selects.
    pub(super) fn of(route: &str, selector: &Selector) -> Self {
        let mut hash = Self(0xcbf2_9ce4_8422_2325).with(route.as_bytes());
        hash = hash.with(selector.tenant.as_ref().map_or("", |tenant| tenant.as_str()).as_bytes());
        for device in &selector.devices {
            hash = hash.with(b"d").with(device.as_str().as_bytes());
        }
        for metric in &selector.metrics {
            hash = hash.with(b"m").with(metric.as_str().as_bytes());
        }
        hash
    }

    /// This one with more bytes, which end in a mark so that no two sequences run together.
    #[must_use]
    pub(super) fn with(self, bytes: &[u8]) -> Self {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Self(bytes.iter().chain(&[0]).fold(self.0, step))
    }

    /// A position as a cursor.
    pub(super) fn seal(self, position: &[u8]) -> String {
        let mut text = String::with_capacity(16 + 2 * position.len());
        for byte in self.with(position).0.to_be_bytes().iter().chain(position) {
            let written = write!(text, "{byte:02x}");
            assert!(written.is_ok(), "a string takes every write");
        }
        text
    }

    /// The position in a cursor that this query gave.
    pub(super) fn open(self, cursor: &str) -> Result<Vec<u8>, InvalidCursor> {
        let whole = cursor.len().is_multiple_of(2) && cursor.len() <= 2 * (8 + POSITION_BYTES_MAX);
        if !whole || !cursor.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(InvalidCursor);
        }
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = cursor.as_bytes().chunks(2).map(pair).collect();
        let bytes = bytes.ok_or(InvalidCursor)?;
        let (check, position) = bytes.split_first_chunk::<8>().ok_or(InvalidCursor)?;
        let genuine = u64::from_be_bytes(*check) == self.with(position).0;
        if genuine { Ok(position.to_vec()) } else { Err(InvalidCursor) }
    }
}

/// A sample's place among all samples of a query: by time, then by series.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) time: Timestamp,
    pub(super) source: SourceId,
    pub(super) metric: Metric,
}

/// Where the next page of samples starts: after a sample, in the range that the first page had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SamplesCursor {
    pub(super) range: TimeRange,
    pub(super) after: Position,
}

impl SamplesCursor {
    pub(super) fn seal(&self, query: Fingerprint) -> String {
        let mut position = Vec::with_capacity(40 + Metric::BYTES_MAX);
        for time in [self.range.start(), self.range.end(), self.after.time] {
            position.extend_from_slice(&time.nanos().to_be_bytes());
        }
        position.extend_from_slice(&self.after.source.get().to_be_bytes());
        position.extend_from_slice(self.after.metric.as_str().as_bytes());
        query.seal(&position)
    }

    /// From what [`Fingerprint::open`] gave.
    pub(super) fn read(position: &[u8]) -> Result<Self, InvalidCursor> {
        Self::parse(position).ok_or(InvalidCursor)
    }

    fn parse(position: &[u8]) -> Option<Self> {
        let time = |bytes: &[u8; 8]| Timestamp::from_nanos(i64::from_be_bytes(*bytes)).ok();
        let (start, rest) = position.split_first_chunk::<8>()?;
        let (end, rest) = rest.split_first_chunk::<8>()?;
        let (at, rest) = rest.split_first_chunk::<8>()?;
        let (source, metric) = rest.split_first_chunk::<16>()?;
        let range = TimeRange::new(time(start)?, time(end)?).ok()?;
        let metric = Metric::new(std::str::from_utf8(metric).ok()?).ok()?;
        let after = Position { time: time(at)?, source: SourceId::new(u128::from_be_bytes(*source)), metric };
        range.contains(after.time).then_some(Self { range, after })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidemill_store::model::Device;

    use super::*;

    fn open(text: &str, query: Fingerprint) -> Result<SamplesCursor, InvalidCursor> {
        SamplesCursor::read(&query.open(text)?)
    }

    fn query(device: &str) -> Fingerprint {
        let devices = vec![Device::new(device).unwrap()];
        Fingerprint::of("/v1/samples", &Selector { devices, ..Selector::default() })
    }

    fn cursor() -> SamplesCursor {
        let at = |nanos| Timestamp::from_nanos(nanos).unwrap();
        SamplesCursor {
            range: TimeRange::new(at(-5), at(7)).unwrap(),
            after: Position {
                time: at(6),
                source: SourceId::new(1 << 100),
                metric: Metric::new("tempé").unwrap(),
            },
        }
    }

    #[test]
    fn a_cursor_comes_back_only_to_the_query_that_gave_it() {
        let text = cursor().seal(query("a"));
        assert_eq!(open(&text, query("a")), Ok(cursor()));
        assert_eq!(open(&text, query("b")), Err(InvalidCursor));
        assert_eq!(open(&text, query("a").with(b"desc")), Err(InvalidCursor));
    }

    #[test]
    fn names_that_run_together_are_told_apart() {
        let hash = |devices: &[&str]| {
            let devices = devices.iter().map(|device| Device::new(device).unwrap()).collect();
            Fingerprint::of("r", &Selector { devices, ..Selector::default() }).0
        };
        assert_ne!(hash(&["a", "b"]), hash(&["ab"]));
        assert_ne!(hash(&["adb"]), hash(&["a", "b"]));
    }

    proptest! {
        #[test]
        fn a_changed_cursor_is_refused(at in 0..120_usize, flip in 1..16_u32) {
            let mut text: Vec<char> = cursor().seal(query("a")).chars().collect();
            let at = at % text.len();
            text[at] = char::from_digit(text[at].to_digit(16).unwrap() ^ flip, 16).unwrap();
            let text: String = text.into_iter().collect();
            prop_assert_eq!(open(&text, query("a")), Err(InvalidCursor));
        }

        #[test]
        fn no_text_makes_opening_panic(text in "\\PC{0,60}") {
            prop_assert!(open(&text, query("a")).is_err());
        }
    }
}
