//! Leases of shards: carries out what `share` decides, by compare-and-set. They save work and nothing else: two mills
//! that both believe to have a shard waste effort, and lose nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::attempts::{Attempts, Hand};
use super::persistent::{Persistent, Swap};
use super::share::{Changes, Members, changes};
use super::{LeaseTimes, MillFailure};
use crate::layout::LeaseRow;
use crate::layout::tables::LEASES;
use crate::model::Shard;
use crate::wide::{Expected, Scan, Wide};

/// Who lives.
const MEMBERS: &str = "mills";
/// Who has which shard.
const SHARDS: &str = "mill shards";
/// Epochs of work by hand.
const BY_HAND: &str = "mill by hand";

/// What a mill holds.
#[derive(Debug)]
pub(super) struct Leases<W> {
    store: Persistent<W>,
    /// A name that no other process has or will have.
    me: String,
    times: LeaseTimes,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    members: Members,
    slot: Option<LeaseRow>,
    held: BTreeMap<Shard, Held>,
    live: usize,
}

#[derive(Debug)]
struct Held {
    row: LeaseRow,
    attempts: Arc<Attempts>,
}

impl<W: Wide> Leases<W> {
    pub(super) fn new(store: Persistent<W>, me: String, times: LeaseTimes) -> Self {
        Self { store, me, times, state: Mutex::default() }
    }

    /// The shards that are held, with the numbers of their attempts.
    pub(super) fn held(&self) -> Vec<(Shard, Arc<Attempts>)> {
        self.lock().held.iter().map(|(shard, held)| (*shard, Arc::clone(&held.attempts))).collect()
    }

    /// How many shards are held, and how many mills live.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.held.len(), state.live)
    }

    /// Says that this mill lives, and takes, gives back and forgets what the others' doing calls for.
    pub(super) async fn beat(&self, shards: u16) -> Result<(), MillFailure> {
        let leases = self.rows(SHARDS).await?;
        let members = self.rows(MEMBERS).await?;
        self.lock().members.see(members, Instant::now().into_std());
        self.renew().await?;
        let (now, after) = (Instant::now().into_std(), self.times.takeover_after);
        let live = {
            let mut state = self.lock();
            state.held.retain(|_, held| leases.iter().any(|row| row == &held.row));
            let live = state.members.live(now, after);
            state.live = live.len().max(1);
            live
        };
        let Changes { take, give_back } = changes(&self.me, &live, &leases, shards);
        self.take_again(&leases).await?;
        for row in give_back {
            self.give_back(row).await?;
        }
        for (shard, row) in take {
            self.take(shard, row).await?;
        }
        self.renew_spent().await
    }

    /// Gives back everything, for a graceful end.
    pub(super) async fn release(&self) -> Result<(), MillFailure> {
        let held: Vec<LeaseRow> = self.lock().held.values().map(|held| held.row.clone()).collect();
        for row in held {
            self.give_back(row).await?;
        }
        let slot = self.lock().slot.take();
        if let Some(slot) = slot {
            let free = LeaseRow { holder: String::new(), beat: slot.beat.saturating_add(1), ..slot.clone() };
            self.swap(MEMBERS, Some(&slot), &free).await?;
        }
        Ok(())
    }

    /// Numbers for attempts by hand on a shard, whoever holds it.
    pub(super) async fn by_hand(&self, shard: Shard) -> Result<Attempts, MillFailure> {
        loop {
            let rows = self.rows(BY_HAND).await?;
            let before = rows.into_iter().find(|row| row.shard == shard);
            let row = self.successor(shard, before.as_ref());
            if self.swap(BY_HAND, before.as_ref(), &row).await? == Swap::Won {
                return Ok(Attempts::new(Hand::Operator, row.epoch));
            }
        }
    }

    /// Changes the beat of this mill's slot, or takes a slot. Who lost its slot was taken for dead: its shards are
    /// others' by now, or will be.
    async fn renew(&self) -> Result<(), MillFailure> {
        let slot = self.lock().slot.clone();
        if let Some(slot) = slot {
            let next = LeaseRow { beat: slot.beat.saturating_add(1), ..slot.clone() };
            match self.swap(MEMBERS, Some(&slot), &next).await? {
                Swap::Won => self.lock().slot = Some(next),
                Swap::Lost => {
                    tracing::warn!(mill = %self.me, "taken for dead by other mills; starting again");
                    let mut state = self.lock();
                    (state.slot, state.held) = (None, BTreeMap::new());
                }
            }
            return Ok(());
        }
        let free = self.lock().members.free_slot(Instant::now().into_std(), self.times.takeover_after);
        let Some((slot, before)) = free else { return Ok(()) };
        let row = self.successor(Shard::new(slot), before.as_ref());
        if self.swap(MEMBERS, before.as_ref(), &row).await? == Swap::Won {
            self.lock().slot = Some(row);
        }
        Ok(())
    }

    /// Rows of this mill that it does not hold are from a compare-and-set whose answer was lost, or from before it
    /// was taken for dead. They are taken in a fresh epoch: numbers of attempts never come twice.
    async fn take_again(&self, leases: &[LeaseRow]) -> Result<(), MillFailure> {
        let lost: Vec<LeaseRow> = {
            let state = self.lock();
            let is_lost = |row: &&LeaseRow| row.holder == self.me && !state.held.contains_key(&row.shard);
            leases.iter().filter(is_lost).cloned().collect()
        };
        for row in lost {
            self.take(row.shard, Some(row)).await?;
        }
        Ok(())
    }

    async fn take(&self, shard: Shard, before: Option<LeaseRow>) -> Result<(), MillFailure> {
        if self.lock().slot.is_none() {
            return Ok(());
        }
        let row = self.successor(shard, before.as_ref());
        if self.swap(SHARDS, before.as_ref(), &row).await? == Swap::Won {
            tracing::info!(%shard, mill = %self.me, epoch = row.epoch, "a shard was taken");
            self.hold(row);
        }
        Ok(())
    }

    async fn give_back(&self, row: LeaseRow) -> Result<(), MillFailure> {
        self.lock().held.remove(&row.shard);
        let free = LeaseRow { holder: String::new(), beat: row.beat.saturating_add(1), ..row.clone() };
        self.swap(SHARDS, Some(&row), &free).await?;
        Ok(())
    }

    /// Takes a fresh epoch for shards whose attempts are spent.
    async fn renew_spent(&self) -> Result<(), MillFailure> {
        let spent: Vec<LeaseRow> = {
            let state = self.lock();
            state
                .held
                .values()
                .filter(|held| held.attempts.are_spent())
                .map(|held| held.row.clone())
                .collect()
        };
        for row in spent {
            self.lock().held.remove(&row.shard);
            self.take(row.shard, Some(row)).await?;
        }
        Ok(())
    }

    /// The row that makes a lease this mill's, in a new epoch.
    fn successor(&self, shard: Shard, before: Option<&LeaseRow>) -> LeaseRow {
        let (epoch, beat) = before.map_or((0, 0), |row| (row.epoch, row.beat));
        let (epoch, beat) = (epoch.saturating_add(1), beat.saturating_add(1));
        LeaseRow { shard, holder: self.me.clone(), epoch, beat }
    }

    /// Holds a shard whose row was put there just now.
    fn hold(&self, row: LeaseRow) {
        let attempts = Arc::new(Attempts::new(Hand::Mill, row.epoch));
        self.lock().held.insert(row.shard, Held { row, attempts });
    }

    async fn rows(&self, name: &str) -> Result<Vec<LeaseRow>, MillFailure> {
        let scan = Scan::partition(&LEASES, LeaseRow::partition(name));
        Ok(self.store.all(&scan, LeaseRow::from_row).await?)
    }

    async fn swap(&self, name: &str, before: Option<&LeaseRow>, row: &LeaseRow) -> Result<Swap, MillFailure> {
        let expected = before.map_or(Expected::Absent, LeaseRow::expected);
        Ok(self.store.swap(&LEASES, &LeaseRow::partition(name), &expected, &row.to_row()).await?)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
