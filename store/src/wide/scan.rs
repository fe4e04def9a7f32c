//! Reading a range of a partition, page by page.

use std::cmp::Ordering;
use std::ops::Bound;

use futures_util::future::try_join_all;

use super::{Datum, Key, ReadError, Row, Table, Wide};

/// Bounds over clustering keys. A bound may be a leading part of a key: it then compares only the parts it has,
/// so `Included(prefix)` on both sides means "all keys with this prefix". A bound has at least one part. Where the
/// start lies beyond the end, nothing lies within.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Lower bound.
    pub start: Bound<Key>,
    /// Upper bound.
    pub end: Bound<Key>,
}

impl Bounds {
    /// Every key.
    pub const ALL: Self = Self { start: Bound::Unbounded, end: Bound::Unbounded };

    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: Key) -> Self {
        Self { start: Bound::Included(prefix.clone()), end: Bound::Included(prefix) }
    }

    /// Whether `key`, a whole clustering key, lies within.
    pub fn contains(&self, key: &Key) -> bool {
        let after_start = match &self.start {
            Bound::Unbounded => true,
            Bound::Included(start) => leading(key, start) >= start.parts(),
            Bound::Excluded(start) => leading(key, start) > start.parts(),
        };
        after_start
            && match &self.end {
                Bound::Unbounded => true,
                Bound::Included(end) => leading(key, end) <= end.parts(),
                Bound::Excluded(end) => leading(key, end) < end.parts(),
            }
    }
}

impl Bounds {
    /// Whether no key at all can lie within: the start lies beyond the end. Not every store takes such bounds.
    pub fn hold_nothing(&self) -> bool {
        let (Some((start, start_in)), Some((end, end_in))) = (edge(&self.start), edge(&self.end)) else {
            return false;
        };
        let common = start.len().min(end.len());
        match start.iter().take(common).cmp(end.iter().take(common)) {
            Ordering::Less => false,
            Ordering::Greater => true,
            Ordering::Equal => (start.len() == common && !start_in) || (end.len() == common && !end_in),
        }
    }
}

/// The parts of a bound and whether they lie within.
fn edge(bound: &Bound<Key>) -> Option<(&[Datum], bool)> {
    match bound {
        Bound::Included(key) => Some((key.parts(), true)),
        Bound::Excluded(key) => Some((key.parts(), false)),
        Bound::Unbounded => None,
    }
}

/// As many parts of `key` as `bound` has.
fn leading<'a>(key: &'a Key, bound: &Key) -> &'a [Datum] {
    let parts = key.parts();
    parts.get(..bound.parts().len()).unwrap_or(parts)
}

/// In which clustering order rows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Lowest key first.
    Ascending,
    /// Highest key first.
    Descending,
}

/// A scan of one partition.
#[derive(Debug, Clone)]
pub struct Scan {
    /// The table.
    pub table: &'static Table,
    /// The whole partition key.
    pub partition: Key,
    /// Which clustering keys.
    pub bounds: Bounds,
    /// In which order.
    pub order: Order,
    /// Most rows of a page; a backend may give fewer, and bounds a page in bytes as well.
    pub page_rows_max: u32,
}

impl Scan {
    /// Rows in a page unless asked otherwise: small enough that a page of full bodies fits in memory many times.
    pub const PAGE_ROWS_DEFAULT: u32 = 256;

    /// All rows of a partition, ascending.
    pub fn partition(table: &'static Table, partition: Key) -> Self {
        Self {
            table,
            partition,
            bounds: Bounds::ALL,
            order: Order::Ascending,
            page_rows_max: Self::PAGE_ROWS_DEFAULT,
        }
    }

    /// The same scan within `bounds`.
    #[must_use]
    pub fn within(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// The same scan in pages of at most `rows` rows, at least one.
    #[must_use]
    pub fn in_pages_of(mut self, rows: u32) -> Self {
        self.page_rows_max = rows.max(1);
        self
    }

    /// The same scan of another partition.
    #[must_use]
    pub fn of(mut self, partition: Key) -> Self {
        self.partition = partition;
        self
    }

    /// Panics unless it fits its table: a caller's bug, never input.
    pub fn assert_valid(&self) {
        self.table.assert_partition(&self.partition);
        self.table.assert_bounds(&self.bounds);
        assert!(self.page_rows_max > 0, "a page of {} without rows", self.table.name);
    }

    /// The bounds of what is still to come after `token`.
    pub fn remaining(&self, token: Option<PageToken>) -> Bounds {
        let mut bounds = self.bounds.clone();
        if let Some(PageToken(last)) = token {
            match self.order {
                Order::Ascending => bounds.start = Bound::Excluded(last),
                Order::Descending => bounds.end = Bound::Excluded(last),
            }
        }
        bounds
    }

    /// The same scan in `order`.
    #[must_use]
    pub fn in_order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }
}

/// Where the next page starts: the clustering key of the last row of the page before, in any backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken(pub Key);

/// Rows in clustering order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The rows.
    pub rows: Vec<Row>,
    /// How to go on; `None` when the scan is complete. A page may be empty and yet have a successor.
    pub next: Option<PageToken>,
}

impl Page {
    /// The bytes of rows after which a page of the embedded backends ends, though more rows would be allowed:
    /// sixteen full bodies.
    pub const BYTES_MAX: usize = 4 * 1024 * 1024;
}

/// [`Wide::scan_each`] by a scan of each partition, all at once.
pub(super) async fn scan_one_by_one<W: Wide>(
    wide: &W,
    scan: &Scan,
    partitions: &[Key],
) -> Result<Vec<Page>, ReadError> {
    let mut pages = Vec::with_capacity(partitions.len());
    for partition in partitions {
        pages.push(first_page(wide, scan.clone().of(partition.clone())));
    }
    try_join_all(pages).await
}

async fn first_page<W: Wide>(wide: &W, scan: Scan) -> Result<Page, ReadError> {
    wide.scan(&scan, None).await
}

/// A page being filled, up to its bounds in rows and bytes.
pub(super) struct PageFill {
    rows: Vec<Row>,
    rows_max: usize,
    bytes: usize,
}

impl PageFill {
    /// An empty page for `scan`.
    pub(super) fn new(scan: &Scan) -> Self {
        let rows_max = usize::try_from(scan.page_rows_max).unwrap_or(usize::MAX);
        Self { rows: Vec::new(), rows_max, bytes: 0 }
    }

    /// Whether another row may come; an empty page always has room for one.
    pub(super) const fn has_room(&self) -> bool {
        self.rows.is_empty() || (self.rows.len() < self.rows_max && self.bytes < Page::BYTES_MAX)
    }

    /// Adds a row, for which there must be room.
    pub(super) fn push(&mut self, row: Row) {
        assert!(self.has_room(), "a page was filled beyond its bounds");
        self.bytes += row.size_bytes();
        self.rows.push(row);
    }

    /// The page, where the scan goes on after it.
    pub(super) fn cut(self) -> Page {
        let next = self.rows.last().map(|row| PageToken(row.clustering.clone()));
        Page { rows: self.rows, next }
    }

    /// The page, where the scan ends with it.
    pub(super) fn last(self) -> Page {
        Page { rows: self.rows, next: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[i64]) -> Key {
        Key::new(parts.iter().map(|&n| Datum::Int(n)).collect::<Vec<_>>())
    }

    #[test]
    fn a_shorter_bound_compares_only_the_parts_it_has() {
        let one = Bounds::prefix(key(&[1]));
        assert!(one.contains(&key(&[1, 0])) && one.contains(&key(&[1, i64::MAX])));
        assert!(!one.contains(&key(&[0, 9])) && !one.contains(&key(&[2, 0])));
        let after = Bounds { start: Bound::Excluded(key(&[1])), end: Bound::Excluded(key(&[3, 5])) };
        assert!(!after.contains(&key(&[1, 7])) && after.contains(&key(&[2, 0])));
        assert!(after.contains(&key(&[3, 4])) && !after.contains(&key(&[3, 5])));
    }

    #[test]
    fn bounds_whose_start_lies_beyond_their_end_hold_nothing() {
        let bounds = |start, end| Bounds { start, end };
        let (included, excluded) = (Bound::<Key>::Included, Bound::<Key>::Excluded);
        assert!(!Bounds::ALL.hold_nothing() && !Bounds::prefix(key(&[1])).hold_nothing());
        assert!(bounds(included(key(&[2])), included(key(&[1, 9]))).hold_nothing());
        assert!(bounds(excluded(key(&[1])), included(key(&[1, 9]))).hold_nothing());
        assert!(bounds(included(key(&[1, 9])), excluded(key(&[1]))).hold_nothing());
        assert!(!bounds(excluded(key(&[1, 3])), included(key(&[1]))).hold_nothing());
        assert!(!bounds(included(key(&[1])), excluded(key(&[1, 3]))).hold_nothing());
    }
}
