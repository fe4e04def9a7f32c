//! Metric names that were used: text → slot, so that a repeated name costs a comparison.
//!
//! Devices send the same members in the same order again and again: each slot remembers which came after it the
//! last time, and that one is tried before any hash is computed. Bounded by its owner through [`MetricNames::clear`].

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::{HashMap, HashSet};
use tidemill_store::model::{Metric, NameError};

/// Names that decoders share: one text in memory for all of them, which later steps may tell by its address.
#[derive(Debug)]
pub struct NamePool {
    names: Mutex<HashSet<Metric>>,
    names_max: usize,
}

impl NamePool {
    /// A pool of at most `names_max` names; those that come later are not shared.
    pub fn new(names_max: usize) -> Self {
        Self { names: Mutex::default(), names_max }
    }

    /// The shared name that equals `name`.
    fn share(&self, name: Metric) -> Metric {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = names.get(&name) {
            return shared.clone();
        }
        if names.len() < self.names_max {
            names.insert(name.clone());
        }
        name
    }
}

/// The names by slot.
#[derive(Debug, Default)]
pub struct MetricNames {
    pool: Option<Arc<NamePool>>,
    slots: HashMap<Metric, u32>,
    entries: Vec<Entry>,
    last: Option<u32>,
    /// The slot that came first the last time.
    first: u32,
    message: u64,
    point: u64,
    in_message: usize,
}

#[derive(Debug)]
struct Entry {
    metric: Metric,
    /// Its name as a member of an object of JSON, where it is one of a metric whatever the object.
    member: Option<Box<str>>,
    follower: u32,
    seen_in_message: u64,
    seen_in_point: u64,
}

/// Whether a name is new to the current point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    First,
    Before,
}

impl MetricNames {
    /// Names that are shared through `pool`.
    pub(super) fn sharing(pool: Arc<NamePool>) -> Self {
        Self { pool: Some(pool), ..Self::default() }
    }

    /// The metric of `slot`.
    pub fn metric(&self, slot: u32) -> Option<&Metric> {
        Some(&self.entry(slot)?.metric)
    }

    /// How many names are known: slots are below this.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no name is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets all names: slots given before mean nothing after.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.entries.clear();
        self.last = None;
    }

    pub(super) fn start_message(&mut self) {
        self.message += 1;
        self.in_message = 0;
        self.start_point();
    }

    pub(super) fn start_point(&mut self) {
        self.point += 1;
        self.last = None;
    }

    /// How many different metrics the current message has.
    pub(super) fn in_message(&self) -> usize {
        self.in_message
    }

    /// The slot of the metric `name`, and whether the current point has it already.
    pub(super) fn enter(&mut self, name: &str) -> Result<(u32, Seen), NameError> {
        let slot = match self.expected(name) {
            Some(slot) => slot,
            None => self.look_up(name)?,
        };
        let (message, point) = (self.message, self.point);
        let Some(entry) = self.entry_mut(slot) else { return Ok((slot, Seen::First)) };
        if entry.seen_in_point == point {
            return Ok((slot, Seen::Before));
        }
        entry.seen_in_point = point;
        let new_in_message = entry.seen_in_message != message;
        entry.seen_in_message = message;
        self.in_message += usize::from(new_in_message);
        self.last = Some(slot);
        Ok((slot, Seen::First))
    }

    /// The slot that came next the last time, if it is `name` again.
    fn expected(&self, name: &str) -> Option<u32> {
        let slot = self.next_slot()?;
        (self.entry(slot)?.metric.as_str() == name).then_some(slot)
    }

    /// The slot that came next the last time.
    #[inline]
    fn next_slot(&self) -> Option<u32> {
        match self.last {
            Some(last) => Some(self.entry(last)?.follower),
            None => Some(self.first),
        }
    }

    /// What came next the last time: its slot, and how it is written as `"name":`.
    #[inline]
    pub(super) fn expected_member(&self) -> Option<(u32, &str)> {
        let slot = self.next_slot()?;
        Some((slot, self.entry(slot)?.member.as_deref()?))
    }

    /// Enters `slot` again; not where the current point has it already, or the message then had more than `max`
    /// metrics.
    #[inline]
    pub(super) fn enter_again(&mut self, slot: u32, max: usize) -> Option<()> {
        let (message, point, in_message) = (self.message, self.point, self.in_message);
        let entry = self.entry_mut(slot)?;
        let new_in_message = usize::from(entry.seen_in_message != message);
        if entry.seen_in_point == point || in_message + new_in_message > max {
            return None;
        }
        (entry.seen_in_point, entry.seen_in_message) = (point, message);
        self.in_message += new_in_message;
        self.last = Some(slot);
        Some(())
    }

    fn look_up(&mut self, name: &str) -> Result<u32, NameError> {
        let slot = match self.slots.get(name) {
            Some(&slot) => slot,
            None => self.add(Metric::new(name)?),
        };
        match self.last.map(|last| self.entry_mut(last)) {
            Some(Some(entry)) => entry.follower = slot,
            Some(None) => {}
            None => self.first = slot,
        }
        Ok(slot)
    }

    fn add(&mut self, metric: Metric) -> u32 {
        let metric = match &self.pool {
            Some(pool) => pool.share(metric),
            None => metric,
        };
        let slot = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        self.slots.insert(metric.clone(), slot);
        let member = as_member(metric.as_str());
        self.entries.push(Entry { metric, member, follower: 0, seen_in_message: 0, seen_in_point: 0 });
        slot
    }

    fn entry(&self, slot: u32) -> Option<&Entry> {
        self.entries.get(usize::try_from(slot).ok()?)
    }

    fn entry_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(slot).ok()?)
    }
}

/// `"name":`, where no escape is needed for it and it means nothing else in any object.
fn as_member(name: &str) -> Option<Box<str>> {
    let is_plain = !name.contains(|c: char| matches!(c, '"' | '\\' | '\0'..='\x1f'));
    let is_metric = !matches!(name, "ts" | "tags" | "values");
    (is_plain && is_metric).then(|| format!("\"{name}\":").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_slot_in_any_order_and_is_seen_once_a_point() {
        let mut names = MetricNames::default();
        names.start_message();
        assert_eq!(names.enter("a").unwrap(), (0, Seen::First));
        assert_eq!(names.enter("b").unwrap(), (1, Seen::First));
        assert_eq!(names.enter("a").unwrap(), (0, Seen::Before));
        names.start_point();
        assert_eq!(names.enter("b").unwrap(), (1, Seen::First));
        assert_eq!(names.enter("a").unwrap(), (0, Seen::First));
        assert_eq!(names.in_message(), 2);
        names.start_message();
        assert_eq!((names.in_message(), names.len()), (0, 2));
    }
}
