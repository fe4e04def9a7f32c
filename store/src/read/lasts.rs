//! The last sample of each series, as far as samples were looked at in any order: of two at one time the one that
//! arrived later counts, and what is ground arrived before what is not (I4). Pure.

use hashbrown::HashMap;

use super::Sample;
use crate::catalog::SourceIndex;
use crate::model::{Metric, Seq, Timestamp, WriterId};

/// When a sample arrived, compared with others of its series and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Arrival {
    /// Before everything that no seal covers.
    Ground,
    /// In this segment, in correction order.
    Segment(Timestamp, WriterId, Seq),
    /// After everything that is ground; which of the others came before is settled.
    Uncovered,
}

/// A sample and when it arrived.
#[derive(Debug, Clone)]
pub(super) struct Last {
    pub(super) sample: Sample,
    arrival: Arrival,
}

/// Last samples by series.
#[derive(Debug, Clone, Default)]
pub(super) struct Lasts {
    by_metric: HashMap<Metric, HashMap<SourceIndex, Last>>,
    len: usize,
}

impl Lasts {
    /// Takes a sample; of one segment they come in their order there.
    pub(super) fn put(&mut self, source: SourceIndex, metric: &Metric, sample: Sample, arrival: Arrival) {
        if !self.by_metric.contains_key(metric) {
            self.by_metric.insert(metric.clone(), HashMap::new());
        }
        let Some(of_metric) = self.by_metric.get_mut(metric) else { return };
        let new = Last { sample, arrival };
        match of_metric.get_mut(&source) {
            Some(last) if new.is_before(last) => {}
            Some(last) => *last = new,
            None => {
                of_metric.insert(source, new);
                self.len += 1;
            }
        }
    }

    /// The last samples of a metric.
    pub(super) fn of(&self, metric: &Metric) -> Option<&HashMap<SourceIndex, Last>> {
        self.by_metric.get(metric)
    }

    /// About how many bytes it takes; texts are not counted, they are short and mostly shared.
    pub(super) fn size_bytes(&self) -> usize {
        self.len * 2 * size_of::<(SourceIndex, Last)>() + size_of::<Self>()
    }
}

impl Last {
    pub(super) fn new(sample: Sample, arrival: Arrival) -> Self {
        Self { sample, arrival }
    }

    /// Whether `other` counts instead of it.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        (self.sample.time, self.arrival) < (other.sample.time, other.arrival)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Value;

    proptest! {
        #[test]
        fn the_order_in_which_samples_are_looked_at_does_not_matter(
            samples in prop::collection::vec((0..4_i64, 0..3_u32, 0..3_i64), 1..20),
            other in any::<prop::sample::Index>(),
        ) {
            let metric = Metric::new("x").unwrap();
            let at = |nanos| Timestamp::from_nanos(nanos).unwrap();
            let arrival = |received, seq| match received {
                0 => Arrival::Ground,
                received => Arrival::Segment(at(received), WriterId::from_random(2), Seq::new(seq)),
            };
            let last = |samples: &[(i64, u32, i64)]| {
                let mut lasts = Lasts::default();
                for &(time, seq, received) in samples {
                    let value = Value::I64(received * 10 + if received == 0 { 0 } else { i64::from(seq) });
                    lasts.put(SourceIndex::new(0), &metric, Sample { time: at(time), value }, arrival(received, seq));
                }
                lasts.of(&metric).unwrap()[&SourceIndex::new(0)].sample.clone()
            };
            let mut rotated = samples.clone();
            rotated.rotate_left(other.index(samples.len()));
            prop_assert_eq!(last(&samples), last(&rotated));
            let (time, seq, received) = samples.iter().copied().max_by_key(|&(time, seq, received)| (time, arrival(received, seq))).unwrap();
            let value = Value::I64(received * 10 + if received == 0 { 0 } else { i64::from(seq) });
            prop_assert_eq!(last(&samples), Sample { time: at(time), value });
        }
    }
}
