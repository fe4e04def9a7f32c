//! What the self-describing formats (JSON, CBOR, MessagePack) have in common: values that are read one after
//! another, so that one walker serves all of them and no tree is built.
//!
//! Knows nothing of what values mean to telemetry. Lengths that a payload claims are never trusted: nothing is
//! reserved by them, and reading ends where the bytes end (I6).

use std::borrow::Cow;

use tidemill_store::model::{Timestamp, Value};

use super::number::{Decimal, Number, integer_value};
use super::{Fault, TimeUnit, time};

/// The values of one payload in order.
pub(super) trait Tokens<'a> {
    /// The offset of the next byte.
    fn offset(&self) -> usize;

    /// Takes a value, or the head of a container.
    fn next(&mut self) -> Result<Token<'a>, Fault>;

    /// Whether `open`, the innermost container, has one more element or pair; takes its end where not.
    fn more(&mut self, open: &mut Open) -> Result<bool, Fault>;

    /// Takes the key of a pair.
    fn key(&mut self) -> Result<Key<'a>, Fault>;

    /// Whether nothing but white space is left.
    fn is_at_end(&mut self) -> bool;
}

/// A value, or the head of a container.
#[derive(Debug, Clone)]
pub(super) enum Token<'a> {
    Null,
    Bool(bool),
    Number(Num<'a>),
    Text(Cow<'a, str>),
    Bytes,
    Time(Timestamp),
    Map(Open),
    List(Open),
}

impl<'a> Token<'a> {
    pub(super) fn into_text(self) -> Option<Cow<'a, str>> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn into_number(self) -> Option<Num<'a>> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    pub(super) fn into_bool(self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(value) } else { None }
    }

    /// The token as the key of a pair: text or an integer.
    pub(super) fn into_key(self) -> Result<Key<'a>, Fault> {
        if let Self::Text(text) = self {
            return Ok(Key::Text(text));
        }
        if let Self::Number(Num::Integer(integer)) = self
            && let Ok(integer) = i64::try_from(integer)
        {
            return Ok(Key::Integer(integer));
        }
        Err(Fault::KeyNotText)
    }
}

/// The key of a pair.
#[derive(Debug, Clone)]
pub(super) enum Key<'a> {
    Text(Cow<'a, str>),
    Integer(i64),
}

/// A container that is being read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    /// Elements or pairs that are left; `None` where an end is written instead.
    pub(super) left: Option<u64>,
    pub(super) is_first: bool,
    /// The byte that ends it, where one does.
    pub(super) end: u8,
}

impl Open {
    pub(super) fn counted(left: u64) -> Self {
        Self { left: Some(left), is_first: true, end: 0 }
    }

    pub(super) fn until(end: u8) -> Self {
        Self { left: None, is_first: true, end }
    }

    /// Counts one element; `None` where the container is not counted.
    pub(super) fn count(&mut self) -> Option<bool> {
        let left = self.left?;
        self.left = Some(left.saturating_sub(1));
        Some(left > 0)
    }
}

/// A number as its format holds it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Num<'a> {
    /// Written in decimal.
    Written(Number<'a>),
    /// An integer of up to 128 bits.
    Integer(i128),
    /// A double.
    Double(f64),
    /// A decimal fraction.
    Fraction(Decimal),
}

impl Num<'_> {
    /// The value of a metric.
    pub(super) fn value(&self) -> Result<Value, Fault> {
        match *self {
            Self::Written(number) => number.value(),
            Self::Integer(integer) => integer_value(integer),
            Self::Double(double) => Ok(Value::F64(double)),
            Self::Fraction(decimal) => decimal.double().map(Value::F64),
        }
    }

    /// Nanoseconds of so many `unit`. A double stands for the shortest decimal that reads as it, so that a time
    /// is the same in every format.
    pub(super) fn nanos(&self, unit: TimeUnit) -> Result<i64, Fault> {
        match *self {
            Self::Written(number) => time::nanos(&number.decimal(), unit),
            Self::Integer(integer) => time::nanos(&Decimal::integer(integer)?, unit),
            Self::Fraction(decimal) => time::nanos(&decimal, unit),
            Self::Double(double) => time::nanos_of_double(double, unit),
        }
    }

    /// The time that so many `unit` since the epoch are.
    pub(super) fn time(&self, unit: TimeUnit) -> Result<Timestamp, Fault> {
        Timestamp::from_nanos(self.nanos(unit)?).map_err(|_| Fault::TimeOutOfRange)
    }
}

/// Takes a value whatever it is, containers with all that is in them.
pub(super) fn skip<'a>(tokens: &mut impl Tokens<'a>, depth_left: usize) -> Result<(), Fault> {
    let (mut open, is_map) = match tokens.next()? {
        Token::Map(open) => (open, true),
        Token::List(open) => (open, false),
        Token::Null | Token::Bool(_) | Token::Number(_) | Token::Text(_) | Token::Bytes | Token::Time(_) => {
            return Ok(());
        }
    };
    let depth_left = depth_left.checked_sub(1).ok_or(Fault::SkippedTooDeep)?;
    while tokens.more(&mut open)? {
        if is_map {
            tokens.key()?;
        }
        skip(tokens, depth_left)?;
    }
    Ok(())
}
