//! When a server has nothing more to do: its processor time stands still.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tidemill_tests::wait;

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(2);
/// Ticks of a hundredth of a second in that time that are still nothing.
const TICKS: u64 = 6;
const WITHIN: Duration = Duration::from_mins(15);

/// Waits until process `pid` has been idle for a while, several times in a row.
pub(crate) fn wait_idle(pid: u32) -> Result<()> {
    let started = wait::now();
    let mut quiet = 0;
    while quiet < 3 && started.elapsed() < WITHIN {
        let before = ticks(pid)?;
        wait::pause(WATCHED);
        quiet = if ticks(pid)? - before <= TICKS { quiet + 1 } else { 0 };
    }
    Ok(())
}

/// User and system time so far.
pub(crate) fn ticks(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let times = fields.split_whitespace().skip(11).take(2);
    times.map(|field| Ok(field.parse::<u64>()?)).sum()
}

/// Resident memory in bytes.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1_024)
}

/// What the files below a directory occupy: some are written with holes.
pub(crate) fn disk(directory: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut total = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        total += if metadata.is_dir() { disk(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(total)
}
