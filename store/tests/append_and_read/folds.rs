//! What folds must say: those of the samples that count, cell by cell.

use std::collections::BTreeMap;

use tidemill_store::codec::Run;
use tidemill_store::model::{TimeRange, Timestamp};
use tidemill_store::read::{Selector, SeriesFolds};
use tidemill_store::rollup::{Fields, Fold, Total, WindowState, fold_run};

use crate::model::{Fold as Samples, SeriesName, expected as expected_samples};
use crate::random::{Random, seconds};

/// Folds by series and cell.
pub(crate) type Folds = BTreeMap<(SeriesName, usize), WindowState>;

/// Cuts of all kinds, and what is to be known.
pub(crate) fn question(random: &mut Random) -> (Vec<Timestamp>, Fields) {
    let fields = random.pick(&[
        Fields::ALL,
        Fields::COUNT,
        Fields::SUM,
        Fields::FIRST_LAST,
        Fields::RESETS,
        Fields::INTEGRALS,
        Fields::STATES,
        Fields::SKETCH,
    ]);
    let start = random.pick(&[-120, -60, 0, 3540, 3600, 3605]);
    let step = random.pick(&[7, 10, 30, 60, 600, 3600, 5000]);
    let cells = 1 + i64::try_from(random.below(20)).unwrap();
    let mut cuts: Vec<i64> = (0..=cells).map(|n| start + n * step).collect();
    if random.one_in(3) {
        let more = (0..3).map(|_| 3500 + i64::try_from(random.below(300)).unwrap());
        cuts.extend(more.collect::<Vec<_>>());
    }
    cuts.sort_unstable();
    cuts.dedup();
    (cuts.into_iter().map(seconds).collect(), fields)
}

/// What a reader that knows everything answers.
pub(crate) fn expected(samples: &Samples, selector: &Selector, cuts: &[Timestamp]) -> Folds {
    let mut folds = Folds::new();
    for (name, samples) in expected_samples(samples, selector, TimeRange::ALL) {
        let run: Run = samples.into_iter().map(|sample| (sample.time, sample.value)).collect();
        for (cell, state) in fold_run(&run, cuts) {
            folds.insert((name.clone(), cell), state);
        }
    }
    folds
}

/// Panics unless `answer` is as `expected`, as far as `fields` are asked for.
pub(crate) fn check(answer: &[SeriesFolds], expected: &Folds, fields: Fields) {
    let mut answered = Folds::new();
    for series in answer {
        assert!(series.cells.is_sorted_by(|a, b| a.0 < b.0), "cells out of order: {series:?}");
        for (cell, state) in &series.cells {
            answered.insert((name(series), *cell), state.clone());
        }
    }
    let names = |folds: &Folds| folds.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&answered), names(expected));
    for ((name, expected), answered) in expected.iter().zip(answered.values()) {
        let differences = differences(answered, expected, fields);
        assert!(differences.is_empty(), "{name:?}: {differences:?}\n{answered:?}\n{expected:?}");
    }
}

fn name(series: &SeriesFolds) -> SeriesName {
    let source = &series.source;
    let tags: Vec<String> = source.tags().iter().map(|(k, v)| format!("{k}={v}")).collect();
    (source.tenant().to_string(), source.device().to_string(), tags.join(","), series.metric.to_string())
}

fn differences(a: &WindowState, b: &WindowState, fields: Fields) -> Vec<&'static str> {
    let mut found = Vec::new();
    if a.boundary != b.boundary {
        found.push("boundary");
    }
    // As `[start, end)`, and the interior for itself.
    found.extend(fold_differences(&a.clone().into_closed_open(), &b.clone().into_closed_open(), fields));
    found.extend(fold_differences(&a.interior, &b.interior, fields));
    found
}

fn fold_differences(a: &Fold, b: &Fold, fields: Fields) -> Vec<&'static str> {
    let asks = |field| fields.contains(field);
    let checks = [
        ("counts", a.counts() == b.counts()),
        ("sum", !asks(Fields::SUM) || close(a.sum(), b.sum())),
        ("mean", !asks(Fields::SUM) || same(a.mean(), b.mean())),
        ("min", !asks(Fields::MIN_MAX) || bits(a.min()) == bits(b.min())),
        ("max", !asks(Fields::MIN_MAX) || bits(a.max()) == bits(b.max())),
        ("first", !asks(Fields::FIRST_LAST) || a.first() == b.first()),
        ("last", !asks(Fields::FIRST_LAST) || a.last() == b.last()),
        ("m2", !asks(Fields::M2) || same(a.m2(), b.m2())),
        ("resets", !asks(Fields::RESETS) || a.resets() == b.resets()),
        ("increase", !asks(Fields::RESETS) || close(a.increase(), b.increase())),
        ("changes", !asks(Fields::CHANGES) || a.changes() == b.changes()),
        ("step", !asks(Fields::INTEGRALS) || same(a.step_integral(), b.step_integral())),
        ("linear", !asks(Fields::INTEGRALS) || same(a.linear_integral(), b.linear_integral())),
        ("states", !asks(Fields::STATES) || format!("{:?}", a.states()) == format!("{:?}", b.states())),
        ("sketch", fields != Fields::SKETCH || a.sketch().is_some() || a.counts().numbers() == 0),
    ];
    checks.into_iter().filter(|(_, is_right)| !is_right).map(|(name, _)| name).collect()
}

fn bits(number: Option<tidemill_store::rollup::Number>) -> String {
    format!("{number:?}")
}

fn close(a: Option<Total>, b: Option<Total>) -> bool {
    match (a, b) {
        (Some(Total::Integer(a)), Some(Total::Integer(b))) => a == b,
        (Some(Total::Float(a)), Some(Total::Float(b))) => same(Some(a), Some(b)),
        (None, None) => true,
        (_, _) => false,
    }
}

fn same(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => {
            a.to_bits() == b.to_bits()
                || (a.is_nan() && b.is_nan())
                || (a - b).abs() <= 1e-12 * a.abs().max(b.abs()).max(1e-9)
        }
        (None, None) => true,
        (_, _) => false,
    }
}
