//! Fail points around the writes of a store, by table: where the steps of a write begin and end (design, write path).

use std::sync::Arc;

use tidemill_store::layout::tables::{CATALOG, MARKS, REJECTS, SEGMENTS};
use tidemill_store::wide::{Key, Layer, Row, Table, Wide, WriteError, WriteTime};

use super::{Point, reach};

/// `wide` with fail points.
pub(crate) fn store<W: Wide>(wide: Arc<W>) -> Arc<impl Wide> {
    Arc::new(Failing(wide))
}

struct Failing<W>(Arc<W>);

impl<W: Wide> Layer for Failing<W> {
    type Inner = Arc<W>;

    fn inner(&self) -> &Arc<W> {
        &self.0
    }

    async fn put(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[Row],
        at: WriteTime,
    ) -> Result<(), WriteError> {
        let points = points(table);
        if let Some((before, _)) = points {
            reach(before);
        }
        Wide::put(&self.0, table, partition, rows, at).await?;
        if let Some((_, after)) = points {
            reach(after);
        }
        Ok(())
    }
}

/// The points before and after a write of `table`.
fn points(table: &Table) -> Option<(Point, Point)> {
    let of = [
        (&CATALOG, Point::CatalogBefore, Point::CatalogAfter),
        (&MARKS, Point::MarkBefore, Point::MarkAfter),
        (&SEGMENTS, Point::SegmentBefore, Point::SegmentAfter),
        (&REJECTS, Point::RejectBefore, Point::RejectAfter),
    ];
    of.into_iter().find(|(of, _, _)| of.name == table.name).map(|(_, before, after)| (before, after))
}
