//! What a seal makes known beside itself: that its period has seals, and how many catalog rows of each writer seals
//! carry. With it a reader of all times finds seals without trying every period, and every source without any seal.
//!
//! Both are durable before the seal, and a mark is deleted only after the seal that covers it: who reads marks, then
//! this, then seals misses nothing (I3). Rows only grow in number and are never deleted; any of them may be written
//! again at any time (I5).

use std::collections::{BTreeMap, BTreeSet};

use super::tables::{PERIODS, WRITERS};
use super::{Bucket, BucketWidth, Covered, Period, PeriodRow, Place, WriterRow};
use crate::model::{CatalogN, Shard, WriterId};
use crate::wide::{ReadError, Row, Scan, Wide, WriteError, WriteTime};

/// The write time of the row of a period: it is always written with the same cells.
const PERIODS_AT: WriteTime = WriteTime::from_micros(1);
/// Rows in a page; they are tiny.
const PAGE_ROWS: u32 = 2_000;
/// What is remembered of either kind: beyond it, all is forgotten and announced again where it is needed (I6).
const REMEMBERED_MAX: usize = 100_000;

/// Announces what seals need, and remembers it to save the writes.
#[derive(Debug, Default)]
pub struct Announced {
    periods: BTreeSet<(Shard, Period, i64)>,
    writers: BTreeMap<(Shard, WriterId), CatalogN>,
}

impl Announced {
    /// Makes known what a seal of `place` with `covered` carries; to be done before that seal is put in force.
    pub async fn announce<W: Wide>(
        &mut self,
        wide: &W,
        place: Place,
        width: BucketWidth,
        covered: &BTreeMap<WriterId, Covered>,
    ) -> Result<(), WriteError> {
        let (period, shard) = (PeriodRow::of(place.bucket, width), place.shard);
        let key = (shard, period.period, i64::try_from(width.get().as_millis()).unwrap_or(i64::MAX));
        if !self.periods.contains(&key) {
            let rows = [period.to_row()];
            wide.put(&PERIODS, &PeriodRow::partition(shard), &rows, PERIODS_AT).await?;
            forget_if_full(self.periods.len(), || self.periods.clear());
            self.periods.insert(key);
        }
        for (&writer, &Covered { catalog, .. }) in covered {
            if self.writers.get(&(shard, writer)).is_none_or(|&announced| announced < catalog) {
                let row = WriterRow { writer, catalog };
                let rows = [row.to_row()];
                wide.put(&WRITERS, &WriterRow::partition(shard), &rows, row.written_at()).await?;
                forget_if_full(self.writers.len(), || self.writers.clear());
                self.writers.insert((shard, writer), catalog);
            }
        }
        Ok(())
    }
}

fn forget_if_full(remembered: usize, forget: impl FnOnce()) {
    if remembered >= REMEMBERED_MAX {
        forget();
    }
}

/// The announced periods with seals of buckets from `first` to `last`, both included and of `width`, in order.
pub async fn load_periods<W: Wide>(
    wide: &W,
    shard: Shard,
    (first, last): (Bucket, Bucket),
    width: BucketWidth,
) -> Result<BTreeSet<Period>, ReadError> {
    let bounds = PeriodRow::between(Period::of_seal(first, width), Period::of_seal(last, width));
    let scan = Scan::partition(&PERIODS, PeriodRow::partition(shard)).within(bounds);
    let rows = load(wide, scan, PeriodRow::from_row).await?;
    Ok(rows.into_iter().filter(|row| row.width == width).map(|row| row.period).collect())
}

/// The writers of a shard whose catalog rows seals carry, and how many of them.
pub async fn load_writers<W: Wide>(wide: &W, shard: Shard) -> Result<Vec<WriterRow>, ReadError> {
    load(wide, Scan::partition(&WRITERS, WriterRow::partition(shard)), WriterRow::from_row).await
}

async fn load<W: Wide, T>(
    wide: &W,
    scan: Scan,
    parse: impl Fn(&Row) -> Result<T, ReadError>,
) -> Result<Vec<T>, ReadError> {
    let scan = scan.in_pages_of(PAGE_ROWS);
    let (mut found, mut from) = (Vec::new(), None);
    loop {
        let page = wide.scan(&scan, from).await?;
        for row in &page.rows {
            found.push(parse(row)?);
        }
        match page.next {
            Some(next) => from = Some(next),
            None => return Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Timestamp;
    use crate::wide::Memory;

    #[tokio::test]
    async fn what_was_announced_is_found_by_width_and_with_the_greatest_count() {
        let (wide, shard, mut announced) = (Memory::new(), Shard::new(3), Announced::default());
        let [hour, day] = [1, 24].map(|hours| BucketWidth::new(Duration::from_hours(hours)).unwrap());
        let at = |hours: i64, width| Bucket::at(Timestamp::from_millis(hours * 3_600_000).unwrap(), width);
        let writer = WriterId::from_random(4);
        for (n, (hours, width)) in
            [(0, hour), (1, hour), (200, hour), (0, day), (-1, hour)].into_iter().enumerate()
        {
            let catalog = CatalogN::new(if n == 2 { 9 } else { 3 });
            let covered = BTreeMap::from([(writer, Covered { segments: 1, catalog })]);
            let place = Place { shard, bucket: at(hours, width) };
            let announced = if n == 3 { &mut Announced::default() } else { &mut announced };
            announced.announce(&wide, place, width, &covered).await.unwrap();
        }
        let found = load_periods(&wide, shard, (at(5, hour), at(1_000, hour)), hour).await.unwrap();
        assert_eq!(found, BTreeSet::from([0, 200].map(|hours| Period::of_seal(at(hours, hour), hour))));
        let writers = load_writers(&wide, shard).await.unwrap();
        assert_eq!(writers, [WriterRow { writer, catalog: CatalogN::new(9) }]);
        let nothing = load_periods(&wide, Shard::new(4), (at(0, hour), at(9, hour)), hour).await.unwrap();
        assert!(nothing.is_empty());
    }
}
