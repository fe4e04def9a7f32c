//! From runs to the bytes of a pack.

use std::sync::Arc;

use crate::codec::Run;
use crate::codec::bytes::put_length;
use crate::codec::column::integer::{self, ONE_RUN};
use crate::codec::column::{self, Input, Kinds, Scratch};
use crate::codec::convert::position;
use crate::model::{Metric, SourceId, Timestamp, Value, ValueKind};

use super::{CRC_BYTES, PackBody, VERSION};

/// Sources on their way into a pack.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    sources: Vec<SourceId>,
    metrics: Vec<Metric>,
    names_bytes: usize,
    sections: Vec<u8>,
    samples: usize,
    span: Option<(Timestamp, Timestamp)>,
    scratch: Scratch,
    steps: Vec<i64>,
}

/// A state of an encoder that it can go back to.
#[derive(Debug)]
pub(super) struct Mark {
    sources: usize,
    metrics: usize,
    names_bytes: usize,
    sections: usize,
    samples: usize,
    span: Option<(Timestamp, Timestamp)>,
}

impl Mark {
    pub(super) fn samples(&self) -> usize {
        self.samples
    }
}

impl Encoder {
    pub(super) fn samples(&self) -> usize {
        self.samples
    }

    /// How many bytes the pack has.
    pub(super) fn bytes(&self) -> usize {
        self.sources.len() * 16 + self.names_bytes + self.sections.len() + CRC_BYTES + 12
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            sources: self.sources.len(),
            metrics: self.metrics.len(),
            names_bytes: self.names_bytes,
            sections: self.sections.len(),
            samples: self.samples,
            span: self.span,
        }
    }

    pub(super) fn reset(&mut self, mark: &Mark) {
        self.sources.truncate(mark.sources);
        self.metrics.truncate(mark.metrics);
        self.names_bytes = mark.names_bytes;
        self.sections.truncate(mark.sections);
        self.samples = mark.samples;
        self.span = mark.span;
    }

    pub(super) fn push(&mut self, source: SourceId, series: &[(Metric, Run)]) {
        self.sources.push(source);
        let present = || series.iter().filter(|(_, run)| !run.is_empty());
        put_length(&mut self.sections, present().count());
        let mut axes: Vec<&[Timestamp]> = Vec::new();
        for (metric, run) in present() {
            let metric = self.metric(metric);
            put_length(&mut self.sections, metric);
            let at = axes.iter().position(|times| *times == run.times.as_slice());
            put_length(&mut self.sections, at.unwrap_or(axes.len()));
            if at.is_none() {
                axes.push(&run.times);
                put_length(&mut self.sections, run.len());
                let times: Vec<_> = run.times.iter().map(|time| time.nanos()).collect();
                let mut column = Vec::new();
                integer::encode(&times, ONE_RUN, &mut self.steps, &mut column);
                self.put(&column);
            }
            let column = self.column(run);
            self.put(&column);
            self.samples += run.len();
            let (first, last) = (run.times.first().copied(), run.times.last().copied());
            if let (Some(first), Some(last)) = (first, last) {
                let (min, max) = self.span.unwrap_or((first, last));
                self.span = Some((min.min(first), max.max(last)));
            }
        }
    }

    fn put(&mut self, column: &[u8]) {
        put_length(&mut self.sections, column.len());
        self.sections.extend_from_slice(column);
    }

    fn metric(&mut self, metric: &Metric) -> usize {
        self.metrics.iter().position(|known| known == metric).unwrap_or_else(|| {
            self.names_bytes += metric.as_str().len() + 2;
            self.metrics.push(metric.clone());
            self.metrics.len() - 1
        })
    }

    fn column(&mut self, run: &Run) -> Vec<u8> {
        let mut texts: Vec<Arc<str>> = Vec::new();
        let mut kinds: Vec<ValueKind> = Vec::new();
        let mut raw = Vec::new();
        for value in run.values.iter() {
            kinds.push(value.kind());
            raw.push(match value {
                Value::F64(value) => value.to_bits().cast_signed(),
                Value::I64(value) => value,
                Value::Bool(value) => i64::from(value),
                Value::Text(text) => {
                    texts.push(text);
                    i64::from(position(texts.len() - 1))
                }
            });
        }
        let mut out = Vec::new();
        let input = Input { raw: &raw, kinds: Kinds::Each(&kinds), texts: &texts, starts: ONE_RUN };
        column::encode(input, &mut self.scratch, &mut out);
        out
    }

    /// The pack; `None` where there are no sources.
    pub(super) fn finish(&self, part: u32) -> Option<PackBody> {
        let (min_time, max_time) = self.span?;
        let mut body = vec![VERSION];
        put_length(&mut body, self.sources.len());
        body.extend(self.sources.iter().flat_map(|source| source.get().to_be_bytes()));
        put_length(&mut body, self.metrics.len());
        for metric in &self.metrics {
            put_length(&mut body, metric.as_str().len());
            body.extend_from_slice(metric.as_str().as_bytes());
        }
        body.extend_from_slice(&self.sections);
        let crc = crc32fast::hash(&body);
        body.extend_from_slice(&crc.to_le_bytes());
        Some(PackBody {
            first_source: self.sources.first().copied()?,
            last_source: self.sources.last().copied()?,
            part,
            min_time,
            max_time,
            samples: self.samples,
            body,
        })
    }
}
