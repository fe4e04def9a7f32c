//! Reads the tokens of JSON (RFC 8259) one after another from text that is known to be UTF-8.
//!
//! Knows the grammar of tokens and nothing of what they mean to telemetry. No recursion, no allocation but for
//! strings with escapes, which go into a buffer of the caller.

use std::borrow::Cow;

use super::Fault;
use super::number::Number;

/// A position in a text.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The offset of the next byte.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// The next byte, left in place.
    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    pub(super) fn advance(&mut self) {
        self.at += 1;
    }

    /// Takes the next byte if it is `byte`.
    #[inline]
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let same = self.peek() == Some(byte);
        self.at += usize::from(same);
        same
    }

    /// Takes `byte` or fails with `what`.
    #[inline]
    pub(super) fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Fault> {
        if self.eat(byte) { Ok(()) } else { Err(Fault::Syntax(what)) }
    }

    /// Skips white space, then gives the next byte, left in place.
    #[inline]
    pub(super) fn next_token(&mut self) -> Option<u8> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.advance(),
                other => return other,
            }
        }
    }

    /// Takes `word`, of which the first byte was seen.
    pub(super) fn word(&mut self, word: &'static str) -> Result<(), Fault> {
        let found = self.rest().starts_with(word);
        if found {
            self.at += word.len();
            Ok(())
        } else {
            Err(Fault::Syntax("expected a value"))
        }
    }

    /// Takes a number.
    pub(super) fn number(&mut self) -> Result<Number<'a>, Fault> {
        let (number, length) = Number::parse(self.rest()).map_err(|(fault, offset)| {
            self.at += offset;
            fault
        })?;
        self.at += length;
        Ok(number)
    }

    /// Takes a string; one with escapes is decoded into `buffer`.
    #[inline]
    pub(super) fn string<'b>(&mut self, buffer: &'b mut String) -> Result<&'b str, Fault>
    where
        'a: 'b,
    {
        if let Some(plain) = self.plain_string(buffer)? {
            return Ok(plain);
        }
        self.escaped(buffer)?;
        Ok(buffer)
    }

    /// Takes a string; only one with escapes is copied.
    pub(super) fn text(&mut self) -> Result<Cow<'a, str>, Fault> {
        let mut buffer = String::new();
        if let Some(plain) = self.plain_string(&mut buffer)? {
            return Ok(Cow::Borrowed(plain));
        }
        self.escaped(&mut buffer)?;
        Ok(Cow::Owned(buffer))
    }

    /// Takes a string without escapes; of any other, takes what is before the first one, into `buffer`.
    #[inline]
    fn plain_string(&mut self, buffer: &mut String) -> Result<Option<&'a str>, Fault> {
        self.expect(b'"', "expected a string")?;
        let start = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let plain = self.text.get(start..self.at).unwrap_or_default();
                    self.advance();
                    return Ok(Some(plain));
                }
                Some(b'\\') => break,
                Some(0..=0x1f) => return Err(Fault::Syntax("a control character in a string")),
                Some(_) => self.advance(),
                None => return Err(Fault::Syntax("the string does not end")),
            }
        }
        buffer.clear();
        buffer.push_str(self.text.get(start..self.at).unwrap_or_default());
        Ok(None)
    }

    /// Takes the rest of a string from its first backslash on.
    fn escaped(&mut self, buffer: &mut String) -> Result<(), Fault> {
        loop {
            let rest = self.rest();
            let plain = rest.find(|c: char| matches!(c, '"' | '\\' | '\0'..='\x1f')).unwrap_or(rest.len());
            buffer.push_str(rest.get(..plain).unwrap_or_default());
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.advance();
                    return Ok(());
                }
                Some(b'\\') => {
                    self.advance();
                    buffer.push(self.escape()?);
                }
                Some(_) => return Err(Fault::Syntax("a control character in a string")),
                None => return Err(Fault::Syntax("the string does not end")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let character = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.advance();
                return self.unicode_escape();
            }
            _ => return Err(Fault::Syntax("an unknown escape in a string")),
        };
        self.advance();
        Ok(character)
    }

    /// Takes four digits after `\u`, and the second half of a surrogate pair where they are its first.
    fn unicode_escape(&mut self) -> Result<char, Fault> {
        const LONE: Fault = Fault::Syntax("half of a surrogate pair in a string");
        let first = self.hex4()?;
        let code = if (0xd800..0xdc00).contains(&first) {
            if !(self.eat(b'\\') && self.eat(b'u')) {
                return Err(LONE);
            }
            let second = self.hex4()?;
            if !(0xdc00..0xe000).contains(&second) {
                return Err(LONE);
            }
            0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        } else {
            first
        };
        char::from_u32(code).ok_or(LONE)
    }

    fn hex4(&mut self) -> Result<u32, Fault> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            code = code * 16 + digit.ok_or(Fault::Syntax("expected four hexadecimal digits"))?;
            self.advance();
        }
        Ok(code)
    }

    /// The bytes that are left.
    #[inline]
    pub(super) fn left(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// Takes so many bytes that were looked at: whole characters.
    #[inline]
    pub(super) fn pass(&mut self, bytes: usize) {
        self.at += bytes;
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }
}
