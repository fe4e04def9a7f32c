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
}
