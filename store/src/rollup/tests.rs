//! The laws of folds: parts merge to the whole, columns say what samples say, and both what a plain fold over the
//! samples says.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::codec::Run;
use crate::model::{Sample, Timestamp, Value};

const SECOND: i64 = 1_000_000_000;

fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos).unwrap()
}

fn text(text: &str) -> Value {
    Value::Text(Arc::from(text))
}

fn folded(samples: &[Sample]) -> Fold {
    let mut fold = Fold::with_sketch();
    for sample in samples {
        fold.push(sample.time, &sample.value);
    }
    fold
}

fn run(samples: &[Sample]) -> Run {
    samples.iter().map(|sample| (sample.time, sample.value.clone())).collect()
}

/// What must be equal to the bit.
fn exact(fold: &Fold) -> String {
    let number = |number: Option<Number>| match number {
        Some(Number::Float(float)) => format!("{:x}", float.to_bits()),
        number => format!("{number:?}"),
    };
    let integer = |total: Option<Total>| total.filter(|total| matches!(total, Total::Integer(_)));
    format!(
        "{:?}",
        (
            (fold.counts(), fold.first(), fold.last(), number(fold.min()), number(fold.max())),
            (integer(fold.sum()), integer(fold.increase()), fold.resets(), fold.changes()),
            (fold.states(), fold.sketch(), fold.duration()),
        )
    )
}

/// What may differ by rounding.
fn doubles(fold: &Fold) -> [Option<f64>; 6] {
    [
        fold.sum().map(Total::nearest),
        fold.mean(),
        fold.m2(),
        fold.increase().map(Total::nearest),
        fold.step_integral(),
        fold.linear_integral(),
    ]
}

fn close(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => {
            a.to_bits() == b.to_bits()
                || (a.is_nan() && b.is_nan())
                || (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
        }
        (a, b) => a.is_none() && b.is_none(),
    }
}

pub(super) fn assert_same(a: &Fold, b: &Fold) {
    assert_eq!(exact(a), exact(b));
    for (a, b) in doubles(a).into_iter().zip(doubles(b)) {
        assert!(close(a, b), "{a:?} {b:?}");
    }
}

fn samples(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Vec<Sample>> {
    prop::collection::vec((1..90 * SECOND, value), 1..120).prop_map(|parts| {
        let mut time = -1000 * SECOND;
        let mut sample = |(gap, value)| {
            time += gap;
            Sample { time: at(time), value }
        };
        parts.into_iter().map(&mut sample).collect()
    })
}

/// Series of one kind, and of several.
fn series() -> impl Strategy<Value = Vec<Sample>> {
    let decimal = || (-9999..9999_i32).prop_map(|n| Value::F64(f64::from(n) / 100.0));
    let large = || prop_oneof![-1e12..1e12_f64, -1e-3..1e-3_f64].prop_map(Value::F64);
    let odd = prop_oneof![
        8 => decimal(), 1 => Just(Value::F64(-0.0)), 1 => Just(Value::F64(0.0)), 1 => Just(Value::F64(f64::NAN)),
        1 => Just(Value::F64(f64::INFINITY)),
    ];
    let integer = || prop_oneof![any::<i64>(), -5..5_i64].prop_map(Value::I64);
    let truth = || any::<bool>().prop_map(Value::Bool);
    let state = || (0..18_u32).prop_map(|n| text(&format!("state {}", n * n / 20)));
    let many_states = (0..30_u8).prop_map(|n| text(&n.to_string()));
    prop_oneof![
        samples(decimal()),
        samples(large()),
        samples(odd),
        samples(integer()),
        samples(truth()),
        samples(state()),
        samples(many_states),
        samples(prop_oneof![integer(), decimal()]),
        samples(prop_oneof![integer(), truth(), state(), large()]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn folds_of_parts_merge_to_the_fold_of_all(
        series in series(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(series.len() + 1)).collect();
        cuts.extend([0, series.len()]);
        cuts.sort_unstable();
        let mut merged = Fold::with_sketch();
        for (start, end) in cuts.iter().zip(&cuts[1..]) {
            merged.merge(&folded(&series[*start..*end]));
        }
        assert_same(&merged, &folded(&series));
    }

    #[test]
    fn cells_hold_what_their_samples_say_in_both_kinds_of_window(
        series in series(), width in 1..400_i64, start in -1100..-900_i64,
    ) {
        let cuts: Vec<Timestamp> = (0..12).map(|n| at((start + n * width) * SECOND)).collect();
        let run = run(&series);
        let cells = fold_run_with_sketches(&run, &cuts);
        let of = |cell: usize| cells.iter().find(|(at, _)| *at == cell).map(|(_, state)| state.clone());
        for (cell, (from, to)) in cuts.iter().zip(&cuts[1..]).enumerate() {
            let within = |inside: &dyn Fn(Timestamp) -> bool| {
                folded(&series.iter().filter(|sample| inside(sample.time)).cloned().collect::<Vec<_>>())
            };
            let state = of(cell);
            prop_assert_eq!(state.is_none(), within(&|t| *from <= t && t < *to).is_empty());
            let state = state.unwrap_or_else(|| WindowState { boundary: None, interior: Fold::with_sketch() });
            prop_assert!(state.boundary.as_ref().is_none_or(|sample| sample.time == *from));
            assert_same(&state.clone().into_closed_open(), &within(&|t| *from <= t && t < *to));
            if cell + 2 < cuts.len() {
                let next = of(cell + 1).and_then(|next| next.boundary);
                assert_same(&state.open_closed(next.as_ref()), &within(&|t| *from < t && t <= *to));
            }
        }
    }

    #[test]
    fn narrow_windows_merge_into_wide_ones(series in series(), every in 2..5_usize) {
        let cuts: Vec<Timestamp> = (0..61).map(|n| at((n * 60 - 1000) * SECOND)).collect();
        let wide: Vec<Timestamp> = cuts.iter().step_by(every).copied().collect();
        let run = run(&series);
        let mut merged: Vec<(usize, WindowState)> = Vec::new();
        for (cell, state) in fold_run_with_sketches(&run, &cuts) {
            match merged.last_mut() {
                Some((of, wide)) if *of == cell / every => wide.merge(&state),
                _ if cell % every == 0 => merged.push((cell / every, state)),
                _ => {
                    let mut wide = WindowState::default();
                    wide.merge(&state);
                    merged.push((cell / every, wide));
                }
            }
        }
        for ((cell, state), (of, merged)) in fold_run_with_sketches(&run, &wide).iter().zip(&merged) {
            prop_assert_eq!(cell, of);
            prop_assert_eq!(&state.boundary, &merged.boundary);
            assert_same(&state.interior, &merged.interior);
        }
    }

    /// Quarters and whole seconds: every sum is exact in a double, so a plain fold is the truth.
    #[test]
    fn a_fold_says_what_plain_arithmetic_says(
        parts in prop::collection::vec((1..100_u32, -1000..1000_i32), 1..150),
    ) {
        let mut second = 0_u32;
        let mut plain = Vec::new();
        for (gap, quarters) in parts {
            second += gap;
            plain.push((f64::from(second), f64::from(quarters) / 4.0));
        }
        let time = |seconds: f64| Timestamp::from_millis(format!("{seconds}000").parse().unwrap()).unwrap();
        let series: Vec<Sample> =
            plain.iter().map(|&(t, v)| Sample { time: time(t), value: Value::F64(v) }).collect();
        let run = run(&series);
        let cells = fold_run(&run, &[Timestamp::EPOCH, Timestamp::MAX]);
        let fold = &cells[0].1.interior;
        let pairs = || plain.iter().zip(&plain[1..]);
        let n = nearest(i128::try_from(plain.len()).unwrap());
        let mean = plain.iter().map(|(_, v)| v).sum::<f64>() / n;
        let m2 = plain.iter().map(|(_, v)| (v - mean) * (v - mean)).sum::<f64>();
        let resets = pairs().filter(|(a, b)| b.1 < a.1);
        let grown = plain[plain.len() - 1].1 - plain[0].1 + resets.clone().map(|(a, _)| a.1).sum::<f64>();
        let step = pairs().map(|(a, b)| a.1 * (b.0 - a.0)).sum::<f64>();
        let linear = pairs().map(|(a, b)| a.1.midpoint(b.1) * (b.0 - a.0)).sum::<f64>();
        let expected = [Some(mean * n), Some(mean), Some(m2), Some(grown), Some(step), Some(linear)];
        for (a, b) in doubles(fold).into_iter().zip(expected) {
            prop_assert!(close(a, b) || (a.unwrap() - b.unwrap()).abs() < 1e-9, "{a:?} {b:?}");
        }
        prop_assert_eq!(fold.resets(), Some(u64::try_from(resets.count()).unwrap()));
        let changes = pairs().filter(|(a, b)| a.1.to_bits() != b.1.to_bits()).count();
        prop_assert_eq!(fold.changes(), Some(u64::try_from(changes).unwrap()));
        prop_assert_eq!(fold.stddev().map(|s| s * s * n >= m2 * 0.999_999 - 1e-9), Some(true));
    }

    #[test]
    fn deviations_survive_a_large_mean_and_sums_survive_cancellation(
        parts in prop::collection::vec(-100..100_i32, 2..200), cut: prop::sample::Index,
    ) {
        let series: Vec<Sample> = parts.iter().zip(1..).map(|(n, t)| {
            Sample { time: at(t * SECOND), value: Value::F64(1e15 + f64::from(*n)) }
        }).collect();
        let opposite: Vec<Sample> = parts.iter().zip(1_000..).map(|(n, t)| {
            Sample { time: at(t * SECOND), value: Value::F64(-1e15 - f64::from(*n) * 0.5) }
        }).collect();
        let (some, more) = series.split_at(cut.index(series.len() + 1));
        let mut merged = folded(some);
        merged.merge(&folded(more));
        let n = f64::from(u32::try_from(parts.len()).unwrap());
        let sum = parts.iter().copied().map(f64::from).sum::<f64>();
        let m2 = parts.iter().map(|v| (f64::from(*v) - sum / n).powi(2)).sum::<f64>();
        prop_assert!(close(merged.m2(), Some(m2)) || (merged.m2().unwrap() - m2).abs() < 1e-9);
        merged.merge(&folded(&opposite));
        prop_assert_eq!(merged.sum(), Some(Total::Float(sum / 2.0)));
    }
}

fn series_of(values: &[Value]) -> Vec<Sample> {
    values
        .iter()
        .zip(0..)
        .map(|(value, n)| Sample { time: at(n * 10 * SECOND), value: value.clone() })
        .collect()
}

#[test]
fn a_counter_of_integers_grows_exactly_over_its_resets() {
    let counts = [i64::MAX - 10, i64::MAX, 5, 7, 0].map(Value::I64);
    let fold = folded(&series_of(&counts));
    assert_eq!(fold.increase(), Some(Total::Integer(10 + 5 + 2)));
    assert_eq!((fold.resets(), fold.changes()), (Some(2), Some(4)));
}

#[test]
fn states_are_held_until_the_next_sample() {
    let fold = folded(&series_of(&[text("on"), text("off"), text("off"), text("on")]));
    let spans = fold.states().unwrap().unwrap();
    let shown: Vec<_> = spans.iter().map(|span| (span.count, span.held.as_secs())).collect();
    assert_eq!(shown, [(2, 20), (2, 10)]);
    assert_eq!((fold.changes(), fold.increase(), fold.step_integral()), (Some(2), None, None));
    let fold = folded(&series_of(&[Value::Bool(true), Value::Bool(false), Value::F64(1.0)]));
    assert_eq!(fold.step_integral(), Some(10.0));
    assert_eq!(fold.states().unwrap().unwrap().iter().map(|span| span.held.as_secs()).sum::<u64>(), 20);
}

#[test]
fn nan_never_resets_and_never_changes_into_itself() {
    let fold = folded(&series_of(&[3.0, f64::NAN, f64::NAN, 1.0, 0.0, -0.0].map(Value::F64)));
    assert_eq!((fold.resets(), fold.changes()), (Some(1), Some(3)));
    assert!(fold.step_integral().unwrap().is_nan() && fold.m2().unwrap().is_nan());
    assert_eq!(fold.min(), Some(Number::Float(0.0)));
}

#[test]
fn what_is_forgotten_is_not_answered() {
    let fold = folded(&series_of(&[1.0, 2.0].map(Value::F64))).only(Fields::SUM);
    assert_eq!(fold.sum(), Some(Total::Float(3.0)));
    assert_eq!((fold.m2(), fold.min(), fold.changes(), fold.increase()), (None, None, None, None));
    let mut merged = folded(&series_of(&[Value::F64(1.0)])).only(Fields::MIN_MAX);
    merged.merge(&fold);
    assert_eq!((merged.sum(), merged.count()), (None, 3));
}

#[test]
#[should_panic(expected = "out of order")]
fn folding_backwards_is_refused() {
    let mut fold = Fold::of(&Sample { time: at(5), value: Value::I64(1) });
    fold.push(at(5), &Value::I64(1));
}
