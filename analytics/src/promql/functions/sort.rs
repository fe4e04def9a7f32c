//! Sorting, which only an instant query's answer shows.

use std::cmp::Ordering;

use super::super::eval::Evaluator;
use super::super::expr::Node;
use super::super::function::Order;
use super::super::notes::Note;
use super::super::settings::Mode;
use super::super::value::Row;

/// Whether the order will show. Says so where it will not.
fn shows(evaluator: &Evaluator<'_>, node: &Node) -> bool {
    if evaluator.settings.mode == Mode::Range {
        evaluator.note(Note::SortIneffective, node.place);
        return false;
    }
    true
}

/// By the value at the first step; NaN last.
pub(super) fn by_value(evaluator: &Evaluator<'_>, node: &Node, mut rows: Vec<Row>, order: Order) -> Vec<Row> {
    if shows(evaluator, node) {
        let value = |row: &Row| row.values.first().copied().unwrap_or(f64::NAN);
        rows.sort_by(|a, b| nan_last(value(a), value(b), order));
    }
    rows
}

/// The order of two values; NaN is behind all others whatever the order.
pub(in super::super) fn nan_last(a: f64, b: f64, order: Order) -> Ordering {
    match (a.partial_cmp(&b), order) {
        (Some(ascending), Order::Ascending) => ascending,
        (Some(ascending), Order::Descending) => ascending.reverse(),
        (None, _) => a.is_nan().cmp(&b.is_nan()),
    }
}

/// By labels one after another, numbers within them as numbers; then by all labels.
pub(super) fn by_labels(
    evaluator: &Evaluator<'_>,
    node: &Node,
    mut rows: Vec<Row>,
    (order, names): (Order, &[Node]),
) -> Vec<Row> {
    if !shows(evaluator, node) {
        return rows;
    }
    let names: Vec<&str> = names.iter().filter_map(|name| Some(name.text()?.text.as_str())).collect();
    rows.sort_by(|a, b| {
        let by_names = names.iter().map(|name| natural(a.labels.get(name), b.labels.get(name)));
        let ascending = by_names.fold(Ordering::Equal, Ordering::then).then_with(|| a.labels.cmp(&b.labels));
        match order {
            Order::Ascending => ascending,
            Order::Descending => ascending.reverse(),
        }
    });
    rows
}

/// The order in which people sort texts with numbers in them: `a2` before `a10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (part_a, rest_a) = part(a);
        let (part_b, rest_b) = part(b);
        let order = match (number(part_a), number(part_b)) {
            (Some(x), Some(y)) => x.len().cmp(&y.len()).then_with(|| x.cmp(y)),
            _ => part_a.cmp(part_b),
        };
        if order != Ordering::Equal || (rest_a.is_empty() && rest_b.is_empty()) {
            return order.then(part_a.len().cmp(&part_b.len()));
        }
        (a, b) = (rest_a, rest_b);
    }
}

/// The first run of digits, or of anything else.
fn part(text: &str) -> (&str, &str) {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    text.split_at(text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len()))
}

/// A run of digits without leading zeros.
fn number(part: &str) -> Option<&str> {
    part.starts_with(|c: char| c.is_ascii_digit()).then(|| part.trim_start_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_texts_are_compared_as_numbers() {
        let mut texts = ["4m600", "4m1000", "4m5", "1.111.3", "1.2.3", "1.11.3", "", "a"];
        texts.sort_by(|a, b| natural(a, b));
        assert_eq!(texts, ["", "1.2.3", "1.11.3", "1.111.3", "4m5", "4m600", "4m1000", "a"]);
    }

    #[test]
    fn nan_is_last_in_either_order() {
        for order in [Order::Ascending, Order::Descending] {
            assert_eq!(nan_last(f64::NAN, 1.0, order), Ordering::Greater);
            assert_eq!(nan_last(1.0, f64::NAN, order), Ordering::Less);
        }
    }
}
