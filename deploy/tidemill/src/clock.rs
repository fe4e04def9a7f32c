//! The time of day, and random bits: the one home of both.

use std::time::{SystemTime, UNIX_EPOCH};

use tidemill_store::model::{Clock, Timestamp, WriterId};

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the home of the wall clock")]
    fn now(&self) -> Timestamp {
        let nanos = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
        };
        let bounded = nanos.clamp(Timestamp::MIN.nanos(), Timestamp::MAX.nanos());
        Timestamp::from_nanos(bounded).unwrap_or(Timestamp::EPOCH)
    }
}

/// A writer id that was never used before.
pub(crate) fn fresh_writer() -> anyhow::Result<WriterId> {
    Ok(WriterId::from_random(random_bits()?))
}

/// 64 random bits of the operating system.
pub(crate) fn random_bits() -> anyhow::Result<u64> {
    getrandom::u64().map_err(|error| anyhow::anyhow!("the operating system gives no random bits: {error}"))
}
