//! The segments of a marked bucket: what the head holds, and from the store what came after it.
//!
//! Only marked writers are asked for: one without a mark has nothing here that a seal does not cover. A closed mark
//! says where its writer stopped; a writer that went on since has written a newer mark first, which the query, had
//! it started after the acknowledgement, would have read.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::head::{Head, Prefix};
use super::snapshot::MarkedBucket;
use super::{Excess, ReadFailure};
use crate::layout::tables::SEGMENTS;
use crate::layout::{MarkRow, MarkState, Place, SegmentRow};
use crate::model::{Seq, WriterId};
use crate::wide::{Scan, Wide};

/// Rows in a page of segments. Of full bodies far fewer come: backends bound a page in bytes as well.
const PAGE_ROWS_MAX: u32 = 512;

/// Writers of one bucket asked for at once.
const WRITERS_IN_FLIGHT_MAX: usize = 4;

/// The segments of a bucket, in pieces and in no order that means anything.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    pub(super) chunks: Vec<Arc<[SegmentRow]>>,
    pub(super) bytes: usize,
}

/// Fetches every segment of `bucket` that was durable when its marks were read.
pub(super) async fn fetch<W: Wide>(
    wide: &W,
    head: &Head,
    bucket: &MarkedBucket,
    bytes_max: usize,
) -> Result<Fetched, ReadFailure> {
    let mut prefixes = head.get(bucket.place);
    let runs = bucket.marks.iter().map(|mark| (*mark, prefixes.remove(&mark.writer).unwrap_or_default()));
    // Owned: a closure over borrowed items would make this future one that no other thread may run.
    let runs: Vec<(MarkRow, Prefix)> = runs.collect();
    let mut fetched = Fetched::default();
    let mut new = stream::iter(runs)
        .map(|(mark, prefix)| fetch_writer(wide, head, bucket.place, mark, prefix, bytes_max))
        .buffer_unordered(WRITERS_IN_FLIGHT_MAX);
    while let Some(chunks) = new.try_next().await? {
        for chunk in chunks {
            fetched.bytes += chunk.iter().map(|row| row.body.len()).sum::<usize>();
            fetched.chunks.push(chunk);
        }
        check(fetched.bytes, bytes_max)?;
    }
    Ok(fetched)
}

async fn fetch_writer<W: Wide>(
    wide: &W,
    head: &Head,
    place: Place,
    mark: MarkRow,
    prefix: Prefix,
    bytes_max: usize,
) -> Result<Vec<Arc<[SegmentRow]>>, ReadFailure> {
    let mut chunks = prefix.chunks().to_vec();
    let is_complete = matches!(mark.state, MarkState::Closed(through) if prefix.next() > through);
    if !is_complete {
        let rows = scan_from(wide, place, mark.writer, prefix.next(), bytes_max).await?;
        head.extend(place, mark.writer, &rows);
        chunks.push(rows.into());
    }
    Ok(chunks)
}

async fn scan_from<W: Wide>(
    wide: &W,
    place: Place,
    writer: WriterId,
    seq: Seq,
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
