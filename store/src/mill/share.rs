//! Who takes which shards: decided from what is seen of the leases. Pure; `lease` carries it out.
//!
//! Each mill that lives has a slot among the members, whose beat it keeps changing; a shard's lease names its
//! holder. A member whose row has not changed for `takeover_after`, by the clock of who looks, is dead, and so is a
//! holder that is no member. Clocks of machines are never compared. A holder of a shard was a member before, so the
//! shards are to be read before the members.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::layout::LeaseRow;
use crate::model::Shard;

/// Slots of members: more mills than anybody runs.
pub(super) const SLOTS: u16 = 256;

/// Members as this mill has seen them.
#[derive(Debug, Default)]
pub(super) struct Members(BTreeMap<u16, Seen>);

#[derive(Debug)]
struct Seen {
    row: LeaseRow,
    since: Instant,
}

/// What to do about the shards.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Changes {
    /// Free ones, or a dead mill's, to be taken; with the row that is there.
    pub(super) take: Vec<(Shard, Option<LeaseRow>)>,
    /// Ours, more than our share.
    pub(super) give_back: Vec<LeaseRow>,
}

impl Members {
    /// Takes in the rows as they are now.
    pub(super) fn see(&mut self, rows: Vec<LeaseRow>, now: Instant) {
        let mut before = std::mem::take(&mut self.0);
        for row in rows {
            let slot = row.shard.get();
            let since = before.remove(&slot).filter(|seen| seen.row == row).map_or(now, |seen| seen.since);
            self.0.insert(slot, Seen { row, since });
        }
    }

    /// The names of the mills that live.
    pub(super) fn live(&self, now: Instant, takeover_after: Duration) -> BTreeSet<String> {
        let lives = |seen: &&Seen| !seen.is_free(now, takeover_after);
        self.0.values().filter(lives).map(|seen| seen.row.holder.clone()).collect()
    }

    /// A slot that nobody who lives has, with the row that is there.
    pub(super) fn free_slot(
        &self,
        now: Instant,
        takeover_after: Duration,
    ) -> Option<(u16, Option<LeaseRow>)> {
        (0..SLOTS).find_map(|slot| match self.0.get(&slot) {
            None => Some((slot, None)),
            Some(seen) => seen.is_free(now, takeover_after).then(|| (slot, Some(seen.row.clone()))),
        })
    }
}

impl Seen {
    fn is_free(&self, now: Instant, takeover_after: Duration) -> bool {
        self.row.holder.is_empty() || now.saturating_duration_since(self.since) >= takeover_after
    }
}

/// What `me`, who lives, does about `shards` shards of which `leases` are the rows: each mill that lives takes as
/// many as any other, give or take one, and leaves what others have in peace.
pub(super) fn changes(me: &str, live: &BTreeSet<String>, leases: &[LeaseRow], shards: u16) -> Changes {
    let others = live.iter().filter(|name| name.as_str() != me).count();
    let rank = live.iter().filter(|name| name.as_str() < me).count();
    let (mills, all) = (others + 1, usize::from(shards));
    let share = all / mills + usize::from(rank < all % mills);
    let rows: BTreeMap<Shard, &LeaseRow> = leases.iter().map(|row| (row.shard, row)).collect();
    let of_me = |row: &&LeaseRow| row.holder == me;
    let mine: Vec<&LeaseRow> = rows.values().copied().filter(of_me).collect();
    let is_free = |row: &LeaseRow| row.holder != me && !live.contains(&row.holder);
    let free = (0..shards).map(Shard::new).filter(|shard| rows.get(shard).is_none_or(|row| is_free(row)));
    // Mills begin at different ends, so that they seldom want the same shard at once.
    let mut free: Vec<Shard> = free.collect();
    let turn = (free.len() * rank).checked_div(mills).unwrap_or(0);
    free.rotate_left(turn);
    Changes {
        take: free
            .into_iter()
            .take(share.saturating_sub(mine.len()))
            .map(|shard| (shard, rows.get(&shard).map(|row| (*row).clone())))
            .collect(),
        give_back: mine.into_iter().skip(share).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(20);

    fn row(shard: u16, holder: &str, beat: i64) -> LeaseRow {
        LeaseRow { shard: Shard::new(shard), holder: holder.into(), epoch: 1, beat }
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_member_that_does_not_change_is_dead_after_a_while_and_its_slot_is_free() {
        let (mut members, start) = (Members::default(), tokio::time::Instant::now().into_std());
        let at = |seconds| start + Duration::from_secs(seconds);
        members.see(vec![row(0, "a", 1), row(1, "b", 1), row(2, "", 9)], at(0));
        assert_eq!(members.live(at(19), AFTER), names(&["a", "b"]));
        members.see(vec![row(0, "a", 2), row(1, "b", 1), row(2, "", 9)], at(19));
        assert_eq!(members.live(at(20), AFTER), names(&["a"]));
        assert_eq!(members.free_slot(at(20), AFTER), Some((1, Some(row(1, "b", 1)))));
        members.see(vec![row(0, "a", 3), row(1, "b", 2)], at(21));
        assert_eq!(members.live(at(21), AFTER), names(&["a", "b"]), "it was only slow");
        assert_eq!(members.free_slot(at(21), AFTER), Some((2, None)));
    }

    #[test]
    fn shards_are_shared_evenly_and_a_dead_mills_are_taken() {
        let leases: Vec<LeaseRow> = (0..5).map(|shard| row(shard, "a", 1)).collect();
        let two = names(&["a", "b"]);
        let a = changes("a", &two, &leases, 5);
        assert_eq!((a.take.len(), a.give_back.len()), (0, 2));
        assert_eq!(changes("b", &two, &leases, 5), Changes::default(), "nothing is free yet");
        let after_death = changes("b", &names(&["b"]), &leases, 5);
        assert_eq!(after_death.take.len(), 5);
        let empty = changes("b", &names(&[]), &[], 5);
        assert_eq!(empty.take.len(), 5, "one who is not yet seen counts itself");
    }

    #[test]
    fn whatever_is_given_back_and_taken_ends_in_equal_shares() {
        let live = names(&["a", "b", "c"]);
        let mut leases: Vec<LeaseRow> = (0..10).map(|shard| row(shard, "a", 1)).collect();
        for me in ["a", "b", "c", "a", "b", "c"] {
            let Changes { take, give_back } = changes(me, &live, &leases, 10);
            for back in give_back {
                leases[usize::from(back.shard.get())].holder.clear();
            }
            for (shard, _) in take {
                leases[usize::from(shard.get())].holder = me.into();
            }
        }
        let of = |me: &str| leases.iter().filter(|row| row.holder == me).count();
        assert_eq!([of("a"), of("b"), of("c")], [4, 3, 3]);
    }
}
