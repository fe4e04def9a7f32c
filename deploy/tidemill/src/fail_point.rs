//! Ends the process at a named moment, for tests: `TIDEMILL_FAIL_AT=segment_after:3` kills it, as `kill -9` would, when a
//! segment was written for the third time. A build without fail points refuses to start where the variable is set.

use anyhow::Context;
use rustix::process::{Signal, getpid, kill_process};
use tidemill_ingest::fail::{self, FailAt};

const VARIABLE: &str = "TIDEMILL_FAIL_AT";

/// Arms the point that the environment names, if it names one.
#[expect(clippy::disallowed_methods, reason = "this crate is where the environment is read")]
pub(crate) fn arm() -> anyhow::Result<()> {
    let Ok(text) = std::env::var(VARIABLE) else { return Ok(()) };
    let at: FailAt = text.parse().context(VARIABLE)?;
    fail::arm(at, die).context(VARIABLE)
}

/// Nothing runs and nothing is flushed after this.
fn die() -> ! {
    // SIGKILL cannot be refused; until it arrives, this thread does no more.
    let _ = kill_process(getpid(), Signal::KILL);
    loop {
        std::thread::park();
    }
}
