//! A segment unpacked to be followed, as far as it is of those who are followed. Pure.
//!
//! It is done before anything is locked: others look at what is kept meanwhile.

use std::ops::Range;

use super::few::Few;
use crate::catalog::{CatalogIndex, SourceIndex};
use crate::codec::segment::{Column, Heading, Limits, Segment, SegmentError};
use crate::layout::SegmentRow;
use crate::model::{Metric, Shard, Timestamp};
use crate::read::Sample;
use crate::read::lasts::{Arrival, Last};

/// What is wanted of a segment.
#[derive(Debug)]
pub(super) struct Unpacked<'a> {
    pub(super) row: &'a SegmentRow,
    /// The points of each source.
    pub(super) runs: Vec<(SourceIndex, Range<usize>)>,
    /// The metrics that any of these points may have.
    pub(super) columns: Vec<(Metric, Column)>,
    /// None where none of it is wanted.
    segment: Option<Segment>,
}

impl<'a> Unpacked<'a> {
    /// What of the segment in `row` is of `few`, or all of it. `None` where it names a source that is not known yet: it
    /// was not acknowledged when the query began that read its mark, and is left for later.
    pub(super) fn of(
        row: &'a SegmentRow,
        (catalog, shard): (&CatalogIndex, Shard),
        few: Option<&Few>,
    ) -> Result<Option<Self>, SegmentError> {
        let heading = Heading::decode(row.body.clone(), Limits::DEFAULT)?;
        let sources = catalog.resolve(shard, row.writer, heading.sources());
        let Some(sources) = sources.into_iter().collect::<Option<Vec<SourceIndex>>>() else {
            return Ok(None);
        };
        let is_wanted = |source: SourceIndex| few.is_none_or(|few| few.contains(source));
        if !sources.iter().any(|source| is_wanted(*source)) {
            return Ok(Some(Self { row, runs: Vec::new(), columns: Vec::new(), segment: None }));
        }
        let segment = heading.segment(Limits::DEFAULT)?;
        let of_sources = segment.sources().zip(sources).map(|((_, points), source)| (source, points));
        let runs: Vec<_> = of_sources.filter(|(source, _)| is_wanted(*source)).collect();
        let points = runs.first().map_or(0, |(_, run)| run.start)..runs.last().map_or(0, |(_, run)| run.end);
        let columns: Result<Vec<_>, SegmentError> = segment
            .metric_positions()
            .filter(|(_, metric)| few.is_none_or(|few| few.wants(metric)))
            .map(|(position, metric)| Ok((metric.clone(), segment.column(position, points.clone())?)))
            .collect();
        Ok(Some(Self { row, runs, columns: columns?, segment: Some(segment) }))
    }

    /// What it has of a metric.
    pub(super) fn column(&'a self, metric: &Metric) -> Option<OfMetric<'a>> {
        let (_, column) = self.columns.iter().find(|(of, _)| of == metric)?;
        let SegmentRow { received_at, writer, seq, .. } = *self.row;
        let times = self.segment.as_ref()?.times();
        Some(OfMetric { times, column, arrival: Arrival::Segment(received_at, writer, seq) })
    }
}

/// The samples of one metric in a segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct OfMetric<'a> {
    times: &'a [Timestamp],
    column: &'a Column,
    arrival: Arrival,
}

/// Those of one source, ascending in time: at least one.
#[derive(Debug)]
pub(super) struct Samples<'a> {
    of: OfMetric<'a>,
    at: Range<usize>,
}

impl<'a> OfMetric<'a> {
    /// The samples at the points of a source, if there are some.
    pub(super) fn samples(&self, points: &Range<usize>) -> Option<Samples<'a>> {
        let at = self.column.of_points(points);
        (!at.is_empty()).then_some(Samples { of: *self, at })
    }

    fn time(&self, at: usize) -> Option<Timestamp> {
        self.times.get(self.column.point(at)).copied()
    }

    fn sample(&self, at: usize) -> Option<Sample> {
        Some(Sample { time: self.time(at)?, value: self.column.values().get(at)? })
    }
}

impl Samples<'_> {
    pub(super) fn iter(&self) -> impl Iterator<Item = Sample> {
        self.at.clone().filter_map(|at| self.of.sample(at))
    }

    /// How the last of them stands to that of other segments: the greater one counts.
    pub(super) fn standing(&self) -> (Option<Timestamp>, Arrival) {
        (self.of.time(self.at.end - 1), self.of.arrival)
    }

    /// The last of them.
    pub(super) fn last(&self) -> Option<Last> {
        Some(Last::new(self.of.sample(self.at.end - 1)?, self.of.arrival))
    }
}
