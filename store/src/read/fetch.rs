//! The segments of a marked bucket that its seal does not cover: what the head holds, and from the store what came
//! after it.
//!
//! Only marked writers are asked for: one without a mark has nothing here that a seal does not cover. A closed mark
//! says where its writer stopped; a writer that went on since has written a newer mark first, which the query, had
//! it started after the acknowledgement, would have read.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::head::{Head, Prefix};
use super::live::Ends;
use super::snapshot::BucketState;
use super::{Excess, ReadFailure};
use crate::layout::tables::SEGMENTS;
use crate::layout::{MarkRow, MarkState, Place, SegmentRow};
use crate::model::{Seq, WriterId};
use crate::wide::{Scan, Wide};

/// Rows in a page of segments. Of full bodies far fewer come: backends bound a page in bytes as well.
const PAGE_ROWS_MAX: u32 = 512;

/// Writers of one bucket asked for at once.
const WRITERS_IN_FLIGHT_MAX: usize = 4;

/// The segments of a bucket that no seal covers, in pieces and in no order that means anything.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    /// Each from one writer, those of one writer in the order of seq.
    pieces: Vec<Piece>,
    /// Bytes of all pieces.
    pub(super) bytes: usize,
}

/// Segments of one writer, of which those before `start` are not asked for.
#[derive(Debug)]
struct Piece {
    start: usize,
    rows: Arc<[SegmentRow]>,
}

impl Piece {
    fn rows(&self) -> &[SegmentRow] {
        self.rows.get(self.start..).unwrap_or_default()
    }
}

impl Fetched {
    /// The segments that were asked for.
    pub(super) fn rows(&self) -> impl Iterator<Item = &SegmentRow> {
        self.pieces.iter().flat_map(Piece::rows)
    }

    /// Adds what of pieces of one writer, in the order of seq, does not lie before `from`.
    fn add(&mut self, from: Seq, chunks: Vec<Arc<[SegmentRow]>>) {
        for rows in chunks {
            let piece = Piece { start: rows.partition_point(|row| row.seq < from), rows };
            self.bytes += piece.rows().iter().map(|row| row.body.len()).sum::<usize>();
            self.pieces.push(piece);
        }
    }
}

/// Fetches every segment of `bucket` that was durable when its marks were read, that its seal does not cover and that
/// does not lie before the `ends`. What was deleted since is missing: whoever has taken long must look whether the
/// seal is still in force.
pub(super) async fn fetch<W: Wide>(
    wide: &W,
    head: &Head,
    (bucket, ends): (&BucketState, &Ends),
    bytes_max: usize,
) -> Result<Fetched, ReadFailure> {
    // Owned: a closure over borrowed items would make this future one that no other thread may run.
    let runs = runs(head, bucket, ends);
    let mut fetched = Fetched::default();
    let mut new = stream::iter(runs)
        .map(|run| fetch_writer(wide, head, run, bytes_max))
        .buffer_unordered(WRITERS_IN_FLIGHT_MAX);
    while let Some((from, chunks)) = new.try_next().await? {
        fetched.add(from, chunks);
        check(fetched.bytes, bytes_max)?;
    }
    Ok(fetched)
}

/// What the head holds of that, without looking into the store.
pub(super) fn held(head: &Head, (bucket, ends): (&BucketState, &Ends)) -> Fetched {
    let mut fetched = Fetched::default();
    for WriterRun { from, prefix, .. } in runs(head, bucket, ends) {
        fetched.add(from, prefix.chunks().to_vec());
    }
    fetched
}

/// What is asked of one writer.
struct WriterRun {
    place: Place,
    mark: MarkRow,
    covered: Seq,
    from: Seq,
    prefix: Prefix,
}

fn runs(head: &Head, bucket: &BucketState, ends: &Ends) -> Vec<WriterRun> {
    if bucket.marks.is_empty() {
        return Vec::new();
    }
    let mut prefixes = head.get(bucket.place);
    let run = |mark: &MarkRow| {
        let covered = Seq::new(bucket.covered(mark.writer).segments);
        let from = ends.get(&mark.writer).copied().unwrap_or_default().max(covered);
        let prefix = prefixes.remove(&mark.writer).unwrap_or_default().going_on_from(from);
        WriterRun { place: bucket.place, mark: *mark, covered, from, prefix }
    };
    bucket.marks.iter().map(run).collect()
}

async fn fetch_writer<W: Wide>(
    wide: &W,
    head: &Head,
    WriterRun { place, mark, covered, from, prefix }: WriterRun,
    bytes_max: usize,
) -> Result<(Seq, Vec<Arc<[SegmentRow]>>), ReadFailure> {
    let mut chunks = prefix.chunks().to_vec();
    let is_closed = matches!(mark.state, MarkState::Closed(through) if prefix.next() > through);
    if !is_closed && !prefix.is_all_that_was_told() {
        let rows = scan_from(wide, place, (mark.writer, prefix.next()), bytes_max).await?;
        head.extend(place, (mark.writer, covered), &rows);
        chunks.push(rows.into());
    }
    Ok((from, chunks))
}

async fn scan_from<W: Wide>(
    wide: &W,
    place: Place,
    (writer, seq): (WriterId, Seq),
    bytes_max: usize,
) -> Result<Vec<SegmentRow>, ReadFailure> {
    let bounds = SegmentRow::from_seq(writer, seq);
    let scan =
        Scan::partition(&SEGMENTS, SegmentRow::partition(place)).within(bounds).in_pages_of(PAGE_ROWS_MAX);
    let (mut rows, mut bytes, mut from) = (Vec::new(), 0, None);
    loop {
        let page = wide.scan(&scan, from).await?;
        for row in &page.rows {
            let row = SegmentRow::from_row(row)?;
            bytes += row.body.len();
            rows.push(row);
        }
        check(bytes, bytes_max)?;
        match page.next {
            Some(next) => from = Some(next),
            None => return Ok(rows),
        }
    }
}

fn check(bytes: usize, bytes_max: usize) -> Result<(), ReadFailure> {
    if bytes > bytes_max {
        return Err(ReadFailure::TooLarge { what: Excess::BucketBytes, limit: bytes_max });
    }
    Ok(())
}
