//! The last sample of each series, as far as samples were looked at in any order: of two at one time the one that
//! arrived later counts, and what is ground arrived before what is not (I4). Pure.

use hashbrown::HashMap;

use super::snapshot::BucketState;
use super::{ReadFailure, Sample};
use crate::catalog::{CatalogIndex, SourceIndex};
use crate::codec::segment::{Limits, Segment, SegmentError};
use crate::layout::{Place, SegmentRow};
use crate::model::{Metric, Seq, Timestamp, WriterId};

/// When a sample arrived, compared with others of its series and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Arrival {
    /// Before everything that no seal covers.
    Ground,
    /// In this segment, in correction order.
    Segment(Timestamp, WriterId, Seq),
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
    /// Whether `other` counts instead of it.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        (self.sample.time, self.arrival) < (other.sample.time, other.arrival)
    }
}

/// The last samples of the segments of a bucket that no seal covers, followed segment by segment.
#[derive(Debug, Default)]
pub(super) struct Tail {
    pub(super) lasts: Lasts,
    /// Of each writer the segments before this one, from what is covered on, are in it.
    ends: HashMap<WriterId, Seq>,
}

/// What following took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Followed {
    pub(super) segments: usize,
    pub(super) bytes: usize,
}

impl Tail {
    /// Takes in segments, those of one writer in order, which begin with what no seal covers. A segment that names a
    /// source that is not known yet, or lies behind a hole, is looked at again the next time.
    pub(super) fn follow<'a>(
        &mut self,
        catalog: &CatalogIndex,
        bucket: &BucketState,
        rows: impl Iterator<Item = &'a SegmentRow>,
    ) -> Result<Followed, ReadFailure> {
        let (mut followed, place) = (Followed::default(), bucket.place);
        for row in rows {
            let covered = || Seq::new(bucket.covered(row.writer).segments);
            let end = *self.ends.entry(row.writer).or_insert_with(covered);
            if row.seq < end {
                continue;
            }
            followed.segments += 1;
            followed.bytes += row.body.len();
            let is_whole = self.take(catalog, place, row).map_err(|source| ReadFailure::Segment {
                place,
                writer: row.writer,
                seq: row.seq,
                source,
            })?;
            if is_whole && row.seq == end {
                self.ends.insert(row.writer, end.next());
            }
        }
        Ok(followed)
    }

    /// Bytes of the segments that following would look at.
    pub(super) fn new_bytes<'a>(&self, rows: impl Iterator<Item = &'a SegmentRow>) -> usize {
        let is_new = |row: &&SegmentRow| self.ends.get(&row.writer).is_none_or(|end| row.seq >= *end);
        rows.filter(is_new).map(|row| row.body.len()).sum()
    }

    /// Says whether all of its sources are known.
    fn take(&mut self, catalog: &CatalogIndex, place: Place, row: &SegmentRow) -> Result<bool, SegmentError> {
        let segment = Segment::decode(row.body.clone(), Limits::DEFAULT)?;
        let runs: Vec<_> = segment.sources().collect();
        let sources = catalog.resolve(place.shard, row.writer, runs.iter().map(|(n, _)| *n));
        let arrival = Arrival::Segment(row.received_at, row.writer, row.seq);
        for (position, metric) in segment.metric_positions() {
            let column = segment.column(position, segment.all())?;
            let mut points = column.points().enumerate().peekable();
            for ((_, of_run), source) in runs.iter().zip(&sources) {
                let mut last: Option<(Timestamp, usize)> = None;
                while let Some((at, point)) = points.next_if(|(_, point)| *point < of_run.end) {
                    let time = segment.times().get(point).copied();
                    let is_later = |time: &Timestamp| last.is_none_or(|(last, _)| last <= *time);
                    last = time.filter(is_later).map(|time| (time, at)).or(last);
                }
                let sample =
                    last.and_then(|(time, at)| Some(Sample { time, value: column.values().get(at)? }));
                if let (Some(source), Some(sample)) = (source, sample) {
                    self.lasts.put(*source, metric, sample, arrival);
                }
            }
        }
        Ok(sources.iter().all(Option::is_some))
    }

    /// About how many bytes it takes.
    pub(super) fn size_bytes(&self) -> usize {
        self.lasts.size_bytes() + self.ends.len() * size_of::<(WriterId, Seq)>()
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
