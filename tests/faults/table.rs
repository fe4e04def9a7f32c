//! The table of the fault matrix: a row for each fault, with the oracle's verdict.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};

/// What the judges found in one row; all from `lost` to `stalled` must be zero.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings {
    /// Messages that may have been sent.
    pub(crate) issued: u64,
    /// Messages that must be there.
    pub(crate) acknowledged: u64,
    /// Messages that were read.
    pub(crate) read: u64,
    /// Samples of acknowledged messages that cannot be read.
    pub(crate) lost: usize,
    /// Samples read that nobody sent, or with another value.
    pub(crate) invented: usize,
    /// Samples read twice.
    pub(crate) duplicated: usize,
    /// Acknowledgements that came before that of an earlier message of the connection.
    pub(crate) reordered: u64,
    /// Whether it did not go on in time once the fault had ended.
    pub(crate) stalled: u64,
    /// How long a fresh message took to be taken, from the end of the fault on.
    pub(crate) went_on: Duration,
    /// How long it took until nothing waited any more.
    pub(crate) drained: Duration,
    /// How much was tried.
    pub(crate) note: String,
}

impl std::ops::AddAssign for Findings {
    fn add_assign(&mut self, other: Self) {
        self.issued += other.issued;
        self.acknowledged += other.acknowledged;
        self.read += other.read;
        self.lost += other.lost;
        self.invented += other.invented;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.stalled += other.stalled;
        self.went_on = self.went_on.max(other.went_on);
        self.drained = self.drained.max(other.drained);
        if !self.note.is_empty() && !other.note.is_empty() {
            self.note.push_str("; ");
        }
        self.note.push_str(&other.note);
    }
}

static ROWS: Mutex<Vec<(&'static str, Result<Findings, String>)>> = Mutex::new(Vec::new());

/// Notes how `row` ended; an error unless nothing was found.
pub(crate) fn judge(row: &'static str, findings: Result<Findings>) -> Result<()> {
    let shown = findings.as_ref().map(Clone::clone).map_err(|error| format!("{error:#}"));
    ROWS.lock().unwrap_or_else(PoisonError::into_inner).push((row, shown));
    let Findings { issued, acknowledged, lost, invented, duplicated, reordered, stalled, note, .. } =
        findings?;
    ensure!(
        acknowledged > 0 && issued >= acknowledged,
        "{row}: {acknowledged} acknowledged of {issued} issued"
    );
    let clean = lost + invented + duplicated == 0 && reordered + stalled == 0;
    ensure!(
        clean,
        "{row}: lost {lost}, invented {invented}, duplicated {duplicated}, reordered {reordered}, stalled {stalled} \
         ({note})"
    );
    Ok(())
}

/// The table of all rows so far.
pub(crate) fn table() -> String {
    let rows = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut text = String::new();
    if rows.is_empty() {
        return text;
    }
    _ = write!(text, "\n{:<46}", "fault");
    for head in ["issued", "acked", "read"] {
        _ = write!(text, "{head:>9}");
    }
    for head in ["lost", "invented", "duplicated", "reordered", "stalled", "fresh s", "drained s"] {
        _ = write!(text, "{head:>11}");
    }
    text.push('\n');
    for (row, findings) in rows.iter() {
        _ = write!(text, "{row:<46}");
        match findings {
            Ok(found) => {
                for number in [found.issued, found.acknowledged, found.read] {
                    _ = write!(text, "{number:>9}");
                }
                for number in [found.lost, found.invented, found.duplicated] {
                    _ = write!(text, "{number:>11}");
                }
                _ = write!(text, "{:>11}{:>11}", found.reordered, found.stalled);
                let (went_on, drained) = (found.went_on.as_secs_f64(), found.drained.as_secs_f64());
                _ = writeln!(text, "{went_on:>11.1}{drained:>11.1}   {}", found.note);
            }
            Err(error) => _ = writeln!(text, "   failed: {}", error.lines().next().unwrap_or_default()),
        }
    }
    text
}
