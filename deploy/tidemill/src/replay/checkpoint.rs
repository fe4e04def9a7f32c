//! How far a replay has come, in a file beside the CSV. Replaced whole, so it is never half written.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::cli::ReplayArgs;

/// What identifies a replay, and how many of its rows are acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
struct State {
    device: String,
    metric: Option<String>,
    value_columns: Vec<String>,
    topic: String,
    broker: String,
    file_bytes: u64,
    acknowledged_rows: u64,
}

/// The position of a replay, kept on disk.
pub(super) struct Checkpoint {
    path: PathBuf,
    state: State,
}

impl Checkpoint {
    /// Reads the position of an earlier run of the same replay, or starts at the first row.
    pub(super) fn open(args: &ReplayArgs) -> anyhow::Result<Self> {
        let mut path = args.file.clone().into_os_string();
        path.push(format!(".{}.replay", args.device));
        let path = PathBuf::from(path);
        let file_bytes = fs::metadata(&args.file).with_context(|| format!("{}", args.file.display()))?.len();
        let fresh = State {
            device: args.device.clone(),
            metric: args.metric.clone(),
            value_columns: args.value_columns.clone(),
            topic: args.topic.clone(),
            broker: args.broker.clone(),
            file_bytes,
            acknowledged_rows: 0,
        };
        if args.restart || !path.exists() {
            return Ok(Self { path, state: fresh });
        }
        let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        let found: State = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a replay position; --restart replaces it", path.display()))?;
        if (State { acknowledged_rows: 0, ..found.clone() }) != fresh {
            bail!(
                "{} is of a replay with other arguments or another file; give the same ones, or --restart",
                path.display()
            );
        }
        Ok(Self { path, state: found })
    }

    /// Rows known to be acknowledged.
    pub(super) const fn acknowledged(&self) -> u64 {
        self.state.acknowledged_rows
    }

    /// Keeps a later position.
    pub(super) fn advance(&mut self, rows: u64) -> anyhow::Result<()> {
        if rows == self.state.acknowledged_rows {
            return Ok(());
        }
        self.state.acknowledged_rows = rows;
        self.save()
    }

    /// Goes back to the first row.
    pub(super) fn reset(&mut self) -> anyhow::Result<()> {
        self.state.acknowledged_rows = 0;
        self.save()
    }

    /// Removes the position: the replay is complete.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{}", self.path.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn save(&self) -> anyhow::Result<()> {
        let staged = self.path.with_extension("replay.new");
        fs::write(&staged, serde_json::to_vec(&self.state)?)
            .and_then(|()| fs::rename(&staged, &self.path))
            .with_context(|| format!("cannot keep the position of the replay in {}", self.path.display()))
    }
}
