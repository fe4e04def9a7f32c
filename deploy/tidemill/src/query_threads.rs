//! Threads for HTTP and queries, apart from those that ingest: a query that computes for long keeps no message waiting,
//! and a burst of messages no query.
//!
//! Long computations of queries run on threads of lower priority: on a busy machine ingest goes first (I1 before speed).

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{getpriority_process, setpriority_process};
use tokio::runtime::{Builder, Handle, Runtime};

/// Threads that serve connections: little is done on them.
const WORKERS: usize = 2;
/// The names of those that serve connections, and of those that compute.
const SERVING: &str = "tidemill-serve";
const COMPUTING: &str = "tidemill-compute";
/// By how much the priority of threads that compute is lower.
const NICER_BY: i32 = 5;
/// The lowest priority there is.
const NICEST: i32 = 19;

/// Where queries are answered, until it is dropped.
pub(crate) struct QueryThreads(Option<Runtime>);

impl QueryThreads {
    /// Starts them.
    pub(crate) fn start() -> io::Result<Self> {
        let named = AtomicUsize::new(0);
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name_fn(move || {
                // Those that serve connections are named first, before there is anything to compute.
                let serves = named.fetch_add(1, Ordering::Relaxed) < WORKERS;
                if serves { SERVING.to_owned() } else { COMPUTING.to_owned() }
            })
            .on_thread_start(|| {
                if std::thread::current().name() == Some(COMPUTING) {
                    be_nicer();
                }
            })
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// To start tasks there.
    pub(crate) fn handle(&self) -> Handle {
        self.0.as_ref().map_or_else(Handle::current, |runtime| runtime.handle().clone())
    }
}

/// Lowers the priority of this thread: on Linux priorities are those of threads.
fn be_nicer() {
    let lowered = getpriority_process(None)
        .and_then(|priority| setpriority_process(None, (priority + NICER_BY).min(NICEST)));
    if let Err(error) = lowered {
        tracing::debug!(%error, "a thread for queries keeps its priority");
    }
}

impl Drop for QueryThreads {
    fn drop(&mut self) {
        // Does not wait: it is dropped by a thread that must not block.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn threads_that_compute_are_nicer_than_those_that_serve() {
        let threads = QueryThreads::start().unwrap();
        let ours = getpriority_process(None).unwrap();
        let serving = threads.handle().spawn(async { getpriority_process(None).unwrap() });
        assert_eq!(serving.await.unwrap(), ours);
        let computing = threads.handle().spawn_blocking(|| getpriority_process(None).unwrap());
        assert_eq!(computing.await.unwrap(), (ours + NICER_BY).min(NICEST));
    }
}
