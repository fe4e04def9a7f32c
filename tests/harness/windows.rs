//! Windows computed the plain way from all samples, and the same as `/v1/windows` answers them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde_json::Value;

use crate::api::rows;
use crate::http::Http;

/// How far two averages may be apart: a sum may be added up in another order.
const AVERAGE_RELATIVE: f64 = 1e-12;

/// A series: nanoseconds since the epoch, and value.
pub type Series = BTreeMap<i128, f64>;

/// One window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Samples.
    pub count: u64,
    /// The least value.
    pub min: f64,
    /// The greatest value.
    pub max: f64,
    /// The arithmetic mean.
    pub avg: f64,
}

/// Windows by their start, nanoseconds since the epoch.
pub type Windows = BTreeMap<i128, Window>;

/// The windows of this width that hold samples, aligned to the epoch.
pub fn expected(series: &Series, width_ns: i128) -> Windows {
    let mut values: BTreeMap<i128, Vec<f64>> = BTreeMap::new();
    for (&time, &value) in series {
        values.entry(time.div_euclid(width_ns) * width_ns).or_default().push(value);
    }
    values.into_iter().map(|(start, values)| (start, aggregate(&values))).collect()
}

fn aggregate(values: &[f64]) -> Window {
    let count = u32::try_from(values.len()).unwrap_or(u32::MAX);
    Window {
        count: count.into(),
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        avg: sum(values) / f64::from(count),
    }
}

/// Neumaier's sum: what a plain one drops at each step is added at the end.
fn sum(values: &[f64]) -> f64 {
    let (mut sum, mut dropped) = (0.0_f64, 0.0);
    for &value in values {
        let next = sum + value;
        dropped += if sum.abs() >= value.abs() { (sum - next) + value } else { (value - next) + sum };
        sum = next;
    }
    sum + dropped
}

/// The windows that a server answers for one series.
pub fn read(
    http: &Http,
    (device, metric): (&str, &str),
    window: &str,
    (start, end): (&str, &str),
) -> Result<Windows> {
    let answer = ask(http, &[("device", device), ("metric", metric), ("window", window)], (start, end))?;
    let series = rows(&answer, "series")?;
    ensure!(series.len() <= 1, "{} series of {device} and {metric}", series.len());
    let windows = series.first().map_or(Ok(&[][..]), |one| rows(one, "windows"))?;
    let mut all = Windows::new();
    for row in windows {
        let (start, window) = parse(row).with_context(|| row.to_string())?;
        ensure!(all.insert(start, window).is_none(), "twice: {row}");
    }
    Ok(all)
}

/// The windows that a server answers for one metric of every device, in one answer.
pub fn read_fleet(
    http: &Http,
    (metric, window): (&str, &str),
    (start, end): (&str, &str),
) -> Result<BTreeMap<String, Windows>> {
    let answer = ask(http, &[("metric", metric), ("window", window)], (start, end))?;
    let mut fleet = BTreeMap::new();
    for series in rows(&answer, "series")? {
        let device = series.get("device").and_then(Value::as_str).context("no device")?;
        let windows = rows(series, "windows")?.iter().map(parse).collect::<Result<Windows>>()?;
        ensure!(fleet.insert(device.to_owned(), windows).is_none(), "{device} twice");
    }
    Ok(fleet)
}

/// What is answered for a range, which must be all of it.
fn ask(http: &Http, of: &[(&str, &str)], (start, end): (&str, &str)) -> Result<Value> {
    let range = [("start", start), ("end", end), ("aggregate", "avg,min,max,count"), ("limit", "100000")];
    let query = [of, range.as_slice()].concat();
    let answer = http.json("/v1/windows", &query)?;
    ensure!(answer.get("truncated") == Some(&Value::Bool(false)), "cut: {query:?}");
    Ok(answer)
}

fn parse(row: &Value) -> Result<(i128, Window)> {
    let number = |name: &str| row.get(name).and_then(Value::as_f64).with_context(|| format!("no {name}"));
    let start: Timestamp = row.get("start").and_then(Value::as_str).context("no start")?.parse()?;
    let count = row.get("count").and_then(Value::as_u64).context("no count")?;
    let window = Window { count, min: number("min")?, max: number("max")?, avg: number("avg")? };
    Ok((start.as_nanosecond(), window))
}

/// Whether there are as many samples in all windows as in the series.
pub fn holds_all(windows: &Windows, series: &Series) -> bool {
    let count: u64 = windows.values().map(|window| window.count).sum();
    usize::try_from(count).is_ok_and(|count| count == series.len())
}

/// An error that shows the first difference: averages to within rounding, all else exactly.
pub fn ensure_equal(read: &Windows, expected: &Windows) -> Result<()> {
    for (start, want) in expected {
        let have = read.get(start).with_context(|| format!("no window at {start}, expected {want:?}"))?;
        let exact = (have.count, have.min.to_bits(), have.max.to_bits())
            == (want.count, want.min.to_bits(), want.max.to_bits());
        let close = (have.avg - want.avg).abs() <= AVERAGE_RELATIVE * want.avg.abs();
        ensure!(exact && close, "window at {start}: {have:?}, expected {want:?}");
    }
    ensure!(read.len() == expected.len(), "{} windows, expected {}", read.len(), expected.len());
    Ok(())
}

/// As [`ensure_equal`], while samples are on their way: what is read lies between the windows of what was certainly
/// there and those of what may have been. Windows that nothing was on its way to must be right exactly.
pub fn ensure_between(read: &Windows, certain: &Windows, possible: &Windows) -> Result<()> {
    for (start, most) in possible {
        let least = certain.get(start).map_or(0, |window| window.count);
        let have = read.get(start).map_or(0, |window| window.count);
        ensure!(
            least <= have && have <= most.count,
            "window at {start}: {have} samples, expected {least} to {}",
            most.count
        );
        if least == most.count {
            let only =
                |windows: &Windows| windows.iter().filter(|(at, _)| *at == start).map(copied).collect();
            ensure_equal(&only(read), &only(possible))?;
        }
    }
    let invented = read.keys().find(|start| !possible.contains_key(start));
    ensure!(invented.is_none(), "a window at {invented:?}, where nothing was sent");
    Ok(())
}

fn copied((start, window): (&i128, &Window)) -> (i128, Window) {
    (*start, *window)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_half_open_and_aligned_to_the_epoch() {
        let series = Series::from([(-1, 1.0), (0, 2.0), (9, 4.0), (10, 8.0)]);
        let windows = expected(&series, 10);
        assert_eq!(windows.keys().copied().collect::<Vec<_>>(), [-10, 0, 10]);
        assert_eq!(windows[&0], Window { count: 2, min: 2.0, max: 4.0, avg: 3.0 });
        assert!(holds_all(&windows, &series));
    }

    #[test]
    fn small_values_survive_large_ones_in_a_sum() {
        assert_eq!(sum(&[1.0, 1e100, 1.0, -1e100]).to_bits(), 2.0_f64.to_bits());
    }

    #[test]
    fn what_is_on_its_way_may_be_there_or_not_and_nothing_else_may_differ() {
        let certain = expected(&Series::from([(0, 1.0), (10, 2.0)]), 10);
        let possible = expected(&Series::from([(0, 1.0), (10, 2.0), (11, 4.0)]), 10);
        for read in [&certain, &possible] {
            ensure_between(read, &certain, &possible).unwrap();
        }
        let wrong = [
            expected(&Series::from([(0, 1.5), (10, 2.0)]), 10),
            expected(&Series::from([(10, 2.0)]), 10),
            expected(&Series::from([(0, 1.0), (10, 2.0), (11, 4.0), (12, 4.0)]), 10),
            expected(&Series::from([(0, 1.0), (10, 2.0), (20, 4.0)]), 10),
        ];
        for read in wrong {
            assert!(ensure_between(&read, &certain, &possible).is_err(), "{read:?}");
        }
    }

    #[test]
    fn a_difference_in_any_figure_is_found() {
        let window = Window { count: 2, min: 2.0, max: 4.0, avg: 3.0 };
        let of = |window| Windows::from([(0, window)]);
        ensure_equal(&of(Window { avg: 3.0 + 1e-13, ..window }), &of(window)).unwrap();
        for other in [
            Window { count: 3, ..window },
            Window { min: 2.000_000_1, ..window },
            Window { max: 4.000_000_1, ..window },
            Window { avg: 3.0 + 1e-10, ..window },
        ] {
            assert!(ensure_equal(&of(other), &of(window)).is_err(), "{other:?}");
        }
        assert!(ensure_equal(&of(window), &Windows::new()).is_err());
        assert!(ensure_equal(&Windows::new(), &of(window)).is_err());
    }
}
