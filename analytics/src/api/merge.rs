//! Samples of many series in one order: by time, then by series. Pure.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tidemill_store::read::{Sample, Series};
use tidemill_store::wide::Order;

use super::cursor::Position;

/// Puts series in the order in which their samples of one time come.
pub(super) fn rank(series: &mut [Series]) {
    series.sort_unstable_by(|a, b| (a.source.id(), &a.metric).cmp(&(b.source.id(), &b.metric)));
}

/// The samples of `series`, merged: by time, among those of one time by source id and metric; for a descending
/// order all of it backwards. Yields the series' place in `series` with each sample.
pub(super) struct Merged<'a> {
    series: &'a [Series],
    order: Order,
    heads: BinaryHeap<Reverse<Head>>,
}

/// The next sample of a series. The heap gives the one with the least key.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    /// Time and rank of the series, both negated for a descending order.
    key: (i64, i64),
    series: usize,
    sample: usize,
}

impl<'a> Merged<'a> {
    /// Merges `series`, [ranked](rank) and each ascending, from the first sample behind `after` on.
    pub(super) fn new(series: &'a [Series], order: Order, after: Option<&Position>) -> Self {
        let mut merged = Self { series, order, heads: BinaryHeap::with_capacity(series.len()) };
        for (at, one) in merged.series.iter().enumerate() {
            if let Some(sample) = first(one, order, after) {
                merged.push(at, sample);
            }
        }
        merged
    }

    fn push(&mut self, series: usize, sample: usize) {
        let Some(time) = self.series.get(series).and_then(|series| series.samples.get(sample)) else {
            return;
        };
        let (time, rank) = (time.time.nanos(), i64::try_from(series).unwrap_or(i64::MAX));
        let key = match self.order {
            Order::Ascending => (time, rank),
            Order::Descending => (-time, -rank),
        };
        self.heads.push(Reverse(Head { key, series, sample }));
    }
}

/// Where a series goes on behind `after`.
fn first(series: &Series, order: Order, after: Option<&Position>) -> Option<usize> {
    let Some(after) = after else {
        return match order {
            Order::Ascending => Some(0),
            Order::Descending => series.samples.len().checked_sub(1),
        };
    };
    let place = (series.source.id(), &series.metric).cmp(&(after.source, &after.metric));
    let upto = |sample: &Sample| sample.time.cmp(&after.time).then(place);
    match order {
        Order::Ascending => Some(series.samples.partition_point(|sample| upto(sample).is_le())),
        Order::Descending => series.samples.partition_point(|sample| upto(sample).is_lt()).checked_sub(1),
    }
}

impl<'a> Iterator for Merged<'a> {
    type Item = (usize, &'a Sample);

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse(head) = self.heads.pop()?;
        let next = match self.order {
            Order::Ascending => head.sample.checked_add(1),
            Order::Descending => head.sample.checked_sub(1),
        };
        if let Some(next) = next {
            self.push(head.series, next);
        }
        let sample = self.series.get(head.series)?.samples.get(head.sample)?;
        Some((head.series, sample))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use proptest::prelude::*;
    use tidemill_store::model::{Device, Metric, Source, Tags, Tenant, Timestamp, Value};

    use super::*;

    fn series(device: i64, times: impl IntoIterator<Item = i64>) -> Series {
        let (tenant, device) = (Tenant::new("t").unwrap(), Device::new(&device.to_string()).unwrap());
        let sample = |time| Sample { time: Timestamp::from_nanos(time).unwrap(), value: Value::I64(time) };
        Series {
            source: Arc::new(Source::new(tenant, device, Tags::default())),
            metric: Metric::new("m").unwrap(),
            samples: times.into_iter().map(sample).collect(),
        }
    }

    fn place(series: &[Series], (at, sample): (usize, &Sample)) -> Position {
        let series = &series[at];
        Position { time: sample.time, source: series.source.id(), metric: series.metric.clone() }
    }

    fn places(series: &[Series], order: Order, after: Option<&Position>) -> Vec<Position> {
        let merged: Vec<(usize, Sample)> =
            Merged::new(series, order, after).map(|(at, sample)| (at, sample.clone())).collect();
        merged.iter().map(|(at, sample)| place(series, (*at, sample))).collect()
    }

    proptest! {
        #[test]
        fn merging_is_sorting_from_any_position_in_either_order(
            samples in prop::collection::btree_map(0..5_i64, prop::collection::btree_set(-9..9_i64, 0..9), 0..5),
            from in 0..40_usize,
        ) {
            let mut series: Vec<Series> =
                samples.into_iter().map(|(device, times): (i64, BTreeSet<i64>)| series(device, times)).collect();
            rank(&mut series);
            let mut expected: Vec<Position> = series
                .iter()
                .enumerate()
                .flat_map(|(at, one)| one.samples.iter().map(move |sample| (at, sample)))
                .map(|found| place(&series, found))
                .collect();
            expected.sort();
            let from = from % (expected.len() + 1);
            let rest = expected.get(from..).unwrap_or_default().to_vec();
            let after = from.checked_sub(1).and_then(|last| expected.get(last)).cloned();
            prop_assert_eq!(places(&series, Order::Ascending, after.as_ref()), rest);

            expected.reverse();
            let rest = expected.get(from..).unwrap_or_default().to_vec();
            let after = from.checked_sub(1).and_then(|last| expected.get(last)).cloned();
            prop_assert_eq!(places(&series, Order::Descending, after.as_ref()), rest);
        }
    }
}
