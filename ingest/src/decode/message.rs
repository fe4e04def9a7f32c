//! What one message says: its points, in flat vectors that are used again for the next message.
//!
//! Values of messages that were kept stay there, below those of the next one, until all are forgotten: so a group is
//! decoded as a whole before any of it is handed on.

use std::ops::Range;

use tidemill_store::model::{Timestamp, Value};

/// The points of one message. Values refer to metrics by their slot in the decoder's [`super::MetricNames`].
#[derive(Debug, Default)]
pub struct Message {
    heads: Vec<Head>,
    /// Those of the message begin at `values_start`.
    values: Vec<(u32, Value)>,
    values_start: usize,
    tag_text: String,
}

#[derive(Debug, Clone, Copy)]
struct Head {
    time: Option<Timestamp>,
    values_end: usize,
    tags_end: usize,
}

/// One point of a [`Message`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MessagePoint<'a> {
    /// When it was measured; `None` where the message does not say.
    pub time: Option<Timestamp>,
    /// Its tags as `key NUL value NUL …` in the order in which they were sent; no key or value holds a NUL.
    pub tags: &'a str,
    /// Slots of metrics with their values, each metric once.
    pub values: &'a [(u32, Value)],
}

impl Message {
    /// Capacities beyond these are given back between groups, so that one large message does not cost memory for
    /// ever.
    const KEPT_VALUES_MAX: usize = 8 * 1024;
    const KEPT_TAG_BYTES_MAX: usize = 4096;

    /// Makes room for the next message; those that were kept stay.
    pub fn clear(&mut self) {
        self.heads.clear();
        self.values.truncate(self.values_start);
        self.tag_text.clear();
    }

    /// Keeps the values of the message beside the next one.
    pub(crate) fn keep(&mut self) {
        self.heads.clear();
        self.values_start = self.values.len();
    }

    /// Forgets the messages that were kept, too.
    pub(crate) fn forget_all(&mut self) {
        self.values_start = 0;
        self.clear();
        self.heads.shrink_to(Self::KEPT_VALUES_MAX);
        self.values.shrink_to(Self::KEPT_VALUES_MAX);
        self.tag_text.shrink_to(Self::KEPT_TAG_BYTES_MAX);
    }

    /// Values of this message or of one that was kept, by where they stand.
    pub(crate) fn values_at(&self, at: Range<usize>) -> &[(u32, Value)] {
        self.values.get(at).unwrap_or_default()
    }

    /// For each point where its values stand.
    pub(crate) fn places(&self) -> impl Iterator<Item = (Option<Timestamp>, Range<usize>)> {
        let mut start = self.values_start;
        self.heads
            .iter()
            .map(move |head| (head.time, std::mem::replace(&mut start, head.values_end)..head.values_end))
    }

    /// The points in the order in which they were sent; none is without values.
    pub fn points(&self) -> impl Iterator<Item = MessagePoint<'_>> {
        let (mut values_start, mut tags_start) = (self.values_start, 0);
        self.heads.iter().map(move |head| {
            let point = MessagePoint {
                time: head.time,
                tags: self.tag_text.get(tags_start..head.tags_end).unwrap_or_default(),
                values: self.values.get(values_start..head.values_end).unwrap_or_default(),
            };
            (values_start, tags_start) = (head.values_end, head.tags_end);
            point
        })
    }

    /// How many samples all points have.
    pub fn samples(&self) -> usize {
        self.values.len() - self.values_start
    }

    #[inline]
    pub(super) fn value(&mut self, slot: u32, value: Value) {
        self.values.push((slot, value));
    }

    pub(super) fn tag(&mut self, key: &str, value: &str) {
        for part in [key, value] {
            self.tag_text.push_str(part);
            self.tag_text.push('\0');
        }
    }

    /// Closes a point over what was added since the last one; without values it is not kept.
    pub(super) fn finish_point(&mut self, time: Option<Timestamp>) {
        let (values_start, tags_start) =
            self.heads.last().map_or((self.values_start, 0), |head| (head.values_end, head.tags_end));
        if self.values.len() > values_start {
            self.heads.push(Head { time, values_end: self.values.len(), tags_end: self.tag_text.len() });
        } else {
            self.tag_text.truncate(tags_start);
        }
    }
}
