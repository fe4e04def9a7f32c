//! From collected sources to the bytes of a pack, part by part in the order of the format.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::codec::bits;
use crate::codec::bytes::{put_length, put_varint_signed};
use crate::codec::column::integer::{self, ONE_RUN};
use crate::codec::column::{self, Input, Kinds, Scratch};
use crate::codec::convert::{index, position};
use crate::model::{Value, ValueKind};

use super::collect::{Collected, Source};
use super::cuts::{Cuts, Page};
use super::form::{self, Form};
use super::stream::StreamWriter;
use super::times::TimesWriter;
use super::view::{Part, View};
use super::{PackBody, VERSION};

/// Encodes packs. Memory that is used again from pack to pack.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    times: TimesWriter,
    stream: StreamWriter,
    pages: Vec<u8>,
    lengths: Vec<i64>,
    steps: Vec<i64>,
    integers: Vec<i64>,
    scratch: Scratch,
}

impl Encoder {
    /// The pack of the sources at a range; `None` where that is empty.
    pub(super) fn encode(&mut self, all: &Collected, sources: Range<usize>, part: u32) -> Option<PackBody> {
        let view = View::new(all, sources)?;
        let sources = view.sources;
        let mut body = vec![VERSION];
        put_sources(sources, &mut body);
        let metrics = put_metrics(&view, &mut body);
        self.put_shapes(&view, &mut body);
        integer::encode(&view.lengths(), ONE_RUN, &mut self.steps, &mut body);
        self.pages.clear();
        self.put_times(&view, &mut body);
        put_length(&mut body, view.parts.len());
        for (part, metric) in view.parts.iter().zip(metrics) {
            put_length(&mut body, metric);
            self.put_column(part, &mut body);
        }
        body.extend_from_slice(&self.pages);
        let crc = crc32fast::hash(&body);
        body.extend_from_slice(&crc.to_le_bytes());
        Some(PackBody {
            first_source: view.first.id,
            last_source: view.last.id,
            part,
            min_time: sources.iter().map(|source| source.min_time).min()?,
            max_time: sources.iter().map(|source| source.max_time).max()?,
            samples: sources.iter().map(|source| source.samples).sum(),
            body,
        })
    }

    fn put_shapes(&mut self, view: &View<'_>, body: &mut Vec<u8>) {
        let mut shapes: Vec<Vec<(usize, usize)>> = Vec::new();
        let mut known = HashMap::new();
        let mut last = 0;
        let of_sources: Vec<i64> = view
            .series()
            .map(|shape| {
                if shapes.get(last) != Some(&shape) {
                    last = *known.entry(shape).or_insert_with_key(|shape| {
                        shapes.push(shape.clone());
                        shapes.len() - 1
                    });
                }
                i64::from(position(last))
            })
            .collect();
        put_length(body, shapes.len());
        for shape in &shapes {
            put_length(body, shape.len());
            for &(column, axis) in shape {
                put_length(body, column);
                put_length(body, axis);
            }
        }
        if shapes.len() > 1 {
            integer::encode(&of_sources, ONE_RUN, &mut self.steps, body);
        }
    }

    fn put_times(&mut self, view: &View<'_>, body: &mut Vec<u8>) {
        let cuts = Cuts::of(view.lengths().into_iter().filter_map(|length| usize::try_from(length).ok()));
        self.times.begin(view.times(), &cuts, body);
        self.lengths.clear();
        for at in 0..cuts.pages().len() {
            let start = self.pages.len();
            self.times.put_page(at, &cuts, &mut self.pages);
            self.lengths.push(i64::from(position(self.pages.len() - start)));
        }
        integer::encode(&self.lengths, ONE_RUN, &mut self.steps, body);
    }

    fn put_column(&mut self, part: &Part<'_>, body: &mut Vec<u8>) {
        let cuts = part.cuts();
        let form = part.column.form;
        body.push(form.byte());
        self.integers.clear();
        match form {
            Form::Bits => {
                let used = part.integers().iter().fold(0, |used, bits| used | bits);
                let zeros = used.trailing_zeros().min(63);
                body.push(u8::try_from(zeros).unwrap_or(0));
                self.integers.extend(part.integers().iter().map(|&bits| form::ordered(bits, zeros)));
            }
            Form::Texts => self.put_texts(part, body),
            Form::Mixed => {}
            Form::Integers | Form::Decimals(_) | Form::Numbers(_) | Form::Booleans => {
                self.integers.extend_from_slice(part.integers());
            }
        }
        if form != Form::Mixed {
            self.stream.begin(&self.integers, &cuts, body);
        }
        self.lengths.clear();
        for (at, page) in cuts.pages().iter().enumerate() {
            let start = self.pages.len();
            if form == Form::Mixed {
                self.put_mixed(part, page);
            } else {
                self.put_odd(part, page);
                self.stream.put_page(at, &self.integers, &cuts, &mut self.pages);
            }
            self.lengths.push(i64::from(position(self.pages.len() - start)));
        }
        integer::encode(&self.lengths, ONE_RUN, &mut self.steps, body);
    }

    /// The texts that the part uses, in the order of their first use.
    fn put_texts(&mut self, part: &Part<'_>, body: &mut Vec<u8>) {
        let mut numbers = vec![None; part.column.texts.len()];
        let mut used = Vec::new();
        for &at in part.integers() {
            let at = usize::try_from(at).unwrap_or(0);
            let Some(number) = numbers.get_mut(at) else { continue };
            self.integers.push(*number.get_or_insert_with(|| {
                used.push(at);
                i64::from(position(used.len() - 1))
            }));
        }
        form::put_texts(used.iter().filter_map(|&at| part.column.texts.get(at)).map(|text| &**text), body);
    }

    fn put_mixed(&mut self, part: &Part<'_>, page: &Page) {
        let range = part.values.start + page.values.start..part.values.start + page.values.end;
        let values = part.column.mixed.get(range).unwrap_or_default();
        let kinds: Vec<_> = values.iter().map(Value::kind).collect();
        let mut texts = Vec::new();
        let raw: Vec<_> = values
            .iter()
            .map(|value| match value {
                Value::F64(value) => value.to_bits().cast_signed(),
                Value::I64(value) => *value,
                Value::Bool(value) => i64::from(*value),
                Value::Text(text) => {
                    texts.push(Arc::clone(text));
                    i64::from(position(texts.len() - 1))
                }
            })
            .collect();
        let input = Input { raw: &raw, kinds: Kinds::Each(&kinds), texts: &texts, starts: ONE_RUN };
        column::encode(input, &mut self.scratch, &mut self.pages);
    }

    fn put_odd(&mut self, part: &Part<'_>, page: &Page) {
        let (Form::Decimals(exponent) | Form::Numbers(exponent)) = part.column.form else { return };
        let odd = part.odd(&page.values);
        put_length(&mut self.pages, odd.len());
        let positions: Vec<_> = odd.iter().map(|odd| i64::from(odd.at)).collect();
        integer::encode(&positions, ONE_RUN, &mut self.steps, &mut self.pages);
        if matches!(part.column.form, Form::Numbers(_)) {
            bits::pack(odd.iter().map(|odd| u64::from(odd.kind == ValueKind::F64)), 1, &mut self.pages);
        }
        let scale = exponent.scale();
        for odd in odd {
            let integer = self.integers.get(page.values.start + index(odd.at)).copied().unwrap_or(0);
            let expected = match odd.kind {
                ValueKind::F64 => scale.unscaled(integer).to_bits().cast_signed(),
                ValueKind::I64 | ValueKind::Bool | ValueKind::Text => scale.unscaled_i64(integer),
            };
            put_varint_signed(&mut self.pages, odd.raw.wrapping_sub(expected));
        }
    }
}

/// The first source, and how far each lies above the one before it, in as many bytes as the largest gap needs.
fn put_sources(sources: &[Source], body: &mut Vec<u8>) {
    let ids = || sources.iter().map(|source| source.id.get());
    let gaps = || ids().zip(ids().skip(1)).map(|(before, id)| id - before);
    let bits = u128::BITS - gaps().max().unwrap_or(0).leading_zeros();
    put_length(body, sources.len());
    body.extend(ids().take(1).flat_map(u128::to_le_bytes));
    if sources.len() > 1 {
        let width = bits.div_ceil(8);
        body.push(u8::try_from(width).unwrap_or(16));
        body.extend(gaps().flat_map(|gap| gap.to_le_bytes().into_iter().take(index(width))));
    }
}

/// The names of the metrics, in the order of their first use. Gives the position of the metric of each part.
fn put_metrics(view: &View<'_>, body: &mut Vec<u8>) -> Vec<usize> {
    let mut used = Vec::new();
    let mut known = HashMap::new();
    let positions = view
        .parts
        .iter()
        .map(|part| {
            *known.entry(part.column.metric).or_insert_with(|| {
                used.push(part.column.metric);
                used.len() - 1
            })
        })
        .collect();
    put_length(body, used.len());
    for name in used.iter().filter_map(|&at| view.all.metrics.get(index(at))) {
        put_length(body, name.as_str().len());
        body.extend_from_slice(name.as_str().as_bytes());
    }
    positions
}
