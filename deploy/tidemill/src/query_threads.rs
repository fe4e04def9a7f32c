//! Threads for HTTP and queries, apart from those that ingest: a query that computes for long keeps no message waiting,
//! and a burst of messages no query.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// Threads that serve connections: little is done on them.
const WORKERS: usize = 2;

/// Where queries are answered, until it is dropped.
pub(crate) struct QueryThreads(Option<Runtime>);

impl QueryThreads {
    /// Starts them.
    pub(crate) fn start() -> io::Result<Self> {
        let mut threads = Builder::new_multi_thread();
        threads.worker_threads(WORKERS).thread_name("tidemill-query").enable_all();
        Ok(Self(Some(threads.build()?)))
    }

    /// To start tasks there.
    pub(crate) fn handle(&self) -> Handle {
        self.0.as_ref().map_or_else(Handle::current, |runtime| runtime.handle().clone())
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
