//! Which parts of a bucket are read in which resolution: windows as coarse as fit between the cuts, raw samples at the
//! edges. Pure; knows neither series nor stores.
//!
//! What is planned lies side by side, is cut at every cut, and is exactly what was asked for: nothing twice, nothing
//! left out (I4).

use std::ops::Range;

use crate::layout::{Bucket, Resolution};
use crate::model::{TimeRange, Timestamp};

/// The cells of a question: between cuts, and maybe one more of the sample at the last cut alone.
#[derive(Debug, Clone)]
pub(super) struct CellCuts {
    pub(super) cuts: Vec<Timestamp>,
    pub(super) closing: Option<Timestamp>,
}

impl CellCuts {
    /// All that lies between.
    pub(super) fn range(&self) -> Option<TimeRange> {
        TimeRange::new(*self.cuts.first()?, *self.cuts.last()?).ok()
    }
}

/// How the parts of a bucket are read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct BucketPlan {
    /// Windows by resolution, coarsest first; only resolutions that are used.
    pub(super) levels: Vec<Level>,
    /// What is read sample by sample, ascending; ranges that touch are one.
    pub(super) raw: Vec<TimeRange>,
}

/// Windows of one resolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) resolution: Resolution,
    /// By their numbers in the bucket, ascending; ranges that touch are one.
    pub(super) windows: Vec<Range<u32>>,
}

impl Level {
    /// Whether the window is one of them.
    pub(super) fn contains(&self, window: u32) -> bool {
        let at = self.windows.partition_point(|range| range.end <= window);
        self.windows.get(at).is_some_and(|range| range.start <= window)
    }

    /// How much time its windows take.
    pub(super) fn nanos(&self) -> u128 {
        let windows: u64 = self.windows.iter().map(|windows| u64::from(windows.end - windows.start)).sum();
        u128::from(windows) * u128::from(self.resolution.seconds()) * 1_000_000_000
    }

    /// Adds a window behind all that it has.
    fn push(&mut self, window: u32) {
        match self.windows.last_mut().filter(|last| last.end == window) {
            Some(last) => last.end += 1,
            None => self.windows.push(window..window + 1),
        }
    }

    /// Where the windows lie in `bucket`.
    pub(super) fn ranges(&self, bucket: Bucket) -> impl Iterator<Item = TimeRange> {
        self.windows.iter().filter_map(move |windows| {
            let start = window_start(bucket, self.resolution, windows.start);
            TimeRange::new(start, window_start(bucket, self.resolution, windows.end)).ok()
        })
    }
}

/// Where the window of this number starts.
pub(super) fn window_start(bucket: Bucket, resolution: Resolution, window: u32) -> Timestamp {
    let nanos = bucket_nanos(bucket).saturating_add(resolution.nanos().saturating_mul(i64::from(window)));
    Timestamp::from_nanos(nanos.clamp(Timestamp::MIN.nanos(), Timestamp::MAX.nanos()))
        .unwrap_or(Timestamp::MAX)
}

/// The number of the window that holds `time`, which lies in the bucket.
pub(super) fn window_of(bucket: Bucket, resolution: Resolution, time: Timestamp) -> u32 {
    let window = (time.nanos() - bucket_nanos(bucket)).div_euclid(resolution.nanos());
    u32::try_from(window).unwrap_or(0)
}

fn bucket_nanos(bucket: Bucket) -> i64 {
    bucket.start_millis().saturating_mul(1_000_000)
}

/// The part of `bucket` between the first and the last of the ascending `cuts`; `None` where there is none.
pub(super) fn wanted(bucket: Bucket, cuts: &[Timestamp]) -> Option<TimeRange> {
    let all = TimeRange::new(*cuts.first()?, *cuts.last()?).ok()?;
    TimeRange::new(bucket.start(), bucket.end()).ok()?.intersection(&all)
}

/// Plans `range`, which lies in `bucket`: the coarsest of `resolutions` whose windows lie between two neighbouring
/// cuts, then the next coarser one for what is left, and so on. Each resolution divides the bucket.
pub(super) fn plan(
    bucket: Bucket,
    range: TimeRange,
    cuts: &[Timestamp],
    resolutions: &[Resolution],
) -> BucketPlan {
    let mut coarsest_first = resolutions.to_vec();
    coarsest_first.sort_unstable_by_key(|&resolution| std::cmp::Reverse(resolution));
    let mut rest = pieces(range, cuts);
    let mut plan = BucketPlan::default();
    for resolution in coarsest_first {
        let mut level = Level { resolution, windows: Vec::new() };
        let mut left = Vec::with_capacity(rest.len());
        for piece in rest {
            let Some(windows) = fitting(bucket, resolution, piece) else {
                left.push(piece);
                continue;
            };
            let within = [windows.start, windows.end].map(|n| window_start(bucket, resolution, n));
            let [start, end] = within;
            left.extend(TimeRange::new(piece.start(), start).ok().filter(|range| !range.is_empty()));
            left.extend(TimeRange::new(end, piece.end()).ok().filter(|range| !range.is_empty()));
            match level.windows.last_mut().filter(|last| last.end == windows.start) {
                Some(last) => last.end = windows.end,
                None => level.windows.push(windows),
            }
        }
        rest = left;
        if !level.windows.is_empty() {
            plan.levels.push(level);
        }
    }
    plan.raw = joined(rest);
    plan
}

/// As [`plan`]; where the last cell is the sample at its start alone, a window that begins there knows it: one of a
/// resolution that is read anyway, or of the coarsest where nothing else is.
pub(super) fn plan_closing(
    bucket: Bucket,
    range: TimeRange,
    CellCuts { cuts, closing }: &CellCuts,
    resolutions: &[Resolution],
) -> BucketPlan {
    let Some(closing) = closing.filter(|closing| range.contains(*closing)) else {
        return plan(bucket, range, cuts, resolutions);
    };
    let before = TimeRange::new(range.start(), closing).ok().filter(|before| !before.is_empty());
    let mut plan = before.map(|before| plan(bucket, before, cuts, resolutions)).unwrap_or_default();
    let begins = |resolution: Resolution| {
        window_start(bucket, resolution, window_of(bucket, resolution, closing)) == closing
    };
    if let Some(level) = plan.levels.iter_mut().find(|level| begins(level.resolution)) {
        level.push(window_of(bucket, level.resolution, closing));
        return plan;
    }
    let coarsest = resolutions.iter().copied().filter(|&resolution| begins(resolution)).max();
    if let Some(resolution) = coarsest.filter(|_| plan.raw.is_empty() && plan.levels.is_empty()) {
        let mut level = Level { resolution, windows: Vec::new() };
        level.push(window_of(bucket, resolution, closing));
        plan.levels.push(level);
        return plan;
    }
    plan.raw.extend(TimeRange::new(closing, range.end()));
    plan.raw = joined(plan.raw);
    plan
}

/// The windows that lie in `piece` as a whole; `None` where none does.
fn fitting(bucket: Bucket, resolution: Resolution, piece: TimeRange) -> Option<Range<u32>> {
    let (start, width) = (bucket_nanos(bucket), resolution.nanos());
    let first = -(start - piece.start().nanos()).div_euclid(width);
    let end = (piece.end().nanos() - start).div_euclid(width);
    let windows = u32::try_from(first).ok()?..u32::try_from(end).ok()?;
    (windows.start < windows.end).then_some(windows)
}

/// `range` cut at every cut inside of it.
fn pieces(range: TimeRange, cuts: &[Timestamp]) -> Vec<TimeRange> {
    let inside =
        cuts.partition_point(|&cut| cut <= range.start())..cuts.partition_point(|&cut| cut < range.end());
    let inside = cuts.get(inside).unwrap_or_default().iter().copied();
    let starts = [range.start()].into_iter().chain(inside.clone());
    let ends = inside.chain([range.end()]);
    starts.zip(ends).filter_map(|(start, end)| TimeRange::new(start, end).ok()).collect()
}

/// Ascending ranges, those that touch made one.
pub(super) fn joined(ranges: Vec<TimeRange>) -> Vec<TimeRange> {
    let mut joined: Vec<TimeRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut().filter(|last| last.end() >= range.start()) {
            Some(last) => *last = TimeRange::new(last.start(), last.end().max(range.end())).unwrap_or(*last),
            None => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::layout::BucketWidth;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000).unwrap()
    }

    fn bucket() -> Bucket {
        Bucket::at(at(86_400), BucketWidth::new(Duration::from_hours(24)).unwrap())
    }

    fn resolutions(seconds: &[u32]) -> Vec<Resolution> {
        seconds.iter().map(|&seconds| Resolution::from_seconds(seconds).unwrap()).collect()
    }

    /// `seconds: windows` of each level and `raw: seconds` from the bucket's start.
    fn shown(cuts: &[i64], steps: &[u32]) -> String {
        let cuts: Vec<Timestamp> = cuts.iter().map(|&cut| at(cut)).collect();
        let plan = plan(bucket(), wanted(bucket(), &cuts).unwrap(), &cuts, &resolutions(steps));
        let levels =
            plan.levels.iter().map(|level| format!("{}: {:?}", level.resolution.seconds(), level.windows));
        let seconds = |time: Timestamp| time.nanos() / 1_000_000_000 - DAY;
        let raw = plan.raw.iter().map(|raw| format!("raw: {}..{}", seconds(raw.start()), seconds(raw.end())));
        levels.chain(raw).collect::<Vec<_>>().join(", ")
    }

    const DAY: i64 = 86_400;

    #[test]
    fn the_coarsest_windows_that_fit_are_taken_and_the_edges_are_finer() {
        let steps = [60, 3_600, 86_400];
        assert_eq!(shown(&[0, 3 * DAY], &steps), "86400: [0..1]");
        let hours: Vec<i64> = (0..=24).map(|hour| DAY + hour * 3_600).collect();
        assert_eq!(shown(&hours, &steps), "3600: [0..24]");
        let uneven = "3600: [1..2], 60: [120..121], raw: 3590..3600";
        assert_eq!(shown(&[DAY + 3_590, DAY + 7_260], &steps), uneven);
        assert_eq!(shown(&[DAY + 61, DAY + 119], &steps), "raw: 61..119");
        assert_eq!(shown(&[DAY + 30, DAY + 90, 3 * DAY], &[3_600]), "3600: [1..24], raw: 30..3600");
    }

    proptest! {
        #[test]
        fn what_is_planned_is_what_was_asked_for_once_and_crosses_no_cut(
            cuts in prop::collection::btree_set(prop_oneof![0..3 * DAY, (0..72_i64).prop_map(|h| h * 3_600), (0..600_i64).prop_map(|m| DAY + m * 60)], 2..30),
            steps in prop::sample::subsequence(vec![1_u32, 40, 60, 900, 3_600, 14_400, 86_400], 0..5),
        ) {
            let cuts: Vec<Timestamp> = cuts.into_iter().map(at).collect();
            let Some(range) = wanted(bucket(), &cuts) else { return Ok(()) };
            let plan = plan(bucket(), range, &cuts, &resolutions(&steps));
            let mut parts: Vec<TimeRange> = plan.raw.clone();
            for level in &plan.levels {
                for window in level.windows.iter().cloned().flatten() {
                    prop_assert!(level.contains(window));
                    let bounds = [window, window + 1].map(|n| window_start(bucket(), level.resolution, n));
                    let window_range = TimeRange::new(bounds[0], bounds[1]).unwrap();
                    prop_assert_eq!(window_of(bucket(), level.resolution, bounds[0]), window);
                    prop_assert!(!cuts.iter().any(|&cut| bounds[0] < cut && cut < bounds[1]), "crosses a cut");
                    parts.push(window_range);
                }
            }
            parts.sort_by_key(TimeRange::start);
            prop_assert_eq!(parts.first().map(TimeRange::start), Some(range.start()));
            prop_assert_eq!(parts.last().map(TimeRange::end), Some(range.end()));
            prop_assert!(parts.windows(2).all(|pair| pair[0].end() == pair[1].start()), "{parts:?}");
            // Nothing coarser would have fit: no raw range and no window holds a whole window of a coarser resolution.
            for step in resolutions(&steps) {
                for part in &plan.raw {
                    for piece in pieces(*part, &cuts) {
                        prop_assert_eq!(fitting(bucket(), step, piece), None);
                    }
                }
            }
        }
    }
}
