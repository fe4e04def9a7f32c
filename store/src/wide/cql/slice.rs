//! How bounds over clustering keys are said in CQL.
//!
//! Pure. Two forms are used. Where both bounds share their leading parts and then differ in at most one column, the
//! shared parts become equalities and the rest plain comparisons (`a = ? AND b > ?`). Everything else becomes
//! comparisons of tuples, which may differ in length (`(a, b, c) > (?, ?, ?) AND (a) <= (?)`). The two are never
//! mixed: Cassandra would take `a = ? AND (b, c) > (?, ?)`, ScyllaDB would not.

use std::fmt::Write as _;
use std::ops::Bound;

use crate::wide::{Bounds, Datum, Key};

/// Which side of a bound's value lies within.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Edge {
    /// The value itself, too.
    Included,
    /// Only what lies beyond it.
    Excluded,
}

/// The shape of bounds: what a statement's text depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Slice {
    /// Equality in the first `equal` columns, then at most one comparison each way in the next.
    Columns {
        /// Leading columns that must equal.
        equal: usize,
        /// Whether the next column has a lower bound.
        start: Option<Edge>,
        /// Whether the next column has an upper bound.
        end: Option<Edge>,
    },
    /// Comparisons of leading columns as tuples of these lengths.
    Tuples {
        /// Columns and edge of the lower bound.
        start: Option<(usize, Edge)>,
        /// Columns and edge of the upper bound.
        end: Option<(usize, Edge)>,
    },
}

impl Slice {
    /// The shape of `bounds` and the values for its markers, in their order; `None` where the bounds hold nothing.
    pub(super) fn of(bounds: &Bounds) -> Option<(Self, Vec<&Datum>)> {
        if bounds.hold_nothing() {
            return None;
        }
        let (start, end) = (edge(&bounds.start), edge(&bounds.end));
        let (start_parts, end_parts) = (parts(start), parts(end));
        let equal = start_parts.iter().zip(end_parts).take_while(|(low, high)| low == high).count();
        let start_rest = start_parts.get(equal..).unwrap_or_default();
        let end_rest = end_parts.get(equal..).unwrap_or_default();
        if start_rest.len() <= 1 && end_rest.len() <= 1 {
            let one_sided = |rest: &[Datum], side: Option<(&Key, Edge)>| {
                side.filter(|_| !rest.is_empty()).map(|(_, edge)| edge)
            };
            let slice =
                Self::Columns { equal, start: one_sided(start_rest, start), end: one_sided(end_rest, end) };
            return Some((slice, start_parts.iter().chain(end_rest).collect()));
        }
        let tuple = |side: Option<(&Key, Edge)>| side.map(|(key, edge)| (key.parts().len(), edge));
        let slice = Self::Tuples { start: tuple(start), end: tuple(end) };
        Some((slice, start_parts.iter().chain(end_parts).collect()))
    }

    /// The conditions on the clustering columns of these names, each with ` AND ` before it.
    pub(super) fn conditions(self, names: &[&str]) -> String {
        let mut text = String::new();
        match self {
            Self::Columns { equal, start, end } => {
                for name in names.iter().take(equal) {
                    _ = write!(text, " AND {name} = ?");
                }
                for (edge, sign) in [(start, '>'), (end, '<')] {
                    if let (Some(edge), Some(name)) = (edge, names.get(equal)) {
                        _ = write!(text, " AND {name} {sign}{} ?", or_equal(edge));
                    }
                }
            }
            Self::Tuples { start, end } => {
                for (side, sign) in [(start, '>'), (end, '<')] {
                    if let Some((length, edge)) = side {
                        let columns = names.get(..length).unwrap_or(names).join(", ");
                        let markers = vec!["?"; length].join(", ");
                        _ = write!(text, " AND ({columns}) {sign}{} ({markers})", or_equal(edge));
                    }
                }
            }
        }
        text
    }
}

const fn or_equal(edge: Edge) -> &'static str {
    match edge {
        Edge::Included => "=",
        Edge::Excluded => "",
    }
}

fn edge(bound: &Bound<Key>) -> Option<(&Key, Edge)> {
    match bound {
        Bound::Included(key) => Some((key, Edge::Included)),
        Bound::Excluded(key) => Some((key, Edge::Excluded)),
        Bound::Unbounded => None,
    }
}

fn parts(side: Option<(&Key, Edge)>) -> &[Datum] {
    side.map_or(&[], |(key, _)| key.parts())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[i64]) -> Key {
        Key::new(parts.iter().map(|&n| Datum::Int(n)).collect::<Vec<_>>())
    }

    fn said(start: Bound<Key>, end: Bound<Key>) -> Option<(String, Vec<i64>)> {
        let bounds = Bounds { start, end };
        let (slice, values) = Slice::of(&bounds)?;
        let numbers = values.iter().map(|datum| datum.as_int().unwrap()).collect();
        Some((slice.conditions(&["a", "b", "c"]), numbers))
    }

    use Bound::{Excluded, Included, Unbounded};

    #[test]
    fn everything_has_no_condition() {
        assert_eq!(said(Unbounded, Unbounded), Some((String::new(), vec![])));
    }

    #[test]
    fn a_prefix_is_an_equality() {
        let both = said(Included(key(&[7])), Included(key(&[7])));
        assert_eq!(both, Some((" AND a = ?".to_owned(), vec![7])));
    }

    #[test]
    fn bounds_that_share_their_leading_parts_compare_the_next_column() {
        let up_to = said(Included(key(&[7])), Included(key(&[7, 9])));
        assert_eq!(up_to, Some((" AND a = ? AND b <= ?".to_owned(), vec![7, 9])));
        let between = said(Excluded(key(&[7, 3])), Excluded(key(&[7, 9])));
        assert_eq!(between, Some((" AND a = ? AND b > ? AND b < ?".to_owned(), vec![7, 3, 9])));
        let after = said(Excluded(key(&[7])), Unbounded);
        assert_eq!(after, Some((" AND a > ?".to_owned(), vec![7])));
    }

    #[test]
    fn the_second_page_of_a_prefix_stays_an_equality() {
        let rest = said(Excluded(key(&[7, 3])), Included(key(&[7])));
        assert_eq!(rest, Some((" AND a = ? AND b > ?".to_owned(), vec![7, 3])));
    }

    #[test]
    fn bounds_over_several_columns_are_tuples_that_may_differ_in_length() {
        let mixed = said(Excluded(key(&[7, 3, 1])), Included(key(&[7])));
        assert_eq!(mixed, Some((" AND (a, b, c) > (?, ?, ?) AND (a) <= (?)".to_owned(), vec![7, 3, 1, 7])));
        let below = said(Unbounded, Excluded(key(&[7, 3])));
        assert_eq!(below, Some((" AND (a, b) < (?, ?)".to_owned(), vec![7, 3])));
    }

    #[test]
    fn bounds_that_hold_nothing_are_not_said_at_all() {
        assert_eq!(said(Included(key(&[8])), Included(key(&[7, 9]))), None);
        assert_eq!(said(Excluded(key(&[7])), Included(key(&[7, 9]))), None);
    }
}
