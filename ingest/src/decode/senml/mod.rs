//! SenML (RFC 8428) as JSON or CBOR: an array of records, in which base fields hold for all that follow.
//!
//! - A name (base name + name) is cut behind its last `:` or `/`: the front is the tag `bn`, the rest the metric, so
//!   that `urn:dev:mac:0024befffe804ff1/` + `temp` is the metric `temp` of one source, and no two names collide. A
//!   name that ends in a separator is cut before its last part.
//! - A value is base value + value, a sum (metric `name:sum`) base sum + sum. Integers stay exact. A base is added to what
//!   a record has; it stands alone where a record has a name and nothing to add it to.
//! - A time is base time + time in seconds; below 2²⁸ it is relative to the time of receipt. Without both it is the
//!   time of receipt.
//! - Binary data is refused, as are labels that must be understood (they end in `_`), names with other characters than
//!   RFC 8428 has them, and versions that differ or need more than that and the secondary units of RFC 9100. Units and
//!   update times are passed over.
//! - A record with nothing but base fields only sets them.

use std::borrow::Cow;

use tidemill_store::model::{Timestamp, Value};

use super::error::push_segment;
use super::maps::Failed;
use super::sink::Sink;
use super::tokens::{Key, Num, Token, Tokens, skip};
use super::{DecodeError, Fault, TimeUnit};

/// Times below this, in nanoseconds, are relative: 2²⁸ seconds.
const RELATIVE_BELOW: i64 = (1 << 28) * 1_000_000_000;
/// The first draft whose packs look like those of RFC 8428; encoders that write it are still about.
const DRAFTS: i64 = 5;
/// The bits of the version of RFC 8428 …
const VERSION: i64 = 10;
/// … and the one for secondary units, which are passed over as all units are.
const SECONDARY_UNITS: i64 = 1 << 4;

/// One pass over one pack.
#[derive(Debug)]
pub(super) struct Walk<'a, 'd, T> {
    tokens: T,
    sink: Sink<'d>,
    /// Whether times are read.
    reads_times: bool,
    received_at: Timestamp,
    bases: Bases<'a>,
    element: Option<usize>,
    point: Option<Point>,
    name: String,
}

/// The base fields in force.
#[derive(Debug, Default)]
struct Bases<'a> {
    version: Option<i64>,
    name: Option<Cow<'a, str>>,
    nanos: Option<i64>,
    value: Option<Num<'a>>,
    sum: Option<Num<'a>>,
}

/// What the records of the open point share: the front of their names, and their time.
#[derive(Debug, PartialEq, Eq)]
struct Point {
    front: String,
    time: Option<Timestamp>,
}

/// The fields of a record that are its own.
#[derive(Default)]
struct Record<'a> {
    name: Option<Cow<'a, str>>,
    nanos: Option<i64>,
    value: Option<Given<'a>>,
    sum: Option<Num<'a>>,
}

enum Given<'a> {
    Number(Num<'a>),
    Value(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    Version,
    BaseName,
    BaseTime,
    BaseUnit,
    BaseValue,
    BaseSum,
    Name,
    Unit,
    Value,
    Text,
    Bool,
    Sum,
    Time,
    UpdateTime,
    Data,
}

/// Labels with their names in JSON and their numbers in CBOR.
const LABELS: [(Label, &str, i64); 15] = [
    (Label::Name, "n", 0),
    (Label::Value, "v", 2),
    (Label::Time, "t", 6),
    (Label::Unit, "u", 1),
    (Label::BaseName, "bn", -2),
    (Label::BaseTime, "bt", -3),
    (Label::BaseUnit, "bu", -4),
    (Label::BaseValue, "bv", -5),
    (Label::BaseSum, "bs", -6),
    (Label::Version, "bver", -1),
    (Label::Text, "vs", 3),
    (Label::Bool, "vb", 4),
    (Label::Sum, "s", 5),
    (Label::UpdateTime, "ut", 7),
    (Label::Data, "vd", 8),
];

/// A label that was understood: its position in [`LABELS`] and its name.
type Known = (usize, Label, &'static str);

fn known(key: &Key<'_>) -> Option<Known> {
    let fits = |&(_, (_, name, number)): &(usize, &(Label, &str, i64))| match key {
        Key::Text(text) => text == name,
        Key::Integer(integer) => integer == number,
    };
    LABELS.iter().enumerate().find(fits).map(|(position, &(label, name, _))| (position, label, name))
}

impl<'a, 'd, T: Tokens<'a>> Walk<'a, 'd, T> {
    /// Of a pack that was received at `received_at`.
    pub(super) fn new(tokens: T, sink: Sink<'d>, reads_times: bool, received_at: Timestamp) -> Self {
        let (bases, name) = (Bases::default(), String::new());
        Self { tokens, sink, reads_times, received_at, bases, element: None, point: None, name }
    }

    /// Takes the whole pack. `is_label` says which form of labels the encoding has.
    pub(super) fn pack(mut self, is_label: fn(&Key<'_>) -> bool) -> Result<(), Failed> {
        if self.tokens.is_at_end() {
            return Err(self.fail(Fault::EmptyPayload, ""));
        }
        let Token::List(mut open) = self.value("")? else {
            return Err(self.fail(Fault::Senml("a pack is an array of records"), ""));
        };
        for index in 0.. {
            if !self.tokens.more(&mut open).map_err(|fault| self.fail(fault, ""))? {
                break;
            }
            if index == self.sink.limits.elements_max {
                return Err(self.fail(Fault::TooManyElements(index), ""));
            }
            self.element = Some(index);
            let record = self.record(is_label)?;
            self.add(record).map_err(|fault| self.fail(fault, ""))?;
            self.element = None;
        }
        if let Some(point) = self.point.take() {
            self.sink.finish_point(point.time);
        }
        if !self.tokens.is_at_end() {
            return Err(self.fail(Fault::Trailing, ""));
        }
        self.sink.finish().map_err(|fault| self.fail(fault, ""))
    }

    fn record(&mut self, is_label: fn(&Key<'_>) -> bool) -> Result<Record<'a>, Failed> {
        let Token::Map(mut open) = self.value("")? else {
            return Err(self.fail(Fault::NotAnObject(""), ""));
        };
        let (mut record, mut seen) = (Record::default(), 0_u32);
        while self.tokens.more(&mut open).map_err(|fault| self.fail(fault, ""))? {
            let key = self.tokens.key().map_err(|fault| self.fail(fault, ""))?;
            match known(&key).filter(|_| is_label(&key)) {
                Some((position, label, name)) => {
                    if seen & (1 << position) != 0 {
                        return Err(self.fail(Fault::MemberTwice("the label"), name));
                    }
                    seen |= 1 << position;
                    self.field(label, name, &mut record)?;
                }
                None => self.pass_over(&key)?,
            }
        }
        Ok(record)
    }

    /// Passes over the value of a label that is not known, unless it must be.
    fn pass_over(&mut self, key: &Key<'_>) -> Result<(), Failed> {
        if let Key::Text(text) = key
            && text.ends_with('_')
        {
            return Err(self.fail(Fault::SenmlLabel(text.chars().take(32).collect()), ""));
        }
        let depth = self.sink.limits.depth_max;
        skip(&mut self.tokens, depth).map_err(|fault| self.fail(fault, ""))
    }

    fn field(&mut self, label: Label, name: &'static str, record: &mut Record<'a>) -> Result<(), Failed> {
        let token = self.value(name)?;
        self.set(label, token, record).map_err(|fault| self.fail(fault, name))
    }

    fn set(&mut self, label: Label, token: Token<'a>, record: &mut Record<'a>) -> Result<(), Fault> {
        const WRONG: Fault = Fault::Senml("the value of a label is of the wrong type");
        let text = |token: Token<'a>| token.into_text().ok_or(WRONG);
        let number = |token: Token<'a>| token.into_number().ok_or(WRONG);
        match label {
            Label::BaseName => self.bases.name = Some(text(token)?),
            Label::Name => record.name = Some(text(token)?),
            Label::BaseTime => self.bases.nanos = self.nanos(&number(token)?)?,
            Label::Time => record.nanos = self.nanos(&number(token)?)?,
            Label::BaseValue => self.bases.value = Some(number(token)?),
            Label::BaseSum => self.bases.sum = Some(number(token)?),
            Label::Sum => record.sum = Some(number(token)?),
            Label::Value => record.give(Given::Number(number(token)?))?,
            Label::Text => record.give(Given::Value(self.sink.text(&text(token)?)?))?,
            Label::Bool => record.give(Given::Value(Value::Bool(token.into_bool().ok_or(WRONG)?)))?,
            Label::Version => self.bases.set_version(&number(token)?)?,
            Label::Data => return Err(Fault::SenmlData),
            Label::Unit | Label::BaseUnit => drop(text(token)?),
            Label::UpdateTime => drop(number(token)?),
        }
        Ok(())
    }

    fn nanos(&self, number: &Num<'_>) -> Result<Option<i64>, Fault> {
        if self.reads_times { number.nanos(TimeUnit::Seconds).map(Some) } else { Ok(None) }
    }

    /// Adds what a record says, with the base fields in force.
    fn add(&mut self, record: Record<'a>) -> Result<(), Fault> {
        let Record { name, nanos, value, sum } = record;
        if name.is_none() && nanos.is_none() && value.is_none() && sum.is_none() {
            return Ok(());
        }
        let has_neither = value.is_none() && sum.is_none();
        let value = match (value, self.bases.value) {
            (Some(Given::Value(value)), _) => Some(value),
            (Some(Given::Number(value)), base) => Some(sum_of(base, value)?),
            (None, Some(base)) if has_neither => Some(base.value()?),
            (None, _) => None,
        };
        let sum = match (sum, self.bases.sum) {
            (Some(sum), base) => Some(sum_of(base, sum)?),
            (None, Some(base)) if has_neither => Some(base.value()?),
            (None, _) => None,
        };
        if value.is_none() && sum.is_none() {
            return Err(Fault::Senml("a record has neither a value nor a sum"));
        }
        self.name.clear();
        self.name.extend(self.bases.name.as_deref().into_iter().chain(name.as_deref()));
        check_name(&self.name)?;
        let time = self.time(nanos)?;
        self.open_point(time)?;
        let cut = cut(&self.name);
        if let Some(value) = value {
            self.sink.metric(self.name.get(cut..).unwrap_or_default(), value)?;
        }
        if let Some(sum) = sum {
            self.name.push_str(":sum");
            self.sink.metric(self.name.get(cut..).unwrap_or_default(), sum)?;
        }
        Ok(())
    }

    fn time(&self, nanos: Option<i64>) -> Result<Option<Timestamp>, Fault> {
        let total = match (self.bases.nanos, nanos) {
            (None, None) => return Ok(None),
            (base, own) => base.unwrap_or(0).checked_add(own.unwrap_or(0)).ok_or(Fault::TimeOutOfRange)?,
        };
        let nanos = if total < RELATIVE_BELOW {
            self.received_at.nanos().checked_add(total).ok_or(Fault::TimeOutOfRange)?
        } else {
            total
        };
        Timestamp::from_nanos(nanos).map(Some).map_err(|_| Fault::TimeOutOfRange)
    }

    /// Goes on with the open point, where it is of this time and of the source of the current name.
    fn open_point(&mut self, time: Option<Timestamp>) -> Result<(), Fault> {
        let front = self.name.get(..cut(&self.name)).unwrap_or_default();
        if self.point.as_ref().is_some_and(|point| point.time == time && point.front == front) {
            return Ok(());
        }
        if let Some(point) = self.point.take() {
            self.sink.finish_point(point.time);
        }
        self.sink.start_point();
        if !front.is_empty() {
            self.sink.tag("bn", front)?;
        }
        self.point = Some(Point { front: front.to_owned(), time });
        Ok(())
    }

    fn value(&mut self, name: &str) -> Result<Token<'a>, Failed> {
        self.tokens.next().map_err(|fault| self.fail(fault, name))
    }

    #[cold]
    #[expect(clippy::unnecessary_box_returns, reason = "every step returns it, and it is large")]
    fn fail(&self, fault: Fault, name: &str) -> Failed {
        let mut pointer = String::new();
        if let Some(index) = self.element {
            push_segment(&mut pointer, &index.to_string());
        }
        if !name.is_empty() {
            push_segment(&mut pointer, name);
        }
        Box::new(DecodeError { fault, pointer, offset: self.tokens.offset() })
    }
}

impl<'a> Record<'a> {
    fn give(&mut self, value: Given<'a>) -> Result<(), Fault> {
        match self.value.replace(value) {
            None => Ok(()),
            Some(_) => Err(Fault::Senml("a record has two values")),
        }
    }
}

/// Where a name is cut into the front, which is a tag, and the metric.
fn cut(name: &str) -> usize {
    let separators = [':', '/'];
    name.trim_end_matches(separators).rfind(separators).map_or(0, |at| at + 1)
}

/// `base + number`: exact for integers, as long as they fit.
fn sum_of(base: Option<Num<'_>>, number: Num<'_>) -> Result<Value, Fault> {
    let Some(base) = base else { return number.value() };
    let (base, own) = (base.value()?, number.value()?);
    if let (Value::I64(base), Value::I64(own)) = (&base, &own) {
        return base.checked_add(*own).map(Value::I64).ok_or(Fault::IntegerInexact);
    }
    Ok(Value::F64(double(&base) + double(&own)))
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "the sum is a double, whatever is added"
)]
fn double(value: &Value) -> f64 {
    match value {
        Value::F64(double) => *double,
        Value::I64(integer) => *integer as f64,
        Value::Bool(_) | Value::Text(_) => f64::NAN,
    }
}

impl Bases<'_> {
    /// Takes the version of the pack, which all records that say one agree about.
    fn set_version(&mut self, number: &Num<'_>) -> Result<(), Fault> {
        let is_known =
            |version| (DRAFTS..=VERSION).contains(&version) || version == VERSION | SECONDARY_UNITS;
        let Value::I64(version) = number.value()? else {
            return Err(Fault::Senml("a version is an integer"));
        };
        if !is_known(version) {
            return Err(Fault::Senml("the version needs features that are not known"));
        }
        if self.version.replace(version).is_some_and(|before| before != version) {
            return Err(Fault::Senml("the records of a pack have different versions"));
        }
        Ok(())
    }
}

/// Checks base name and name together (RFC 8428, 4.5.1).
fn check_name(name: &str) -> Result<(), Fault> {
    let may_be_in =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b':' | b'.' | b'/' | b'_');
    match name.bytes().next() {
        None => Err(Fault::SenmlName("a record has neither a name nor a base name")),
        Some(first) if !first.is_ascii_alphanumeric() => {
            Err(Fault::SenmlName("a name must begin with a letter from A to Z or a digit"))
        }
        Some(_) if !name.bytes().all(may_be_in) => Err(Fault::SenmlName(
            "a name holds other characters than letters from A to Z, digits and - : . / _",
        )),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
