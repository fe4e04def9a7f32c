//! The points of one group, each in the lane of its shard, until they are laid into the batches of these.
//!
//! Pure. A group is decoded as a whole before any of it is handed on, so that each shard is locked once a group and
//! not once a message. In a lane points keep the order in which they came.

use std::ops::Range;
use std::sync::Arc;

use tidemill_store::model::{Shard, Source, Timestamp};

use super::queue::Entered;

/// The points of a group.
#[derive(Debug, Default)]
pub(super) struct Placed {
    points: Vec<PlacedPoint>,
    /// By shard.
    lanes: Vec<Lane>,
    touched: Vec<Shard>,
}

/// Which message a point is of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole {
    /// Its position in its group.
    pub(super) index: usize,
    pub(super) received_at: Timestamp,
    /// What it costs while it is in flight.
    pub(super) bytes: usize,
    /// Whether some of it is in other shards, or kept apart.
    pub(super) is_spread: bool,
}

/// A point as it is laid into a batch.
#[derive(Debug)]
pub(super) struct Laid {
    pub(super) source: Arc<Source>,
    pub(super) time: Timestamp,
    /// Where its values stand.
    pub(super) values: Range<usize>,
    /// Its message, where no other point of that follows here.
    pub(super) ends: Option<Whole>,
}

#[derive(Debug)]
struct PlacedPoint {
    shard: Shard,
    laid: Option<Laid>,
    /// Its successor in the lane.
    next: Option<usize>,
}

/// The points of one shard: a chain through those of the group.
#[derive(Debug, Default)]
struct Lane {
    entered: Entered,
    ends: Option<(usize, usize)>,
}

/// The points of a lane in order.
pub(super) struct Points<'p> {
    points: &'p mut [PlacedPoint],
    next: Option<usize>,
}

impl Placed {
    /// Adds the points of a message, with the shard of each. Whether they are of several shards, or none.
    pub(super) fn add(
        &mut self,
        points: impl Iterator<Item = (Shard, Arc<Source>, Timestamp, Range<usize>)>,
        whole: Whole,
    ) -> bool {
        let start = self.points.len();
        self.points.extend(points.map(|(shard, source, time, values)| {
            let laid = Some(Laid { source, time, values, ends: None });
            PlacedPoint { shard, laid, next: None }
        }));
        let mut shards = self.points.iter().skip(start).map(|point| point.shard);
        let first = shards.next();
        let is_spread = first.is_none() || shards.any(|shard| Some(shard) != first);
        let whole = Whole { is_spread: whole.is_spread || is_spread, ..whole };
        for at in start..self.points.len() {
            self.enlist(at, whole);
        }
        is_spread
    }

    /// Puts the point at `at` behind those of its lane.
    fn enlist(&mut self, at: usize, whole: Whole) {
        let follower = self.points.get(at + 1).map(|point| point.shard);
        let Some(point) = self.points.get_mut(at) else { return };
        let shard = point.shard;
        if let Some(laid) = point.laid.as_mut().filter(|_| follower != Some(shard)) {
            laid.ends = Some(whole);
        }
        let slot = usize::from(shard.get());
        if self.lanes.len() <= slot {
            self.lanes.resize_with(slot + 1, Lane::default);
        }
        let Some(lane) = self.lanes.get_mut(slot) else { return };
        if let Some((_, last)) = &mut lane.ends {
            let before = std::mem::replace(last, at);
            if let Some(before) = self.points.get_mut(before) {
                before.next = Some(at);
            }
        } else {
            lane.ends = Some((at, at));
            self.touched.push(shard);
        }
    }

    /// Forgets where metrics stand in batches: their names are numbered anew.
    pub(super) fn forget_names(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.entered.forget());
    }

    /// Gives the lane of each shard to `lay`, and is empty after that.
    pub(super) fn lay_out(&mut self, mut lay: impl FnMut(Shard, &mut Entered, Points<'_>)) {
        for shard in self.touched.drain(..) {
            let Some(lane) = self.lanes.get_mut(usize::from(shard.get())) else { continue };
            let next = lane.ends.take().map(|(first, _)| first);
            lay(shard, &mut lane.entered, Points { points: &mut self.points, next });
        }
        self.points.clear();
    }
}

impl Iterator for Points<'_> {
    type Item = Laid;

    #[inline]
    fn next(&mut self) -> Option<Laid> {
        let point = self.points.get_mut(self.next?)?;
        self.next = point.next;
        point.laid.take()
    }
}

#[cfg(test)]
mod tests {
    use tidemill_store::model::{Device, Tags, Tenant};

    use super::*;

    fn whole(index: usize) -> Whole {
        Whole { index, received_at: Timestamp::EPOCH, bytes: 10, is_spread: false }
    }

    fn point(shard: u16, at: usize) -> (Shard, Arc<Source>, Timestamp, Range<usize>) {
        let device = Device::new("d").unwrap();
        let source = Arc::new(Source::new(Tenant::new("t").unwrap(), device, Tags::default()));
        (Shard::new(shard), source, Timestamp::EPOCH, at..at + 1)
    }

    /// Where the values of a point stand, with the message that ends there.
    type Shown = (usize, Option<usize>);

    /// For each shard its points.
    fn laid_out(placed: &mut Placed) -> Vec<(u16, Vec<Shown>)> {
        let mut all = Vec::new();
        placed.lay_out(|shard, _, points| {
            let points = points.map(|laid| (laid.values.start, laid.ends.map(|whole| whole.index)));
            all.push((shard.get(), points.collect()));
        });
        all
    }

    #[test]
    fn points_keep_their_order_in_each_shard_and_messages_end_once_there() {
        let mut placed = Placed::default();
        assert!(!placed.add([point(3, 0)].into_iter(), whole(0)));
        assert!(!placed.add([point(1, 1), point(1, 2)].into_iter(), whole(1)));
        assert!(placed.add([point(3, 3), point(1, 4)].into_iter(), whole(2)), "of two shards");
        assert!(placed.add(std::iter::empty(), whole(3)), "of none");
        let shards =
            [(3, vec![(0, Some(0)), (3, Some(2))]), (1, vec![(1, None), (2, Some(1)), (4, Some(2))])];
        assert_eq!(laid_out(&mut placed), shards);
        assert_eq!(laid_out(&mut placed), []);
        placed.add([point(1, 9)].into_iter(), whole(0));
        assert_eq!(laid_out(&mut placed), [(1, vec![(9, Some(0))])], "nothing of the group before");
    }

    #[test]
    fn a_message_of_two_shards_is_spread_in_both() {
        let mut placed = Placed::default();
        placed.add([point(0, 0), point(1, 1)].into_iter(), whole(7));
        let mut spread = Vec::new();
        placed.lay_out(|_, _, points| spread.extend(points.filter_map(|laid| laid.ends)));
        assert_eq!(
            spread.iter().map(|whole| (whole.index, whole.is_spread)).collect::<Vec<_>>(),
            [(7, true); 2]
        );
    }
}
