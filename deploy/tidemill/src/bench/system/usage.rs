//! What a process has used so far, as the kernel counts it (`/proc`, see `man 5 proc_pid_stat` and `proc_pid_io`).

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// The unit of processor time in `/proc/PID/stat`: a hundredth of a second on every Linux of today.
const TICKS_PER_SECOND: f64 = 100.0;
/// Processor time of user and kernel, counted from the field after the name.
const UTIME_FIELD: usize = 11;
/// A page of memory in the unit that `status` uses.
const MIB_IN_KIB: f64 = 1024.0;
/// Bytes of a block as `stat` counts them.
const BLOCK_BYTES: u64 = 512;

/// Usage since a process began.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::bench) struct Usage {
    pub(in crate::bench) cpu_seconds: f64,
    pub(in crate::bench) rss_mib: f64,
    pub(in crate::bench) rss_max_mib: f64,
    /// Bytes that went to storage; 0 where the kernel does not tell.
    pub(in crate::bench) written_bytes: u64,
}

/// Usage of one process over a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::bench) struct ProcessReport {
    /// Its name.
    pub(in crate::bench) name: String,
    /// Processor time in the time measured.
    pub(in crate::bench) cpu_seconds: f64,
    /// The same for a million messages; absent where there were none.
    pub(in crate::bench) cpu_seconds_per_million: Option<f64>,
    /// Memory at the end.
    pub(in crate::bench) rss_mib: f64,
    /// The most memory it ever had.
    pub(in crate::bench) rss_max_mib: f64,
    /// Bytes that went to storage in the time measured.
    pub(in crate::bench) written_bytes: u64,
}

impl Usage {
    pub(super) fn of(pid: u32) -> anyhow::Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let status = read("status")?;
        Ok(Self {
            cpu_seconds: cpu_seconds(&read("stat")?).context("cannot understand /proc/PID/stat")?,
            rss_mib: number(&status, "VmRSS:").unwrap_or(0.0) / MIB_IN_KIB,
            rss_max_mib: number(&status, "VmHWM:").unwrap_or(0.0) / MIB_IN_KIB,
            // Readable for processes of the same user only.
            written_bytes: read("io").ok().and_then(|io| number(&io, "write_bytes:")).unwrap_or(0),
        })
    }

    /// What was used since `before`, in which so many messages were acknowledged.
    pub(in crate::bench) fn since(&self, before: &Self, name: &str, messages: u64) -> ProcessReport {
        let cpu_seconds = self.cpu_seconds - before.cpu_seconds;
        ProcessReport {
            name: name.to_owned(),
            cpu_seconds,
            cpu_seconds_per_million: (messages > 0).then(|| cpu_seconds * 1e6 / super::float(messages)),
            rss_mib: self.rss_mib,
            rss_max_mib: self.rss_max_mib,
            written_bytes: self.written_bytes.saturating_sub(before.written_bytes),
        }
    }
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    // The name may hold anything, parentheses too: fields are counted from the last one.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(UTIME_FIELD).map(str::parse::<f64>);
    Some((times.next()?.ok()? + times.next()?.ok()?) / TICKS_PER_SECOND)
}

fn number<T: std::str::FromStr>(text: &str, name: &str) -> Option<T> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Bytes that files below `directory` take on disk. Files that go away meanwhile do not count.
pub(super) fn stored_bytes(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;

    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => stored_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * BLOCK_BYTES,
        Err(_) => 0,
    };
    entries.map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "42 (a) name) S 1 42 42 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 9 0 100 0 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("nonsense"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.rss_mib > 0.0 && usage.rss_max_mib >= usage.rss_mib);
        assert!(Usage::of(u32::MAX).is_err());
    }

    #[test]
    fn processor_time_is_given_for_a_million_messages() {
        let before = Usage { cpu_seconds: 1.0, written_bytes: 10, ..Usage::default() };
        let after = Usage { cpu_seconds: 2.0, written_bytes: 30, ..Usage::default() };
        let report = after.since(&before, "x", 2_000_000);
        assert_eq!((report.cpu_seconds_per_million, report.written_bytes), (Some(0.5), 20));
        assert_eq!(after.since(&before, "x", 0).cpu_seconds_per_million, None);
    }

    #[test]
    fn files_of_all_directories_below_count() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("below")).unwrap();
        fs::write(directory.path().join("below/file"), [1; 10_000]).unwrap();
        assert!(stored_bytes(directory.path()) >= 10_000);
        assert_eq!(stored_bytes(&directory.path().join("absent")), 0);
    }
}
