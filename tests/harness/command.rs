//! A command, of `tidemill` or of another program, that runs to its end or until it is told to stop: its exit code, what it
//! printed, and what it logged.
//!
//! It runs in a scratch directory of its own, so that what it leaves there goes with it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::environment;
use crate::process::{Process, read_lossy, scratch_directory};

/// A started command. Dropping it kills it.
#[derive(Debug)]
pub struct Command {
    // Before the directory: the process ends first.
    process: Process,
    output: PathBuf,
    log: PathBuf,
    _directory: TempDir,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Its stdout.
    pub output: String,
    /// Its stderr.
    pub log: String,
}

impl Command {
    /// Starts `tidemill` with these arguments.
    pub fn start<S: AsRef<OsStr>>(arguments: &[S]) -> Result<Self> {
        let binary = environment::tidemill().context("no tidemill binary; cargo build")?;
        Self::of("tidemill", &binary, arguments)
    }

    /// Starts another program with these arguments; `name` is what errors call it.
    pub fn of<S: AsRef<OsStr>>(name: &str, binary: &Path, arguments: &[S]) -> Result<Self> {
        let directory = scratch_directory("tidemill-command-")?;
        let [output, log] = ["output", "log"].map(|name| directory.path().join(name));
        let mut command = process::Command::new(binary);
        command.args(arguments).current_dir(directory.path());
        let process = Process::spawn_apart(name, command, &output, &log)?;
        Ok(Self { process, output, log, _directory: directory })
    }

    /// Waits for the end.
    pub fn finish(self, within: Duration) -> Result<Outcome> {
        let status = self.process.wait(within).with_context(|| self.output())?;
        Ok(self.outcome(status))
    }

    /// SIGTERM, then waits for the end.
    pub fn stop(self, within: Duration) -> Result<Outcome> {
        let status = self.process.terminate(within).with_context(|| self.output())?;
        Ok(self.outcome(status))
    }

    /// Waits until `look` finds what it looks for in what was printed; fails early when the command
    /// ends without it.
    pub fn wait_output<T>(
        &self,
        what: &str,
        within: Duration,
        mut look: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        self.process.wait_ready(what, within, || look(&self.output()).is_some())?;
        look(&self.output()).context("it was printed a moment ago")
    }

    /// Whether it still runs.
    pub fn runs(&self) -> Result<bool> {
        Ok(self.process.exit_status()?.is_none())
    }

    /// Its stdout so far.
    pub fn output(&self) -> String {
        read_lossy(&self.output)
    }

    fn outcome(&self, status: process::ExitStatus) -> Outcome {
        Outcome { code: status.code(), output: self.output(), log: read_lossy(&self.log) }
    }
}

impl Outcome {
    /// An error that shows everything unless the exit code is `code` and each of `parts` was printed
    /// or logged.
    pub fn expect(&self, code: i32, parts: &[&str]) -> Result<()> {
        ensure!(self.code == Some(code), "expected exit code {code}: {self:#?}");
        for part in parts {
            ensure!(self.output.contains(part) || self.log.contains(part), "no {part:?} in {self:#?}");
        }
        Ok(())
    }
}
