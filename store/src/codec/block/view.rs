//! Some consecutive ones of the collected sources, with what belongs to them: what one pack holds.

use std::ops::Range;

use crate::codec::convert::{index, position};

use super::collect::{Collected, Column, Odd, Source};
use super::cuts::Cuts;

/// Consecutive sources and what belongs to them.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) all: &'a Collected,
    pub(super) sources: &'a [Source],
    pub(super) first: Source,
    pub(super) last: Source,
    /// The columns that they have values in.
    pub(super) parts: Vec<Part<'a>>,
    /// For each collected column the position among `parts`.
    numbers: Vec<usize>,
    series_start: usize,
    axes_start: usize,
}

/// The values of some sources in a column.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) column: &'a Column,
    runs: &'a [(u32, u32)],
    /// Within the column.
    pub(super) values: Range<usize>,
}

impl<'a> View<'a> {
    /// `None` where there are no sources at the range.
    pub(super) fn new(all: &'a Collected, range: Range<usize>) -> Option<Self> {
        let sources = all.sources.get(range.clone())?;
        let (first, last) = (*sources.first()?, *sources.last()?);
        let before = range.start.checked_sub(1).and_then(|at| all.sources.get(at));
        let mut parts = Vec::new();
        let mut numbers = Vec::new();
        for column in &all.columns {
            numbers.push(parts.len());
            parts.extend(Part::new(column, &range));
        }
        let series_start = before.map_or(0, |source| source.series_end);
        let axes_start = before.map_or(0, |source| source.axes_end);
        Some(Self { all, sources, first, last, parts, numbers, series_start, axes_start })
    }

    /// The series of each source: the position of the column among the parts, and the axis.
    pub(super) fn series(&self) -> impl Iterator<Item = Vec<(usize, usize)>> {
        let mut start = self.series_start;
        self.sources.iter().map(move |source| {
            let series = self.all.series.get(start..source.series_end).unwrap_or_default();
            start = source.series_end;
            let number = |column: u32| self.numbers.get(index(column)).copied().unwrap_or(0);
            series.iter().map(|&(column, axis)| (number(column), index(axis))).collect()
        })
    }

    /// How many times each axis has.
    pub(super) fn lengths(&self) -> Vec<i64> {
        let mut start = self.times_start();
        let ends = self.all.axis_ends.get(self.axes_start..self.last.axes_end).unwrap_or_default();
        ends.iter()
            .map(|&end| {
                let length = index(end) - start;
                start = index(end);
                i64::from(position(length))
            })
            .collect()
    }

    /// The times of all axes.
    pub(super) fn times(&self) -> &'a [i64] {
        let end = self.last.axes_end.checked_sub(1).and_then(|at| self.all.axis_ends.get(at));
        self.all.times.get(self.times_start()..index(end.copied().unwrap_or(0))).unwrap_or_default()
    }

    fn times_start(&self) -> usize {
        let before = self.axes_start.checked_sub(1).and_then(|at| self.all.axis_ends.get(at));
        before.map_or(0, |&end| index(end))
    }
}

impl<'a> Part<'a> {
    /// `None` where none of the sources has values in the column.
    fn new(column: &'a Column, sources: &Range<usize>) -> Option<Self> {
        let from = column.runs.partition_point(|&(source, _)| index(source) < sources.start);
        let until = column.runs.partition_point(|&(source, _)| index(source) < sources.end);
        let runs = column.runs.get(from..until)?;
        let start = from.checked_sub(1).and_then(|before| column.runs.get(before)).map_or(0, |&(_, end)| end);
        let values = index(start)..index(runs.last()?.1);
        Some(Self { column, runs, values })
    }

    pub(super) fn cuts(&self) -> Cuts {
        let mut start = self.values.start;
        Cuts::of(self.runs.iter().map(|&(_, end)| {
            let length = index(end) - start;
            start = index(end);
            length
        }))
    }

    /// What stands for the values.
    pub(super) fn integers(&self) -> &'a [i64] {
        self.column.integers.get(self.values.clone()).unwrap_or_default()
    }

    /// The odd values of a page, with their positions on it.
    pub(super) fn odd(&self, page: &Range<usize>) -> Vec<Odd> {
        let start = self.values.start + page.start;
        let all = &self.column.odd;
        let from = all.partition_point(|odd| index(odd.at) < start);
        let until = all.partition_point(|odd| index(odd.at) < start + page.len());
        let odd = all.get(from..until).unwrap_or_default().iter();
        odd.map(|odd| Odd { at: position(index(odd.at) - start), ..*odd }).collect()
    }
}
