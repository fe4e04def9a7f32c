//! Numbers and times as Prometheus prints them.

use std::fmt::Write;

/// A double in the shortest digits that read back the same; exponents only far from 1. `NaN`, `+Inf`, `-Inf`.
pub fn float(value: f64) -> String {
    match special(value) {
        Some(special) => special.to_owned(),
        None if value != 0.0 && !(1e-6..1e21).contains(&value.abs()) => exponent(value),
        None => value.to_string(),
    }
}

/// A double without exponent, however long that is.
pub fn plain_float(value: f64) -> String {
    special(value).map_or_else(|| value.to_string(), str::to_owned)
}

/// A double as a label value: whole numbers with `.0`.
pub(super) fn open_metrics_float(value: f64) -> String {
    match special(value) {
        Some(special) => special.to_owned(),
        None if value != 0.0 && !(1e-4..1e21).contains(&value.abs()) => exponent(value),
        None => {
            let text = value.to_string();
            if text.contains('.') { text } else { text + ".0" }
        }
    }
}

fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        return Some("NaN");
    }
    value.is_infinite().then_some(if value > 0.0 { "+Inf" } else { "-Inf" })
}

/// `1.5e+21`, `1e-07`: a sign and at least two digits.
fn exponent(value: f64) -> String {
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(negative) => ('-', negative),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

/// Appends a time in nanoseconds as seconds, cut to milliseconds, which are shown where there are any.
pub fn write_time(out: &mut String, nanos: i64) {
    let millis = nanos.div_euclid(1_000_000);
    let sign = if millis < 0 { "-" } else { "" };
    let millis = millis.unsigned_abs();
    let (seconds, rest) = (millis / 1000, millis % 1000);
    let written =
        if rest == 0 { write!(out, "{sign}{seconds}") } else { write!(out, "{sign}{seconds}.{rest:03}") };
    assert!(written.is_ok(), "a string takes every write");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_exact() {
        let shown =
            [0.0, 0.1, 1e20, 1e21, 1.5e-7, -2.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(float);
        assert_eq!(
            shown,
            ["0", "0.1", "100000000000000000000", "1e+21", "1.5e-07", "-2", "NaN", "+Inf", "-Inf"]
        );
        assert_eq!(plain_float(1e22), "10000000000000000000000");
        assert_eq!([0.0, 1.0, 0.25, f64::NAN].map(open_metrics_float), ["0.0", "1.0", "0.25", "NaN"]);
    }

    #[test]
    fn times_have_milliseconds_where_there_are_any() {
        let shown = [0, 1_500_000_000, 1_001_999_999, -500_000_000].map(|nanos| {
            let mut text = String::new();
            write_time(&mut text, nanos);
            text
        });
        assert_eq!(shown, ["0", "1.500", "1.001", "-0.500"]);
    }
}
