//! Windows over samples that come piece by piece: what a selector wants of each window is made as soon as no later
//! sample can lie in it, and what no later window needs is let go. The same kernels as over whole columns (I4). Pure.

use super::super::function::RangeFunction;
use super::super::settings::Stop;
use super::super::source::{Hint, Wanted};
use super::super::value::{ABSENT, Steps, is_absent};
use super::{Kernel, Values, Window, kernel, over_time, up_to};

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
    pub fn push(&mut self, mut times: Vec<i64>, mut values: Vec<f64>, stop: &Stop) {
        if self.function.is_some() && values.iter().any(|value| is_absent(*value)) {
            // Ranges do not see staleness markers.
            let samples = times.into_iter().zip(values).filter(|(_, value)| !is_absent(*value));
            (times, values) = samples.unzip();
        }
        let Some(&last) = times.last() else { return };
        assert!(self.times.last() < times.first(), "samples go back in time");
        if !self.times.is_empty() {
            self.times.append(&mut times);
            self.values.append(&mut values);
            (times, values) = (std::mem::take(&mut self.times), std::mem::take(&mut self.values));
        }
        self.make(&times, &values, last, stop);
        let Some(next) = self.next_end() else { return };
        let needed = times.partition_point(|time| *time <= next.saturating_sub(self.length));
        self.times = times.get(needed..).unwrap_or_default().to_vec();
        self.values = values.get(needed..).unwrap_or_default().to_vec();
    }

    /// One value for each window, or [`ABSENT`].
    pub fn finish(mut self, stop: &Stop) -> Vec<f64> {
        let (times, values) = (std::mem::take(&mut self.times), std::mem::take(&mut self.values));
        self.make(&times, &values, i64::MAX, stop);
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
    fn make(&mut self, times: &[i64], values: &[f64], until: i64, stop: &Stop) {
        let kernel: Option<Box<dyn Kernel>> = match self.function {
            Some(function) => kernel(function),
            None => Some(Box::new(Values(over_time::last))),
        };
        let Some(mut kernel) = kernel else { return };
        kernel.begin(values);
        self.made.reserve_exact(self.ends.count - self.made.len());
        let (mut first, mut past) = (0, 0);
        while let Some(through) = self.next_end().filter(|end| *end <= until && !stop.is_stopped()) {
            let after = through.saturating_sub(self.length);
            past += up_to(times.get(past..), through);
            first += up_to(times.get(first..past), after);
            let window = times.get(first..past).zip(values.get(first..past));
            let number = self.made.len();
            self.made.push(match window {
                Some((times, values)) if !times.is_empty() => {
                    kernel.value(&Window { times, values, first, after, through, at: through, step: number })
                }
                Some(_) | None => ABSENT,
            });
        }
    }
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
                let (times, values) = samples.iter().map(|(time, value)| (*time, *value)).unzip();
                whole.push(times, values, &stop);
                let mut pieces = Moving::of(&hint).unwrap();
                let mut from = 0;
                for to in cuts.iter().copied().chain([400]) {
                    let (times, values) = samples.range(from..to).map(|(time, value)| (*time, *value)).unzip();
                    pieces.push(times, values, &stop);
                    from = to;
                }
                let bits = |made: Vec<f64>| made.into_iter().map(f64::to_bits).collect::<Vec<_>>();
                prop_assert_eq!(bits(pieces.finish(&stop)), bits(whole.finish(&stop)));
            }
        }
    }

    #[test]
    fn what_no_later_window_needs_is_let_go() {
        let steps = Steps { start: 100, step: 100, count: 10 };
        let mut moving = Moving::of(&hint(Wanted::Function(RangeFunction::SumOverTime), 150, steps)).unwrap();
        moving.push((1..=470).collect(), vec![1.0; 470], &Stop::default());
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
        moving.push(vec![1, 2, 3], vec![1.0; 3], &stop);
        assert!(moving.made.is_empty());
    }
}
