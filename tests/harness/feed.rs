//! A device gateway that publishes a plan's messages one after another, or in the order of a
//! [`delivery`](crate::delivery), whatever happens to the server meanwhile, and knows what must be there.
//!
//! The order of looking matters: what was acknowledged is taken before the server is asked, what
//! was issued after it answered. So a verdict is fair while messages are on their way.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    issued: Mutex<BTreeSet<u64>>,
    stop: AtomicBool,
}

impl Feed {
    /// Starts publishing with message 0.
    pub fn start(plan: Plan, settings: Settings) -> Result<Self> {
        Self::start_in_order(plan, settings, 0..)
    }

    /// Starts publishing these messages, of which some may come more than once; ends by itself after the last.
    pub fn start_in_order(
        plan: Plan,
        settings: Settings,
        order: impl IntoIterator<Item = u64, IntoIter: Send + 'static>,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            publisher: Publisher::start(settings)?,
            issued: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let publishing = Arc::clone(&shared);
        let order = order.into_iter();
        let thread = std::thread::Builder::new().name("feed".to_owned());
        let thread = thread.spawn(move || publishing.publish(plan, order))?;
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

    /// How many different messages may have been sent.
    pub fn issued(&self) -> u64 {
        u64::try_from(self.shared.issued().len()).unwrap_or(u64::MAX)
    }

    /// The numbers of the messages that may have been sent.
    pub fn issued_numbers(&self) -> BTreeSet<u64> {
        self.shared.issued().clone()
    }

    /// Whether there is nothing more to publish.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until all of a finite order is published and acknowledged.
    pub fn wait_over(&mut self, within: Duration) -> Result<()> {
        wait::until_true("the last message", within, || self.is_over())?;
        self.finish(within)
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

    /// How many acknowledgements came out of the order of sending.
    pub fn acknowledged_out_of_order(&self) -> u64 {
        self.shared.publisher.acknowledged_out_of_order()
    }

    /// Reads everything back; an error unless all that was acknowledged is there and everything that
    /// is there was issued, once.
    pub fn verify(&self, http: &Http) -> Result<Verdict> {
        let verdict = self.verdict(http)?;
        verdict.ensure_clean()?;
        Ok(verdict)
    }

    /// Reads everything back and says what is wrong with it.
    pub fn verdict(&self, http: &Http) -> Result<Verdict> {
        self.verdict_on(self.acknowledged(), http)
    }

    /// The same where others say what must be there.
    pub fn verdict_on(&self, acknowledged: BTreeSet<u64>, http: &Http) -> Result<Verdict> {
        let read = api::plan_samples(http, &self.plan)?;
        let mut checker = Checker::new(self.plan, self.issued_numbers(), acknowledged);
        for sample in read {
            checker.see(sample);
        }
        Ok(checker.verdict())
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // The thread ends at its next message; a publisher without room holds it back for longer.
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn issued(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, plan: Plan, order: impl Iterator<Item = u64>) -> Result<()> {
        for (number, sent) in order.zip(1_u64..) {
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            self.issued().insert(number);
            self.publisher.publish(number, &plan.topic(number), &plan.payload(number), ROOM_WITHIN)?;
            if sent.is_multiple_of(BURST) {
                wait::pause(BURST_PAUSE);
            }
        }
        Ok(())
    }
}
