//! What a grind starts from: a bucket's marks, then its seal, then the segments that the seal does not cover (step 1
//! of design §7), and those segments again in the order of corrections, from memory where they fit.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use super::coverage::{Head, Marked};
use super::persistent::{Pages, Persistent};
use super::{MillFailure, Site};
use crate::codec::segment::points_told;
use crate::layout::tables::{MARKS, SEGMENTS};
use crate::layout::{Covered, MarkRow, SealRow, SegmentRow};
use crate::model::{Seq, WriterId};
use crate::wide::{Bounds, Datum, Key, ReadError, Scan, Wide};

/// Rows in a page of segments: bodies are large, and several writers are read side by side.
const PAGE_ROWS: u32 = 32;

/// A bucket as it was when a grind began.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) seal: Option<SealRow>,
    pub(super) writers: Vec<Marked>,
    /// Bodies of all segments of `writers`, where they fit in memory.
    held: Option<Vec<SegmentRow>>,
}

/// Which segments are wanted: of each writer those from the first number to before the second.
pub(super) type Wanted = BTreeMap<WriterId, (u32, u32)>;

/// Reads marks, then the seal, then the segments of marked writers that the seal does not cover.
pub(super) async fn start<W: Wide>(
    store: &Persistent<W>,
    site: Site,
    held_bytes_max: usize,
) -> Result<Start, ReadError> {
    let marks = marks(store, site).await?;
    let seal = store.seal(site.place, site.width).await?;
    let (mut held, mut held_bytes) = (Some(Vec::new()), 0);
    let mut writers = Vec::with_capacity(marks.len());
    for mark in marks {
        let from = covered(seal.as_ref(), mark.writer).segments;
        let mut heads = Vec::new();
        let mut stream = Stream::new(site, mark.writer, (from, u32::MAX));
        while let Some(row) = stream.next(store).await? {
            held_bytes += row.body.len();
            heads.push(Head::of(&row));
            if held_bytes > held_bytes_max {
                held = None;
            }
            if let Some(held) = &mut held {
                held.push(row);
            }
        }
        writers.push(Marked { mark, heads });
    }
    Ok(Start { seal, writers, held })
}

/// What `seal` covers of a writer.
pub(super) fn covered(seal: Option<&SealRow>, writer: WriterId) -> Covered {
    seal.and_then(|seal| seal.covered.get(&writer)).copied().unwrap_or_default()
}

/// The marks of a bucket.
pub(super) async fn marks<W: Wide>(store: &Persistent<W>, site: Site) -> Result<Vec<MarkRow>, ReadError> {
    let scan = Scan::partition(&MARKS, MarkRow::partition(site.place.shard))
        .within(MarkRow::between(site.place.bucket, site.place.bucket));
    store.all(&scan, |row| MarkRow::from_row(row, site.width)).await
}

/// The heads of a writer's segments from `from` on.
pub(super) async fn heads<W: Wide>(
    store: &Persistent<W>,
    site: Site,
    (writer, from): (WriterId, u32),
) -> Result<Vec<Head>, ReadError> {
    let (mut heads, mut stream) = (Vec::new(), Stream::new(site, writer, (from, u32::MAX)));
    while let Some(row) = stream.next(store).await? {
        heads.push(Head::of(&row));
    }
    Ok(heads)
}

impl Head {
    fn of(row: &SegmentRow) -> Self {
        // A point has a sample or more. What is damaged and says so is found out when it is decoded.
        let points = points_told(&row.body).and_then(|points| u32::try_from(points).ok()).unwrap_or(u32::MAX);
        Self {
            points: points.min(row.samples),
            seq: row.seq,
            received_at: row.received_at,
            min_time: row.min_time,
            catalog: row.catalog,
            samples: row.samples,
            bytes: row.body.len(),
        }
    }
}

impl Start {
    /// Which segments a seal with `covered` covers that the one in force does not.
    pub(super) fn wanted(&self, covered: &BTreeMap<WriterId, Covered>) -> Wanted {
        let before = |writer| self::covered(self.seal.as_ref(), writer).segments;
        let new = covered.iter().map(|(&writer, covered)| (writer, (before(writer), covered.segments)));
        new.filter(|(_, (from, to))| from < to).collect()
    }

    /// How many segments are wanted.
    pub(super) fn count(&self, wanted: &Wanted) -> usize {
        let of_writer = |marked: &Marked| {
            let range = wanted.get(&marked.mark.writer).map_or(0..0, |(from, to)| *from..*to);
            marked.heads.iter().filter(|head| range.contains(&head.seq.get())).count()
        };
        self.writers.iter().map(of_writer).sum()
    }

    /// The wanted segments in the order of corrections.
    pub(super) fn feed(&self, site: Site, wanted: &Wanted) -> Feed {
        let Some(held) = &self.held else {
            let stream = |(&writer, &range): (&WriterId, &(u32, u32))| Stream::new(site, writer, range);
            return Feed::Streams(wanted.iter().map(stream).collect());
        };
        let is_wanted = |row: &&SegmentRow| {
            wanted.get(&row.writer).is_some_and(|(from, to)| (*from..*to).contains(&row.seq.get()))
        };
        let mut rows: Vec<SegmentRow> = held.iter().filter(is_wanted).cloned().collect();
        rows.sort_unstable_by_key(|row| (row.received_at, row.writer, row.seq));
        Feed::Held(rows.into())
    }
}

/// Segments in the order of corrections.
#[derive(Debug)]
pub(super) enum Feed {
    /// All of them.
    Held(VecDeque<SegmentRow>),
    /// Those of each writer, read page by page.
    Streams(Vec<Stream>),
}

impl Feed {
    /// The next segments, of about `bytes_max` together; none at the end.
    pub(super) async fn next<W: Wide>(
        &mut self,
        store: &Persistent<W>,
        bytes_max: usize,
    ) -> Result<Vec<SegmentRow>, MillFailure> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while bytes < bytes_max {
            let row = match self {
                Self::Held(rows) => rows.pop_front(),
                Self::Streams(streams) => earliest(streams, store).await?,
            };
            let Some(row) = row else { break };
            bytes += row.body.len();
            rows.push(row);
        }
        Ok(rows)
    }
}

async fn earliest<W: Wide>(
    streams: &mut Vec<Stream>,
    store: &Persistent<W>,
) -> Result<Option<SegmentRow>, ReadError> {
    for stream in streams.iter_mut() {
        stream.fill(store).await?;
    }
    streams.retain(|stream| !stream.rows.is_empty());
    let key = |stream: &&mut Stream| stream.rows.front().map(|row| (row.received_at, row.writer, row.seq));
    Ok(streams.iter_mut().min_by_key(key).and_then(|stream| stream.rows.pop_front()))
}

/// Segments of one writer in the order of seq, read page by page.
#[derive(Debug)]
pub(super) struct Stream {
    pages: Pages,
    rows: VecDeque<SegmentRow>,
}

impl Stream {
    fn new(site: Site, writer: WriterId, (from, to): (u32, u32)) -> Self {
        let end = Key::from([Datum::Int(writer.get()), Datum::Int(i64::from(to))]);
        let bounds = Bounds { end: Bound::Excluded(end), ..SegmentRow::from_seq(writer, Seq::new(from)) };
        let scan = Scan::partition(&SEGMENTS, SegmentRow::partition(site.place));
        Self { pages: Pages::of(scan.within(bounds).in_pages_of(PAGE_ROWS)), rows: VecDeque::new() }
    }

    async fn fill<W: Wide>(&mut self, store: &Persistent<W>) -> Result<(), ReadError> {
        while self.rows.is_empty() {
            let Some(rows) = self.pages.next(store).await? else { return Ok(()) };
            for row in &rows {
                self.rows.push_back(SegmentRow::from_row(row)?);
            }
        }
        Ok(())
    }

    async fn next<W: Wide>(&mut self, store: &Persistent<W>) -> Result<Option<SegmentRow>, ReadError> {
        self.fill(store).await?;
        Ok(self.rows.pop_front())
    }
}
