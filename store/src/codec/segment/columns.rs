//! Rows into columns: the values of each metric, in stored order.

use std::sync::Arc;

use crate::codec::bytes::put_length;
use crate::codec::column::{self, Input, KindSet, Kinds, Scratch};
use crate::codec::convert::{index, position};
use crate::model::ValueKind;

use super::shapes::Shapes;
use super::sort::Sorted;

/// Columns on their way into bytes. Memory that is used again.
#[derive(Debug, Default)]
pub(super) struct Columns {
    metrics: Vec<MetricColumn>,
    lengths: Vec<usize>,
    encoded: Vec<u8>,
    scratch: Scratch,
}

/// The values of a metric.
#[derive(Debug, Default)]
struct MetricColumn {
    raw: Vec<i64>,
    kinds: Vec<ValueKind>,
    starts: Vec<u32>,
    /// Number of the run that the last value belongs to, from 1.
    run: u32,
}

/// The points as they arrived: values row by row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) shapes: &'a Shapes,
    pub(super) raw: &'a [i64],
    pub(super) kinds: &'a [ValueKind],
    /// The kinds of each metric.
    pub(super) metric_kinds: &'a [KindSet],
    pub(super) texts: &'a [Arc<str>],
}

impl MetricColumn {
    fn clear(&mut self) {
        self.raw.clear();
        self.kinds.clear();
        self.starts.clear();
        self.run = 0;
    }

    fn push(&mut self, run: u32, raw: i64, kind: ValueKind) {
        if self.run != run {
            self.run = run;
            self.starts.push(position(self.raw.len()));
        }
        self.raw.push(raw);
        self.kinds.push(kind);
    }
}

impl Columns {
    /// Appends the lengths of all columns, then the columns.
    pub(super) fn put(&mut self, rows: Rows<'_>, sorted: &Sorted, out: &mut Vec<u8>) {
        self.encoded.clear();
        self.lengths.clear();
        if let Some(shape) = rows.shapes.only() {
            self.put_aligned(shape, rows, sorted);
        } else {
            self.scatter(rows, sorted);
            self.put_scattered(rows);
        }
        for &length in &self.lengths {
            put_length(out, length);
        }
        out.extend_from_slice(&self.encoded);
    }

    /// Every point has every metric of `shape` once, in one order: each column is a stride through the rows.
    fn put_aligned(&mut self, shape: &[u32], rows: Rows<'_>, sorted: &Sorted) {
        if self.metrics.is_empty() {
            self.metrics.push(MetricColumn::default());
        }
        let Self { metrics, lengths, encoded, scratch } = self;
        let Some(column) = metrics.first_mut() else { return };
        for (metric, set) in (0..).zip(rows.metric_kinds) {
            let Some(offset) = shape.iter().position(|&at| at == metric) else { continue };
            let at = |start: u32| index(start) + offset;
            let starts = || sorted.heads.iter().map(|head| at(head.values_start));
            column.clear();
            column.raw.extend(starts().filter_map(|at| rows.raw.get(at)));
            if set.only().is_none() {
                column.kinds.extend(starts().filter_map(|at| rows.kinds.get(at)));
            }
            let kinds = set.only().map_or(Kinds::Each(&column.kinds), Kinds::All);
            let input = Input { raw: &column.raw, kinds, texts: rows.texts, starts: &sorted.starts };
            put(input, scratch, encoded, lengths);
        }
    }

    fn scatter(&mut self, rows: Rows<'_>, sorted: &Sorted) {
        let count = rows.metric_kinds.len().max(self.metrics.len());
        self.metrics.resize_with(count, MetricColumn::default);
        self.metrics.iter_mut().for_each(MetricColumn::clear);
        let (mut run, mut source) = (0, None);
        for head in &sorted.heads {
            if source.replace(head.source) != Some(head.source) {
                run += 1;
            }
            let start = index(head.values_start);
            let raw = rows.raw.get(start..).unwrap_or_default();
            let kinds = rows.kinds.get(start..).unwrap_or_default();
            for ((&metric, &raw), &kind) in rows.shapes.get(head.shape).iter().zip(raw).zip(kinds) {
                if let Some(column) = self.metrics.get_mut(index(metric)) {
                    column.push(run, raw, kind);
                }
            }
        }
    }

    fn put_scattered(&mut self, rows: Rows<'_>) {
        let Self { metrics, lengths, encoded, scratch } = self;
        for (column, set) in metrics.iter().zip(rows.metric_kinds) {
            if column.raw.is_empty() {
                continue;
            }
            let kinds = set.only().map_or(Kinds::Each(&column.kinds), Kinds::All);
            let input = Input { raw: &column.raw, kinds, texts: rows.texts, starts: &column.starts };
            put(input, scratch, encoded, lengths);
        }
    }
}

fn put(input: Input<'_>, scratch: &mut Scratch, encoded: &mut Vec<u8>, lengths: &mut Vec<usize>) {
    let start = encoded.len();
    column::encode(input, scratch, encoded);
    lengths.push(encoded.len() - start);
}
