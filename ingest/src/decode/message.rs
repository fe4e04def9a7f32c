//! What one message says: its points, in flat vectors that are used again for the next message.

use tidemill_store::model::{Timestamp, Value};

/// The points of one message. Values refer to metrics by their slot in the decoder's [`super::MetricNames`].
#[derive(Debug, Default)]
pub struct Message {
    heads: Vec<Head>,
    values: Vec<(u32, Value)>,
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
    /// Capacities beyond these are given back between messages, so that one large message does not cost its
    /// connection memory for ever.
    const KEPT_VALUES_MAX: usize = 1024;
    const KEPT_TAG_BYTES_MAX: usize = 4096;

    /// Makes room for the next message.
    pub fn clear(&mut self) {
        self.heads.clear();
        self.values.clear();
        self.tag_text.clear();
        self.heads.shrink_to(Self::KEPT_VALUES_MAX);
        self.values.shrink_to(Self::KEPT_VALUES_MAX);
        self.tag_text.shrink_to(Self::KEPT_TAG_BYTES_MAX);
    }

    /// The points in the order in which they were sent; none is without values.
    pub fn points(&self) -> impl Iterator<Item = MessagePoint<'_>> {
        let (mut values_start, mut tags_start) = (0, 0);
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
        self.values.len()
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
            self.heads.last().map_or((0, 0), |head| (head.values_end, head.tags_end));
        if self.values.len() > values_start {
            self.heads.push(Head { time, values_end: self.values.len(), tags_end: self.tag_text.len() });
        } else {
            self.tag_text.truncate(tags_start);
        }
    }
}
