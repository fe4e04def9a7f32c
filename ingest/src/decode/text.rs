//! Text that is read piece by piece, with faults that name the line: what line protocol and CSV share.

use super::{DecodeError, Fault};

/// A position in a text of lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, line: 1 }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The byte `ahead` of the next one.
    #[inline]
    pub(super) fn peek_at(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    #[inline]
    pub(super) fn advance(&mut self) {
        self.line += usize::from(self.peek() == Some(b'\n'));
        self.at += 1;
    }

    /// Takes the next byte if it is `byte`.
    #[inline]
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let same = self.peek() == Some(byte);
        if same {
            self.advance();
        }
        same
    }

    /// Takes the end of a line, if it is next: a line feed, with a carriage return or without.
    pub(super) fn eat_line_end(&mut self) -> bool {
        if self.peek() == Some(b'\r') && self.peek_at(1) == Some(b'\n') {
            self.advance();
        }
        self.eat(b'\n')
    }

    /// Whether a line ends here, or the text.
    pub(super) fn is_line_end(&self) -> bool {
        match self.peek() {
            None | Some(b'\n') => true,
            Some(b'\r') => self.peek_at(1) == Some(b'\n'),
            Some(_) => false,
        }
    }

    /// Takes what is before the first byte that `ends`.
    pub(super) fn until(&mut self, ends: impl Fn(u8) -> bool) -> &'a str {
        let start = self.at;
        let rest = self.text.as_bytes().get(start..).unwrap_or_default();
        let length = rest.iter().position(|&byte| ends(byte)).unwrap_or(rest.len());
        self.at += length;
        self.since(start)
    }

    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// The text from `start` to here.
    pub(super) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// `fault`, here.
    #[cold]
    pub(super) fn fail(&self, fault: Fault) -> DecodeError {
        DecodeError { fault, pointer: format!("line {}", self.line), offset: self.at }
    }
}
