//! Where the values of each metric lie, in segments whose points do not all have the same metrics.
//!
//! Found out once, when the first such metric is read, by going through all points; after that a reader of one
//! source goes through the points of that source alone.

use std::ops::Range;

use crate::codec::column::integer::Starts;
use crate::codec::convert::{index, position};

use super::MetricPosition;
use super::decode::Segment;

/// The runs in which a metric has values.
#[derive(Debug, Clone, Default)]
pub(super) struct Layout {
    /// Number of the run, ascending.
    runs: Vec<u32>,
    /// Position of the first value in that run.
    starts: Vec<u32>,
    /// How many values there are.
    values: u32,
}

impl Layout {
    fn count(&mut self, run: u32) {
        if self.runs.last() != Some(&run) {
            self.runs.push(run);
            self.starts.push(self.values);
        }
        self.values += 1;
    }

    /// The first value in run `run` or after it.
    fn start_of(&self, run: usize) -> usize {
        let at = self.runs.partition_point(|&of| index(of) < run);
        index(self.starts.get(at).copied().unwrap_or(self.values))
    }

    /// The starts of the runs of values.
    pub(super) fn starts(&self) -> Starts<'_> {
        &self.starts
    }
}

/// A layout for each metric.
pub(super) fn layouts(segment: &Segment) -> Vec<Layout> {
    let mut layouts = vec![Layout::default(); segment.metrics.len()];
    for ((_, points), run) in segment.sources().zip(0..) {
        for point in points {
            for &metric in segment.shapes.of_point(point) {
                layouts.get_mut(index(metric)).into_iter().for_each(|layout| layout.count(run));
            }
        }
    }
    layouts
}

impl Segment {
    /// Which values of every metric lie at `points`.
    pub(super) fn values_at(&self, points: &Range<usize>) -> Vec<Range<usize>> {
        if self.columns.iter().all(|column| column.is_aligned || column.values == 0) {
            return vec![points.clone(); self.columns.len()];
        }
        let run = self.run_of(points.start);
        let mut values: Vec<_> =
            self.layouts().iter().map(|layout| layout.start_of(run)).map(|at| at..at).collect();
        for point in self.run(run).start..points.end {
            for &metric in self.shapes.of_point(point) {
                let Some(values) = values.get_mut(index(metric)) else { continue };
                values.end += 1;
                if point < points.start {
                    values.start += 1;
                }
            }
        }
        values
    }

    /// The points among `points` that have values of `metric`, each as often as it has some, and which these are.
    pub(super) fn points_with(
        &self,
        metric: MetricPosition,
        points: &Range<usize>,
    ) -> (Vec<u32>, Range<usize>) {
        let run = self.run_of(points.start);
        let first = self.layouts().get(metric.index()).map_or(0, |layout| layout.start_of(run));
        let (mut with, mut before) = (Vec::new(), 0);
        let (mut last, mut count) = (None, 0);
        for point in self.run(run).start..points.end {
            let shape = self.shapes.of(point);
            if last.replace(shape) != Some(shape) {
                count = self.shapes.get(shape).iter().filter(|&&at| at == metric.0).count();
            }
            if point < points.start {
                before += count;
            } else {
                with.extend(std::iter::repeat_n(position(point), count));
            }
        }
        let start = first + before;
        let values = start..start + with.len();
        (with, values)
    }
}
