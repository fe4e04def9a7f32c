//! `kill -9` of the program at random moments, also while it comes up, and its return.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::feed::Feed;
use crate::random::Random;
use crate::tidemill::Tidemill;
use crate::wait;

/// Between coming up and the next kill; so long it also may take to get something done.
const LIFE_MAX: Duration = Duration::from_millis(400);
/// A busy machine takes its time to bring a process up and a device back to it.
const ALIVE_WITHIN: Duration = Duration::from_mins(1);

/// Kills it so many times while `feed` publishes, one time in four while it comes up, and starts it again; `check` after
/// each return.
pub fn kill_at_random(
    (tidemill, feed): (&Tidemill, &Feed),
    random: &mut Random,
    kills: u32,
    check: impl Fn() -> Result<()>,
) -> Result<()> {
    for kill in 1..=kills {
        if random.below(4) == 0 {
            tidemill.spawn()?;
        } else {
            // Between two kills something is to get through, or nothing would be at stake.
            feed.wait_more(1, ALIVE_WITHIN)?;
        }
        wait::pause(random.span_below(LIFE_MAX));
        tidemill.kill()?;
        tidemill.restart().and_then(|()| check()).with_context(|| format!("after kill {kill}"))?;
    }
    Ok(())
}
