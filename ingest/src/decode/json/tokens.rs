//! JSON as [`Tokens`], for formats that are JSON underneath.

use crate::decode::Fault;
use crate::decode::cursor::Cursor;
use crate::decode::tokens::{Key, Num, Open, Token, Tokens};

/// JSON of one payload.
#[derive(Debug)]
pub(in crate::decode) struct JsonTokens<'a>(Cursor<'a>);

impl<'a> JsonTokens<'a> {
    pub(in crate::decode) fn new(text: &'a str) -> Self {
        Self(Cursor::new(text))
    }
}

impl<'a> Tokens<'a> for JsonTokens<'a> {
    fn offset(&self) -> usize {
        self.0.offset()
    }

    fn next(&mut self) -> Result<Token<'a>, Fault> {
        Ok(match self.0.next_token() {
            Some(b'{') => {
                self.0.advance();
                Token::Map(Open::until(b'}'))
            }
            Some(b'[') => {
                self.0.advance();
                Token::List(Open::until(b']'))
            }
            Some(b'"') => Token::Text(self.0.text()?),
            Some(b'n') => self.0.word("null").map(|()| Token::Null)?,
            Some(b't') => self.0.word("true").map(|()| Token::Bool(true))?,
            Some(b'f') => self.0.word("false").map(|()| Token::Bool(false))?,
            Some(b'-' | b'0'..=b'9') => Token::Number(Num::Written(self.0.number()?)),
            _ => return Err(Fault::Syntax("expected a value")),
        })
    }

    fn more(&mut self, open: &mut Open) -> Result<bool, Fault> {
        let is_first = std::mem::take(&mut open.is_first);
        match self.0.next_token() {
            Some(byte) if byte == open.end => {
                self.0.advance();
                Ok(false)
            }
            _ if is_first => Ok(true),
            Some(b',') => {
                self.0.advance();
                Ok(true)
            }
            _ => Err(Fault::Syntax("expected a comma or an end")),
        }
    }

    fn key(&mut self) -> Result<Key<'a>, Fault> {
        self.0.next_token();
        let key = self.0.text()?;
        self.0.next_token();
        self.0.expect(b':', "expected :")?;
        Ok(Key::Text(key))
    }

    fn is_at_end(&mut self) -> bool {
        self.0.next_token().is_none()
    }
}
