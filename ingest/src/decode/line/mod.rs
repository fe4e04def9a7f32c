//! Influx line protocol: `measurement,tag=value field=1.5,count=3i,state="on" 1700000000000000000`, one point a line.
//!
//! - The metric is `measurement.field`; tags are tags of the point.
//! - Values: doubles, integers (`i`, `u`), booleans, strings in quotes. Integers stay exact.
//! - The time is an integer in the template's unit (nanoseconds by default); without it, the time of receipt.
//! - A backslash escapes a comma or a space in names, an equals sign in those of tags and fields and in tags' values, a
//!   quote or a backslash in strings, and stands for itself elsewhere. Lines that are empty or begin with `#` are passed over.

use std::borrow::Cow;

use tidemill_store::model::Value;

use super::number::{Number, integer_value};
use super::sink::Sink;
use super::text::Scanner;
use super::{DecodeError, Fault, TimeUnit, time};

/// One pass over one payload.
#[derive(Debug)]
pub(super) struct Lines<'a, 'd> {
    pub(super) scanner: Scanner<'a>,
    pub(super) sink: Sink<'d>,
    pub(super) unit: Option<TimeUnit>,
    pub(super) name: &'d mut String,
}

/// How a name is written.
#[derive(Debug, Clone, Copy)]
struct Name {
    /// What ends it.
    ends: &'static [u8],
    /// Before what a backslash is no part of it.
    is_escapable: fn(u8) -> bool,
    /// What is wrong where there is none.
    empty: &'static str,
}

const MEASUREMENT: Name =
    Name { ends: b", ", is_escapable: is_escapable_in_measurement, empty: "the measurement is empty" };
const TAG_KEY: Name = Name { ends: b"=, ", is_escapable, empty: "the key of a tag is empty" };
const TAG_VALUE: Name = Name { ends: b"=, ", is_escapable, empty: "the value of a tag is empty" };
const FIELD_KEY: Name = Name { ends: b"=, ", is_escapable, empty: "the key of a field is empty" };

const fn refused(what: &'static str) -> Fault {
    Fault::Malformed { format: "line protocol", what }
}

impl<'a> Lines<'a, '_> {
    /// Takes the whole payload.
    pub(super) fn payload(mut self) -> Result<(), Box<DecodeError>> {
        let mut taken = 0;
        while self.scanner.peek().is_some() {
            self.spaces();
            if self.scanner.eat_line_end() {
                continue;
            }
            if self.scanner.peek() == Some(b'#') {
                self.scanner.until(|byte| byte == b'\n');
                continue;
            }
            if self.scanner.peek().is_none() {
                break;
            }
            if taken == self.sink.limits.elements_max {
                return Err(self.fail(Fault::TooManyElements(taken)));
            }
            taken += 1;
            self.line().map_err(|fault| self.fail(fault))?;
        }
        self.sink.finish().map_err(|fault| self.fail(fault))
    }

    #[cold]
    #[expect(clippy::unnecessary_box_returns, reason = "every step returns it, and it is large")]
    fn fail(&self, fault: Fault) -> Box<DecodeError> {
        Box::new(self.scanner.fail(fault))
    }

    fn line(&mut self) -> Result<(), Fault> {
        self.sink.start_point();
        let measurement = self.name(&MEASUREMENT)?;
        while self.scanner.eat(b',') {
            let key = self.name(&TAG_KEY)?;
            self.expect(b'=', "expected = after the key of a tag")?;
            let value = self.name(&TAG_VALUE)?;
            self.sink.tag(&key, &value)?;
        }
        self.expect(b' ', "expected a space before the fields")?;
        self.spaces();
        self.name.clear();
        self.name.push_str(&measurement);
        self.name.push('.');
        let front = self.name.len();
        loop {
            let key = self.name(&FIELD_KEY)?;
            self.expect(b'=', "expected = after the key of a field")?;
            let value = self.value()?;
            self.name.truncate(front);
            self.name.push_str(&key);
            self.sink.metric(self.name, value)?;
            if !self.scanner.eat(b',') {
                break;
            }
        }
        let has_space = self.scanner.peek() == Some(b' ');
        self.spaces();
        let time = if self.scanner.is_line_end() { None } else { self.time(has_space)? };
        self.spaces();
        if !self.scanner.eat_line_end() && self.scanner.peek().is_some() {
            return Err(refused("expected the end of the line"));
        }
        self.sink.finish_point(time);
        Ok(())
    }

    fn time(&mut self, has_space: bool) -> Result<Option<tidemill_store::model::Timestamp>, Fault> {
        if !has_space {
            return Err(refused("expected a comma, a space or the end of the line after a field"));
        }
        let text = self.scanner.until(|byte| !(byte.is_ascii_digit() || byte == b'-'));
        match (Number::parse(text), self.unit) {
            (Ok((_, length)), None) if length == text.len() => Ok(None),
            (Ok((number, length)), Some(unit)) if length == text.len() => {
                time::from_number(&number, unit).map(Some)
            }
            _ => Err(refused("expected a time, an integer")),
        }
    }

    fn spaces(&mut self) {
        while self.scanner.eat(b' ') {}
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Fault> {
        if self.scanner.eat(byte) { Ok(()) } else { Err(refused(what)) }
    }

    /// Takes a name up to what ends it and no backslash escapes.
    fn name(&mut self, of: &Name) -> Result<Cow<'a, str>, Fault> {
        let Name { ends, is_escapable, empty } = *of;
        let start = self.scanner.offset();
        let mut escapes = false;
        while let Some(byte) = self.scanner.peek() {
            let is_escape = byte == b'\\' && self.scanner.peek_at(1).is_some_and(is_escapable);
            if is_escape {
                escapes = true;
                self.scanner.advance();
            } else if ends.contains(&byte) || byte == b'\n' {
                break;
            }
            self.scanner.advance();
        }
        match self.scanner.since(start) {
            "" => Err(refused(empty)),
            text if escapes => Ok(Cow::Owned(unescape(text, is_escapable))),
            text => Ok(Cow::Borrowed(text)),
        }
    }

    fn value(&mut self) -> Result<Value, Fault> {
        if self.scanner.eat(b'"') {
            return self.text();
        }
        let text = self.scanner.until(|byte| matches!(byte, b',' | b' ' | b'\n' | b'\r'));
        match text {
            "t" | "T" | "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
            "f" | "F" | "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
            _ => {}
        }
        if let Some(integer) = text.strip_suffix('i') {
            let integer = integer.parse::<i64>().map_err(|_| refused("an integer that is none of 64 bits"));
            return integer.map(Value::I64);
        }
        if let Some(integer) = text.strip_suffix('u') {
            let integer =
                integer.parse::<u64>().map_err(|_| refused("an integer that is none of 64 bits"))?;
            return integer_value(integer.into());
        }
        double(text).map(Value::F64)
    }

    /// Takes the rest of a string.
    fn text(&mut self) -> Result<Value, Fault> {
        let start = self.scanner.offset();
        let mut escapes = false;
        loop {
            match self.scanner.peek() {
                Some(b'"') => break,
                Some(b'\\') if self.scanner.peek_at(1).is_some_and(is_escapable_in_text) => {
                    escapes = true;
                    self.scanner.advance();
                }
                Some(_) => {}
                None => return Err(refused("the string does not end")),
            }
            self.scanner.advance();
        }
        let text = self.scanner.since(start);
        self.scanner.advance();
        if escapes { self.sink.text(&unescape(text, is_escapable_in_text)) } else { self.sink.text(text) }
    }
}

/// A double as line protocol writes it: no words, so neither NaN nor infinity.
fn double(text: &str) -> Result<f64, Fault> {
    let is_number = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
    if !text.bytes().all(is_number) {
        return Err(refused("a value that is no number, boolean or string in quotes"));
    }
    match text.parse::<f64>() {
        Ok(double) if double.is_finite() => Ok(double),
        Ok(_) => Err(Fault::NumberOutOfRange),
        Err(_) => Err(refused("a malformed number")),
    }
}

const fn is_escapable_in_measurement(byte: u8) -> bool {
    matches!(byte, b',' | b' ')
}

const fn is_escapable(byte: u8) -> bool {
    matches!(byte, b',' | b'=' | b' ')
}

const fn is_escapable_in_text(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\')
}

/// `text` without the backslashes that escape something.
fn unescape(text: &str, is_escapable: fn(u8) -> bool) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, from) = rest.split_at(at);
        plain.push_str(before);
        let after = from.get(1..).unwrap_or_default();
        match after.bytes().next() {
            Some(byte) if is_escapable(byte) => {
                plain.push(char::from(byte));
                rest = after.get(1..).unwrap_or_default();
            }
            _ => {
                plain.push('\\');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests;
