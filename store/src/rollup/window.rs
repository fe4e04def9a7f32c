//! A window's samples as a fold, with the sample at the window's start kept apart.
//!
//! So both `[start, end)` and `(start, end]` are exact: the first takes the boundary sample, the second leaves it to
//! the window before. Windows that follow each other merge into wider ones without loss (I4).

use crate::codec::Run;
use crate::model::{Sample, Timestamp};

use super::Fold;

/// What the samples in `[start, end)` say.
#[derive(Debug, Clone, Default)]
pub struct WindowState {
    /// The sample exactly at the start.
    pub boundary: Option<Sample>,
    /// The samples in `(start, end)`.
    pub interior: Fold,
}

impl WindowState {
    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.boundary.is_none() && self.interior.is_empty()
    }

    /// How many samples.
    pub fn count(&self) -> u64 {
        self.interior.count() + u64::from(self.boundary.is_some())
    }

    /// The fold over `[start, end)`.
    pub fn into_closed_open(self) -> Fold {
        if self.boundary.is_none() {
            return self.interior;
        }
        let mut fold = self.at_boundary();
        fold.absorb(self.interior);
        fold
    }

    /// The fold over `(start, end]`, where `end` is the boundary of the window that follows.
    pub fn open_closed(&self, end: Option<&Sample>) -> Fold {
        let mut fold = self.interior.clone();
        if let Some(sample) = end {
            fold.push(sample.time, &sample.value);
        }
        fold
    }

    /// Takes all samples of a later window: this becomes the state of one window over both, and over whatever lies
    /// between them. A window that starts the wider one must be merged into nothing else first, or its boundary is
    /// no longer one.
    pub fn merge(&mut self, later: &Self) {
        if self.interior.is_empty() && later.interior.sketch().is_some() {
            self.interior = Fold::with_sketch();
        }
        if let Some(sample) = &later.boundary {
            self.interior.push(sample.time, &sample.value);
        }
        self.interior.merge(&later.interior);
    }

    /// The boundary sample alone, with a sketch where the interior has one.
    fn at_boundary(&self) -> Fold {
        let mut fold = if self.interior.sketch().is_some() { Fold::with_sketch() } else { Fold::EMPTY };
        if let Some(sample) = &self.boundary {
            fold.push(sample.time, &sample.value);
        }
        fold
    }
}

/// The samples of a run by cells: cell `i` is `[cuts[i], cuts[i + 1])`, `cuts` ascend. Gives the cells that hold
/// samples, in order; samples before the first cut and from the last one on are in none.
pub fn fold_run(run: &Run, cuts: &[Timestamp]) -> Vec<(usize, WindowState)> {
    fold_cells(run, cuts, &Fold::EMPTY)
}

/// As [`fold_run`], with quantile sketches.
pub fn fold_run_with_sketches(run: &Run, cuts: &[Timestamp]) -> Vec<(usize, WindowState)> {
    fold_cells(run, cuts, &Fold::with_sketch())
}

fn fold_cells(run: &Run, cuts: &[Timestamp], empty: &Fold) -> Vec<(usize, WindowState)> {
    let times = run.times.as_slice();
    let mut cells = Vec::new();
    let mut at = cuts.first().map_or(times.len(), |first| times.partition_point(|time| time < first));
    while let Some(&time) = times.get(at) {
        let cell = cuts.partition_point(|&cut| cut <= time).saturating_sub(1);
        let (Some(&start), Some(&end)) = (cuts.get(cell), cuts.get(cell + 1)) else { break };
        let rest = times.get(at..).unwrap_or_default();
        let until = at + rest.partition_point(|&time| time < end);
        let mut state = WindowState { boundary: None, interior: empty.clone() };
        if time == start {
            state.boundary = run.values.get(at).map(|value| Sample { time, value });
            at += 1;
        }
        state.interior.extend(run, at..until);
        cells.push((cell, state));
        at = until;
    }
    cells
}
