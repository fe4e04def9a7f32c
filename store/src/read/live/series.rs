//! The samples of one series in one bucket that no seal covers, taken in any order, each time it is seen. Pure.
//!
//! Exact whatever comes (I4): what comes after all before it is kept, and folded where it is dense; what comes late is
//! put in its place; where that place is in a fold, or two values contend for one time, the window is given up and
//! read from segments, which know in which order they came.

use std::sync::Arc;

use super::over::{Dense, Over};
use crate::layout::{Bucket, Resolution};
use crate::model::{TimeRange, Timestamp, Value};
use crate::read::Sample;
use crate::read::lasts::Last;
use crate::read::overlay::{append, run_bytes};
use crate::read::plan::{window_of, window_start};
use crate::rollup::{Fold, WindowState};

/// Of more single samples than this, a late one is not put in its place.
const MOVED_MAX: usize = 4_096;

/// The windows of a bucket, and from how many samples on they are folded.
#[derive(Debug, Clone, Copy)]
pub(in crate::read) struct Grid {
    pub(in crate::read) bucket: Bucket,
    pub(in crate::read) resolution: Resolution,
    pub(in crate::read) folded_from: usize,
}

impl Grid {
    /// The window that holds `time`.
    fn window(&self, time: Timestamp) -> TimeRange {
        let n = window_of(self.bucket, self.resolution, time);
        let bounds = [n, n.saturating_add(1)].map(|n| window_start(self.bucket, self.resolution, n));
        TimeRange::new(bounds[0], bounds[1]).unwrap_or(TimeRange::ALL)
    }
}

/// One series.
#[derive(Debug, Clone, Default)]
pub(in crate::read) struct LiveSeries {
    last: Option<Last>,
    over: Over,
    /// The latest time that was seen.
    end: Option<Timestamp>,
    /// The window of that time, and where its samples begin among those that are in no fold.
    open: Option<TimeRange>,
    open_from: usize,
}

impl LiveSeries {
    /// Takes a sample that may be the last one.
    pub(super) fn put_last(&mut self, new: Last) {
        if self.last.as_ref().is_none_or(|last| !new.is_before(last)) {
            self.last = Some(new);
        }
    }

    /// The last sample.
    pub(in crate::read) fn last(&self) -> Option<&Last> {
        self.last.as_ref()
    }

    /// Takes a sample.
    pub(super) fn put(&mut self, grid: &Grid, time: Timestamp, value: Value) {
        if self.end.is_some_and(|end| time <= end) {
            self.put_late(grid, time, value);
            return;
        }
        self.end = Some(time);
        if self.open.is_none_or(|open| open.end() <= time) {
            self.fold_rest();
            self.open = Some(grid.window(time));
            self.open_from = self.over.run.len();
        }
        if self.over.odd.last().copied() == self.open {
            return;
        }
        self.over.run.push(time, value);
        if self.over.run.len() - self.open_from >= grid.folded_from.max(1) {
            self.fold_open();
        }
    }

    /// Of a window that is dense the last samples, too, are folded.
    fn fold_rest(&mut self) {
        let is_dense = self.over.dense.last().is_some_and(|dense| Some(dense.window) == self.open);
        if is_dense && self.over.run.len() > self.open_from {
            self.fold_open();
        }
    }

    /// Folds the single samples of the open window.
    fn fold_open(&mut self) {
        let Over { run, dense, odd: _ } = &mut self.over;
        let Some(window) = self.open else { return };
        let (mut at, end) = (self.open_from, run.len());
        if dense.last().is_none_or(|last| last.window != window) {
            let mut state = WindowState { boundary: None, interior: Fold::EMPTY };
            if let (Some(&time), Some(value)) = (run.times.get(at), run.values.get(at))
                && time == window.start()
            {
                state.boundary = Some(Sample { time, value });
                at += 1;
            }
            dense.push(Arc::new(Dense { window, state }));
        }
        if let Some(last) = dense.last_mut() {
            Arc::make_mut(last).state.interior.extend(run, at..end);
        }
        run.truncate(self.open_from);
    }

    /// Takes a sample that is not later than all before it.
    fn put_late(&mut self, grid: &Grid, time: Timestamp, value: Value) {
        let window = grid.window(time);
        if self.over.odd.binary_search_by_key(&window.start(), TimeRange::start).is_ok() {
            return;
        }
        let at = match self.over.run.times.binary_search(&time) {
            Ok(at) if self.over.run.values.get(at).as_ref() == Some(&value) => return,
            Ok(_) => return self.give_up(window),
            Err(at) => at,
        };
        let dense = self.over.dense.binary_search_by_key(&window.start(), |dense| dense.window.start());
        if let Some(dense) = dense.ok().and_then(|at| self.over.dense.get(at)) {
            match dense.last() {
                Some((last, of_last)) if last == time && *of_last == value => return,
                Some((last, _)) if last < time => {}
                Some(_) | None => return self.give_up(window),
            }
        }
        if self.over.run.len() > MOVED_MAX {
            return self.give_up(window);
        }
        let later = self.over.run.slice_at(at..self.over.run.len());
        self.over.run.truncate(at);
        self.over.run.push(time, value);
        append(&mut self.over.run, &later);
        self.find_open();
    }

    /// Keeps nothing of a window any more.
    fn give_up(&mut self, window: TimeRange) {
        let Over { run, dense, odd } = &mut self.over;
        dense.retain(|dense| dense.window != window);
        let of_window = run.positions(window);
        let later = run.slice_at(of_window.end..run.len());
        run.truncate(of_window.start);
        append(run, &later);
        let at = odd.partition_point(|odd| odd.start() < window.start());
        odd.insert(at, window);
        self.find_open();
    }

    fn find_open(&mut self) {
        let start = self.open.map(|open| open.start());
        self.open_from = self.over.run.times.partition_point(|time| Some(*time) < start);
    }

    /// What is over the ground in `range`; `None` where that is nothing.
    pub(super) fn over(&self, range: TimeRange) -> Option<Over> {
        let is_before = self.end.is_none_or(|end| end < range.start());
        Some(self.over.within(range)).filter(|over| !is_before && !over.is_empty())
    }

    /// Forgets all but the last sample.
    pub(super) fn make_lean(&mut self) {
        *self = Self { last: self.last.take(), ..Self::default() };
    }

    /// About how many bytes it takes; texts are counted as if they were not shared.
    pub(super) fn size_bytes(&self) -> usize {
        let run = run_bytes(&self.over.run) + self.over.run.times.capacity() * 8;
        let dense = self.over.dense.len() * (size_of::<Dense>() + 3 * size_of::<usize>());
        size_of::<Self>() + run + dense + self.over.odd.len() * size_of::<TimeRange>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::codec::Run;
    use crate::layout::BucketWidth;
    use crate::read::composed::composed;
    use crate::read::overlay::overlay;
    use crate::rollup::{Fields, fold_run};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000).unwrap()
    }

    fn grid(folded_from: usize) -> Grid {
        let width = BucketWidth::new(Duration::from_hours(1)).unwrap();
        let bucket = Bucket::at(Timestamp::EPOCH, width);
        Grid { bucket, resolution: Resolution::from_seconds(10).unwrap(), folded_from }
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            6 => (0..3_i64).prop_map(Value::I64),
            1 => Just(Value::F64(0.5)),
            1 => any::<bool>().prop_map(Value::Bool),
        ]
    }

    /// Mostly in the order of time, some late, some twice, some corrected.
    fn arrivals() -> impl Strategy<Value = Vec<(i64, Value)>> {
        let arrival = (prop_oneof![9 => 0..2_i64, 1 => -40..0_i64], value());
        prop::collection::vec(arrival, 0..120).prop_map(|steps| {
            let mut now = 0;
            let step = |(step, value): (i64, Value)| {
                let time = (now + step).max(0);
                now = now.max(time);
                (time, value)
            };
            steps.into_iter().map(step).collect()
        })
    }

    fn model(arrivals: &[(i64, Value)]) -> Run {
        let map: BTreeMap<i64, Value> = arrivals.iter().cloned().collect();
        map.into_iter().map(|(time, value)| (at(time), value)).collect()
    }

    fn live(arrivals: &[(i64, Value)], folded_from: usize) -> LiveSeries {
        let mut live = LiveSeries::default();
        for (time, value) in arrivals {
            live.put(&grid(folded_from), at(*time), value.clone());
        }
        live
    }

    /// With what is missing read again.
    fn reread(model: &Run, missing: &[TimeRange]) -> Run {
        let mut run = Run::default();
        for range in missing {
            append(&mut run, &model.slice(*range));
        }
        run
    }

    proptest! {
        #[test]
        fn what_is_kept_and_what_is_read_again_are_all_samples(
            arrivals in arrivals(),
            folded_from in 1..9_usize,
            range in (0..70_i64, 0..70_i64),
            cuts in prop::collection::btree_set(0..70_i64, 0..9),
        ) {
            let (model, live) = (model(&arrivals), live(&arrivals, folded_from));
            let (start, end) = (range.0.min(range.1), range.0.max(range.1));
            let range = TimeRange::new(at(start), at(end)).unwrap();
            let over = live.over(range).unwrap_or_default();
            let samples = over.samples(range);
            let all = overlay(samples.known, &reread(&model, &samples.missing));
            prop_assert!(all.iter().eq(model.slice(range).iter()));

            let inside = cuts.into_iter().filter(|cut| start < *cut && *cut < end).map(at);
            let cuts: Vec<Timestamp> = [at(start)].into_iter().chain(inside).chain([at(end)]).collect();
            let parts = over.parts(range, &cuts, Fields::COUNT);
            let again = reread(&model, &parts.missing);
            let mut known = parts.known;
            for missing in &parts.missing {
                known.extend(crate::read::composed::parts_of(&again.slice(*missing), &cuts, Fields::COUNT));
            }
            let cells = composed(known, &cuts, Fields::COUNT);
            let wanted = fold_run(&model.slice(range), &cuts);
            prop_assert_eq!(cells.len(), wanted.len());
            for ((cell, state), (wanted_cell, wanted)) in cells.iter().zip(&wanted) {
                prop_assert_eq!((cell, &state.boundary), (wanted_cell, &wanted.boundary));
                let said = |fold: &Fold| format!(
                    "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}", fold.counts(), fold.first(), fold.last(), fold.min(),
                    fold.max(), fold.sum(), fold.changes(), fold.resets(),
                );
                prop_assert_eq!(said(&state.interior), said(&wanted.interior));
            }
        }
    }

    #[test]
    fn what_comes_in_order_is_folded_and_never_given_up() {
        let arrivals: Vec<(i64, Value)> = (0..100).map(|n| (n, Value::I64(n))).collect();
        let twice: Vec<(i64, Value)> = arrivals.iter().flat_map(|one| [one.clone(), one.clone()]).collect();
        let live = live(&twice, 4);
        assert_eq!((live.over.dense.len(), live.over.odd.len()), (10, 0));
        assert!(live.over.run.len() < 4, "{:?}", live.over.run);
        let range = TimeRange::new(at(0), at(100)).unwrap();
        let cover = live.over(range).unwrap().parts(range, &[at(0), at(100)], Fields::COUNT);
        assert_eq!(cover.missing, []);
        let late = self::live(&[arrivals.clone(), vec![(55, Value::I64(7))]].concat(), 4);
        assert_eq!(late.over.odd, [TimeRange::new(at(50), at(60)).unwrap()], "one window is read again");
    }
}
