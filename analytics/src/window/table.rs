//! The windows of many series, gathered while a range of time goes by in slices.
//!
//! Memory is bounded by the answer (I6): a series has one open window, reading stops once the answer is full, and
//! the answer is then cut in time, so that what is there is complete and the rest can be asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_store::model::{Device, Metric, Source, Tags, Tenant, TimeRange, Timestamp};
use tidemill_store::read::Series;
use tidemill_store::rollup::{Fold, WindowState};

use super::{Aggregate, Answer, Fill, Tiling, fill};

/// A series by its names, in the order in which answers list them: tenant, device, tags, metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesKey {
    /// Whose.
    pub source: Arc<Source>,
    /// Of what.
    pub metric: Metric,
}

impl SeriesKey {
    fn names(&self) -> (&Tenant, &Device, &Tags, &Metric) {
        (self.source.tenant(), self.source.device(), self.source.tags(), &self.metric)
    }
}

impl Ord for SeriesKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.names().cmp(&other.names())
    }
}

impl PartialOrd for SeriesKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A window and an answer for each aggregate that was asked for.
#[derive(Debug, Clone)]
pub struct Row {
    /// The whole window, also where only a part of it lies in the range asked for.
    pub window: TimeRange,
    /// In the order of the aggregates.
    pub answers: Vec<Answer>,
}

/// Where an answer ends that could not be whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Every series is complete up to here, a window boundary; the rest starts here.
    At(Timestamp),
    /// Even the first window has too many series: only so many of them are there, with that window.
    Series(usize),
}

/// More series than a table may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {0} series")]
pub struct TooManySeries(pub usize);

/// Most of what a table may hold.
#[derive(Debug, Clone, Copy)]
pub struct TableLimits {
    /// Windows in the answer, over all series.
    pub rows: usize,
    /// Series, before any cut.
    pub series: usize,
}

/// The windows of many series over a range.
#[derive(Debug)]
pub struct Table {
    tiling: Tiling,
    range: TimeRange,
    fill: Fill,
    limits: TableLimits,
    series: BTreeMap<SeriesKey, Vec<(TimeRange, Fold)>>,
    /// Windows that hold samples, over all series.
    known: usize,
    /// How many windows the last cells were in.
    usual: usize,
    elapsed: Elapsed,
    /// With which a window begins.
    empty: Fold,
    /// Before this, every sample of the range was added, once nothing more is.
    read_until: Timestamp,
}

impl Table {
    /// An empty table for samples in `range`.
    pub fn new(tiling: Tiling, range: TimeRange, fill: Fill, limits: TableLimits) -> Self {
        let elapsed = Elapsed { boundary: range.start(), windows: 0 };
        let read_until = range.end();
        Self {
            tiling,
            range,
            fill,
            limits,
            series: BTreeMap::new(),
            known: 0,
            usual: 0,
            elapsed,
            empty: Fold::EMPTY,
            read_until,
        }
    }

    /// This table, to answer quantiles as well: every fold gets a sketch.
    #[must_use]
    pub fn with_sketches(self) -> Self {
        Self { empty: Fold::with_sketch(), ..self }
    }

    /// Takes samples of a series that lie in the range and are later than those it has of that series.
    pub fn add(&mut self, series: &Series) -> Result<(), TooManySeries> {
        if series.samples.is_empty() {
            return Ok(());
        }
        let key = SeriesKey { source: Arc::clone(&series.source), metric: series.metric.clone() };
        let mut windows = self.windows_of(key)?;
        let mut rest = series.samples.as_slice();
        while let Some(next) = rest.first() {
            let Some((window, fold)) = windows.holding(next.time) else { break };
            let inside = rest.partition_point(|sample| sample.time < window.end());
            let (run, after) = rest.split_at(inside);
            fold.extend_samples(run);
            rest = after;
        }
        self.known += windows.added;
        Ok(())
    }

    /// Takes cells of a series, later than what it has of that series: cell `i` is `[cuts[i], cuts[i + 1])`, lies in
    /// the range and in one window. What a cell does not know, its window cannot answer.
    ///
    /// Panics where a cell reaches beyond the window that it starts in.
    pub fn add_cells(
        &mut self,
        key: SeriesKey,
        cuts: &[Timestamp],
        cells: Vec<(usize, WindowState)>,
    ) -> Result<(), TooManySeries> {
        if cells.is_empty() {
            return Ok(());
        }
        let most = cells.len().min(self.usual);
        let mut windows = self.windows_of(key)?;
        windows.windows.reserve(most);
        for (cell, state) in cells {
            let (Some(start), Some(end)) = (cuts.get(cell), cuts.get(cell + 1)) else { continue };
            let Some((window, fold)) = windows.holding(*start) else { break };
            assert!(*end <= window.end(), "a cell lies in one window");
            fold.absorb(state.into_closed_open());
        }
        let added = windows.added;
        self.known += added;
        self.usual = added;
        Ok(())
    }

    fn windows_of(&mut self, key: SeriesKey) -> Result<OpenWindows<'_>, TooManySeries> {
        if self.series.len() >= self.limits.series && !self.series.contains_key(&key) {
            return Err(TooManySeries(self.limits.series));
        }
        let windows = self.series.entry(key).or_default();
        Ok(OpenWindows { tiling: &self.tiling, empty: &self.empty, windows, added: 0 })
    }

    /// Says that all samples before `until` were added. Returns whether the answer is full: then no later sample
    /// would appear in it, and none may be added.
    pub fn pass(&mut self, until: Timestamp) -> bool {
        let rows = if self.fill == Fill::None {
            self.known
        } else {
            self.elapsed.pass(&self.tiling, until, self.limits.rows);
            self.series.len().saturating_mul(self.elapsed.windows)
        };
        let full = rows > self.limits.rows && self.first().is_some_and(|first| first.end() <= until);
        if full {
            self.read_until = until.min(self.range.end());
        }
        full
    }

    /// How many windows it would answer without a limit.
    pub fn size(&self) -> usize {
        match self.fill {
            Fill::None => self.known,
            Fill::Null | Fill::Previous | Fill::Linear => self.known.max(self.limits.rows),
        }
    }

    /// The window with which the answer starts.
    fn first(&self) -> Option<TimeRange> {
        match self.fill {
            Fill::None => self.starts().min().map(|start| self.tiling.window_of(start)),
            Fill::Null | Fill::Previous | Fill::Linear => self.tiling.windows_in(self.range).next(),
        }
    }

    fn starts(&self) -> impl Iterator<Item = Timestamp> + '_ {
        self.series.values().flatten().map(|(window, _)| window.start())
    }

    /// Where the answer ends, where it is not whole.
    pub fn cut(&self) -> Option<Cut> {
        let first = self.first()?.start();
        let unread =
            (self.read_until < self.range.end()).then(|| self.tiling.window_of(self.read_until).start());
        let overflow = match self.fill {
            Fill::None => nth_smallest(self.starts().collect(), self.limits.rows),
            Fill::Null | Fill::Previous | Fill::Linear => {
                self.tiling.windows_in(self.range).nth(self.windows_each()).map(|window| window.start())
            }
        };
        let cut = unread.into_iter().chain(overflow).min()?;
        Some(if cut > first { Cut::At(cut) } else { Cut::Series(self.limits.rows) })
    }

    /// How many windows each series may have where all have the same.
    fn windows_each(&self) -> usize {
        self.limits.rows / self.series.len().max(1)
    }

    /// The series in order with their rows, each with an answer for each of `aggregates`.
    pub fn rows<'a>(
        &'a self,
        aggregates: &'a [Aggregate],
    ) -> impl Iterator<Item = (&'a SeriesKey, Vec<Row>)> + 'a {
        let (until, series) = match self.cut() {
            None => (self.range.end(), usize::MAX),
            Some(Cut::At(until)) => (until, usize::MAX),
            Some(Cut::Series(series)) => (self.first().map_or(self.range.end(), |first| first.end()), series),
        };
        self.series
            .iter()
            .map(move |(key, windows)| (key, self.rows_of(windows, aggregates, until)))
            .filter(|(_, rows)| !rows.is_empty())
            .take(series)
    }

    fn rows_of(&self, windows: &[(TimeRange, Fold)], aggregates: &[Aggregate], until: Timestamp) -> Vec<Row> {
        let known = windows.iter().map(|(window, fold)| Row {
            window: *window,
            answers: aggregates.iter().map(|aggregate| aggregate.of(fold)).collect(),
        });
        if self.fill == Fill::None {
            return known.take_while(|row| row.window.start() < until).collect();
        }
        let known: Vec<Row> = known.collect();
        let windows = self.tiling.windows_in(self.range).take_while(|window| window.start() < until);
        fill::filled(self.fill, windows, &known, aggregates)
    }
}

/// The windows of a series, to be added to in the order of time.
struct OpenWindows<'a> {
    tiling: &'a Tiling,
    empty: &'a Fold,
    windows: &'a mut Vec<(TimeRange, Fold)>,
    added: usize,
}

impl OpenWindows<'_> {
    /// The window that holds `time`: the last one, or a new one after it.
    fn holding(&mut self, time: Timestamp) -> Option<(TimeRange, &mut Fold)> {
        let is_held = self.windows.last().is_some_and(|(window, _)| window.contains(time));
        if !is_held {
            self.windows.push((self.tiling.window_of(time), self.empty.clone()));
            self.added += 1;
        }
        self.windows.last_mut().map(|(window, fold)| (*window, fold))
    }
}

/// How many windows of a range have gone by.
#[derive(Debug)]
struct Elapsed {
    /// Where the next window starts, or the start of the range.
    boundary: Timestamp,
    windows: usize,
}

impl Elapsed {
    /// Counts the windows that end by `until`, to one more than `enough` at most.
    fn pass(&mut self, tiling: &Tiling, until: Timestamp, enough: usize) {
        while self.windows <= enough && self.boundary < until {
            let end = tiling.window_of(self.boundary).end();
            if end > until {
                return;
            }
            self.windows += 1;
            self.boundary = end;
        }
    }
}

fn nth_smallest(mut times: Vec<Timestamp>, n: usize) -> Option<Timestamp> {
    (n < times.len()).then(|| *times.select_nth_unstable(n).1)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;
    use tidemill_store::codec::Run;
    use tidemill_store::model::Value;
    use tidemill_store::read::Sample;
    use tidemill_store::rollup::fold_run;

    use super::*;
    use crate::window::Window;

    const SECOND: i64 = 1_000_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_nanos(second * SECOND).unwrap()
    }

    fn series(device: &str, seconds: &[i64]) -> Series {
        let (tenant, device) = (Tenant::new("t").unwrap(), Device::new(device).unwrap());
        let sample = |second: &i64| Sample { time: at(*second), value: Value::I64(*second) };
        Series {
            source: Arc::new(Source::new(tenant, device, Tags::default())),
            metric: Metric::new("m").unwrap(),
            samples: seconds.iter().map(sample).collect(),
        }
    }

    /// Ten-second windows over [0, 100) seconds.
    fn table(fill: Fill, rows: usize) -> Table {
        let tiling = Tiling::new(Window::parse("10s").unwrap(), TimeZone::UTC);
        let range = TimeRange::new(at(0), at(100)).unwrap();
        Table::new(tiling, range, fill, TableLimits { rows, series: 10 })
    }

    /// `device: start=count …` of each series.
    fn shown(table: &Table) -> Vec<String> {
        let row = |row: &Row| format!(" {}={:?}", row.window.start().nanos() / SECOND, row.answers[0]);
        table
            .rows(&[Aggregate::Count])
            .map(|(key, rows)| {
                format!("{}:{}", key.source.device(), rows.iter().map(row).collect::<String>())
            })
            .map(|line| line.replace("Integer", ""))
            .collect()
    }

    #[test]
    fn slices_that_cut_a_window_count_into_one() {
        let mut table = table(Fill::None, 10);
        table.add(&series("b", &[1, 2])).unwrap();
        table.add(&series("a", &[3])).unwrap();
        assert!(!table.pass(at(5)));
        table.add(&series("b", &[7, 25])).unwrap();
        assert_eq!(shown(&table), ["a: 0=(1)", "b: 0=(3) 20=(1)"]);
        assert_eq!(table.cut(), None);
    }

    #[test]
    fn cells_and_samples_count_into_the_same_windows() {
        let mut table = table(Fill::None, 10);
        table.add(&series("a", &[1, 4])).unwrap();
        let cuts: Vec<Timestamp> = [5, 10, 20].map(at).to_vec();
        let run: Run = [5, 7, 10, 19].into_iter().map(|second| (at(second), Value::I64(second))).collect();
        let samples = series("a", &[25]);
        let key = SeriesKey { source: Arc::clone(&samples.source), metric: samples.metric.clone() };
        table.add_cells(key, &cuts, fold_run(&run, &cuts)).unwrap();
        table.add(&samples).unwrap();
        assert_eq!(shown(&table), ["a: 0=(4) 10=(2) 20=(1)"]);
        let sums = table.rows(&[Aggregate::Sum]).map(|(_, rows)| format!("{:?}", rows[0].answers)).next();
        assert_eq!(sums.as_deref(), Some("[Integer(17)]"));
    }

    #[test]
    fn a_full_answer_is_cut_at_a_boundary_before_which_all_series_are_complete() {
        let mut table = table(Fill::None, 3);
        table.add(&series("a", &[1, 11, 21, 31])).unwrap();
        table.add(&series("b", &[2, 32])).unwrap();
        assert!(table.pass(at(35)));
        assert_eq!(table.cut(), Some(Cut::At(at(20))));
        assert_eq!(shown(&table), ["a: 0=(1) 10=(1)", "b: 0=(1)"]);
    }

    #[test]
    fn a_window_that_was_read_in_part_is_not_in_the_answer() {
        let mut table = table(Fill::None, 2);
        table.add(&series("a", &[1, 11])).unwrap();
        table.add(&series("b", &[12])).unwrap();
        assert!(table.pass(at(15)));
        assert_eq!(table.cut(), Some(Cut::At(at(10))));
    }

    #[test]
    fn too_many_series_for_one_window_leave_the_first_ones() {
        let mut table = table(Fill::None, 2);
        for device in ["a", "b", "c"] {
            table.add(&series(device, &[1])).unwrap();
        }
        assert!(!table.pass(at(5)), "the first window is not complete yet");
        assert!(table.pass(at(10)));
        assert_eq!(table.cut(), Some(Cut::Series(2)));
        assert_eq!(shown(&table), ["a: 0=(1)", "b: 0=(1)"]);
    }

    #[test]
    fn filled_windows_count_towards_the_limit() {
        let mut table = table(Fill::Null, 6);
        table.add(&series("a", &[15])).unwrap();
        assert!(!table.pass(at(20)));
        table.add(&series("b", &[31])).unwrap();
        assert!(!table.pass(at(35)));
        assert!(table.pass(at(40)));
        assert_eq!(table.cut(), Some(Cut::At(at(30))));
        assert_eq!(shown(&table), ["a: 0=(0) 10=(1) 20=(0)", "b: 0=(0) 10=(0) 20=(0)"]);
    }

    #[test]
    fn series_beyond_the_hard_limit_are_refused() {
        let mut table = table(Fill::None, 100);
        for index in 0..10 {
            table.add(&series(&format!("d{index}"), &[1])).unwrap();
        }
        assert!(table.add(&series("d3", &[2])).is_ok());
        assert_eq!(table.add(&series("d11", &[1])), Err(TooManySeries(10)));
    }

    proptest! {
        /// However a range is sliced and wherever the answer is cut, asking on from the cut gives all windows.
        #[test]
        fn following_the_cuts_gives_what_an_unbounded_answer_gives(
            seconds in prop::collection::btree_map((0..3_usize, 0..100_i64), Just(()), 0..80),
            slice in 1..40_i64,
            rows in 3..20_usize,
            fill in prop::sample::select(vec![Fill::None, Fill::Null]),
        ) {
            let ask = |start: i64, rows: usize| {
                let tiling = Tiling::new(Window::parse("10s").unwrap(), TimeZone::UTC);
                let range = TimeRange::new(at(start), at(100)).unwrap();
                let mut table = Table::new(tiling, range, fill, TableLimits { rows, series: 10 });
                for from in (start..100).step_by(usize::try_from(slice).unwrap()) {
                    let until = (from + slice).min(100);
                    for device in 0..3 {
                        let taken: Vec<i64> =
                            seconds.keys().filter(|(d, s)| *d == device && (from..until).contains(s)).map(|(_, s)| *s).collect();
                        table.add(&series(&format!("d{device}"), &taken)).unwrap();
                    }
                    if table.pass(at(until)) {
                        break;
                    }
                }
                table
            };
            let lines = |table: &Table| -> Vec<(String, i64, String)> {
                table.rows(&[Aggregate::Count, Aggregate::Sum]).flat_map(|(key, rows)| {
                    let device = key.source.device().to_string();
                    rows.into_iter().map(move |row| (device.clone(), row.window.start().nanos() / SECOND, format!("{:?}", row.answers)))
                }).collect()
            };
            let whole = lines(&ask(0, 1_000));
            let (mut paged, mut start) = (Vec::new(), 0);
            loop {
                let table = ask(start, rows);
                let page = lines(&table);
                prop_assert!(page.len() <= rows);
                paged.extend(page);
                match table.cut() {
                    Some(Cut::At(next)) => start = next.nanos() / SECOND,
                    None => break,
                    Some(Cut::Series(_)) => prop_assert!(false, "3 series fit any limit here"),
                }
            }
            // A filled page shows only series with a sample in it or after it: compare windows that hold samples.
            let held = |rows: Vec<(String, i64, String)>| -> Vec<_> {
                let mut rows: Vec<_> = rows.into_iter().filter(|row| !row.2.contains("Integer(0), Null")).collect();
                rows.sort();
                rows
            };
            prop_assert_eq!(held(paged), held(whole));
        }
    }
}
