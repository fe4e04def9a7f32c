//! The place of a process that a test stops and starts again: the same server before and after.
//!
//! Faults may come from another thread than the one that waits for the server to become ready, so
//! nothing here is locked while something is awaited.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::process::Process;

/// Holds the current process of a server, or none while it is stopped.
#[derive(Debug, Default)]
pub struct Slot(Mutex<Option<Arc<Process>>>);

impl Slot {
    /// Puts a freshly started process in; the one before is killed if it still runs.
    pub fn put(&self, process: Process) -> Arc<Process> {
        let process = Arc::new(process);
        let before = self.lock().replace(Arc::clone(&process));
        drop(before);
        process
    }

    /// The process, an error while there is none.
    pub fn running(&self) -> Result<Arc<Process>> {
        self.lock().clone().context("the process is stopped")
    }

    /// `kill -9`, and waits for the end. Nothing to do while there is no process.
    pub fn kill(&self) -> Result<()> {
        let process = self.lock().take();
        process.map_or(Ok(()), |process| process.kill().map(drop))
    }

    /// SIGTERM; the exit code once the process has ended, `None` if a signal ended it.
    pub fn stop(&self, within: Duration) -> Result<Option<i32>> {
        let process = self.lock().take().context("the process is stopped")?;
        Ok(process.terminate(within)?.code())
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn pause(&self) -> Result<()> {
        self.running()?.pause()
    }

    /// SIGCONT: undoes [`Slot::pause`].
    pub fn resume(&self) -> Result<()> {
        self.running()?.resume()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Process>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
