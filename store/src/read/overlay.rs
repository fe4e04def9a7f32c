//! Runs laid over runs: what was received later wins (I4). Pure.

use std::cmp::Ordering;

use crate::codec::{Run, Values};
use crate::model::{TimeRange, Timestamp, Value};

/// Samples of both; of two at one time that of `over`.
pub(super) fn overlay(base: Run, over: &Run) -> Run {
    if over.is_empty() {
        return base;
    }
    if base.last_time() < over.first_time() {
        let mut run = base;
        append(&mut run, over);
        return run;
    }
    let mut run = Run::default();
    let (mut low, mut high) = (base.iter().peekable(), over.iter().peekable());
    loop {
        let next = match (low.peek(), high.peek()) {
            (Some((a, _)), Some((b, _))) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return run,
        };
        if next == Ordering::Equal {
            low.next();
        }
        let sample = if next == Ordering::Less { low.next() } else { high.next() };
        if let Some((time, value)) = sample {
            run.push(time, value);
        }
    }
}

/// Appends a run that is later as a whole.
pub(super) fn append(run: &mut Run, later: &Run) {
    assert!(
        run.is_empty() || later.is_empty() || run.last_time() < later.first_time(),
        "a run goes back in time"
    );
    run.times.extend_from_slice(&later.times);
    match (&mut run.values, &later.values) {
        (Values::F64(values), Values::F64(more)) => values.extend_from_slice(more),
        (Values::I64(values), Values::I64(more)) => values.extend_from_slice(more),
        (Values::Bool(values), Values::Bool(more)) => values.extend_from_slice(more),
        (Values::Text(values), Values::Text(more)) => values.extend_from_slice(more),
        (values, more) if values.is_empty() => *values = more.clone(),
        (values, more) => more.iter().for_each(|value| values.push(value)),
    }
}

/// Samples as they came, to be put in order.
#[derive(Debug, Clone)]
pub(super) struct Gathered {
    times: Vec<Timestamp>,
    values: Values,
    is_ascending: bool,
}

impl Default for Gathered {
    fn default() -> Self {
        Self { times: Vec::new(), values: Values::EMPTY, is_ascending: true }
    }
}

impl Gathered {
    /// Takes a sample; of two at one time the one that is taken later wins.
    pub(super) fn put(&mut self, time: Timestamp, value: Value) {
        self.is_ascending &= self.times.last().is_none_or(|&last| last < time);
        self.times.push(time);
        self.values.push(value);
    }

    /// The samples in order, each time once.
    pub(super) fn settle(self) -> Run {
        if self.is_ascending {
            return Run::from_checked(self.times, self.values);
        }
        let mut order: Vec<usize> = (0..self.times.len()).collect();
        order.sort_by_key(|&at| self.times.get(at));
        let later = order.iter().skip(1).map(Some).chain([None]);
        let is_last = |at: &usize, next: Option<&usize>| {
            next.map(|&next| self.times.get(next)) != Some(self.times.get(*at))
        };
        let kept = order.iter().zip(later).filter(|(at, next)| is_last(at, *next));
        kept.filter_map(|(&at, _)| Some((*self.times.get(at)?, self.values.get(at)?))).collect()
    }
}

/// About how many bytes a run takes in memory.
pub(super) fn run_bytes(run: &Run) -> usize {
    let values = match &run.values {
        Values::F64(values) => values.len() * size_of::<f64>(),
        Values::I64(values) => values.len() * size_of::<i64>(),
        Values::Bool(values) => values.len(),
        Values::Text(values) => values.iter().map(|text| text.len() + size_of::<Value>()).sum(),
        Values::Mixed(values) => values.len() * size_of::<Value>(),
    };
    run.len() * size_of::<Timestamp>() + values
}

/// The samples of ascending `ranges`.
pub(super) fn within(run: &Run, ranges: &[TimeRange]) -> Run {
    let mut parts = ranges.iter().map(|range| run.slice(*range)).filter(|part| !part.is_empty());
    let mut all = parts.next().unwrap_or_default();
    parts.for_each(|part| append(&mut all, &part));
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn at(nanos: i64) -> Timestamp {
        Timestamp::from_nanos(nanos).unwrap()
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            3 => (0..9_i64).prop_map(Value::I64),
            1 => Just(Value::F64(f64::NAN)),
            1 => any::<bool>().prop_map(Value::Bool),
            1 => Just(Value::Text("s".into())),
        ]
    }

    fn samples() -> impl Strategy<Value = Vec<(i64, Value)>> {
        prop::collection::vec((0..20_i64, value()), 0..30)
    }

    fn settled(samples: &[(i64, Value)]) -> Run {
        let mut gathered = Gathered::default();
        for (time, value) in samples {
            gathered.put(at(*time), value.clone());
        }
        gathered.settle()
    }

    fn model(samples: &[(i64, Value)]) -> Run {
        let map: BTreeMap<i64, Value> = samples.iter().cloned().collect();
        map.into_iter().map(|(time, value)| (at(time), value)).collect()
    }

    fn equal(a: &Run, b: &Run) -> bool {
        a.iter().eq(b.iter())
    }

    proptest! {
        #[test]
        fn what_came_later_wins(base in samples(), over in samples()) {
            prop_assert!(equal(&settled(&base), &model(&base)));
            let both: Vec<_> = base.iter().chain(&over).cloned().collect();
            prop_assert!(equal(&overlay(settled(&base), &settled(&over)), &model(&both)));
        }

        #[test]
        fn parts_of_a_run_are_the_run(all in samples(), cut in 0..20_i64) {
            let run = settled(&all);
            let range = |start, end| TimeRange::new(at(start), at(end)).unwrap();
            prop_assert!(equal(&within(&run, &[range(0, cut), range(cut, 20)]), &run));
            prop_assert!(equal(&within(&run, &[range(cut, 20)]), &run.slice(range(cut, 20))));
        }
    }
}
