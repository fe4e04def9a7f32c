//! From bytes to a [`Frame`]: checked and ready to be read, its columns still packed.

use std::ops::Range;

use bytes::Bytes;

use crate::codec::bytes::{Malformed, Reader};
use crate::codec::column::integer::{Integers, ONE_RUN, Starts};
use crate::codec::convert::{index, position};
use crate::layout::Resolution;
use crate::model::{Metric, SourceId, Timestamp};
use crate::rollup::{Fields, WindowState};

use super::unpack::Unpacked;
use super::{COLUMNS, CRC_BYTES, FrameError, VERSION, WINDOWS_MAX};

/// A decoded frame: who and when in memory, what still packed, and unpacked by field and by source.
/// Holds on to the body.
#[derive(Debug, Clone)]
pub struct Frame {
    pub(super) body: Bytes,
    metric: Metric,
    bucket_nanos: i64,
    pub(super) resolution: Resolution,
    sources: Vec<SourceId>,
    /// The first window of each source, and the end.
    firsts: Vec<u32>,
    /// The starts of runs: of the sources that have windows.
    pub(super) starts: Vec<u32>,
    /// The number of each window in the bucket.
    indexes: Vec<u32>,
    pub(super) columns: [Range<usize>; COLUMNS],
}

const SOURCE_BYTES: usize = 16;

impl Frame {
    /// Decodes `body`. Columns are checked when they are read.
    pub fn decode(body: Bytes) -> Result<Self, FrameError> {
        let mut reader = Reader::new(content(&body)?);
        let metric = parse_metric(&mut reader)?;
        let bucket_nanos = parse_bucket(&mut reader)?;
        let resolution = Resolution::from_seconds(reader.position("the resolution")?)
            .ok_or(Malformed::Invalid("it has a resolution that is none"))?;
        let sources = parse_sources(&mut reader)?;
        let firsts = parse_firsts(sources.len(), &mut reader)?;
        let starts = starts(&firsts);
        let windows = index(firsts.last().copied().unwrap_or(0));
        let indexes = parse_indexes(windows, &starts, &mut reader)?;
        let columns = parse_places(body.len() - CRC_BYTES, &mut reader)?;
        let frame =
            Self { body, metric, bucket_nanos, resolution, sources, firsts, starts, indexes, columns };
        frame.check_indexes()?;
        Ok(frame)
    }

    /// The metric that all windows are of.
    pub fn metric(&self) -> &Metric {
        &self.metric
    }

    /// The width of the windows.
    pub const fn resolution(&self) -> Resolution {
        self.resolution
    }

    /// The sources, ascending.
    pub fn sources(&self) -> &[SourceId] {
        &self.sources
    }

    /// The position of a source; `None` where it is not in this frame.
    pub fn position(&self, source: SourceId) -> Option<usize> {
        self.sources.binary_search(&source).ok()
    }

    /// Whether the source at a position has samples of the metric in the bucket, but no windows here.
    pub fn is_without_windows(&self, source_position: usize) -> bool {
        source_position < self.sources.len() && self.of(source_position).is_empty()
    }

    /// How many windows the source at a position has.
    pub fn windows_of(&self, source_position: usize) -> usize {
        self.of(source_position).len()
    }

    /// How many windows there are, over all sources.
    pub fn len(&self) -> usize {
        self.indexes.len()
    }

    /// Whether there are no windows.
    pub fn is_empty(&self) -> bool {
        self.indexes.is_empty()
    }

    /// The start of a window by its number in the bucket, held within what a timestamp can be.
    pub fn window_start(&self, window: u32) -> Timestamp {
        let nanos = self.start_nanos(window).clamp(Timestamp::MIN.nanos(), Timestamp::MAX.nanos());
        Timestamp::from_nanos(nanos).unwrap_or(Timestamp::EPOCH)
    }

    pub(super) fn start_nanos(&self, window: u32) -> i64 {
        self.bucket_nanos + self.resolution.nanos() * i64::from(window)
    }

    /// The number in the bucket of the window at a position.
    pub(super) fn index(&self, at: usize) -> u32 {
        self.indexes.get(at).copied().unwrap_or(0)
    }

    /// The windows of a source whose numbers lie in `range`, ascending, knowing `fields` and what they need. Only
    /// the columns of these are decoded.
    pub fn windows(
        &self,
        source_position: usize,
        range: Range<u32>,
        fields: Fields,
    ) -> Result<Vec<(u32, WindowState)>, FrameError> {
        let of = self.of(source_position);
        let own = self.indexes.get(of.clone()).unwrap_or_default();
        let start = of.start + own.partition_point(|&index| index < range.start);
        let end = of.start + own.partition_point(|&index| index < range.end);
        if start >= end {
            return Ok(Vec::new());
        }
        let mut unpacked = Unpacked::new(self, start..end, fields)?;
        let mut windows = Vec::with_capacity(end - start);
        let mut state = WindowState::default();
        for at in start..end {
            unpacked.next(&mut state)?;
            windows.push((self.index(at), state.clone()));
        }
        Ok(windows)
    }

    /// Hands every window to `each`, with the position of its source and its number in the bucket, in order. Only
    /// the columns of `fields`, and what they need, are decoded.
    pub fn fold_all(
        &self,
        fields: Fields,
        mut each: impl FnMut(usize, u32, &WindowState),
    ) -> Result<(), FrameError> {
        if self.is_empty() {
            return Ok(());
        }
        let mut unpacked = Unpacked::new(self, 0..self.len(), fields)?;
        let mut state = WindowState::default();
        for source in 0..self.sources.len() {
            for at in self.of(source) {
                unpacked.next(&mut state)?;
                each(source, self.index(at), &state);
            }
        }
        Ok(())
    }

    /// The windows of a source.
    fn of(&self, source_position: usize) -> Range<usize> {
        let first = |at: usize| self.firsts.get(at).or(self.firsts.last()).copied().map_or(0, index);
        first(source_position)..first(source_position.saturating_add(1))
    }

    fn check_indexes(&self) -> Result<(), Malformed> {
        const WRONG: Malformed = Malformed::Invalid("its windows do not ascend, or lie outside of time");
        for source in 0..self.sources.len() {
            let own = self.indexes.get(self.of(source)).unwrap_or_default();
            if !own.is_sorted_by(|a, b| a < b) {
                return Err(WRONG);
            }
            let end =
                own.last().map_or(0, |last| self.resolution.nanos().saturating_mul(i64::from(*last) + 1));
            if end > NANOS_MAX {
                return Err(WRONG);
            }
        }
        Ok(())
    }
}

/// More than the widest bucket has.
const NANOS_MAX: i64 = 86_400_000_000_000 * 500;

/// What lies between the version and the checksum, once both are right.
fn content(body: &[u8]) -> Result<&[u8], FrameError> {
    let (checked, crc) = body.split_last_chunk::<CRC_BYTES>().ok_or(FrameError::TooShort(body.len()))?;
    let (version, content) = checked.split_first().ok_or(FrameError::TooShort(body.len()))?;
    let (stored, computed) = (u32::from_le_bytes(*crc), crc32fast::hash(checked));
    if stored != computed {
        return Err(FrameError::Checksum { stored, computed });
    }
    if *version == VERSION { Ok(content) } else { Err(FrameError::Version(*version)) }
}

fn parse_metric(reader: &mut Reader<'_>) -> Result<Metric, FrameError> {
    let length = reader.length("the metric")?;
    let name = std::str::from_utf8(reader.take(length, "the metric")?)
        .map_err(|_| Malformed::Invalid("the metric is not UTF-8"))?;
    Metric::new(name).map_err(FrameError::Metric)
}

/// The start of the bucket in nanoseconds: within a bucket's width of what a timestamp can be.
fn parse_bucket(reader: &mut Reader<'_>) -> Result<i64, Malformed> {
    let millis = reader.varint_signed("the bucket")?;
    millis
        .checked_mul(1_000_000)
        .filter(|nanos| (Timestamp::MIN.nanos() - NANOS_MAX..=Timestamp::MAX.nanos()).contains(nanos))
        .ok_or(Malformed::Invalid("its bucket lies outside of time"))
}

fn parse_sources(reader: &mut Reader<'_>) -> Result<Vec<SourceId>, Malformed> {
    let count = reader.count(SOURCE_BYTES, "sources")?;
    let bytes = reader.take(count * SOURCE_BYTES, "sources")?;
    let ids = bytes.as_chunks::<SOURCE_BYTES>().0.iter();
    let sources: Vec<SourceId> = ids.map(|id| SourceId::new(u128::from_le_bytes(*id))).collect();
    if sources.is_empty() || !sources.is_sorted_by(|a, b| a < b) {
        return Err(Malformed::Invalid("it has no sources, or they do not ascend"));
    }
    Ok(sources)
}

fn parse_firsts(sources: usize, reader: &mut Reader<'_>) -> Result<Vec<u32>, FrameError> {
    let mut counts = Vec::new();
    Integers::parse(sources, 1, reader)?.decode(0..sources, ONE_RUN, &mut counts);
    let mut firsts = Vec::with_capacity(sources + 1);
    let mut next = 0_usize;
    firsts.push(0);
    for count in counts {
        let count =
            usize::try_from(count).map_err(|_| Malformed::Invalid("a source has less than no windows"))?;
        next = next.saturating_add(count);
        if next > WINDOWS_MAX {
            return Err(FrameError::TooManyWindows(next));
        }
        firsts.push(position(next));
    }
    Ok(firsts)
}

fn starts(firsts: &[u32]) -> Vec<u32> {
    let with_windows = firsts.iter().zip(firsts.iter().skip(1)).filter(|(first, next)| first < next);
    with_windows.map(|(first, _)| *first).collect()
}

fn parse_indexes(windows: usize, starts: Starts<'_>, reader: &mut Reader<'_>) -> Result<Vec<u32>, Malformed> {
    let mut indexes = Vec::new();
    Integers::parse(windows, starts.len(), reader)?.decode(0..windows, starts, &mut indexes);
    let narrow =
        |number: i64| u32::try_from(number).map_err(|_| Malformed::Invalid("a window has no number"));
    indexes.into_iter().map(narrow).collect()
}

/// Where the columns lie in the body, of which `end` is the end of the content.
fn parse_places(end: usize, reader: &mut Reader<'_>) -> Result<[Range<usize>; COLUMNS], Malformed> {
    let mut lengths = [0_usize; COLUMNS];
    for length in &mut lengths {
        *length = reader.length("the lengths of columns")?;
    }
    let mut at = end - reader.remaining();
    let mut columns = [const { 0..0 }; COLUMNS];
    for (column, length) in columns.iter_mut().zip(lengths) {
        let next =
            at.checked_add(length).filter(|next| *next <= end).ok_or(Malformed::Truncated("columns"))?;
        *column = at..next;
        at = next;
    }
    if at == end { Ok(columns) } else { Err(Malformed::Invalid("it goes on after its columns")) }
}
