//! Points from order of arrival into stored order: by source, by time, equal ones as they arrived.

use crate::codec::convert::{index, position};

use super::build::Head;

/// Points in stored order, and the first of each source. Memory that is used again.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    keys: Vec<u64>,
    pub(super) heads: Vec<Head>,
    pub(super) starts: Vec<u32>,
}

impl Sorted {
    /// Takes over `arrived`, which is in stored order already unless `unsorted`.
    pub(super) fn take(&mut self, arrived: &[Head], unsorted: bool) {
        self.heads.clear();
        self.starts.clear();
        if unsorted {
            self.by_source(arrived);
        } else {
            self.heads.extend_from_slice(arrived);
        }
        let mut source = None;
        for (head, at) in self.heads.iter().zip(0..) {
            if source.replace(head.source) != Some(head.source) {
                self.starts.push(at);
            }
        }
        if unsorted {
            self.by_time();
        }
    }

    /// By source and arrival, which are one number.
    fn by_source(&mut self, arrived: &[Head]) {
        self.keys.clear();
        let key = |(head, arrival): (&Head, u32)| u64::from(head.source) << 32 | u64::from(arrival);
        self.keys.extend(arrived.iter().zip(0..).map(key));
        self.keys.sort_unstable();
        self.heads.extend(self.keys.iter().filter_map(|key| {
            let [a, b, c, d, ..] = key.to_le_bytes();
            arrived.get(index(u32::from_le_bytes([a, b, c, d])))
        }));
    }

    /// By time within each source, where a device did not send in order of time anyway.
    fn by_time(&mut self) {
        let end = position(self.heads.len());
        let ends = self.starts.iter().skip(1).copied().chain([end]);
        for (&start, end) in self.starts.iter().zip(ends) {
            let run = self.heads.get_mut(index(start)..index(end)).unwrap_or_default();
            if !run.is_sorted_by_key(|head| head.time) {
                run.sort_by_key(|head| head.time);
            }
        }
    }
}
