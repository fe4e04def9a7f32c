//! The table in README.

use std::fmt::Write as _;

use super::fleet::Fleet;
use super::model::Line;

/// A column for each large fleet, a row for each line of the model.
pub(crate) fn markdown() -> String {
    let mut table = String::new();
    row(&mut table, "devices, a message of 5 metrics a minute", |fleet| count(fleet.devices));
    row(&mut table, "---", |_| "--:".to_owned());
    row(&mut table, "messages a second", |fleet| count(fleet.messages()));
    row(&mut table, "nodes · ingesters · mills", |fleet| {
        format!("{} · {} · {}", fleet.nodes, fleet.ingesters, fleet.mills)
    });
    row(&mut table, "shards × hours of a bucket", |fleet| {
        format!("{} × {}", fleet.shards, fleet.bucket_hours)
    });
    for line in Line::ALL.into_iter().filter(|line| *line != Line::SealExchanges) {
        row(&mut table, line.name(), |fleet| count(line.of(fleet) / line.unit()));
    }
    table
}

fn row(table: &mut String, name: &str, cell: impl Fn(&Fleet) -> String) {
    _ = write!(table, "| {name} |");
    for fleet in &Fleet::LARGE {
        _ = write!(table, " {} |", cell(fleet));
    }
    table.push('\n');
}

/// Two digits that count, thousands apart.
fn count(number: f64) -> String {
    if number < 10.0 {
        return format!("{number:.1}");
    }
    let magnitude = 10_f64.powf(number.log10().floor() - 1.0);
    let digits = format!("{:.0}", (number / magnitude).round() * magnitude);
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
