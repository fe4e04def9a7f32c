//! Waiting for something outside this process, always under a deadline.
//!
//! The one home of the wall clock and of sleeping in the tests: a real process or a real socket
//! has no event to await, so it is asked again and again. Nothing else here may sleep.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The first pause between two questions; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// The longest pause: what a test may lose after the thing it waits for has happened.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "the tests' one home of the clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Blocks this thread for `span`.
#[expect(clippy::disallowed_methods, reason = "the tests' one home of sleeping")]
pub fn pause(span: Duration) {
    std::thread::sleep(span);
}

/// Asks `probe` until it answers with a value, at least once, and fails after `within`.
///
/// An error of the probe ends the wait at once: `Ok(None)` is "not yet".
pub fn until<T>(what: &str, within: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = now();
    let mut span = PAUSE_MIN;
    loop {
        if let Some(value) = probe().with_context(|| format!("waiting for {what}"))? {
            return Ok(value);
        }
        if started.elapsed() >= within {
            bail!("gave up waiting for {what} after {within:?}");
        }
        pause(span);
        span = PAUSE_MAX.min(span * 2);
    }
}

/// As [`until`], for a condition without a value.
pub fn until_true(what: &str, within: Duration, mut probe: impl FnMut() -> bool) -> Result<()> {
    until(what, within, || Ok(probe().then_some(())))
}
