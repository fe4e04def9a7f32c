//! Rejects as operators see them: found by time and reason, read whole, deleted one by one.
//!
//! A page holds the oldest rejects after a position, in the order of their receipt, whatever slots they lie in. What is
//! read and does not match costs time and no memory: payloads of lists are dropped but for their beginning (I6).

use std::fmt;
use std::ops::{Bound, RangeInclusive};
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;

use crate::layout::tables::{REJECT_COUNTS, REJECTS};
use crate::layout::{RejectCountRow, RejectKind, RejectRow};
use crate::model::{TimeRange, Timestamp, WriterId};
use crate::wide::{Bounds, Datum, Deletion, Key, PageToken, ReadError, Scan, Wide, WriteError, WriteTime};

/// Partitions that the rejects of a day are spread over: small ones on a day of a million.
pub const REJECT_SLOTS: u16 = 16;
/// The slot of a day that holds what waits: rejects that are taken again by themselves once what they need is known.
pub const WAITING_SLOT: u16 = REJECT_SLOTS;
/// Rows of one read of the waiting slot, whose payloads are kept whole.
const WAITING_ROWS: u32 = 32;
/// Rows of one read: with payloads at their limit a few megabytes.
const PAGE_ROWS: u32 = 64;
/// Bytes of a payload that lists show.
const PREVIEW_BYTES: usize = 256;
const DAY_MILLIS: i64 = 86_400_000;

/// Where a reject lies; ordered by the time of receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RejectPlace {
    /// When the message came, in whole milliseconds.
    pub received_at: Timestamp,
    /// Who took it.
    pub writer: WriterId,
    /// Which of the writer's rejects this is.
    pub n: u32,
    /// Its slot of the day.
    pub slot: u16,
}

/// A text that is no [`RejectPlace`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no id of a reject, such as 1700000000000-5f2a-0-3")]
pub struct InvalidPlace;

/// Which rejects are meant.
#[derive(Debug, Clone)]
pub struct RejectFilter {
    /// Received then.
    pub range: TimeRange,
    /// Only these.
    pub kind: Option<RejectKind>,
    /// Only those with this reason.
    pub reason: Option<String>,
    /// Only those of which a level of the topic is this: every template names the device by a whole level.
    pub device: Option<String>,
    /// Only those whose topic begins so.
    pub topic: Option<String>,
}

/// A reject of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Where it lies.
    pub place: RejectPlace,
    /// The reject, its payload cut to its beginning.
    pub row: RejectRow,
    /// Bytes of the payload that are kept.
    pub payload_bytes: usize,
}

/// A page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RejectPage {
    /// In the order of their receipt.
    pub rejects: Vec<Listed>,
    /// Whether there are more behind them.
    pub more: bool,
}

impl RejectFilter {
    /// All that were received in `range`.
    pub fn received_in(range: TimeRange) -> Self {
        Self { range, kind: None, reason: None, device: None, topic: None }
    }

    fn matches(&self, row: &RejectRow) -> bool {
        self.range.contains(row.received_at) && self.takes(row.kind, &row.reason, &row.topic)
    }

    fn takes(&self, of_kind: RejectKind, of_reason: &str, of_topic: &str) -> bool {
        self.kind.is_none_or(|kind| kind == of_kind)
            && self.reason.as_ref().is_none_or(|reason| *reason == of_reason)
            && self.device.as_ref().is_none_or(|device| of_topic.split('/').any(|level| level == device))
            && self.topic.as_ref().is_none_or(|topic| of_topic.starts_with(topic))
    }
}

impl RejectPlace {
    /// Whether what lies here is taken by itself once what it needs is there.
    pub const fn waits(&self) -> bool {
        self.slot == WAITING_SLOT
    }

    fn partition(&self) -> Key {
        partition(day_of(self.received_at), self.slot)
    }

    fn clustering(&self) -> Key {
        let n = Datum::Int(i64::from(self.n));
        Key::from([Datum::Instant(self.received_at.millis_floor()), Datum::Int(self.writer.get()), n])
    }
}

fn day_of(time: Timestamp) -> i64 {
    time.millis_floor().div_euclid(DAY_MILLIS)
}

fn partition(day: i64, slot: u16) -> Key {
    Key::from([Datum::Instant(day.saturating_mul(DAY_MILLIS)), Datum::Int(i64::from(slot))])
}

/// The oldest rejects that `filter` means after `after`, at most `limit`.
pub async fn list<W: Wide>(
    wide: &W,
    filter: &RejectFilter,
    after: Option<RejectPlace>,
    limit: usize,
) -> Result<RejectPage, ReadError> {
    let start = after.map_or(filter.range.start(), |after| after.received_at.max(filter.range.start()));
    let mut page = RejectPage::default();
    for day in day_of(start)..=day_of(filter.range.end()) {
        let wanted = limit - page.rejects.len();
        let mut of_day = Vec::new();
        for slot in 0..=WAITING_SLOT {
            let from = Position { filter, after, start };
            of_day.extend(of_slot(wide, (day, slot), &from, wanted + 1).await?);
        }
        of_day.sort_by_key(|listed| listed.place);
        page.more = of_day.len() > wanted;
        page.rejects.extend(of_day.into_iter().take(wanted));
        if page.more {
            break;
        }
    }
    Ok(page)
}

struct Position<'a> {
    filter: &'a RejectFilter,
    after: Option<RejectPlace>,
    start: Timestamp,
}

async fn of_slot<W: Wide>(
    wide: &W,
    (day, slot): (i64, u16),
    from: &Position<'_>,
    limit: usize,
) -> Result<Vec<Listed>, ReadError> {
    let start = Bound::Included(Key::from([Datum::Instant(from.start.millis_floor())]));
    let bounds = Bounds { start, end: Bound::Unbounded };
    let scan =
        Scan { page_rows_max: PAGE_ROWS, ..Scan::partition(&REJECTS, partition(day, slot)) }.within(bounds);
    let (mut listed, mut token) = (Vec::new(), None);
    loop {
        let page = wide.scan(&scan, token).await?;
        for row in &page.rows {
            let row = RejectRow::from_row(row)?;
            let place = RejectPlace { received_at: row.received_at, writer: row.writer, n: row.n, slot };
            if row.received_at >= from.filter.range.end() {
                return Ok(listed);
            }
            if from.filter.matches(&row) && from.after.is_none_or(|after| place > after) {
                listed.push(preview(place, row));
            }
            if listed.len() == limit {
                return Ok(listed);
            }
        }
        token = match page.next {
            Some(next) => Some(next),
            None => return Ok(listed),
        };
    }
}

fn preview(place: RejectPlace, mut row: RejectRow) -> Listed {
    let payload_bytes = row.payload.len();
    // A copy: a slice would hold the page with it.
    row.payload = Bytes::copy_from_slice(row.payload.get(..PREVIEW_BYTES).unwrap_or(&row.payload));
    Listed { place, row, payload_bytes }
}

/// What waits, whole and in the order of its receipt, page by page.
#[derive(Debug)]
pub struct WaitingPages {
    days: RangeInclusive<i64>,
    token: Option<PageToken>,
}

impl WaitingPages {
    /// What was received in `range`.
    pub fn received_in(range: TimeRange) -> Self {
        Self { days: day_of(range.start())..=day_of(range.end()), token: None }
    }

    /// The next page, which may be empty; none at the end. Deleting what it holds disturbs nothing.
    pub async fn next<W: Wide>(
        &mut self,
        wide: &W,
    ) -> Result<Option<Vec<(RejectPlace, RejectRow)>>, ReadError> {
        if self.days.is_empty() {
            return Ok(None);
        }
        let day = *self.days.start();
        let scan = Scan::partition(&REJECTS, partition(day, WAITING_SLOT)).in_pages_of(WAITING_ROWS);
        let page = wide.scan(&scan, self.token.take()).await?;
        let mut waiting = Vec::with_capacity(page.rows.len());
        for row in &page.rows {
            let row = RejectRow::from_row(row)?;
            let place = RejectPlace {
                received_at: row.received_at,
                writer: row.writer,
                n: row.n,
                slot: WAITING_SLOT,
            };
            waiting.push((place, row));
        }
        self.token = page.next;
        if self.token.is_none() {
            self.days = day + 1..=*self.days.end();
        }
        Ok(Some(waiting))
    }
}

/// Shows every reject that was received in `range` to `see`, in no order.
pub async fn each_kept<W: Wide>(
    wide: &W,
    range: TimeRange,
    mut see: impl FnMut(&RejectRow) + Send,
) -> Result<(), ReadError> {
    for day in day_of(range.start())..=day_of(range.end()) {
        for slot in 0..=WAITING_SLOT {
            let scan = Scan::partition(&REJECTS, partition(day, slot)).in_pages_of(PAGE_ROWS);
            let mut token = None;
            loop {
                let page = wide.scan(&scan, token).await?;
                for row in &page.rows {
                    let row = RejectRow::from_row(row)?;
                    if range.contains(row.received_at) {
                        see(&row);
                    }
                }
                token = match page.next {
                    Some(next) => Some(next),
                    None => break,
                };
            }
        }
    }
    Ok(())
}

/// What was not kept of rejects from `range` on, as counts by sender, reason and hour in the order of hours; at most
/// `limit`, and whether there are more.
pub async fn counts<W: Wide>(
    wide: &W,
    filter: &RejectFilter,
    limit: usize,
) -> Result<(Vec<RejectCountRow>, bool), ReadError> {
    let mut counts = Vec::new();
    for day in day_of(filter.range.start())..=day_of(filter.range.end()) {
        let partition = Key::from([Datum::Instant(day.saturating_mul(DAY_MILLIS))]);
        let scan = Scan::partition(&REJECT_COUNTS, partition).in_pages_of(PAGE_ROWS);
        let mut token = None;
        loop {
            let page = wide.scan(&scan, token).await?;
            for row in &page.rows {
                let row = RejectCountRow::from_row(row)?;
                let is_meant = row.last >= filter.range.start() && row.first < filter.range.end();
                if is_meant && filter.takes(row.kind, &row.reason, &row.topic) {
                    counts.push(row);
                }
                if counts.len() > limit {
                    counts.truncate(limit);
                    return Ok((counts, true));
                }
            }
            token = match page.next {
                Some(next) => Some(next),
                None => break,
            };
        }
    }
    Ok((counts, false))
}

/// The whole reject at `place`.
pub async fn get<W: Wide>(wide: &W, place: &RejectPlace) -> Result<Option<RejectRow>, ReadError> {
    let row = wide.get(&REJECTS, &place.partition(), &place.clustering()).await?;
    row.map(|row| RejectRow::from_row(&row)).transpose()
}

/// Deletes the reject at `place`; one that is gone already is no error.
pub async fn delete<W: Wide>(wide: &W, place: &RejectPlace, at: WriteTime) -> Result<(), WriteError> {
    wide.delete(&REJECTS, &place.partition(), &Deletion::Row(place.clustering()), at).await
}

/// When the reject at `place` is deleted so that it is gone, even where it was written by a clock that goes ahead of this
/// one, which says `now`.
pub fn delete_time(place: &RejectPlace, now: Timestamp) -> WriteTime {
    let behind = place.received_at.saturating_add(Duration::from_mins(1));
    WriteTime::from_micros(now.max(behind).micros_floor())
}

impl fmt::Display for RejectPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}-{}-{}", self.received_at.millis_floor(), self.writer.get(), self.n, self.slot)
    }
}

impl FromStr for RejectPlace {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        // From the end: the time may be before the epoch.
        let mut parts = text.rsplitn(4, '-');
        let mut next = || parts.next().ok_or(InvalidPlace);
        let slot = next()?.parse().map_err(|_| InvalidPlace)?;
        let n = next()?.parse().map_err(|_| InvalidPlace)?;
        let writer = i64::from_str_radix(next()?, 16).map_err(|_| InvalidPlace)?;
        let millis = next()?.parse().map_err(|_| InvalidPlace)?;
        let received_at = Timestamp::from_millis(millis).map_err(|_| InvalidPlace)?;
        let writer = WriterId::from_stored(writer).ok_or(InvalidPlace)?;
        if slot > WAITING_SLOT { Err(InvalidPlace) } else { Ok(Self { received_at, writer, n, slot }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wide::Memory;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    fn reject(millis: i64, n: u32) -> RejectRow {
        RejectRow {
            received_at: at(millis),
            writer: WriterId::from_random(9),
            n,
            kind: if n.is_multiple_of(2) { RejectKind::DeadLetter } else { RejectKind::Quarantine },
            reason: format!("r{}", n % 3),
            detail: String::new(),
            topic: format!("t{}/x", n % 5),
            payload: Bytes::from(vec![7; 1000]),
        }
    }

    /// Rejects of three days, a few of each millisecond, over all slots.
    async fn stored() -> Memory {
        let memory = Memory::new();
        for n in 0..300_u32 {
            let row = reject(i64::from(n / 3) * 2_000_000 + 5, n);
            let slot = u16::try_from(n * 7 % 16).unwrap();
            let at = WriteTime::from_micros(row.received_at.micros_floor());
            memory.put(&REJECTS, &row.partition(slot), &[row.to_row()], at).await.unwrap();
        }
        memory
    }

    async fn walk(memory: &Memory, filter: &RejectFilter, limit: usize) -> Vec<u32> {
        let (mut numbers, mut after) = (Vec::new(), None);
        loop {
            let page = list(memory, filter, after, limit).await.unwrap();
            assert!(page.rejects.len() <= limit && (page.more || page.rejects.len() <= limit));
            numbers.extend(page.rejects.iter().map(|listed| listed.row.n));
            after = page.rejects.last().map(|listed| listed.place).or(after);
            if !page.more {
                return numbers;
            }
        }
    }

    #[tokio::test]
    async fn pages_hold_every_reject_once_in_the_order_of_receipt() {
        let memory = stored().await;
        let range = TimeRange::new(at(0), at(1_000_000_000)).unwrap();
        for limit in [1, 7, 100, 1000] {
            let numbers = walk(&memory, &RejectFilter::received_in(range), limit).await;
            assert_eq!(numbers, (0..300).collect::<Vec<_>>(), "pages of {limit}");
        }
    }

    #[tokio::test]
    async fn filters_mean_what_they_say() {
        let memory = stored().await;
        let all = RejectFilter::received_in(TimeRange::new(at(0), at(1_000_000_000)).unwrap());
        let part =
            RejectFilter { range: TimeRange::new(at(2_000_005), at(6_000_005)).unwrap(), ..all.clone() };
        assert_eq!(walk(&memory, &part, 2).await, [3, 4, 5, 6, 7, 8]);
        let narrow = RejectFilter {
            kind: Some(RejectKind::Quarantine),
            reason: Some("r0".to_owned()),
            device: Some("x".to_owned()),
            topic: Some("t4".to_owned()),
            ..all
        };
        let expected: Vec<u32> = (0..300).filter(|n| n % 2 == 1 && n % 3 == 0 && n % 5 == 4).collect();
        assert_eq!(walk(&memory, &narrow, 3).await, expected);
        let nobody = RejectFilter { device: Some("t".to_owned()), ..narrow };
        assert!(walk(&memory, &nobody, 3).await.is_empty(), "a part of a level is no device");
    }

    #[tokio::test]
    async fn a_reject_is_read_whole_and_deleted_by_its_id() {
        let memory = stored().await;
        let all = RejectFilter::received_in(TimeRange::new(at(0), at(1_000_000_000)).unwrap());
        let listed = list(&memory, &all, None, 5).await.unwrap().rejects.remove(4);
        assert_eq!((listed.payload_bytes, listed.row.payload.len()), (1000, PREVIEW_BYTES));
        let place: RejectPlace = listed.place.to_string().parse().unwrap();
        assert_eq!(place, listed.place);
        assert_eq!(get(&memory, &place).await.unwrap().unwrap().payload.len(), 1000);
        delete(&memory, &place, WriteTime::from_micros(i64::MAX / 2)).await.unwrap();
        assert_eq!(get(&memory, &place).await.unwrap(), None);
        assert_eq!(list(&memory, &all, None, 1000).await.unwrap().rejects.len(), 299);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "1-2-3", "x-1-1-1", "1-g-1-1", "1-1-1-17", "1-1--1-1", "99999999999999999-1-1-1"] {
            assert_eq!(text.parse::<RejectPlace>(), Err(InvalidPlace), "{text}");
        }
    }
}
