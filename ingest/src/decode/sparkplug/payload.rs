//! The payload of Sparkplug B (`org.eclipse.tahu.protobuf.Payload`): its fields, its metrics, and what a metric's value
//! is by its data type.
//!
//! Data sets, templates, bytes, files and arrays have no place in a series: what is said by metrics of such types is
//! [`Said::Unstorable`], and the definition of a template says nothing.

use tidemill_store::model::Value;

use super::wire::{Fields, Wire, refused};
use crate::decode::Fault;
use crate::decode::number::integer_value;

/// A data type by its number in the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DataType(pub(super) u32);

/// A payload that is being read: its own fields, and its metrics one after another.
#[derive(Debug, Clone)]
pub(super) struct Parts<'a> {
    pub(super) timestamp: Option<u64>,
    pub(super) seq: Option<u64>,
    fields: Fields<'a>,
}

/// A metric as it is written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MetricParts<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) alias: Option<u64>,
    pub(super) timestamp: Option<u64>,
    pub(super) data_type: Option<DataType>,
    pub(super) is_null: bool,
    pub(super) is_historical: bool,
    raw: Option<Raw<'a>>,
    /// Where it starts in the payload.
    pub(super) offset: usize,
}

#[derive(Debug, Clone, Copy)]
enum Raw<'a> {
    Int(u64),
    Long(u64),
    Float(f32),
    Double(f64),
    Bool(bool),
    Text(&'a str),
    /// What it is, in words.
    Other(&'static str),
    /// What templates of a name look like, rather than one of them.
    Definition,
}

/// What a metric says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said<'a> {
    Value(Value),
    Text(&'a str),
    /// Nothing: it is null.
    Null,
    /// Something that no series can hold, in words.
    Unstorable(&'static str),
    /// An integer of which the type, and so the sign, is not known.
    Untyped,
}

impl<'a> Parts<'a> {
    /// Reads the payload's own fields, and all of its structure.
    pub(super) fn read(payload: &'a [u8]) -> Result<Self, (Fault, usize)> {
        let mut fields = Fields::new(payload, 0);
        let mut parts = Self { timestamp: None, seq: None, fields: fields.clone() };
        loop {
            let field = fields.next().and_then(|field| match field {
                Some((1, wire)) => wire.varint().map(|value| parts.timestamp = Some(value)).map(|()| true),
                Some((3, wire)) => wire.varint().map(|value| parts.seq = Some(value)).map(|()| true),
                Some((2, wire)) => wire.bytes().map(|_| true),
                Some(_) => Ok(true),
                None => Ok(false),
            });
            match field {
                Ok(true) => {}
                Ok(false) => return Ok(parts),
                Err(fault) => return Err((fault, fields.offset())),
            }
        }
    }

    /// The next metric.
    pub(super) fn next_metric(&mut self) -> Result<Option<MetricParts<'a>>, (Fault, usize)> {
        loop {
            match self.fields.next().map_err(|fault| (fault, self.fields.offset()))? {
                Some((2, Wire::Bytes(bytes, start))) => return MetricParts::read(bytes, start).map(Some),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }
}

impl<'a> MetricParts<'a> {
    fn read(bytes: &'a [u8], start: usize) -> Result<Self, (Fault, usize)> {
        let mut fields = Fields::new(bytes, start);
        let mut metric = Self { offset: start, ..Self::default() };
        loop {
            match fields.next() {
                Ok(Some((number, wire))) => {
                    metric.take(number, wire).map_err(|fault| (fault, fields.offset()))?;
                }
                Ok(None) => return Ok(metric),
                Err(fault) => return Err((fault, fields.offset())),
            }
        }
    }

    fn take(&mut self, number: u64, wire: Wire<'a>) -> Result<(), Fault> {
        match number {
            1 => self.name = Some(wire.text()?).filter(|name| !name.is_empty()),
            2 => self.alias = Some(wire.varint()?),
            3 => self.timestamp = Some(wire.varint()?),
            4 => {
                let number = u32::try_from(wire.varint()?).map_err(|_| refused("an unknown data type"))?;
                self.data_type = Some(DataType(number)).filter(|of| of.0 != 0);
            }
            5 => self.is_historical = wire.varint()? != 0,
            7 => self.is_null = wire.varint()? != 0,
            10 => self.raw = Some(Raw::Int(wire.varint()?)),
            11 => self.raw = Some(Raw::Long(wire.varint()?)),
            12 => self.raw = Some(Raw::Float(f32::from_bits(wire.fixed32()?))),
            13 => self.raw = Some(Raw::Double(f64::from_bits(wire.fixed64()?))),
            14 => self.raw = Some(Raw::Bool(wire.varint()? != 0)),
            15 => self.raw = Some(Raw::Text(wire.text()?)),
            16 => self.raw = Some(Raw::Other("bytes")),
            17 => self.raw = Some(Raw::Other("a data set")),
            18 => self.raw = Some(template(wire.bytes()?)?),
            19 => self.raw = Some(Raw::Other("an extension")),
            _ => {}
        }
        Ok(())
    }

    /// What the metric says, its type being `known` where it does not say so itself.
    pub(super) fn said(&self, known: Option<DataType>) -> Result<Said<'a>, Fault> {
        let Some(raw) = self.raw.filter(|_| !self.is_null) else { return Ok(Said::Null) };
        let of = self.data_type.or(known);
        let value = match (raw, of.map(|of| of.0)) {
            (Raw::Int(bits) | Raw::Long(bits), Some(1..=8 | 13)) => integer(bits, of)?,
            (Raw::Int(bits) | Raw::Long(bits), Some(11)) => Value::Bool(bits != 0),
            (Raw::Int(_) | Raw::Long(_), None) => return Ok(Said::Untyped),
            (Raw::Float(single), Some(9 | 10) | None) => Value::F64(single.into()),
            (Raw::Double(double), Some(9 | 10) | None) => Value::F64(double),
            (Raw::Bool(value), Some(11) | None) => Value::Bool(value),
            (Raw::Text(text), Some(12 | 14 | 15) | None) => return Ok(Said::Text(text)),
            (Raw::Definition, _) => return Ok(Said::Null),
            (_, Some(18)) => return Ok(Said::Unstorable("a file")),
            (_, Some(22..=34)) => return Ok(Said::Unstorable("an array")),
            (Raw::Other(what), _) => return Ok(Said::Unstorable(what)),
            (_, Some(16 | 17 | 19)) => return Ok(Said::Unstorable("a value of a structured type")),
            (_, Some(_)) => return Ok(Said::Unstorable("a value that does not fit its data type")),
        };
        Ok(Said::Value(value))
    }
}

/// A template, or the definition of one.
fn template((bytes, start): (&[u8], usize)) -> Result<Raw<'_>, Fault> {
    let mut fields = Fields::new(bytes, start);
    while let Some((number, wire)) = fields.next()? {
        if number == 5 && wire.varint()? != 0 {
            return Ok(Raw::Definition);
        }
    }
    Ok(Raw::Other("a template"))
}

/// The integer of type `of`: the lowest bits count, as two's complement where the type has a sign.
fn integer(bits: u64, of: Option<DataType>) -> Result<Value, Fault> {
    let signed = |width: u32| Value::I64((bits << (64 - width)).cast_signed() >> (64 - width));
    Ok(match of.map(|of| of.0) {
        Some(1) => signed(8),
        Some(2) => signed(16),
        Some(3) => signed(32),
        Some(4) => signed(64),
        Some(5) => Value::I64((bits & 0xff).cast_signed()),
        Some(6) => Value::I64((bits & 0xffff).cast_signed()),
        Some(7) => Value::I64((bits & 0xffff_ffff).cast_signed()),
        _ => integer_value(bits.into())?,
    })
}
