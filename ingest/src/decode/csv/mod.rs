//! Lines of comma-separated values (RFC 4180): each line is a point, its columns named by configuration or by the first
//! line of each payload.
//!
//! A column is the time, a tag (`tag:site`), passed over (no name), or a metric. A field is what it reads as: an integer,
//! a double, a boolean, else text; an empty field says nothing. Fields in quotes may hold separators, line ends and
//! doubled quotes. A line with another number of fields than columns is refused.

use std::borrow::Cow;

use tidemill_store::model::{Metric, NameError, TagKey, Timestamp};

use super::number::{Number, untyped};
use super::sink::Sink;
use super::text::Scanner;
use super::{DecodeError, Fault, TimeUnit, time};

/// Most columns of a line.
const COLUMNS_MAX: usize = 1_100;

/// How the lines of a template are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvLayout {
    columns: Vec<CsvColumn>,
    time_column: String,
    delimiter: u8,
}

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum CsvColumn {
    Time,
    Tag(String),
    Metric(String),
    Skipped,
}

/// Why a layout was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsvLayoutError {
    /// A column names no possible metric or tag.
    #[error("a column cannot be called {name:?}")]
    Name {
        /// The column.
        name: String,
        /// Why.
        source: NameError,
    },
    /// A column stands twice.
    #[error("the column {0:?} stands twice")]
    Twice(String),
    /// No column is a metric.
    #[error("no column is a metric")]
    NoMetric,
    /// The delimiter is no single printable ASCII character other than a quote, or a tab.
    #[error("the delimiter must be one character such as , or ;")]
    Delimiter,
    /// More than a line may have.
    #[error("more than {COLUMNS_MAX} columns")]
    TooMany,
}

impl CsvLayout {
    /// Columns called `columns`, or as the first line of each payload calls them where `columns` is empty; the one
    /// called `time_column` holds the time.
    pub fn new(columns: &[String], time_column: &str, delimiter: char) -> Result<Self, CsvLayoutError> {
        let delimiter = u8::try_from(delimiter).map_err(|_| CsvLayoutError::Delimiter)?;
        if !(delimiter == b'\t' || (delimiter.is_ascii_punctuation() && delimiter != b'"')) {
            return Err(CsvLayoutError::Delimiter);
        }
        if columns.len() > COLUMNS_MAX {
            return Err(CsvLayoutError::TooMany);
        }
        for (position, name) in columns.iter().enumerate() {
            if !name.is_empty() && columns.iter().take(position).any(|other| other == name) {
                return Err(CsvLayoutError::Twice(name.clone()));
            }
        }
        let columns: Vec<_> = columns.iter().map(|name| CsvColumn::of(name, time_column)).collect();
        for column in &columns {
            column.check()?;
        }
        if !columns.is_empty() && !columns.iter().any(|column| matches!(column, CsvColumn::Metric(_))) {
            return Err(CsvLayoutError::NoMetric);
        }
        Ok(Self { columns, time_column: time_column.to_owned(), delimiter })
    }
}

impl CsvColumn {
    fn of(name: &str, time_column: &str) -> Self {
        match name.strip_prefix("tag:") {
            Some(key) => Self::Tag(key.to_owned()),
            None if name == time_column => Self::Time,
            None if name.is_empty() => Self::Skipped,
            None => Self::Metric(name.to_owned()),
        }
    }

    fn check(&self) -> Result<(), CsvLayoutError> {
        let checked = match self {
            Self::Tag(name) => (name, TagKey::new(name).map(drop)),
            Self::Metric(name) => (name, Metric::new(name).map(drop)),
            Self::Time | Self::Skipped => return Ok(()),
        };
        match checked {
            (_, Ok(())) => Ok(()),
            (name, Err(source)) => Err(CsvLayoutError::Name { name: name.clone(), source }),
        }
    }
}

/// One pass over one payload.
#[derive(Debug)]
pub(super) struct Rows<'a, 'd> {
    pub(super) scanner: Scanner<'a>,
    pub(super) sink: Sink<'d>,
    pub(super) unit: Option<TimeUnit>,
    pub(super) layout: &'d CsvLayout,
}

/// Whether a line goes on after a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Field,
    Line,
}

impl<'a> Rows<'a, '_> {
    /// Takes the whole payload.
    pub(super) fn payload(mut self) -> Result<(), Box<DecodeError>> {
        if self.scanner.peek().is_none() {
            return Err(self.fail(Fault::EmptyPayload));
        }
        let named;
        let columns = if self.layout.columns.is_empty() {
            named = self.header().map_err(|fault| self.fail(fault))?;
            &named
        } else {
            &self.layout.columns
        };
        let mut taken = 0;
        while self.scanner.peek().is_some() {
            if self.scanner.eat_line_end() {
                continue;
            }
            if taken == self.sink.limits.elements_max {
                return Err(self.fail(Fault::TooManyElements(taken)));
            }
            taken += 1;
            self.row(columns).map_err(|fault| self.fail(fault))?;
        }
        self.sink.finish().map_err(|fault| self.fail(fault))
    }

    #[cold]
    #[expect(clippy::unnecessary_box_returns, reason = "every step returns it, and it is large")]
    fn fail(&self, fault: Fault) -> Box<DecodeError> {
        Box::new(self.scanner.fail(fault))
    }

    fn header(&mut self) -> Result<Vec<CsvColumn>, Fault> {
        let mut columns = Vec::new();
        loop {
            let name = self.field()?;
            if columns.len() == COLUMNS_MAX {
                return Err(Fault::TooManyMetrics(COLUMNS_MAX));
            }
            columns.push(CsvColumn::of(name.trim(), &self.layout.time_column));
            if self.next()? == Next::Line {
                self.scanner.eat_line_end();
                return Ok(columns);
            }
        }
    }

    fn row(&mut self, columns: &[CsvColumn]) -> Result<(), Fault> {
        self.sink.start_point();
        let (mut time, mut found, mut named) = (None, 0, columns.iter());
        loop {
            let field = self.field()?;
            found += 1;
            match (named.next(), field.trim()) {
                (None, _) => return Err(Fault::Columns { expected: columns.len(), found }),
                (Some(_), "") | (Some(CsvColumn::Skipped), _) => {}
                (Some(CsvColumn::Time), text) => time = self.time(text)?,
                (Some(CsvColumn::Tag(key)), text) => self.sink.tag(key, text)?,
                (Some(CsvColumn::Metric(name)), text) => {
                    let value = untyped(text).unwrap_or_else(|| self.sink.text(&field))?;
                    self.sink.metric(name, value)?;
                }
            }
            if self.next()? == Next::Line {
                break;
            }
        }
        if found < columns.len() {
            return Err(Fault::Columns { expected: columns.len(), found });
        }
        self.scanner.eat_line_end();
        self.sink.finish_point(time);
        Ok(())
    }

    fn time(&self, text: &str) -> Result<Option<Timestamp>, Fault> {
        let Some(unit) = self.unit else { return Ok(None) };
        match Number::parse(text) {
            Ok((number, length)) if length == text.len() => time::from_number(&number, unit).map(Some),
            Ok(_) | Err(_) => time::from_text(text).map(Some),
        }
    }

    /// Takes a field, without what ends it.
    fn field(&mut self) -> Result<Cow<'a, str>, Fault> {
        let delimiter = self.layout.delimiter;
        if !self.scanner.eat(b'"') {
            let plain = self.scanner.until(|byte| byte == delimiter || byte == b'\n');
            let ends_line = self.scanner.is_line_end();
            let plain = plain.strip_suffix('\r').filter(|_| ends_line).unwrap_or(plain);
            return Ok(Cow::Borrowed(plain));
        }
        let mut start = self.scanner.offset();
        let mut text = Cow::Borrowed("");
        loop {
            match self.scanner.peek() {
                Some(b'"') => {
                    text += self.scanner.since(start);
                    self.scanner.advance();
                    if self.scanner.peek() != Some(b'"') {
                        return Ok(text);
                    }
                    // The second of two quotes stands for one.
                    start = self.scanner.offset();
                    self.scanner.advance();
                }
                Some(_) => self.scanner.advance(),
                None => return Err(Fault::Malformed { format: "CSV", what: "the quotes do not end" }),
            }
        }
    }

    /// Takes what ends a field; the end of a line stays, so that what is wrong with its fields is said of it.
    fn next(&mut self) -> Result<Next, Fault> {
        if self.scanner.eat(self.layout.delimiter) {
            return Ok(Next::Field);
        }
        if self.scanner.is_line_end() {
            return Ok(Next::Line);
        }
        Err(Fault::Malformed { format: "CSV", what: "something follows the closing quotes" })
    }
}

#[cfg(test)]
mod tests;
