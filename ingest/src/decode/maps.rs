//! Points as maps in CBOR and MessagePack, in the three shapes that [`super::json`] lists: the same names, the same
//! nesting, the same meaning of `ts`, `tags` and `values`, so that a device may change its encoding and nothing else.
//!
//! Recursion is as deep as maps nest, and [`super::DecodeLimits::depth_max`] bounds that before anything is read.

use std::borrow::Cow;

use tidemill_store::model::{Timestamp, Value};

use super::error::push_segment;
use super::path::Path;
use super::sink::Sink;
use super::tokens::{Key, Open, Token, Tokens};
use super::{DecodeError, Fault, TimeUnit, time};

/// Errors are rare and large.
pub(super) type Failed = Box<DecodeError>;

/// One pass over one payload.
#[derive(Debug)]
pub(super) struct Walk<'d, T> {
    pub(super) tokens: T,
    pub(super) sink: Sink<'d>,
    pub(super) path: &'d mut Path,
    /// The unit of a numeric `ts`; `None` where times are not read.
    pub(super) unit: Option<TimeUnit>,
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

impl<'a, T: Tokens<'a>> Walk<'_, T> {
    /// Takes the whole payload.
    pub(super) fn payload(mut self) -> Result<(), Failed> {
        if self.tokens.is_at_end() {
            return Err(self.fail(Fault::EmptyPayload, ""));
        }
        self.path.clear();
        match self.value("")? {
            Token::Map(open) => self.point(open)?,
            Token::List(open) => self.elements(open)?,
            Token::Null
            | Token::Bool(_)
            | Token::Number(_)
            | Token::Text(_)
            | Token::Bytes
            | Token::Time(_) => return Err(self.fail(Fault::NotAnObject(" or an array of objects"), "")),
        }
        if !self.tokens.is_at_end() {
            return Err(self.fail(Fault::Trailing, ""));
        }
        self.sink.finish().map_err(|fault| self.fail(fault, ""))
    }

    fn elements(&mut self, mut open: Open) -> Result<(), Failed> {
        for index in 0.. {
            if !self.more(&mut open)? {
                break;
            }
            if index == self.sink.limits.elements_max {
                return Err(self.fail(Fault::TooManyElements(index), ""));
            }
            self.element = Some(index);
            let Token::Map(point) = self.value("")? else {
                return Err(self.fail(Fault::NotAnObject(""), ""));
            };
            self.sink.start_point();
            self.point(point)?;
            self.element = None;
        }
        Ok(())
    }

    fn point(&mut self, mut open: Open) -> Result<(), Failed> {
        let mut members = Members::default();
        self.enter_map(&mut open)?;
        loop {
            let name = self.name()?;
            self.point_member(&name, &mut members)?;
            if !self.more(&mut open)? {
                break;
            }
        }
        self.sink.finish_point(members.time);
        Ok(())
    }

    fn point_member(&mut self, name: &str, members: &mut Members) -> Result<(), Failed> {
        let token = self.value(name)?;
        match (name, token) {
            ("ts", token) => self.time(token, members),
            ("tags", token) => self.tags(&token, members),
            ("values", Token::Map(open)) => self.values(open, members),
            (_, Token::Null) => Ok(()),
            _ if members.metrics == Stand::Wrapped => Err(self.fail(Fault::BesideValues, name)),
            (_, token) => {
                members.metrics = Stand::Flat;
                self.member(name, token)
            }
        }
    }

    fn values(&mut self, mut open: Open, members: &mut Members) -> Result<(), Failed> {
        match members.metrics {
            Stand::Unknown => members.metrics = Stand::Wrapped,
            Stand::Flat => return Err(self.fail(Fault::BesideValues, "values")),
            Stand::Wrapped => return Err(self.fail(Fault::MemberTwice("\"values\""), "values")),
        }
        self.in_values = true;
        self.enter_map(&mut open)?;
        self.map_members(&mut open)?;
        self.in_values = false;
        Ok(())
    }

    /// Takes the members of a map that has one, up to its end.
    fn map_members(&mut self, open: &mut Open) -> Result<(), Failed> {
        loop {
            let name = self.name()?;
            let token = self.value(&name)?;
            self.member(&name, token)?;
            if !self.more(open)? {
                return Ok(());
            }
        }
    }

    /// Takes the value of the member `name`: a metric or a map of them, or null, which says nothing.
    fn member(&mut self, name: &str, token: Token<'a>) -> Result<(), Failed> {
        let value = match token {
            Token::Map(mut open) => {
                let before = self.path.enter(name);
                self.enter_map(&mut open)?;
                self.map_members(&mut open)?;
                self.path.leave(before);
                return Ok(());
            }
            Token::Bool(value) => Ok(Value::Bool(value)),
            Token::Number(number) => number.value(),
            Token::Text(text) => self.sink.text(&text),
            Token::List(_) => Err(Fault::Array),
            Token::Bytes => Err(Fault::Bytes),
            Token::Time(_) => Err(Fault::TimeValue),
            Token::Null => return Ok(()),
        };
        value.and_then(|value| self.metric(name, value)).map_err(|fault| self.fail(fault, name))
    }

    fn metric(&mut self, name: &str, value: Value) -> Result<(), Fault> {
        if self.path.segments.is_empty() {
            return self.sink.metric(name, value);
        }
        let before = self.path.text.len();
        self.path.text.push('.');
        self.path.text.push_str(name);
        let added = self.sink.metric(&self.path.text, value);
        self.path.text.truncate(before);
        added
    }

    fn time(&mut self, token: Token<'a>, members: &mut Members) -> Result<(), Failed> {
        if std::mem::replace(&mut members.time_seen, true) {
            return Err(self.fail(Fault::MemberTwice("\"ts\""), "ts"));
        }
        let read = match (token, self.unit) {
            (Token::Null, _) | (Token::Text(_) | Token::Number(_) | Token::Time(_), None) => return Ok(()),
            (Token::Text(text), Some(_)) => time::from_text(&text),
            (Token::Number(number), Some(unit)) => number.time(unit),
            (Token::Time(time), Some(_)) => Ok(time),
            (Token::Bool(_) | Token::Bytes | Token::Map(_) | Token::List(_), _) => Err(Fault::TimeKind),
        };
        members.time = Some(read.map_err(|fault| self.fail(fault, "ts"))?);
        Ok(())
    }

    fn tags(&mut self, token: &Token<'a>, members: &mut Members) -> Result<(), Failed> {
        if std::mem::replace(&mut members.tags_seen, true) {
            return Err(self.fail(Fault::MemberTwice("\"tags\""), "tags"));
        }
        if matches!(token, Token::Null) {
            return Ok(());
        }
        let Token::Map(mut open) = *token else { return Err(self.fail(Fault::TagsNotAnObject, "tags")) };
        let before = self.path.enter("tags");
        while self.more(&mut open)? {
            let name = self.name()?;
            let token = self.value(&name)?;
            if !matches!(token, Token::Null) {
                let text = token.into_text().ok_or(Fault::TagNotText);
                let added = text.and_then(|text| self.sink.tag(&name, &text));
                added.map_err(|fault| self.fail(fault, &name))?;
            }
        }
        self.path.leave(before);
        Ok(())
    }

    /// Enters the map whose head was taken last; it must have a member.
    fn enter_map(&mut self, open: &mut Open) -> Result<(), Failed> {
        let around = usize::from(self.element.is_some()) + usize::from(self.in_values);
        if around + self.path.segments.len() + 1 > self.sink.limits.depth_max {
            return Err(self.fail(Fault::TooDeep(self.sink.limits.depth_max), ""));
        }
        if self.more(open)? { Ok(()) } else { Err(self.fail(Fault::EmptyObject, "")) }
    }

    fn name(&mut self) -> Result<Cow<'a, str>, Failed> {
        match self.tokens.key().map_err(|fault| self.fail(fault, ""))? {
            Key::Text(name) if name.is_empty() => Err(self.fail(Fault::EmptyKey, "")),
            Key::Text(name) => Ok(name),
            Key::Integer(_) => Err(self.fail(Fault::KeyNotText, "")),
        }
    }

    fn value(&mut self, name: &str) -> Result<Token<'a>, Failed> {
        self.tokens.next().map_err(|fault| self.fail(fault, name))
    }

    fn more(&mut self, open: &mut Open) -> Result<bool, Failed> {
        self.tokens.more(open).map_err(|fault| self.fail(fault, ""))
    }

    /// `fault` at the member `name` of the current map; an empty name means the map itself.
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
        for segment in self.path.iter().chain((!name.is_empty()).then_some(name)) {
            push_segment(&mut pointer, segment);
        }
        Box::new(DecodeError { fault, pointer, offset: self.tokens.offset() })
    }
}
