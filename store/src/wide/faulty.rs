//! A [`Wide`] that goes wrong on purpose, for tests and simulation: one seed, one sequence of faults.
//!
//! Every fault is one that a real store shows within its contract, but for [`WriteFault::Lose`], the sabotage that
//! a good test must catch. Delays pass on tokio's clock. [`Faults`] steers it while it runs.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::random::Random;
use super::{
    Deletion, Effect, Exchange, Expected, Key, Page, PageToken, ReadError, Row, Scan, Table, Wide,
    WriteError, WriteTime,
};

const ASKED_FOR: &str = "a fault was asked for";

/// What goes wrong with a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteFault {
    /// It does not take place, and says so.
    NotApplied,
    /// It takes place, and the answer is lost.
    UnknownApplied,
    /// It does not take place, and that is not known.
    UnknownLost,
    /// Its outcome is unknown, and it takes place after this time: perhaps after it was repeated, or after others.
    UnknownLate(Duration),
    /// It is refused for good.
    Refused,
    /// It fails, and the store says that it is broken.
    Broken,
    /// Sabotage: it does not take place, and is reported as done.
    Lose,
}

/// How often things go wrong by themselves, each in a thousand operations. None do by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultRates {
    /// [`WriteFault::NotApplied`].
    pub not_applied: u16,
    /// [`WriteFault::UnknownApplied`].
    pub unknown_applied: u16,
    /// [`WriteFault::UnknownLost`].
    pub unknown_lost: u16,
    /// [`WriteFault::UnknownLate`], by up to `delay_max`.
    pub unknown_late: u16,
    /// Reads that fail.
    pub read_unavailable: u16,
    /// Operations that are held up, by up to `delay_max`, before or after they take place.
    pub delayed: u16,
    /// The longest delay.
    pub delay_max: Duration,
    /// Sabotage: one write in so many is lost.
    pub lose_one_in: Option<NonZeroU64>,
}

/// How many faults there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Writes that failed.
    pub writes: u64,
    /// Writes that were lost though reported as done.
    pub lost: u64,
    /// Reads that failed.
    pub reads: u64,
}

/// Steers a [`Faulty`] from outside. Clones steer the same one.
#[derive(Debug, Clone)]
pub struct Faults(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    random: Random,
    state: Mutex<State>,
    paused: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    rates: FaultRates,
    next_writes: VecDeque<(Option<&'static str>, WriteFault)>,
    next_reads: u32,
    counts: FaultCounts,
}

/// When a delayed operation takes place.
#[derive(Debug, Clone, Copy, Default)]
struct Delays {
    before: Duration,
    after: Duration,
}

impl Faults {
    /// No faults yet; those that rates will bring follow from `seed`.
    pub fn new(seed: u64) -> Self {
        let (random, state) = (Random::new(seed), Mutex::default());
        Self(Arc::new(Shared { random, state, paused: watch::Sender::new(false) }))
    }

    /// From now on things go wrong this often.
    pub fn set_rates(&self, rates: FaultRates) {
        self.state().rates = rates;
    }

    /// The next write goes wrong like this, before any other that was asked for already.
    pub fn fail_next_write(&self, fault: WriteFault) {
        self.state().next_writes.push_back((None, fault));
    }

    /// The next write to `table` goes wrong like this.
    pub fn fail_next_write_to(&self, table: &'static Table, fault: WriteFault) {
        self.state().next_writes.push_back((Some(table.name), fault));
    }

    /// The next so many reads fail.
    pub fn fail_next_reads(&self, reads: u32) {
        self.state().next_reads += reads;
    }

    /// Operations that begin from now on wait, without taking place, until [`Faults::resume`].
    pub fn pause(&self) {
        self.0.paused.send_replace(true);
    }

    /// Operations go on.
    pub fn resume(&self) {
        self.0.paused.send_replace(false);
    }

    /// How many faults there were so far.
    pub fn counts(&self) -> FaultCounts {
        self.state().counts
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn resumed(&self) {
        // The sender lives in the same place as this reference.
        let _ = self.0.paused.subscribe().wait_for(|paused| !paused).await;
    }

    fn write_fault(&self, table: &Table) -> Option<WriteFault> {
        let mut state = self.state();
        let asked = state.next_writes.iter().position(|(name, _)| name.is_none_or(|name| name == table.name));
        let fault = match asked.and_then(|index| state.next_writes.remove(index)) {
            Some((_, fault)) => Some(fault),
            None => self.random_write_fault(&state.rates),
        };
        match fault {
            Some(WriteFault::Lose) => state.counts.lost += 1,
            Some(_) => state.counts.writes += 1,
            None => {}
        }
        fault
    }

    fn random_write_fault(&self, rates: &FaultRates) -> Option<WriteFault> {
        if rates.lose_one_in.is_some_and(|n| self.0.random.below(n.get()) == 0) {
            return Some(WriteFault::Lose);
        }
        let late = WriteFault::UnknownLate(self.up_to(rates.delay_max));
        let kinds = [
            (rates.not_applied, WriteFault::NotApplied),
            (rates.unknown_applied, WriteFault::UnknownApplied),
            (rates.unknown_lost, WriteFault::UnknownLost),
            (rates.unknown_late, late),
        ];
        let mut drawn = self.0.random.below(1000);
        for (rate, fault) in kinds {
            match drawn.checked_sub(u64::from(rate)) {
                Some(rest) => drawn = rest,
                None => return Some(fault),
            }
        }
        None
    }

    fn read_fault(&self) -> Option<ReadError> {
        let mut state = self.state();
        let asked = state.next_reads > 0;
        state.next_reads = state.next_reads.saturating_sub(1);
        if !asked && self.0.random.below(1000) >= u64::from(state.rates.read_unavailable) {
            return None;
        }
        state.counts.reads += 1;
        Some(ReadError::Unavailable { reason: ASKED_FOR.to_owned() })
    }

    fn delays(&self) -> Delays {
        let rates = self.state().rates;
        if self.0.random.below(1000) >= u64::from(rates.delayed) {
            return Delays::default();
        }
        let delay = self.up_to(rates.delay_max);
        if self.0.random.below(2) == 0 {
            Delays { before: delay, ..Delays::default() }
        } else {
            Delays { after: delay, ..Delays::default() }
        }
    }

    fn up_to(&self, longest: Duration) -> Duration {
        let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.0.random.below(nanos))
    }
}

/// A store over `W` in which [`Faults`] happen.
#[derive(Debug)]
pub struct Faulty<W> {
    inner: Arc<W>,
    faults: Faults,
}

impl<W: Wide> Faulty<W> {
    /// Over `inner`, steered by `faults`.
    pub fn new(inner: W, faults: Faults) -> Self {
        Self { inner: Arc::new(inner), faults }
    }

    /// Runs a write with whatever goes wrong with it. `lost` is what is answered for one that is lost.
    async fn write<T: Send + 'static, F>(
        &self,
        table: &Table,
        write: impl FnOnce(Arc<W>) -> F + Send,
        lost: impl FnOnce() -> T + Send,
    ) -> Result<T, WriteError>
    where
        F: Future<Output = Result<T, WriteError>> + Send + 'static,
    {
        self.faults.resumed().await;
        let (fault, delays) = (self.faults.write_fault(table), self.faults.delays());
        pause(delays.before).await;
        let inner = Arc::clone(&self.inner);
        let result = match fault {
            None => write(inner).await,
            Some(WriteFault::NotApplied) => Err(failed(Effect::NotApplied)),
            Some(WriteFault::UnknownLost) => Err(failed(Effect::Unknown)),
            Some(WriteFault::UnknownApplied) => write(inner).await.and(Err(failed(Effect::Unknown))),
            Some(WriteFault::UnknownLate(delay)) => {
                let write = write(inner);
                tokio::spawn(async move {
                    pause(delay).await;
                    // Nobody waits for it: that is the fault.
                    let _ = write.await;
                });
                Err(failed(Effect::Unknown))
            }
            Some(WriteFault::Refused) => Err(WriteError::Refused { reason: ASKED_FOR.to_owned() }),
            Some(WriteFault::Broken) => Err(WriteError::Broken { reason: ASKED_FOR.to_owned() }),
            Some(WriteFault::Lose) => Ok(lost()),
        };
        pause(delays.after).await;
        result
    }

    async fn read<T>(&self, read: impl Future<Output = Result<T, ReadError>>) -> Result<T, ReadError> {
        self.faults.resumed().await;
        let delays = self.faults.delays();
        pause(delays.before).await;
        let result = match self.faults.read_fault() {
            Some(error) => Err(error),
            None => read.await,
        };
        pause(delays.after).await;
        result
    }
}

async fn pause(delay: Duration) {
    if !delay.is_zero() {
        sleep(delay).await;
    }
}

fn failed(effect: Effect) -> WriteError {
    WriteError::Unavailable { effect, reason: ASKED_FOR.to_owned() }
}

impl<W: Wide> Wide for Faulty<W> {
    async fn put(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[Row],
        at: WriteTime,
    ) -> Result<(), WriteError> {
        let (partition, rows) = (partition.clone(), rows.to_vec());
        let write = |inner: Arc<W>| async move { inner.put(table, &partition, &rows, at).await };
        self.write(table, write, || ()).await
    }

    async fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        clustering: &Key,
    ) -> Result<Option<Row>, ReadError> {
        self.read(self.inner.get(table, partition, clustering)).await
    }

    async fn scan(&self, scan: &Scan, from: Option<PageToken>) -> Result<Page, ReadError> {
        self.read(self.inner.scan(scan, from)).await
    }

    async fn delete(
        &self,
        table: &'static Table,
        partition: &Key,
        deletion: &Deletion,
        at: WriteTime,
    ) -> Result<(), WriteError> {
        let (partition, deletion) = (partition.clone(), deletion.clone());
        let write = |inner: Arc<W>| async move { inner.delete(table, &partition, &deletion, at).await };
        self.write(table, write, || ()).await
    }

    async fn compare_and_set(
        &self,
        table: &'static Table,
        partition: &Key,
        expected: &Expected,
        row: &Row,
    ) -> Result<Exchange, WriteError> {
        let (partition, expected, row) = (partition.clone(), expected.clone(), row.clone());
        let write =
            |inner: Arc<W>| async move { inner.compare_and_set(table, &partition, &expected, &row).await };
        self.write(table, write, || Exchange::Applied).await
    }

    fn revision(&self, table: &'static Table) -> Option<u64> {
        self.inner.revision(table)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Datum, Memory};
    use super::*;
    use crate::layout::tables::{MARKS, SEGMENTS};
    use tokio::time::Instant;

    const AT: WriteTime = WriteTime::from_micros(1);

    fn partition() -> Key {
        [Datum::Int(0)].into()
    }

    fn mark(writer: i64) -> Row {
        Row {
            clustering: [Datum::Instant(0), Datum::Int(writer)].into(),
            cells: vec![Datum::Text("open".into()), Datum::Int(0), Datum::Int(0), Datum::Int(1)],
        }
    }

    fn faulty(seed: u64) -> (Faulty<Memory>, Memory, Faults) {
        let (memory, faults) = (Memory::new(), Faults::new(seed));
        (Faulty::new(memory.clone(), faults.clone()), memory, faults)
    }

    async fn put(store: &impl Wide, writer: i64) -> Result<(), WriteError> {
        store.put(&MARKS, &partition(), &[mark(writer)], AT).await
    }

    async fn is_there(memory: &Memory, writer: i64) -> bool {
        memory.get(&MARKS, &partition(), &mark(writer).clustering).await.unwrap().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn each_fault_does_what_it_says_and_no_more() {
        let late = Duration::from_secs(5);
        let cases = [
            (WriteFault::NotApplied, Some(Effect::NotApplied), false),
            (WriteFault::UnknownApplied, Some(Effect::Unknown), true),
            (WriteFault::UnknownLost, Some(Effect::Unknown), false),
            (WriteFault::UnknownLate(late), Some(Effect::Unknown), false),
            (WriteFault::Refused, Some(Effect::NotApplied), false),
            (WriteFault::Broken, Some(Effect::Unknown), false),
            (WriteFault::Lose, None, false),
        ];
        for (fault, effect, applied) in cases {
            let (store, memory, faults) = faulty(1);
            faults.fail_next_write(fault);
            let result = put(&store, 0).await;
            assert_eq!(result.err().map(|error| error.effect()), effect, "{fault:?}");
            assert_eq!(is_there(&memory, 0).await, applied, "{fault:?}");
            sleep(late * 2).await;
            let applies_late = matches!(fault, WriteFault::UnknownLate(_));
            assert_eq!(is_there(&memory, 0).await, applied || applies_late, "{fault:?}, later");
            put(&store, 1).await.unwrap();
            assert!(is_there(&memory, 1).await, "the next write after {fault:?}");
        }
    }

    #[tokio::test]
    async fn a_fault_waits_for_its_table() {
        let (store, _, faults) = faulty(1);
        faults.fail_next_write_to(&SEGMENTS, WriteFault::NotApplied);
        put(&store, 0).await.unwrap();
        let segments = Key::from([Datum::Int(0), Datum::Instant(0)]);
        assert!(store.put(&SEGMENTS, &segments, &[], AT).await.is_err());
        assert_eq!(faults.counts(), FaultCounts { writes: 1, ..FaultCounts::default() });
    }

    async fn history(seed: u64) -> Vec<String> {
        let (store, memory, faults) = faulty(seed);
        faults.set_rates(FaultRates {
            not_applied: 100,
            unknown_applied: 100,
            unknown_lost: 100,
            unknown_late: 100,
            read_unavailable: 100,
            delayed: 300,
            delay_max: Duration::from_secs(1),
            lose_one_in: NonZeroU64::new(20),
        });
        let start = Instant::now();
        let mut history = Vec::new();
        for writer in 0..200 {
            let written = put(&store, writer).await;
            let read = store.get(&MARKS, &partition(), &mark(writer).clustering).await;
            let there = is_there(&memory, writer).await;
            history.push(format!("{written:?} {read:?} {there} {:?}", start.elapsed()));
        }
        history.push(format!("{:?}", faults.counts()));
        history
    }

    #[tokio::test(start_paused = true)]
    async fn one_seed_gives_one_history() {
        let first = history(1).await;
        assert_eq!(first, history(1).await);
        assert_ne!(first, history(2).await);
    }

    #[tokio::test]
    async fn one_write_in_so_many_is_lost() {
        let (store, memory, faults) = faulty(3);
        faults.set_rates(FaultRates { lose_one_in: NonZeroU64::new(10), ..FaultRates::default() });
        let mut missing = 0;
        for writer in 0..1000 {
            put(&store, writer).await.unwrap();
            missing += u64::from(!is_there(&memory, writer).await);
        }
        assert_eq!(faults.counts().lost, missing);
        assert!((60..140).contains(&missing), "{missing} of 1000");
    }

    #[tokio::test(start_paused = true)]
    async fn paused_operations_wait_without_taking_place() {
        let (store, memory, faults) = faulty(1);
        faults.pause();
        let write = tokio::time::timeout(Duration::from_secs(9), put(&store, 0)).await;
        assert!(write.is_err() && !is_there(&memory, 0).await);
        let (written, ()) = tokio::join!(put(&store, 1), async {
            sleep(Duration::from_secs(1)).await;
            faults.resume();
        });
        assert!(written.is_ok() && is_there(&memory, 1).await);
    }

    #[tokio::test]
    async fn reads_fail_as_often_as_asked() {
        let (store, _, faults) = faulty(1);
        faults.fail_next_reads(2);
        for fails in [true, true, false] {
            let read = store.scan(&Scan::partition(&MARKS, partition()), None).await;
            assert_eq!(read.is_err(), fails);
        }
        assert_eq!(faults.counts().reads, 2);
    }
}
