//! Which windows of a bucket are stored in which resolution, and their way into frames. Pure.
//!
//! A series has frames in a resolution where its windows hold enough samples to pay. In the coarsest it has them
//! always, so that its last sample is found without its block, and in every one that is kept for longer than raw
//! samples. A series with windows that fit no frame is entered without windows: readers go to its block.

use std::collections::BTreeMap;

use crate::codec::Run;
use crate::codec::frame::{FrameBody, FrameBuilder, FrameLimits};
use crate::layout::{Bucket, Resolution};
use crate::model::{Metric, SourceId, Timestamp};
use crate::rollup::{Fold, WindowState, fold_run, fold_run_with_sketches};

use super::merge::SourceRuns;

/// Windows that wait in all builders together before their frames are cut short: some 100 MiB (I6). A bucket of
/// ordinary size stays below it.
const WINDOWS_HELD_MAX: u64 = 400_000;

/// What frames are made of.
#[derive(Debug, Clone)]
pub(super) struct FrameSettings {
    pub(super) bucket: Bucket,
    /// Those that are stored for the bucket, finest first.
    pub(super) resolutions: Vec<Resolution>,
    /// Samples of a window from which on it pays, on average over a series.
    pub(super) samples_min: u32,
    /// Windows at least so wide carry a quantile sketch; `None`: no window does.
    pub(super) sketches_from: Option<Resolution>,
    /// Those that every series has, however few its samples: the coarsest among them.
    pub(super) always: Vec<Resolution>,
}

/// Frames of one metric in one resolution.
#[derive(Debug)]
pub(super) struct FramesOfMetric {
    pub(super) resolution: Resolution,
    pub(super) metric: Metric,
    pub(super) bodies: Vec<FrameBody>,
}

/// A window with its position in the bucket.
type Window = (u32, WindowState);

/// The frames of one bucket.
#[derive(Debug)]
pub(super) struct Frames {
    settings: FrameSettings,
    builders: BTreeMap<(Resolution, Metric), FrameBuilder>,
    windows_held: u64,
}

impl FrameSettings {
    /// The windows of a series to store, by resolution.
    pub(super) fn windows(&self, run: &Run) -> Vec<(Resolution, Vec<Window>)> {
        let pays =
            |resolution: &&Resolution| self.always.contains(resolution) || self.pays(run, **resolution);
        let mut stored: Vec<(Resolution, Vec<Window>)> = Vec::new();
        for &resolution in self.resolutions.iter().filter(pays) {
            let wants_sketch = self.sketches_from.is_some_and(|from| from <= resolution);
            let has_sketch = |of: Resolution| self.sketches_from.is_some_and(|from| from <= of);
            let windows = match stored.last() {
                Some((finer, windows)) if wants_sketch == has_sketch(*finer) => {
                    merged(windows, *finer, resolution)
                }
                Some(_) | None => self.folded(run, resolution, wants_sketch),
            };
            stored.push((resolution, windows));
        }
        stored
    }

    /// The windows of a series in one resolution, whether they pay or not; with sketches where wanted.
    pub(super) fn windows_of(&self, run: &Run, resolution: Resolution, with_sketch: bool) -> Vec<Window> {
        self.folded(run, resolution, with_sketch)
    }

    /// Whether the windows that hold samples hold enough of them on average.
    fn pays(&self, run: &Run, resolution: Resolution) -> bool {
        let most = run.len() / usize::try_from(self.samples_min.max(1)).unwrap_or(usize::MAX);
        let (mut windows, mut rest) = (0, run.times.as_slice());
        while let Some(first) = rest.first() {
            windows += 1;
            if windows > most {
                return false;
            }
            let end = self.start_of(self.window_at(*first, resolution) + 1, resolution);
            rest = rest.get(rest.partition_point(|time| time.nanos() < end)..).unwrap_or_default();
        }
        true
    }

    fn folded(&self, run: &Run, resolution: Resolution, with_sketch: bool) -> Vec<Window> {
        let (Some(first), Some(last)) = (run.first_time(), run.last_time()) else { return Vec::new() };
        let first = self.window_at(first, resolution);
        let cuts: Vec<Timestamp> = (first..=self.window_at(last, resolution) + 1)
            .filter_map(|window| Timestamp::from_nanos(self.start_of(window, resolution)).ok())
            .collect();
        let fold = if with_sketch { fold_run_with_sketches } else { fold_run };
        let windows = fold(run, &cuts).into_iter();
        windows
            .filter_map(|(cell, state)| Some((u32::try_from(first + i64::try_from(cell).ok()?).ok()?, state)))
            .collect()
    }

    /// The position in the bucket of the window that holds `time`.
    fn window_at(&self, time: Timestamp, resolution: Resolution) -> i64 {
        time.nanos().saturating_sub(self.bucket_nanos()).div_euclid(resolution.nanos())
    }

    fn start_of(&self, window: i64, resolution: Resolution) -> i64 {
        self.bucket_nanos().saturating_add(window.saturating_mul(resolution.nanos()))
    }

    fn bucket_nanos(&self) -> i64 {
        self.bucket.start_millis().saturating_mul(1_000_000)
    }
}

/// Windows of a finer resolution as windows of a coarser one that it divides.
fn merged(windows: &[Window], finer: Resolution, coarser: Resolution) -> Vec<Window> {
    let many = coarser.seconds() / finer.seconds().max(1);
    let mut merged: Vec<Window> = Vec::new();
    for (at, state) in windows {
        let wide = at / many.max(1);
        match merged.last_mut().filter(|(last, _)| *last == wide) {
            Some((_, into)) => into.merge(state),
            None if at % many.max(1) == 0 => merged.push((wide, state.clone())),
            None => merged.push((wide, without_boundary(state))),
        }
    }
    merged
}

/// The same samples as part of a window that starts earlier.
fn without_boundary(state: &WindowState) -> WindowState {
    let mut wide = WindowState { boundary: None, interior: empty_like(&state.interior) };
    wide.merge(state);
    wide
}

fn empty_like(fold: &Fold) -> Fold {
    if fold.sketch().is_some() { Fold::with_sketch() } else { Fold::EMPTY }
}

impl Frames {
    pub(super) fn new(settings: FrameSettings) -> Self {
        Self { settings, builders: BTreeMap::new(), windows_held: 0 }
    }

    /// Adds the series of a source; sources ascend. Gives frames that are full.
    pub(super) fn push(&mut self, source: SourceId, runs: &SourceRuns) -> Vec<FramesOfMetric> {
        let mut full = Vec::new();
        for (metric, run) in runs.iter().filter(|(_, run)| !run.is_empty()) {
            for (resolution, windows) in self.settings.windows(run) {
                full.extend(self.enter(source, metric, resolution, &windows));
            }
        }
        if self.windows_held > WINDOWS_HELD_MAX {
            full.extend(self.cut());
        }
        full
    }

    /// Enters a series with its windows, or without where no frame can hold them.
    fn enter(
        &mut self,
        source: SourceId,
        metric: &Metric,
        resolution: Resolution,
        windows: &[Window],
    ) -> Option<FramesOfMetric> {
        let bucket = self.settings.bucket;
        let builder = self
            .builders
            .entry((resolution, metric.clone()))
            .or_insert_with(|| FrameBuilder::new(metric.clone(), resolution, bucket, FrameLimits::DEFAULT));
        let bodies =
            builder.push(source, windows).unwrap_or_else(|_too_large| builder.push_without_windows(source));
        let out: u64 = bodies.iter().map(|body| u64::from(body.windows)).sum();
        self.windows_held += u64::try_from(windows.len()).unwrap_or(0);
        self.windows_held = self.windows_held.saturating_sub(out);
        (!bodies.is_empty()).then(|| FramesOfMetric { resolution, metric: metric.clone(), bodies })
    }

    /// The coarsest resolution: every series is in its frames.
    pub(super) fn framed(&self) -> Option<Resolution> {
        self.settings.resolutions.last().copied()
    }

    /// The frames that were not full yet.
    pub(super) fn finish(mut self) -> Vec<FramesOfMetric> {
        self.cut()
    }

    fn cut(&mut self) -> Vec<FramesOfMetric> {
        self.windows_held = 0;
        let builders = std::mem::take(&mut self.builders);
        let cut = builders.into_iter().map(|((resolution, metric), builder)| FramesOfMetric {
            resolution,
            metric,
            bodies: builder.finish(),
        });
        cut.filter(|frames| !frames.bodies.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::verify::difference;
    use super::*;
    use crate::layout::BucketWidth;
    use crate::model::Value;

    fn settings(samples_min: u32) -> FrameSettings {
        let resolutions: Vec<_> = [60, 3_600].into_iter().filter_map(Resolution::from_seconds).collect();
        let width = BucketWidth::new(Duration::from_hours(1)).unwrap();
        FrameSettings {
            bucket: Bucket::at(Timestamp::EPOCH, width),
            always: resolutions.last().copied().into_iter().collect(),
            resolutions,
            samples_min,
            sketches_from: None,
        }
    }

    fn run() -> impl Strategy<Value = Run> {
        let value = prop_oneof![
            Just(Value::F64(f64::NAN)),
            Just(Value::Bool(true)),
            Just(Value::Text("s".into())),
            (-9..9_i64).prop_map(Value::I64),
            (-1e9..1e9).prop_map(Value::F64),
        ];
        prop::collection::btree_map(0..3_600_i64, value, 1..60).prop_map(|samples| {
            let at = |second: i64| Timestamp::from_millis(second * 1000).unwrap();
            samples.into_iter().map(|(second, value)| (at(second), value)).collect()
        })
    }

    proptest! {
        #[test]
        fn windows_made_of_finer_ones_say_what_their_samples_say(run in run()) {
            let settings = settings(0);
            for (resolution, windows) in settings.windows(&run) {
                let folded = settings.windows_of(&run, resolution, false);
                prop_assert_eq!(windows.len(), folded.len());
                for ((at, state), (_, other)) in windows.iter().zip(&folded) {
                    prop_assert_eq!(difference(state, other), None, "{:?} {}:\n{:?}\n{:?}", resolution, at, state, other);
                }
            }
        }
    }

    #[test]
    fn a_resolution_is_stored_where_its_windows_hold_enough_samples() {
        let stored = |every: i64, samples_min| {
            let at = |n: i64| Timestamp::from_millis(n * every * 1000).unwrap();
            let run: Run = (0..3_600 / every).map(|n| (at(n), Value::I64(n))).collect();
            let windows = settings(samples_min).windows(&run);
            windows
                .iter()
                .map(|(resolution, windows)| (resolution.seconds(), windows.len()))
                .collect::<Vec<_>>()
        };
        assert_eq!(stored(3, 20), [(60, 60), (3_600, 1)]);
        assert_eq!(stored(4, 20), [(3_600, 1)]);
        assert_eq!(stored(4, 15), [(60, 60), (3_600, 1)]);
        assert_eq!(stored(3_600, 20), [(3_600, 1)]);
    }
}
