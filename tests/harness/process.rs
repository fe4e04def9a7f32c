//! A child process that a test owns: its log, its signals, its end.
//!
//! A signal goes to the child's own pid and only while the child has not been reaped, so it can
//! never hit a stranger. Dropping a [`Process`] kills it. Should the test process itself be
//! killed, a watchdog (a shell that waits on a pipe from this process) kills the child instead, so
//! that no broker or database outlives its test.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;

use crate::{environment, wait};

/// How many lines of a log an error shows.
const TAIL_LINES: usize = 30;
/// Cassandra logs its whole configuration as one line of 15 KB.
const TAIL_LINE_CHARS: usize = 300;
/// A killed process that stays longer than this hangs in the kernel.
const KILL_WITHIN: Duration = Duration::from_secs(20);
const PAUSE_WITHIN: Duration = Duration::from_secs(5);

/// A running (or finished) child process.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    log: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    child: Child,
    watchdog: Option<Child>,
    exit: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with no stdin, and stdout and stderr appended to `log`.
    ///
    /// `name` is what errors call it.
    pub fn spawn(name: &str, command: Command, log: &Path) -> Result<Self> {
        Self::spawn_apart(name, command, log, log)
    }

    /// As [`Process::spawn`], with stdout in a file of its own.
    pub fn spawn_apart(name: &str, mut command: Command, output: &Path, log: &Path) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(append(output)?)
            .stderr(append(log)?)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name}: {command:?}"))?;
        let pid = child.id();
        // From here on the child has an owner that kills it, whatever fails below.
        let process = Self {
            name: name.to_owned(),
            pid,
            log: log.to_owned(),
            state: Mutex::new(State { child, watchdog: None, exit: None }),
        };
        process.state().watchdog = Some(watch(pid)?);
        Ok(process)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The file that has the process's output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits until `ready` says so; fails early, with the end of the log, when the process exits.
    pub fn wait_ready(&self, what: &str, within: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        wait::until(what, within, || match self.exit_status()? {
            Some(status) => bail!("{} exited early: {status}", self.name),
            None => Ok(ready().then_some(())),
        })
        .with_context(|| self.describe())
    }

    /// Waits until a line of the log holds `needle`.
    pub fn wait_log(&self, needle: &str, within: Duration) -> Result<()> {
        let what = format!("'{needle}' in {}", self.log.display());
        self.wait_ready(&what, within, || read_lossy(&self.log).contains(needle))
    }

    /// The exit status, if the process has ended.
    pub fn exit_status(&self) -> Result<Option<ExitStatus>> {
        self.state().poll()
    }

    /// Waits for the process to end by itself.
    pub fn wait(&self, within: Duration) -> Result<ExitStatus> {
        wait::until("its end", within, || self.exit_status()).with_context(|| self.describe())
    }

    /// SIGTERM, then waits for the end. A process that does not end in time stays as it is.
    pub fn terminate(&self, within: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(within)
    }

    /// SIGKILL, then waits for the end. Harmless when it has ended already.
    pub fn kill(&self) -> Result<ExitStatus> {
        if self.exit_status()?.is_none() {
            self.signal(Signal::KILL)?;
        }
        self.wait(KILL_WITHIN)
    }

    /// SIGSTOP: the process keeps its sockets and answers nothing. Returns once all of its threads stand still: the
    /// signal is on its way for a while, in which a busy process may still answer.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        wait::until("all threads to stop", PAUSE_WITHIN, || Ok(all_stopped(self.pid)?.then_some(())))
            .with_context(|| self.describe())
    }

    /// SIGCONT: undoes [`Process::pause`].
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// From now on the process gets no more memory for data than this: beyond it, asking for memory fails.
    pub fn limit_memory(&self, bytes: u64) -> Result<()> {
        let state = self.state();
        let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        prlimit(Some(Pid::from_child(&state.child)), Resource::Data, limit)
            .with_context(|| format!("limiting the memory of {}", self.name))?;
        Ok(())
    }

    /// The last lines of the log, for an error message.
    pub fn log_tail(&self) -> String {
        let text = read_lossy(&self.log);
        let lines: Vec<String> =
            text.lines().map(|line| line.chars().take(TAIL_LINE_CHARS).collect()).collect();
        let skipped = lines.len().saturating_sub(TAIL_LINES);
        lines.into_iter().skip(skipped).collect::<Vec<_>>().join("\n")
    }

    fn describe(&self) -> String {
        let log = self.log.display();
        format!("{} (pid {}), end of {log}:\n{}", self.name, self.pid, self.log_tail())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        // The lock is held from the check to the signal: nobody reaps the child in between.
        let mut state = self.state();
        if let Some(status) = state.poll()? {
            bail!("{} has already ended: {status}\n{}", self.name, self.describe());
        }
        kill_process(Pid::from_child(&state.child), signal)
            .with_context(|| format!("sending {signal:?} to {}", self.name))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            tracing::error!(error = format!("{error:#}"), "a test process could not be killed");
        }
    }
}

impl State {
    fn poll(&mut self) -> Result<Option<ExitStatus>> {
        if self.exit.is_none() {
            self.exit = self.child.try_wait()?;
            if self.exit.is_some() {
                self.dismiss_watchdog()?;
            }
        }
        Ok(self.exit)
    }

    fn dismiss_watchdog(&mut self) -> Result<()> {
        if let Some(mut watchdog) = self.watchdog.take() {
            watchdog.kill()?;
            watchdog.wait()?;
        }
        Ok(())
    }
}

/// A directory for a process's files, removed with its owner unless `TIDEMILL_KEEP=1`.
pub fn scratch_directory(prefix: &str) -> Result<TempDir> {
    let mut directory = tempfile::Builder::new().prefix(prefix).tempdir()?;
    directory.disable_cleanup(environment::keep_directories());
    Ok(directory)
}

/// A process that kills `pid` when this process is gone and the pipe between them closes.
fn watch(pid: u32) -> Result<Child> {
    Command::new("sh")
        .args(["-c", "read -r _; kill -9 \"$1\"", "watchdog", &pid.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("starting a watchdog")
}

/// Whether every thread of `pid` is stopped, or none is left.
fn all_stopped(pid: u32) -> Result<bool> {
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that ended meanwhile answers nothing either.
        let stat = std::fs::read_to_string(thread?.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
        if state.is_some_and(|state| !matches!(state, 'T' | 't' | 'Z' | 'X')) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn append(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.with_context(|| format!("opening {}", path.display()))
}

/// A file as text, empty where there is none, with whatever is not UTF-8 replaced.
pub(crate) fn read_lossy(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> (tempfile::TempDir, Process) {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let process = Process::spawn("sh", command, &directory.path().join("log")).unwrap();
        (directory, process)
    }

    #[test]
    fn terminate_returns_the_exit_code_of_the_handler() {
        let (_directory, process) = shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done");
        process.wait_log("ready", SOON).unwrap();
        assert_eq!(process.terminate(SOON).unwrap().code(), Some(7));
    }

    #[test]
    fn an_early_exit_is_reported_with_the_end_of_the_log() {
        let (_directory, process) = shell("echo the reason >&2; exit 3");
        let error = process.wait_log("never", SOON).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("the reason") && text.contains("exit status: 3"), "{text}");
    }

    #[test]
    fn a_paused_process_ends_by_kill_and_is_not_signalled_again() {
        let (_directory, process) = shell("while :; do sleep 0.01; done");
        process.pause().unwrap();
        assert_eq!(process.kill().unwrap().code(), None);
        assert!(process.resume().is_err());
        assert!(process.kill().is_ok());
    }

    #[test]
    fn dropping_a_process_kills_it() {
        let (_directory, process) = shell("while :; do sleep 0.01; done");
        let pid = process.pid();
        drop(process);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_watchdog_kills_when_its_pipe_closes() {
        let (_directory, process) = shell("while :; do sleep 0.01; done");
        drop(process.state().watchdog.as_mut().unwrap().stdin.take());
        assert_eq!(process.wait(SOON).unwrap().code(), None);
    }
}
