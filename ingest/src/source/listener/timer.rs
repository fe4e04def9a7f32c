//! One timer for all deadlines of a connection. Deadlines mostly move later, with every packet: so the timer is
//! left where it is until it fires, and only then set to where the deadline is by now.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// A lazily moved timer.
#[derive(Debug)]
pub(super) struct Timer(Pin<Box<Sleep>>);

impl Timer {
    pub(super) fn new(deadline: Instant) -> Self {
        Self(Box::pin(sleep_until(deadline)))
    }

    /// Ready once `deadline` has passed.
    pub(super) fn poll_until(&mut self, context: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        if deadline < self.0.deadline() {
            self.0.as_mut().reset(deadline);
        }
        loop {
            ready!(self.0.as_mut().poll(context));
            if deadline <= self.0.deadline() {
                return Poll::Ready(());
            }
            self.0.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_deadline_may_move_both_ways() {
        let start = Instant::now();
        let mut timer = Timer::new(start + Duration::from_secs(10));
        let mut until = async |seconds| {
            poll_fn(|context| timer.poll_until(context, start + Duration::from_secs(seconds))).await;
            start.elapsed().as_secs()
        };
        assert_eq!(until(3).await, 3);
        assert_eq!(until(20).await, 20);
        assert_eq!(until(15).await, 20, "it has passed already");
    }
}
