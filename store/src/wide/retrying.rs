//! A [`Wide`] that repeats what failed for a while, until a deadline.
//!
//! Repeating is sound because writes are idempotent (I5); a compare-and-set is not, so it is repeated only while
//! it is certain that nothing took place. Whether to repeat is a pure decision; bounded in time (I6).

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::random::Random;
use super::{
    Deletion, Effect, Exchange, Expected, Key, Page, PageToken, ReadError, Row, Scan, Table, Wide,
    WriteError, WriteTime,
};
use crate::metrics::RetryMetrics;

/// How often and how long to repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The longest pause before the first repetition; it doubles with each.
    pub pause_first: Duration,
    /// The longest pause of all.
    pub pause_max: Duration,
    /// From the start of an operation on: when it is given up, attempts under way included.
    pub deadline: Duration,
}

/// What to do after an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// Repeat after this pause.
    After(Duration),
    /// Let the caller know.
    GiveUp,
}

impl RetryPolicy {
    /// A store that restarts is back within the deadline; a hiccup costs a few milliseconds.
    pub const DEFAULT: Self = Self {
        pause_first: Duration::from_millis(10),
        pause_max: Duration::from_secs(1),
        deadline: Duration::from_secs(30),
    };

    /// What to do when attempt number `attempt` (from 0) has failed for a passing reason, `elapsed` after the
    /// start. `random` is uniform: the pause lies between a half and the whole of its longest.
    pub fn decide(&self, attempt: u32, elapsed: Duration, random: u32) -> RetryDecision {
        let doubled = 2_u32.checked_pow(attempt).and_then(|factor| self.pause_first.checked_mul(factor));
        let longest = doubled.unwrap_or(self.pause_max).min(self.pause_max);
        let pause = longest / 2 + (longest / 2).mul_f64(f64::from(random) / f64::from(u32::MAX));
        if elapsed + pause < self.deadline { RetryDecision::After(pause) } else { RetryDecision::GiveUp }
    }
}

/// Repeats the operations of `W`.
#[derive(Debug)]
pub struct Retrying<W> {
    inner: W,
    policy: RetryPolicy,
    jitter: Random,
    metrics: RetryMetrics,
}

impl<W: Wide> Retrying<W> {
    /// Over `inner`. `seed` makes the jitter: random in production, fixed where runs are compared.
    pub fn new(inner: W, policy: RetryPolicy, seed: u64, metrics: RetryMetrics) -> Self {
        Self { inner, policy, jitter: Random::new(seed), metrics }
    }

    /// Repeats `attempt` as long as `again` allows and the policy does.
    async fn repeat<T, E, F>(
        &self,
        operation: &'static str,
        attempt: impl Fn() -> F + Send,
        again: impl Fn(&E) -> bool + Send,
        late: impl Fn(Duration) -> E + Send,
    ) -> Repeated<T, E>
    where
        F: Future<Output = Result<T, E>> + Send,
        T: Send,
        E: MayHaveApplied + Send,
    {
        let start = Instant::now();
        let mut earlier = Effect::NotApplied;
        for number in 0.. {
            let result = match timeout_at(start + self.policy.deadline, attempt()).await {
                Ok(result) => result,
                Err(_) => Err(late(self.policy.deadline)),
            };
            let error = match result {
                Err(error) if again(&error) => error,
                result => return Repeated { result, earlier },
            };
            let random = u32::try_from(self.jitter.below(1 << 32)).unwrap_or(u32::MAX);
            let RetryDecision::After(pause) = self.policy.decide(number, start.elapsed(), random) else {
                return Repeated { result: Err(error), earlier };
            };
            if error.effect() == Effect::Unknown {
                earlier = Effect::Unknown;
            }
            self.metrics.of(operation).inc();
            sleep_until(Instant::now() + pause).await;
        }
        unreachable!("attempts are not counted to their end")
    }

    /// Repeats an idempotent write.
    async fn write<F>(
        &self,
        operation: &'static str,
        attempt: impl Fn() -> F + Send,
    ) -> Result<(), WriteError>
    where
        F: Future<Output = Result<(), WriteError>> + Send,
    {
        let repeated = self.repeat(operation, attempt, WriteError::is_transient, late_write).await;
        repeated.result.map_err(|error| after(repeated.earlier, error))
    }

    async fn read<T: Send, F>(
        &self,
        operation: &'static str,
        attempt: impl Fn() -> F + Send,
    ) -> Result<T, ReadError>
    where
        F: Future<Output = Result<T, ReadError>> + Send,
    {
        self.repeat(operation, attempt, ReadError::is_transient, late_read).await.result
    }
}

/// The last result, and whether an attempt before it may have taken place.
struct Repeated<T, E> {
    result: Result<T, E>,
    earlier: Effect,
}

trait MayHaveApplied {
    fn effect(&self) -> Effect;
}

impl MayHaveApplied for WriteError {
    fn effect(&self) -> Effect {
        Self::effect(self)
    }
}

impl MayHaveApplied for ReadError {
    fn effect(&self) -> Effect {
        Effect::NotApplied
    }
}

/// The last error of a write, without claiming that nothing took place where an earlier attempt may have.
fn after(earlier: Effect, error: WriteError) -> WriteError {
    if earlier == Effect::Unknown && error.effect() == Effect::NotApplied {
        return WriteError::Unavailable { effect: Effect::Unknown, reason: error.to_string() };
    }
    error
}

fn late_write(deadline: Duration) -> WriteError {
    WriteError::Unavailable { effect: Effect::Unknown, reason: late(deadline) }
}

fn late_read(deadline: Duration) -> ReadError {
    ReadError::Unavailable { reason: late(deadline) }
}

fn late(deadline: Duration) -> String {
    format!("given up after {deadline:?}")
}

impl<W: Wide> Wide for Retrying<W> {
    async fn put(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[Row],
        at: WriteTime,
    ) -> Result<(), WriteError> {
        self.write("put", || self.inner.put(table, partition, rows, at)).await
    }

    async fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        clustering: &Key,
    ) -> Result<Option<Row>, ReadError> {
        self.read("get", || self.inner.get(table, partition, clustering)).await
    }

    async fn scan(&self, scan: &Scan, from: Option<PageToken>) -> Result<Page, ReadError> {
        self.read("scan", || self.inner.scan(scan, from.clone())).await
    }

    async fn scan_each(&self, scan: &Scan, partitions: &[Key]) -> Result<Vec<Page>, ReadError> {
        self.read("scan_each", || self.inner.scan_each(scan, partitions)).await
    }

    async fn delete(
        &self,
        table: &'static Table,
        partition: &Key,
        deletion: &Deletion,
        at: WriteTime,
    ) -> Result<(), WriteError> {
        self.write("delete", || self.inner.delete(table, partition, deletion, at)).await
    }

    async fn compare_and_set(
        &self,
        table: &'static Table,
        partition: &Key,
        expected: &Expected,
        row: &Row,
    ) -> Result<Exchange, WriteError> {
        let certain = |error: &WriteError| error.is_transient() && error.effect() == Effect::NotApplied;
        let attempt = || self.inner.compare_and_set(table, partition, expected, row);
        self.repeat("compare_and_set", attempt, certain, late_write).await.result
    }

    fn revision(&self, table: &'static Table) -> Option<u64> {
        self.inner.revision(table)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Datum, Faults, Faulty, Memory, WriteFault};
    use super::*;
    use crate::layout::tables::{ERAS, MARKS};
    use prometheus::Registry;

    const AT: WriteTime = WriteTime::from_micros(1);

    fn store() -> (Retrying<Faulty<Memory>>, Faults) {
        let faults = Faults::new(1);
        let inner = Faulty::new(Memory::new(), faults.clone());
        let metrics = RetryMetrics::register(&Registry::new()).unwrap();
        (Retrying::new(inner, RetryPolicy::DEFAULT, 1, metrics), faults)
    }

    fn partition() -> Key {
        [Datum::Int(0)].into()
    }

    fn mark() -> Row {
        Row {
            clustering: [Datum::Instant(0), Datum::Int(0)].into(),
            cells: vec![Datum::Text("open".into()), Datum::Int(0), Datum::Int(0), Datum::Int(1)],
        }
    }

    async fn put(store: &impl Wide) -> Result<(), WriteError> {
        store.put(&MARKS, &partition(), &[mark()], AT).await
    }

    async fn install(store: &impl Wide) -> Result<Exchange, WriteError> {
        let row =
            Row { clustering: [Datum::Instant(0)].into(), cells: vec![Datum::Int(4), Datum::Int(60_000)] };
        store.compare_and_set(&ERAS, &partition(), &Expected::Absent, &row).await
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_keep_half() {
        let policy = RetryPolicy::DEFAULT;
        let pause = |attempt, random| match policy.decide(attempt, Duration::ZERO, random) {
            RetryDecision::After(pause) => pause,
            RetryDecision::GiveUp => panic!("gave up at once"),
        };
        let millis = Duration::from_millis;
        assert_eq!([pause(0, 0), pause(0, u32::MAX)], [millis(5), millis(10)]);
        assert_eq!([pause(3, 0), pause(3, u32::MAX)], [millis(40), millis(80)]);
        assert_eq!([pause(40, 0), pause(u32::MAX, u32::MAX)], [millis(500), millis(1000)]);
    }

    #[test]
    fn a_pause_that_would_pass_the_deadline_is_not_begun() {
        let policy = RetryPolicy::DEFAULT;
        let late = policy.deadline.checked_sub(Duration::from_millis(4)).unwrap();
        assert_eq!(policy.decide(0, late, 0), RetryDecision::GiveUp);
        assert_ne!(
            policy.decide(0, late.checked_sub(Duration::from_millis(2)).unwrap(), 0),
            RetryDecision::GiveUp
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_for_a_while_is_repeated_until_it_is_written() {
        let (store, faults) = store();
        for fault in [WriteFault::NotApplied, WriteFault::UnknownLost, WriteFault::UnknownApplied] {
            faults.fail_next_write(fault);
        }
        put(&store).await.unwrap();
        faults.fail_next_reads(3);
        let found = store.get(&MARKS, &partition(), &mark().clustering).await.unwrap();
        assert_eq!(found, Some(mark()));
        assert_eq!(store.metrics.of("put").get(), 3);
        assert_eq!(store.metrics.of("get").get(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_that_never_answers_ends_at_the_deadline() {
        let (store, faults) = store();
        faults.pause();
        let start = Instant::now();
        let error = put(&store).await.unwrap_err();
        assert_eq!(error.effect(), Effect::Unknown);
        assert_eq!(start.elapsed(), RetryPolicy::DEFAULT.deadline);
        assert!(store.get(&MARKS, &partition(), &mark().clustering).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn repetition_ends_by_the_deadline_however_quickly_attempts_fail() {
        let (store, faults) = store();
        (0..1000).for_each(|_| faults.fail_next_write(WriteFault::NotApplied));
        let start = Instant::now();
        assert_eq!(put(&store).await.unwrap_err().effect(), Effect::NotApplied);
        assert!(start.elapsed() <= RetryPolicy::DEFAULT.deadline);
        assert!((30..100).contains(&faults.counts().writes), "{:?}", faults.counts());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_for_good_is_not_repeated() {
        for fault in [WriteFault::Refused, WriteFault::Broken] {
            let (store, faults) = store();
            faults.fail_next_write(fault);
            assert!(put(&store).await.is_err());
            assert_eq!(store.metrics.of("put").get(), 0, "{fault:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_after_an_unknown_outcome_is_no_certainty() {
        let (store, faults) = store();
        faults.fail_next_write(WriteFault::UnknownApplied);
        faults.fail_next_write(WriteFault::Refused);
        assert_eq!(put(&store).await.unwrap_err().effect(), Effect::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn an_exchange_is_repeated_only_while_nothing_took_place() {
        let (store, faults) = store();
        faults.fail_next_write(WriteFault::NotApplied);
        faults.fail_next_write(WriteFault::UnknownApplied);
        assert_eq!(install(&store).await.unwrap_err().effect(), Effect::Unknown);
        assert_eq!(store.metrics.of("compare_and_set").get(), 1);
        assert!(matches!(install(&store).await, Ok(Exchange::Refused(Some(_)))), "it had taken place");
    }
}
