//! The ledger: when a group of messages is settled.
//!
//! A group is spread over shards and rejects. Each holds a [`Share`] of it; what the group owes its sender comes
//! back out exactly once, from the last share that is settled, and never where a share was dropped: a message
//! is acknowledged when all of it is durable and not before (I1). Pure: no channel, no clock, no counting.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One share of an open group that owes a `T`. Dropped without [`Share::settle`], the group is abandoned: its
/// `T` is dropped with the last share and comes out nowhere.
pub struct Share<T>(Option<Arc<Group<T>>>);

struct Group<T> {
    owed: T,
    abandoned: AtomicBool,
}

impl<T> Share<T> {
    /// Opens a group that owes `owed`, with its first share: the opener's own, to be settled when every other
    /// share is handed out.
    pub fn open(owed: T) -> Self {
        Self(Some(Arc::new(Group { owed, abandoned: AtomicBool::new(false) })))
    }

    /// One more share of the same group.
    #[must_use]
    pub fn another(&self) -> Self {
        Self(self.0.clone())
    }

    /// What the group owes, while it is open; `None` only where this share is already used up.
    pub fn owed(&self) -> Option<&T> {
        self.0.as_deref().map(|group| &group.owed)
    }

    /// Whether `other` is a share of the same group.
    pub fn is_of_same_group(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(group), Some(other)) => Arc::ptr_eq(group, other),
            _ => false,
        }
    }

    /// Settles this share. Of all shares exactly the last one gets what the group owes, if none was abandoned.
    pub fn settle(mut self) -> Option<T> {
        // `Arc::into_inner` gives the value to exactly one of the last holders, whatever their order.
        let group = self.0.take().and_then(Arc::into_inner)?;
        (!group.abandoned.load(Ordering::Acquire)).then_some(group.owed)
    }
}

impl<T> Drop for Share<T> {
    fn drop(&mut self) {
        if let Some(group) = &self.0 {
            group.abandoned.store(true, Ordering::Release);
        }
    }
}

impl<T> fmt::Debug for Share<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a ledger does, so that the same checks run over the real one and over broken ones.
    trait Ledger: Sized {
        fn open(owed: u32) -> Self;
        fn another(&self) -> Self;
        fn settle(self) -> Option<u32>;
    }

    impl Ledger for Share<u32> {
        fn open(owed: u32) -> Self {
            Share::open(owed)
        }

        fn another(&self) -> Self {
            Share::another(self)
        }

        fn settle(self) -> Option<u32> {
            Share::settle(self)
        }
    }

    /// Settles with the first share: an early acknowledgement.
    struct Early(u32);

    impl Ledger for Early {
        fn open(owed: u32) -> Self {
            Self(owed)
        }

        fn another(&self) -> Self {
            Self(self.0)
        }

        fn settle(self) -> Option<u32> {
            Some(self.0)
        }
    }

    /// Forgets that a share was dropped.
    struct Forgetful(Arc<u32>);

    impl Ledger for Forgetful {
        fn open(owed: u32) -> Self {
            Self(Arc::new(owed))
        }

        fn another(&self) -> Self {
            Self(Arc::clone(&self.0))
        }

        fn settle(self) -> Option<u32> {
            Arc::into_inner(self.0)
        }
    }

    /// How the holder of a share ends, in which order.
    #[derive(Debug, Clone)]
    struct End {
        group: u32,
        rank: u64,
        lost: bool,
    }

    fn ends() -> impl Strategy<Value = Vec<End>> {
        let share = |group| {
            (any::<u64>(), prop::bool::weighted(0.1)).prop_map(move |(rank, lost)| End { group, rank, lost })
        };
        let group = move |group| prop::collection::vec(share(group), 1..6);
        prop::collection::vec(any::<()>(), 1..8).prop_flat_map(move |groups| {
            let groups: Vec<_> = (0_u32..).zip(groups).map(|(number, ())| group(number)).collect();
            groups.prop_map(|groups| {
                let mut ends: Vec<End> = groups.into_iter().flatten().collect();
                ends.sort_by_key(|end| end.rank);
                ends
            })
        })
    }

    /// Plays `ends` and says what is wrong with when each group came out.
    fn verdict<L: Ledger>(ends: &[End]) -> Result<(), String> {
        let mut shares: Vec<(L, &End)> = Vec::new();
        for (index, end) in ends.iter().enumerate() {
            let share = match shares.iter().find(|(_, other)| other.group == end.group) {
                Some((first, _)) => first.another(),
                None => L::open(end.group),
            };
            assert_eq!(shares.len(), index);
            shares.push((share, end));
        }
        let mut open: Vec<&End> = ends.iter().collect();
        let mut settled = Vec::new();
        for (share, end) in shares {
            open.retain(|other| !std::ptr::eq(*other, end));
            let out = if end.lost {
                drop(share);
                None
            } else {
                share.settle()
            };
            let due = !open.iter().any(|other| other.group == end.group);
            let lost = ends.iter().any(|other| other.group == end.group && other.lost);
            match out {
                Some(group) if group != end.group => return Err(format!("{group} for {}", end.group)),
                Some(group) if !due => return Err(format!("group {group} came out early")),
                Some(group) if lost => return Err(format!("group {group} was abandoned and came out")),
                Some(group) if settled.contains(&group) => return Err(format!("group {group} twice")),
                Some(group) => settled.push(group),
                None if due && !lost => return Err(format!("group {} never came out", end.group)),
                None => {}
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn a_group_comes_out_once_with_its_last_share_unless_one_was_lost(ends in ends()) {
            prop_assert_eq!(verdict::<Share<u32>>(&ends), Ok(()));
        }
    }

    #[test]
    fn the_checks_catch_an_early_ledger_and_a_forgetful_one() {
        let end = |rank, lost| End { group: 0, rank, lost };
        assert!(verdict::<Early>(&[end(0, false), end(1, false)]).unwrap_err().contains("early"));
        assert!(verdict::<Forgetful>(&[end(0, true), end(1, false)]).unwrap_err().contains("abandoned"));
    }

    #[test]
    fn shares_settled_from_many_threads_give_the_group_out_once() {
        for _ in 0..200 {
            let first = Share::open(7_u32);
            let others: Vec<_> = (0..3).map(|_| first.another()).collect();
            let threads: Vec<_> = others
                .into_iter()
                .chain([first])
                .map(|share| std::thread::spawn(move || share.settle()))
                .collect();
            let out: Vec<u32> = threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect();
            assert_eq!(out, [7]);
        }
    }
}
