//! How much of a batch is written, group by group: the count of those who write, against which groups are checked (I2).

use super::intake::number;
use super::outlet::Landed;
use super::queue::Batch;
use crate::metrics::Written;
use crate::spool::Tally;

/// The messages of a batch that a plan refused points of: positions in the batch, ascending, with refused samples.
#[derive(Debug, Default)]
pub(super) struct RefusedOf(Vec<(usize, usize)>);

/// What of one group is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PartCount {
    messages: u64,
    samples: u64,
}

impl RefusedOf {
    /// Notes that so many samples of the message at `origin` were refused; call in the order of messages.
    pub(super) fn add(&mut self, origin: usize, samples: usize) {
        match self.0.last_mut() {
            Some((last, all)) if *last == origin => *all += samples,
            _ => self.0.push((origin, samples)),
        }
    }

    /// What of `batch` is written, for each of its parts and in all. Messages that are kept apart or spread over shards
    /// count as none, and their samples that are written count.
    pub(super) fn count(&self, batch: &Batch) -> (Vec<PartCount>, Tally) {
        let mut counts = vec![PartCount::default(); batch.parts.len()];
        let mut points = batch.points.iter();
        let mut refused = self.0.iter().peekable();
        let mut points_before = 0;
        for (at, origin) in batch.messages.iter().enumerate() {
            let own = origin.points_end.saturating_sub(points_before);
            points_before = origin.points_end;
            let samples: usize = points.by_ref().take(own).map(|point| point.values.len()).sum();
            let kept = refused.next_if(|(index, _)| *index == at).map(|&(_, samples)| samples);
            if let Some(count) = counts.get_mut(origin.part) {
                count.messages += u64::from(kept.is_none() && !origin.is_spread);
                count.samples += number(samples.saturating_sub(kept.unwrap_or(0)));
            }
        }
        let sum =
            |of: fn(&PartCount) -> u64| u32::try_from(counts.iter().map(of).sum::<u64>()).unwrap_or(u32::MAX);
        let tally = Tally { messages: sum(|count| count.messages), samples: sum(|count| count.samples) };
        (counts, tally)
    }
}

impl PartCount {
    pub(super) const fn as_written(self, landed: Landed) -> Written {
        let Self { messages, samples } = self;
        match landed {
            Landed::Store => Written { messages, spooled_messages: 0, spooled_samples: 0 },
            Landed::Spool => Written { messages, spooled_messages: messages, spooled_samples: samples },
        }
    }
}
