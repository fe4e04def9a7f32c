//! Windows over samples that come piece by piece: what a selector wants of each window is made as soon as no later
//! sample can lie in it, and what no later window needs is let go. The same kernels as over whole columns (I4). Pure.

use super::super::function::RangeFunction;
use super::super::settings::Stop;
use super::super::source::{Hint, Wanted};
use super::super::value::{ABSENT, Steps, is_absent};
use super::times::{Passed, Times};
use super::{Kernel, Values, Window, kernel, over_time};

/// One value for each window of one series.
#[derive(Debug, Clone)]
pub struct Moving {
    /// None for the newest value.
    function: Option<RangeFunction>,
    length: i64,
    ends: Steps,
    made: Vec<f64>,
    /// Samples that windows to come still need.
    times: Vec<i64>,
    values: Vec<f64>,
}

impl Moving {
    /// What is wanted, where it can be made of windows one by one.
    pub fn of(hint: &Hint) -> Option<Self> {
        let function = match hint.wanted {
            Wanted::Latest => None,
            Wanted::Function(function) => {
                kernel(function)?;
                Some(function)
            }
            Wanted::Samples => return None,
        };
        let (length, ends) = (hint.window, hint.ends);
        Some(Self { function, length, ends, made: Vec::new(), times: Vec::new(), values: Vec::new() })
    }

    /// Takes samples that are later than all before; as many times as values. A stop leaves values out.
    ///
    /// Panics where times go back.
    pub fn push(&mut self, times: Times<'_>, values: &[f64], stop: &Stop) {
        // Ranges do not see staleness markers.
        if self.function.is_some() && has_absent(values) {
            let samples = times.iter_from(0).zip(values).filter(|(_, value)| !is_absent(**value));
            let (times, values): (Vec<i64>, Vec<f64>) = samples.unzip();
            return self.push_all(Times::Listed(&times), &values, stop);
        }
        self.push_all(times, values, stop);
    }

    fn push_all(&mut self, times: Times<'_>, values: &[f64], stop: &Stop) {
        let Some(last) = times.last() else { return };
        assert!(self.times.last().copied() < times.get(0), "samples go back in time");
        if self.times.is_empty() {
            self.make(times, values, last, stop);
            return self.keep(times, values);
        }
        let (mut before, mut before_values) =
            (std::mem::take(&mut self.times), std::mem::take(&mut self.values));
        before.extend(times.iter_from(0));
        before_values.extend_from_slice(values);
        self.make(Times::Listed(&before), &before_values, last, stop);
        self.keep(Times::Listed(&before), &before_values);
    }

    /// Keeps what windows to come need.
    fn keep(&mut self, times: Times<'_>, values: &[f64]) {
        let Some(next) = self.next_end() else { return };
        let needed = match times {
            Times::Even(_) => Passed::of(times).up_to(next.saturating_sub(self.length)),
            Times::Listed(times) => times.partition_point(|time| *time <= next.saturating_sub(self.length)),
        };
        self.times = times.iter_from(needed).collect();
        self.values = values.get(needed..).unwrap_or_default().to_vec();
    }

    /// One value for each window, or [`ABSENT`].
    pub fn finish(mut self, stop: &Stop) -> Vec<f64> {
        let (times, values) = (std::mem::take(&mut self.times), std::mem::take(&mut self.values));
        self.make(Times::Listed(&times), &values, i64::MAX, stop);
        self.made.resize(self.ends.count, ABSENT);
        self.made
    }

    /// The end of the first window that is not made.
    fn next_end(&self) -> Option<i64> {
        let at = i64::try_from(self.made.len()).ok()?;
        let end = self.ends.start.saturating_add(self.ends.step.saturating_mul(at));
        (self.made.len() < self.ends.count).then_some(end)
    }

    /// Makes the windows that end no later than `until`.
    fn make(&mut self, times: Times<'_>, values: &[f64], until: i64, stop: &Stop) {
        use RangeFunction as F;
        let column = Column { times, values, until };
        // What dashboards ask for is compiled into the loop.
        match self.function {
            None => self.make_by(&mut Values(over_time::last), column, stop),
            Some(F::AvgOverTime) => self.make_by(&mut Values(over_time::mean), column, stop),
            Some(F::SumOverTime) => self.make_by(&mut Values(over_time::sum), column, stop),
            Some(function) => {
                if let Some(mut kernel) = kernel(function) {
                    self.make_by(&mut *kernel, column, stop);
                }
            }
        }
    }

    fn make_by<K: Kernel + ?Sized>(&mut self, kernel: &mut K, column: Column<'_>, stop: &Stop) {
        let Some(mut through) = self.next_end() else { return };
        let Column { times, values, until } = column;
        kernel.begin(values);
        self.made.reserve_exact(self.ends.count - self.made.len());
        let (mut starts, mut ends) = (Passed::of(times), Passed::of(times));
        for number in self.made.len()..self.ends.count {
            if through > until || stop.is_stopped() {
                break;
            }
            let after = through.saturating_sub(self.length);
            let (first, past) = (starts.up_to(after), ends.up_to(through));
            self.made.push(match values.get(first..past) {
                Some(values) if !values.is_empty() => {
                    let window =
                        Window { column: times, first, values, after, through, at: through, step: number };
                    kernel.value(&window)
                }
                Some(_) | None => ABSENT,
            });
            through = through.saturating_add(self.ends.step);
        }
    }
}

/// Samples, and up to which end windows are made of them.
#[derive(Clone, Copy)]
struct Column<'a> {
    times: Times<'a>,
    values: &'a [f64],
    until: i64,
}

/// Without a way out, so that many are looked at together.
fn has_absent(values: &[f64]) -> bool {
    values.iter().fold(false, |found, value| found | is_absent(*value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hint(wanted: Wanted, window: i64, ends: Steps) -> Hint {
        Hint { wanted, window, ends, aggregation: None }
    }

    const WANTED: [Wanted; 6] = [
        Wanted::Latest,
        Wanted::Function(RangeFunction::AvgOverTime),
        Wanted::Function(RangeFunction::MaxOverTime),
        Wanted::Function(RangeFunction::Increase),
        Wanted::Function(RangeFunction::Irate),
        Wanted::Function(RangeFunction::CountOverTime),
    ];

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_gives(
            samples in prop::collection::btree_map(0..400_i64, prop_oneof![(0..9_u8).prop_map(f64::from), Just(ABSENT)], 0..60),
            cuts in prop::collection::btree_set(0..400_i64, 0..5),
            (window, start, step, count) in (1..120_i64, -50..400_i64, 1..60_i64, 1..12_usize),
        ) {
            let stop = Stop::default();
            for wanted in WANTED {
                let hint = hint(wanted, window, Steps { start, step, count });
                let mut whole = Moving::of(&hint).unwrap();
                let (times, values): (Vec<_>, Vec<_>) =
                    samples.iter().map(|(time, value)| (*time, *value)).unzip();
                whole.push(Times::Listed(&times), &values, &stop);
                let mut pieces = Moving::of(&hint).unwrap();
                let mut from = 0;
                for to in cuts.iter().copied().chain([400]) {
                    let part = samples.range(from..to).map(|(time, value)| (*time, *value));
                    let (times, values): (Vec<_>, Vec<_>) = part.unzip();
                    pieces.push(Times::Listed(&times), &values, &stop);
                    from = to;
                }
                let bits = |made: Vec<f64>| made.into_iter().map(f64::to_bits).collect::<Vec<_>>();
                prop_assert_eq!(bits(pieces.finish(&stop)), bits(whole.finish(&stop)));
            }
        }
    }

    proptest! {
        #[test]
        fn even_times_give_what_listed_ones_give(
            (start, step, count) in (-50..300_i64, 1..30_i64, 1..60_usize),
            values in prop::collection::vec(prop_oneof![9 => -1e3..1e3_f64, 1 => Just(ABSENT)], 60),
            (window, first, distance, windows) in (1..120_i64, -50..400_i64, 1..60_i64, 1..12_usize),
        ) {
            let (stop, values) = (Stop::default(), &values[..count]);
            let even = Times::Even(Steps { start, step, count });
            let listed: Vec<i64> = even.iter_from(0).collect();
            for wanted in WANTED {
                let hint = hint(wanted, window, Steps { start: first, step: distance, count: windows });
                let made = |times: Times<'_>| {
                    let mut moving = Moving::of(&hint).unwrap();
                    moving.push(times, values, &stop);
                    moving.finish(&stop).into_iter().map(f64::to_bits).collect::<Vec<_>>()
                };
                prop_assert_eq!(made(even), made(Times::Listed(&listed)));
            }
        }
    }

    #[test]
    fn what_no_later_window_needs_is_let_go() {
        let steps = Steps { start: 100, step: 100, count: 10 };
        let mut moving = Moving::of(&hint(Wanted::Function(RangeFunction::SumOverTime), 150, steps)).unwrap();
        moving.push(Times::Even(Steps { start: 1, step: 1, count: 470 }), &[1.0; 470], &Stop::default());
        assert_eq!((moving.times.first(), moving.times.len()), (Some(&351), 120));
        let made = moving.finish(&Stop::default());
        assert_eq!(made[..5], [100.0, 150.0, 150.0, 150.0, 120.0]);
        assert!(is_absent(made[6]), "no sample in it");
    }

    #[test]
    fn nothing_more_is_made_after_a_stop() {
        let steps = Steps { start: 1, step: 1, count: 3 };
        let mut moving = Moving::of(&hint(Wanted::Latest, 10, steps)).unwrap();
        let stop = Stop::default();
        stop.stop();
        moving.push(Times::Listed(&[1, 2, 3]), &[1.0; 3], &stop);
        assert!(moving.made.is_empty());
    }
}
