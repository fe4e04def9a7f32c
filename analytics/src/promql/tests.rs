//! The engine from a query's text to its answer: what a source may answer, when evaluation ends, and how deep a
//! query may be. What functions and operators give is tested beside them, and by the conformance run.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const SECOND: i64 = 1_000_000_000;

fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => unreachable!("nothing here waits"),
    }
}

fn settings(samples_max: usize) -> Settings {
    Settings {
        mode: Mode::Range,
        steps: Steps::between(600 * SECOND, 900 * SECOND, 30 * SECOND),
        end: 900 * SECOND,
        lookback: Lookback::new(Duration::from_mins(5), &[]),
        samples_max,
    }
}

fn ask(query: &str, source: &impl SeriesSource, settings: &Settings) -> Result<Outcome, String> {
    let query = Query::parse(query).map_err(|error| error.to_string())?;
    let gathered = at_once(gather(&query, settings, source)).map_err(|error| error.to_string())?;
    query.evaluate(settings, gathered, &Stop::default()).map_err(|error| error.to_string())
}

/// Answers with values of windows wherever the hint allows it, computed sample by sample.
struct Rollups(MemorySource);

impl SeriesSource for Rollups {
    async fn select(&self, demand: &Demand) -> Result<Selected, SourceError> {
        let series = self.0.find(demand);
        let Hint { wanted, window, ends, .. } = demand.hint;
        if wanted == Wanted::Samples {
            return Ok(Selected::Samples(series));
        }
        let value = |series: &PromSeries, end: i64| {
            let samples = series.times.iter().zip(&series.values);
            let within = samples.filter(|(time, _)| **time > end - window && **time <= end).map(|(_, v)| *v);
            of_window(wanted, &within.collect::<Vec<_>>())
        };
        let windows = series.iter().map(|series| WindowSeries {
            labels: series.labels.clone(),
            values: ends.iter().map(|end| value(series, end)).collect(),
        });
        Ok(Selected::Windows(windows.collect()))
    }
}

fn of_window(wanted: Wanted, values: &[f64]) -> f64 {
    let Some(last) = values.last() else { return ABSENT };
    match wanted {
        Wanted::Function(RangeFunction::MaxOverTime) => values.iter().copied().fold(f64::MIN, f64::max),
        Wanted::Function(RangeFunction::SumOverTime) => values.iter().sum(),
        Wanted::Function(RangeFunction::PresentOverTime) => 1.0,
        Wanted::Latest | Wanted::Function(_) | Wanted::Samples => *last,
    }
}

fn rows(outcome: &Outcome) -> Vec<(String, Vec<Option<f64>>)> {
    let Answer::Rows(rows) = &outcome.answer else { panic!("no rows") };
    let values = |row: &Row| row.values.iter().map(|value| present(*value)).collect();
    rows.iter().map(|row| (row.labels.to_string(), values(row))).collect()
}

proptest! {
    /// Whole numbers, so that sums do not depend on the order of additions.
    #[test]
    fn values_of_windows_give_the_same_answers_as_samples(
        samples in prop::collection::vec((0..3_u8, 0..100_i64, -50..50_i32), 0..80),
    ) {
        let mut memory = MemorySource::default();
        for (series, place, value) in samples {
            let labels = Labels::of(&[(NAME, "m"), ("a", &series.to_string())]);
            memory.add(&labels, place * 10 * SECOND, f64::from(value));
        }
        let rollups = Rollups(memory.clone());
        for query in [
            "m",
            "sum by (a) (m offset 1m)",
            "m @ 700",
            "max_over_time(m[2m])",
            "sum(sum_over_time(m[90s] offset -30s))",
            "last_over_time(m[1m] @ end()) + m",
            "absent_over_time(m{a=\"1\"}[1m])",
            "max_over_time(sum_over_time(m[1m])[3m:20s])",
            "timestamp(m) + on (a) quantile_over_time(0.5, m[2m])",
        ] {
            let (raw, rolled) = (ask(query, &memory, &settings(1_000_000)), ask(query, &rollups, &settings(1_000_000)));
            prop_assert_eq!(rows(&raw.unwrap()), rows(&rolled.unwrap()), "{}", query);
        }
    }
}

#[test]
fn an_evaluation_that_nobody_waits_for_ends() {
    let (query, settings, stop) = (Query::parse("1 + 1").unwrap(), settings(1_000), Stop::default());
    stop.stop();
    assert_eq!(query.evaluate(&settings, Gathered(Vec::new()), &stop).unwrap_err(), EvalError::Stopped);
}

#[test]
fn what_would_take_too_much_memory_is_refused_before_it_is_made() {
    for query in [
        "sum_over_time(vector(time())[100y:1ms])",
        "sum_over_time(vector(scalar(m))[100y:1ms])",
        "sum_over_time(absent(m)[100y:1ms])",
        "sum_over_time(minute()[100y:1ms])",
        "sum_over_time((m or m)[100y:1ms])",
        "sum_over_time(vector(pi() + 1)[100y:1ms])",
    ] {
        let refused = ask(query, &MemorySource::default(), &settings(1_000_000)).unwrap_err();
        assert!(refused.contains("too many samples"), "{query}: {refused}");
    }
}

#[test]
fn the_deepest_queries_are_evaluated() {
    let signs = format!("{}1", "-".repeat(256));
    let sums = format!("1{}", " + 1".repeat(256));
    let levels = format!("{}m{}", "abs(".repeat(64), ")".repeat(64));
    for query in [signs, sums, levels] {
        assert!(ask(&query, &MemorySource::default(), &settings(1_000_000)).is_ok(), "{query}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_engine_panic(text in "[a-c0-9(){}\\[\\]:,@.+*/=~!\"' offsetbysumrate-]{0,40}") {
        let _ = ask(&text, &MemorySource::default(), &settings(1_000));
    }
}
