//! Folding the columns of a run.

use std::ops::Range;

use crate::codec::Run;

use super::Fold;

impl Fold {
    /// Takes the samples at some positions of a run, later than all before them.
    pub fn extend(&mut self, run: &Run, positions: Range<usize>) {
        for at in positions {
            let (Some(&time), Some(value)) = (run.times.get(at), run.values.get(at)) else { return };
            self.push(time, &value);
        }
    }
}
