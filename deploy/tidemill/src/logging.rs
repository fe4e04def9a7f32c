//! What is logged and how it looks.

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::raw::{RawLog, RawLogFormat};

/// Installs the process's log; to standard error, so that what commands print stays apart.
pub(crate) fn install(log: &RawLog) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.level).with_context(|| format!("log.level {:?}", log.level))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        RawLogFormat::Text => lines.try_init(),
        RawLogFormat::Json => lines.json().flatten_event(true).try_init(),
    }
    .map_err(|error| anyhow::anyhow!("cannot install the log: {error}"))
}
