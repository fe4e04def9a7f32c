//! One pass over one payload: the shapes that `super` lists, and every way in which a payload departs from them.
//!
//! Recursion is as deep as objects nest, and [`DecodeLimits::depth_max`] bounds that before anything is read.

use std::sync::Arc;

use tidemill_store::model::{Timestamp, Value};

use crate::decode::cursor::Cursor;
use crate::decode::error::push_segment;
use crate::decode::names::Seen;
use crate::decode::number::{Short, short_number};
use crate::decode::path::Path;
use crate::decode::sink::check_tag;
use crate::decode::{DecodeError, DecodeLimits, Fault, Message, MetricNames, TimeUnit, time};

/// Errors are rare and large.
type Failed = Box<DecodeError>;

/// One pass over one payload.
pub(super) struct Walk<'a, 'd> {
    pub(super) cursor: Cursor<'a>,
    pub(super) limits: &'d DecodeLimits,
    /// The unit of a numeric `ts`; `None` where times are not read.
    pub(super) unit: Option<TimeUnit>,
    pub(super) names: &'d mut MetricNames,
    pub(super) path: &'d mut Path,
    pub(super) message: &'d mut Message,
    /// The element of the outermost array that is being taken.
    pub(super) element: Option<usize>,
    pub(super) in_values: bool,
}

/// What the members of a point have said so far.
#[derive(Default)]
struct Members {
    time: Option<Timestamp>,
    time_seen: bool,
    tags_seen: bool,
    metrics: Stand,
}

/// Where the metrics of a point stand.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stand {
    #[default]
    Unknown,
    /// In the point itself.
    Flat,
    /// In its `values`.
    Wrapped,
}

/// Whether to go on in an object or array.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Member,
    End,
}

impl<'a> Walk<'a, '_> {
    /// Takes the whole payload.
    pub(super) fn payload(mut self) -> Result<(), Failed> {
        match self.cursor.next_token() {
            Some(b'{') => self.point()?,
            Some(b'[') => self.elements()?,
            Some(_) => return Err(self.fail(Fault::NotAnObject(" or an array of objects"), "")),
            None if self.cursor.offset() == 0 => return Err(self.fail(Fault::EmptyPayload, "")),
            None => return Err(self.fail(Fault::Syntax("expected a value"), "")),
        }
        if self.cursor.next_token().is_some() {
            return Err(self.fail(Fault::Trailing, ""));
        }
        if self.message.samples() == 0 {
            return Err(self.fail(Fault::NoSamples, ""));
        }
        Ok(())
    }

    fn elements(&mut self) -> Result<(), Failed> {
        self.cursor.advance();
        if self.cursor.next_token() == Some(b']') {
            self.cursor.advance();
            return Ok(());
        }
        for index in 0.. {
            if index == self.limits.elements_max {
                return Err(self.fail(Fault::TooManyElements(index), ""));
            }
            self.element = Some(index);
            if self.cursor.next_token() != Some(b'{') {
                return Err(self.fail(Fault::NotAnObject(""), ""));
            }
            self.names.start_point();
            self.point()?;
            self.element = None;
            if self.next(b']', "expected , or ]")? == Next::End {
                break;
            }
        }
        Ok(())
    }

    /// Takes one point, from its brace on.
    fn point(&mut self) -> Result<(), Failed> {
        let (mut members, mut key) = (Members::default(), String::new());
        self.open_object()?;
        loop {
            if members.metrics != Stand::Wrapped && self.expected_member().is_some() {
                members.metrics = Stand::Flat;
            } else {
                self.point_member(&mut key, &mut members)?;
            }
            if self.next(b'}', "expected , or }")? == Next::End {
                break;
            }
        }
        self.message.finish_point(members.time);
        Ok(())
    }

    /// Takes a member of a point.
    fn point_member(&mut self, key: &mut String, members: &mut Members) -> Result<(), Failed> {
        let name = self.key(key)?;
        let token = self.cursor.next_token();
        match (name, token) {
            ("ts", _) => self.time(token, members),
            ("tags", _) => self.tags(token, members),
            ("values", Some(b'{')) => self.values(members),
            (_, Some(b'n')) => self.word("null", name),
            (_, _) if members.metrics == Stand::Wrapped => Err(self.fail(Fault::BesideValues, name)),
            (_, _) => {
                members.metrics = Stand::Flat;
                self.member(name, token)
            }
        }
    }

    /// Takes the `values` of a point, from its brace on.
    fn values(&mut self, members: &mut Members) -> Result<(), Failed> {
        match members.metrics {
            Stand::Unknown => members.metrics = Stand::Wrapped,
            Stand::Flat => return Err(self.fail(Fault::BesideValues, "values")),
            Stand::Wrapped => return Err(self.fail(Fault::MemberTwice("\"values\""), "values")),
        }
        self.in_values = true;
        self.open_object()?;
        self.object_members()?;
        self.in_values = false;
        Ok(())
    }

    /// Takes the members of an object, its brace being taken, up to its end.
    fn object_members(&mut self) -> Result<(), Failed> {
        let mut key = String::new();
        loop {
            if self.expected_member().is_none() {
                let name = self.key(&mut key)?;
                let token = self.cursor.next_token();
                if token == Some(b'n') {
                    self.word("null", name)?;
                } else {
                    self.member(name, token)?;
                }
            }
            if self.next(b'}', "expected , or }")? == Next::End {
                return Ok(());
            }
        }
    }

    /// Takes the next member where it is the one that came here in the message before, with a number or a boolean as
    /// most are written: its name is compared, not read. `None`: nothing was taken, and it must be read with care.
    #[inline]
    fn expected_member(&mut self) -> Option<()> {
        if !self.path.segments.is_empty() {
            return None;
        }
        self.cursor.next_token();
        let left = self.cursor.left();
        let (slot, member) = self.names.expected_member()?;
        let after = left.strip_prefix(member.as_bytes())?;
        let after = after.strip_prefix(b" ").unwrap_or(after);
        let length = match after.first()? {
            b't' if after.starts_with(b"true") => self.repeat(slot, Value::Bool(true), 4)?,
            b'f' if after.starts_with(b"false") => self.repeat(slot, Value::Bool(false), 5)?,
            _ => {
                let (number, length) = short_number(after)?;
                self.repeat(slot, number.into(), length)?
            }
        };
        self.cursor.pass(left.len() - after.len() + length);
        Some(())
    }

    /// Adds the value of a metric that is known, and gives back `length`; `None` where a rule stands against it.
    #[inline]
    fn repeat(&mut self, slot: u32, value: Value, length: usize) -> Option<usize> {
        self.names.enter_again(slot, self.limits.metrics_max)?;
        self.message.value(slot, value);
        Some(length)
    }

    /// Takes the value of the member `name`, which is no null: a metric or an object of them.
    fn member(&mut self, name: &str, token: Option<u8>) -> Result<(), Failed> {
        if token == Some(b'{') {
            return self.nested(name);
        }
        let value = match token {
            Some(b'"') => self.text_value(name)?,
            Some(b't') => self.word("true", name).map(|()| Value::Bool(true))?,
            Some(b'f') => self.word("false", name).map(|()| Value::Bool(false))?,
            Some(b'-' | b'0'..=b'9') => {
                let number = self.cursor.number().and_then(|number| number.value());
                number.map_err(|fault| self.fail(fault, name))?
            }
            Some(b'[') => return Err(self.fail(Fault::Array, name)),
            _ => return Err(self.fail(Fault::Syntax("expected a value"), name)),
        };
        self.metric(name, value)
    }

    fn nested(&mut self, name: &str) -> Result<(), Failed> {
        let before = self.path.enter(name);
        self.open_object()?;
        self.object_members()?;
        self.path.leave(before);
        Ok(())
    }

    fn metric(&mut self, name: &str, value: Value) -> Result<(), Failed> {
        let entered = if self.path.segments.is_empty() {
            self.names.enter(name)
        } else {
            let before = self.path.text.len();
            self.path.text.push('.');
            self.path.text.push_str(name);
            let entered = self.names.enter(&self.path.text);
            self.path.text.truncate(before);
            entered
        };
        match entered {
            Ok((_, Seen::Before)) => Err(self.fail(Fault::MetricTwice, name)),
            Ok(_) if self.names.in_message() > self.limits.metrics_max => {
                Err(self.fail(Fault::TooManyMetrics(self.limits.metrics_max), name))
            }
            Ok((slot, Seen::First)) => {
                self.message.value(slot, value);
                Ok(())
            }
            Err(error) => Err(self.fail(error.into(), name)),
        }
    }

    fn text_value(&mut self, name: &str) -> Result<Value, Failed> {
        let (limit, mut buffer) = (self.limits.text_bytes_max, String::new());
        let value = match self.cursor.string(&mut buffer) {
            Ok(value) if value.len() > limit => Err(Fault::TextTooLong(limit)),
            Ok(value) => Ok(Value::Text(Arc::from(value))),
            Err(fault) => Err(fault),
        };
        value.map_err(|fault| self.fail(fault, name))
    }

    fn time(&mut self, token: Option<u8>, members: &mut Members) -> Result<(), Failed> {
        if members.time_seen {
            return Err(self.fail(Fault::MemberTwice("\"ts\""), "ts"));
        }
        members.time_seen = true;
        let unit = self.unit;
        let time = match token {
            Some(b'n') => return self.word("null", "ts"),
            Some(b'"') => self.cursor.string(&mut String::new()).and_then(|text| match unit {
                Some(_) => time::from_text(text).map(Some),
                None => Ok(None),
            }),
            Some(b'-' | b'0'..=b'9') if self.short_time(unit, members).is_some() => return Ok(()),
            Some(b'-' | b'0'..=b'9') => self.cursor.number().and_then(|number| match unit {
                Some(unit) => time::from_number(&number, unit).map(Some),
                None => Ok(None),
            }),
            _ => Err(Fault::TimeKind),
        };
        members.time = time.map_err(|fault| self.fail(fault, "ts"))?;
        Ok(())
    }

    /// Takes a time that is a short whole number; `None`: nothing was taken.
    #[inline]
    fn short_time(&mut self, unit: Option<TimeUnit>, members: &mut Members) -> Option<()> {
        let (Short::Integer(count), length) = short_number(self.cursor.left())? else { return None };
        if let Some(unit) = unit {
            members.time = Some(Timestamp::from_nanos(count.checked_mul(unit.nanos()?)?).ok()?);
        }
        self.cursor.pass(length);
        Some(())
    }

    fn tags(&mut self, token: Option<u8>, members: &mut Members) -> Result<(), Failed> {
        if members.tags_seen {
            return Err(self.fail(Fault::MemberTwice("\"tags\""), "tags"));
        }
        members.tags_seen = true;
        match token {
            Some(b'n') => return self.word("null", "tags"),
            Some(b'{') => self.cursor.advance(),
            _ => return Err(self.fail(Fault::TagsNotAnObject, "tags")),
        }
        if self.cursor.next_token() == Some(b'}') {
            self.cursor.advance();
            return Ok(());
        }
        let before = self.path.enter("tags");
        let (mut key, mut count) = (String::new(), 0);
        loop {
            let name = self.key(&mut key)?;
            if self.cursor.next_token() == Some(b'n') {
                self.word("null", name)?;
            } else {
                count += 1;
                if count > self.limits.tags_max {
                    return Err(self.fail(Fault::TooManyTags(self.limits.tags_max), name));
                }
                self.tag(name)?;
            }
            if self.next(b'}', "expected , or }")? == Next::End {
                break;
            }
        }
        self.path.leave(before);
        Ok(())
    }

    fn tag(&mut self, name: &str) -> Result<(), Failed> {
        if self.cursor.peek() != Some(b'"') {
            return Err(self.fail(Fault::TagNotText, name));
        }
        let mut buffer = String::new();
        let value =
            self.cursor.string(&mut buffer).and_then(|value| Ok(check_tag(name, value).map(|()| value)?));
        match value {
            Ok(value) => self.message.tag(name, value),
            Err(fault) => return Err(self.fail(fault, name)),
        }
        Ok(())
    }

    /// Takes the brace of the object whose name was entered last; it must have a member.
    fn open_object(&mut self) -> Result<(), Failed> {
        let around = usize::from(self.element.is_some()) + usize::from(self.in_values);
        if around + self.path.segments.len() + 1 > self.limits.depth_max {
            return Err(self.fail(Fault::TooDeep(self.limits.depth_max), ""));
        }
        self.cursor.advance();
        if self.cursor.next_token() == Some(b'}') {
            return Err(self.fail(Fault::EmptyObject, ""));
        }
        Ok(())
    }

    /// Takes a key and its colon.
    #[inline]
    fn key<'k>(&mut self, buffer: &'k mut String) -> Result<&'k str, Failed>
    where
        'a: 'k,
    {
        self.cursor.next_token();
        let key = self.cursor.string(buffer).map_err(|fault| self.fail(fault, ""))?;
        self.cursor.next_token();
        self.cursor.expect(b':', "expected :").map_err(|fault| self.fail(fault, key))?;
        if key.is_empty() {
            return Err(self.fail(Fault::EmptyKey, ""));
        }
        Ok(key)
    }

    /// Takes the comma or the end after a member or element.
    fn next(&mut self, end: u8, expected: &'static str) -> Result<Next, Failed> {
        match self.cursor.next_token() {
            Some(b',') => {
                self.cursor.advance();
                Ok(Next::Member)
            }
            Some(byte) if byte == end => {
                self.cursor.advance();
                Ok(Next::End)
            }
            _ => Err(self.fail(Fault::Syntax(expected), "")),
        }
    }

    fn word(&mut self, word: &'static str, name: &str) -> Result<(), Failed> {
        self.cursor.word(word).map_err(|fault| self.fail(fault, name))
    }

    /// `fault` at the member `name` of the current object; an empty name means the object itself.
    #[cold]
    #[expect(clippy::unnecessary_box_returns, reason = "every step returns it, and it is large")]
    fn fail(&self, fault: Fault, name: &str) -> Failed {
        let mut pointer = String::new();
        if let Some(index) = self.element {
            push_segment(&mut pointer, &index.to_string());
        }
        if self.in_values {
            push_segment(&mut pointer, "values");
        }
        for segment in self.path.iter() {
            push_segment(&mut pointer, segment);
        }
        if !name.is_empty() {
            push_segment(&mut pointer, name);
        }
        Box::new(DecodeError { fault, pointer, offset: self.cursor.offset() })
    }
}
