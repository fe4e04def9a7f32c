//! One file a command: what it does with a checked configuration.

pub(crate) mod check_config;
pub(crate) mod demo;
pub(crate) mod era;

pub(crate) mod grind;
mod on_store;
pub(crate) mod rejects;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod status;
pub(crate) mod verify;

use std::io::Write;

/// How a command that served ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing was left undone.
    Complete,
    /// It stopped in order, but messages were left unacknowledged.
    LeftUnacknowledged,
}

/// Writes what a command was asked for to standard output; a reader that went away is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
