//! Trays: the points of a group by shard, with the messages that they came in. Pure; used again for every group.

use std::sync::Arc;

use tidemill_store::model::{Points, Shard, Source, Timestamp, Value};

use super::batcher::Origin;
use crate::config::MemoryLimits;
use crate::decode::MetricNames;
use crate::source::Publish;

/// Where a slot of a tray stands that was not entered into its points.
const ABSENT: u32 = u32::MAX;

/// What goes to one shard.
#[derive(Debug)]
pub(super) struct Tray {
    pub(super) shard: Shard,
    pub(super) points: Points,
    pub(super) origins: Vec<Origin>,
    pub(super) bytes: usize,
    /// Where a metric's slot stands in `points`, or [`ABSENT`].
    metrics: Vec<u32>,
}

/// A point with what its message and its topic say.
#[derive(Debug, Clone, Copy)]
pub(super) struct NamedPoint<'a> {
    pub(super) source: &'a Arc<Source>,
    pub(super) time: Timestamp,
    pub(super) values: &'a [(u32, Value)],
    /// What the slots in `values` refer to.
    pub(super) names: &'a MetricNames,
}

/// The trays of one group: as many as it has shards.
#[derive(Debug, Default)]
pub(super) struct Trays {
    all: Vec<Tray>,
    used: usize,
    /// The tray of the point before, where the next one mostly goes too.
    current: usize,
    /// Trays that points of the current message went to.
    touched: Touched,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Touched {
    #[default]
    None,
    One(usize),
    Several,
}

/// What a message costs while it is in flight, in bytes.
pub(super) fn cost(publish: &Publish) -> usize {
    publish.topic.len() + publish.payload.len() + MemoryLimits::MESSAGE_OVERHEAD
}

impl Trays {
    /// Empties all trays.
    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.current = 0;
        self.touched = Touched::None;
    }

    /// The trays that hold something. What the caller takes out of one is gone.
    pub(super) fn filled(&mut self) -> impl Iterator<Item = &mut Tray> {
        self.all.iter_mut().take(self.used)
    }

    /// Adds a point of the current message to the tray of `shard`.
    pub(super) fn add(&mut self, shard: Shard, point: &NamedPoint<'_>) {
        let index = self.select(shard);
        if let Some(tray) = self.all.get_mut(index) {
            tray.add(point);
        }
    }

    /// Makes the tray of `shard` the current one.
    fn select(&mut self, shard: Shard) -> usize {
        let used = self.all.get(..self.used).unwrap_or_default();
        if used.get(self.current).is_none_or(|tray| tray.shard != shard) {
            self.current = match used.iter().position(|tray| tray.shard == shard) {
                Some(index) => index,
                None => self.start(shard),
            };
        }
        self.touched = match self.touched {
            Touched::None => Touched::One(self.current),
            Touched::One(only) if only == self.current => Touched::One(only),
            Touched::One(_) | Touched::Several => Touched::Several,
        };
        self.current
    }

    /// Starts an empty tray for `shard`.
    fn start(&mut self, shard: Shard) -> usize {
        match self.all.get_mut(self.used) {
            Some(tray) => tray.reset(shard),
            None => self.all.push(Tray::new(shard)),
        }
        self.used += 1;
        self.used - 1
    }

    /// Ends the current message: each tray that has points of it keeps the message with them.
    pub(super) fn close_message(&mut self, publish: Publish, message: usize) {
        match std::mem::take(&mut self.touched) {
            Touched::None => {}
            Touched::One(index) => {
                if let Some(tray) = self.all.get_mut(index) {
                    tray.close_message(publish, message);
                }
            }
            Touched::Several => {
                for tray in self.filled().filter(|tray| tray.has_open_points()) {
                    tray.close_message(publish.clone(), message);
                }
            }
        }
    }
}

impl Tray {
    fn new(shard: Shard) -> Self {
        Self { shard, points: Points::default(), origins: Vec::new(), bytes: 0, metrics: Vec::new() }
    }

    fn reset(&mut self, shard: Shard) {
        self.shard = shard;
        self.points = Points::default();
        self.origins.clear();
        self.bytes = 0;
        self.metrics.clear();
    }

    fn add(&mut self, point: &NamedPoint<'_>) {
        let position = self.points.source(point.source);
        for (slot, value) in point.values {
            if let Some(metric) = self.metric(*slot, point.names) {
                self.points.value(metric, value.clone());
            }
        }
        self.points.finish_point(position, point.time);
    }

    /// Where the metric of `slot` stands in the points.
    fn metric(&mut self, slot: u32, names: &MetricNames) -> Option<u32> {
        let index = usize::try_from(slot).ok()?;
        if self.metrics.len() <= index {
            self.metrics.resize(names.len(), ABSENT);
        }
        let position = self.metrics.get_mut(index)?;
        if *position == ABSENT {
            *position = self.points.metric(names.metric(slot)?.clone());
        }
        Some(*position)
    }

    fn has_open_points(&self) -> bool {
        self.points.len() > self.origins.last().map_or(0, |origin| origin.points_end)
    }

    fn close_message(&mut self, publish: Publish, message: usize) {
        self.bytes += cost(&publish);
        self.origins.push(Origin { points_end: self.points.len(), message, publish });
    }
}
