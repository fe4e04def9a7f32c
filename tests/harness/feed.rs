//! A device gateway that publishes a plan's messages one after another, whatever happens to the
//! server meanwhile, and knows what must be there.
//!
//! The order of looking matters: what was acknowledged is taken before the server is asked, what
//! was issued after it answered. So a verdict is fair while messages are on their way.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::api;
use crate::http::Http;
use crate::mqtt::{Publisher, Settings};
use crate::oracle::{Checker, Plan, Verdict};
use crate::wait;

/// Longer than a server takes to come back.
const ROOM_WITHIN: Duration = Duration::from_mins(2);
/// Messages between two pauses: a device does not send as fast as it can, and what is sent has to be
/// read back.
const BURST: u64 = 10;
const BURST_PAUSE: Duration = Duration::from_millis(8);

/// Publishes on a thread of its own until it is finished or dropped.
#[derive(Debug)]
pub struct Feed {
    plan: Plan,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    publisher: Publisher,
    issued: AtomicU64,
    stop: AtomicBool,
}

impl Feed {
    /// Starts publishing with message 0.
    pub fn start(plan: Plan, settings: Settings) -> Result<Self> {
        let shared = Arc::new(Shared {
            publisher: Publisher::start(settings)?,
            issued: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let publishing = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("feed".to_owned());
        let thread = thread.spawn(move || publishing.publish(plan))?;
        Ok(Self { plan, shared, thread: Some(thread) })
    }

    /// The numbers of the messages that were acknowledged so far.
    pub fn acknowledged(&self) -> BTreeSet<u64> {
        self.shared.publisher.acknowledged()
    }

    /// How many messages were acknowledged so far.
    pub fn acknowledged_count(&self) -> usize {
        self.shared.publisher.acknowledged_count()
    }

    /// Messages 0 to below this may have been sent.
    pub fn issued(&self) -> u64 {
        self.shared.issued.load(Ordering::SeqCst)
    }

    /// Waits until this many more messages are acknowledged than are now.
    pub fn wait_more(&self, more: usize, within: Duration) -> Result<()> {
        let goal = self.acknowledged_count() + more;
        let what = format!("{more} more acknowledgements");
        wait::until_true(&what, within, || self.acknowledged_count() >= goal)
    }

    /// Stops publishing, and waits until everything published is acknowledged.
    pub fn finish(&mut self, within: Duration) -> Result<()> {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow!("a feed's thread panicked"))??;
        }
        self.shared.publisher.wait_settled(within)
    }

    /// Reads everything back; an error unless all that was acknowledged is there and everything that
    /// is there was issued, once.
    pub fn verify(&self, http: &Http) -> Result<Verdict> {
        let acknowledged = self.acknowledged();
        let read = api::plan_samples(http, &self.plan)?;
        let mut checker = Checker::new(self.plan, 0..self.issued(), acknowledged);
        for sample in read {
            checker.see(sample);
        }
        let verdict = checker.verdict();
        verdict.ensure_clean()?;
        Ok(verdict)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // The thread ends at its next message; a publisher without room holds it back for longer.
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn publish(&self, plan: Plan) -> Result<()> {
        while !self.stop.load(Ordering::SeqCst) {
            let number = self.issued.fetch_add(1, Ordering::SeqCst);
            self.publisher.publish(number, &plan.topic(number), &plan.payload(number), ROOM_WITHIN)?;
            if number % BURST == BURST - 1 {
                wait::pause(BURST_PAUSE);
            }
        }
        Ok(())
    }
}
