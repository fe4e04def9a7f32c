//! Reading a range of a partition, page by page.

use std::ops::Bound;

use super::{Datum, Key, Row, Table};

/// Bounds over clustering keys. A bound may be a leading part of a key: it then compares only the parts it has,
/// so `Included(prefix)` on both sides means "all keys with this prefix".
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
}
