//! Folds of cells put together from parts: windows of frames and runs of samples, in the order of time. Pure.

use crate::codec::Run;
use crate::model::{TimeRange, Timestamp};
use crate::rollup::{Fields, Fold, WindowState, fold_run, fold_run_with_sketches};

/// Folds of one series, by the number of their cell.
pub(super) type Cells = Vec<(usize, WindowState)>;

/// A part of a cell: what a window or some samples in it say.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Where it starts.
    pub(super) start: Timestamp,
    pub(super) cell: usize,
    pub(super) state: WindowState,
}

/// The cell that holds `time`: the last whose cut is not later.
pub(super) fn cell_of(cuts: &[Timestamp], time: Timestamp) -> usize {
    cuts.partition_point(|&cut| cut <= time).saturating_sub(1)
}

/// The parts of the samples of a run.
pub(super) fn parts_of(run: &Run, cuts: &[Timestamp], fields: Fields) -> Vec<Part> {
    let folds = if fields.contains(Fields::SKETCH) { fold_run_with_sketches } else { fold_run };
    let part = |(cell, state): (usize, WindowState)| {
        let first = state.boundary.as_ref().or(state.interior.first())?;
        Some(Part { start: first.time, cell, state })
    };
    folds(run, cuts).into_iter().filter_map(part).collect()
}

/// The parts of the samples of a run in each of `ranges`: parts of windows may lie between them.
pub(super) fn parts_within(run: &Run, ranges: &[TimeRange], cuts: &[Timestamp], fields: Fields) -> Vec<Part> {
    ranges.iter().flat_map(|range| parts_of(&run.slice(*range), cuts, fields)).collect()
}

/// One fold for each cell, ascending.
pub(super) fn composed(mut parts: Vec<Part>, cuts: &[Timestamp], fields: Fields) -> Cells {
    parts.sort_by_key(|part| part.start);
    let mut cells = Cells::with_capacity(parts.len());
    for part in parts {
        if let Some((_, state)) = cells.last_mut().filter(|(cell, _)| *cell == part.cell) {
            state.merge(&part.state);
        } else {
            let is_at_start = cuts.get(part.cell) == Some(&part.start);
            let state = if is_at_start { part.state } else { without_boundary(part.state, fields) };
            cells.push((part.cell, state));
        }
    }
    cells
}

/// Appends cells of later times; the first may go on with the last.
pub(super) fn extend(cells: &mut Cells, later: Cells) {
    let mut later = later.into_iter().peekable();
    if let (Some((last, state)), Some((first, _))) = (cells.last_mut(), later.peek())
        && last == first
        && let Some((_, more)) = later.next()
    {
        state.merge(&more);
    }
    cells.extend(later);
}

/// The state of a cell that starts before this state's window: its boundary sample lies inside.
fn without_boundary(state: WindowState, fields: Fields) -> WindowState {
    let Some(boundary) = state.boundary else { return state };
    let mut interior = empty(fields);
    interior.push(boundary.time, &boundary.value);
    interior.merge(&state.interior);
    WindowState { boundary: None, interior }
}

fn empty(fields: Fields) -> Fold {
    if fields.contains(Fields::SKETCH) { Fold::with_sketch() } else { Fold::EMPTY }
}

/// The state, where it says all that is asked for: of quantiles it may say nothing.
pub(super) fn enough(state: &WindowState, fields: Fields) -> Option<WindowState> {
    if !fields.contains(Fields::SKETCH) || state.interior.sketch().is_some() {
        return Some(state.clone());
    }
    let boundary = state.boundary.clone();
    state.interior.is_empty().then(|| WindowState { boundary, interior: Fold::with_sketch() })
}

/// The time of the last sample of a state; `None` where it does not know.
pub(super) fn last_time(state: &WindowState) -> Option<Timestamp> {
    match (&state.boundary, state.interior.is_empty()) {
        (Some(boundary), true) => Some(boundary.time),
        (_, _) => state.interior.last().map(|last| last.time),
    }
}

/// The state of a window with later parts of it; `None` where they are not all later.
pub(super) fn extended(state: &WindowState, mut later: Vec<Part>, fields: Fields) -> Option<WindowState> {
    let last = last_time(state)?;
    later.sort_by_key(|part| part.start);
    if later.first().is_some_and(|first| first.start <= last) {
        return None;
    }
    let mut more = state.clone();
    if more.interior.is_empty() {
        more.interior = empty(fields);
    }
    for part in &later {
        more.merge(&part.state);
    }
    Some(more)
}
