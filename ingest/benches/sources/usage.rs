//! What this process has used, from `/proc`.

use std::fs;

/// Ticks of the CPU figures in `/proc/self/stat`: fixed for user space on Linux.
const TICKS_PER_SECOND: f64 = 100.0;
const PAGE_BYTES: usize = 4_096;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: usize,
}

impl Usage {
    pub(crate) fn now() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        // The second field is in brackets and may hold spaces; utime and stime are the 14th and 15th.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
        let statm = fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
        Self { cpu_seconds: (ticks(11) + ticks(12)) / TICKS_PER_SECOND, resident_bytes: pages * PAGE_BYTES }
    }
}
