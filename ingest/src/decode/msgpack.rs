//! MessagePack as [`Tokens`], with its timestamps (extension −1) and no other extension. Heads are told apart by `rmp`.

use std::borrow::Cow;

use rmp::Marker;
use tidemill_store::model::Timestamp;

use super::Fault;
use super::tokens::{Key, Num, Open, Token, Tokens};

/// The extension type of timestamps.
const TIMESTAMP: i64 = -1;

/// MessagePack of one payload.
#[derive(Debug)]
pub(super) struct MessagePack<'a> {
    payload: &'a [u8],
    rest: &'a [u8],
}

fn refused(what: &'static str) -> Fault {
    Fault::Malformed { format: "MessagePack", what }
}

impl<'a> MessagePack<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self { payload, rest: payload }
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Fault> {
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (taken, rest) = split.ok_or(refused("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn text(&mut self, length: u64) -> Result<Token<'a>, Fault> {
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes).map_err(|_| refused("a text that is not UTF-8"))?;
        Ok(Token::Text(Cow::Borrowed(text)))
    }

    fn bytes(&mut self, length: u64) -> Result<Token<'a>, Fault> {
        self.take(length).map(|_| Token::Bytes)
    }

    fn extension(&mut self, length: u64) -> Result<Token<'a>, Fault> {
        let kind = self.signed(1)?;
        let data = self.take(length)?;
        if kind != TIMESTAMP {
            return Err(refused("an extension other than a timestamp"));
        }
        timestamp(data).map(Token::Time)
    }

    /// Takes an integer of so many bytes, the highest first; at most eight.
    fn unsigned(&mut self, bytes: u32) -> Result<u64, Fault> {
        Ok(self.take(bytes.into())?.iter().fold(0, |value, &byte| (value << 8) | u64::from(byte)))
    }

    fn signed(&mut self, bytes: u32) -> Result<i64, Fault> {
        let shift = 64 - 8 * bytes;
        Ok((self.unsigned(bytes)? << shift).cast_signed() >> shift)
    }

    fn number<T: Into<i128>>(number: T) -> Token<'a> {
        Token::Number(Num::Integer(number.into()))
    }
}

/// Nanoseconds of a timestamp are fewer than these.
const NANOS: i64 = 1_000_000_000;

/// 32 bits of seconds; 30 bits of nanoseconds and 34 of seconds; or 32 bits of nanoseconds and 64 of seconds.
fn timestamp(data: &[u8]) -> Result<Timestamp, Fault> {
    let (seconds, nanos) = if let Ok(seconds) = <[u8; 4]>::try_from(data) {
        (i64::from(u32::from_be_bytes(seconds)), 0)
    } else if let Ok(both) = <[u8; 8]>::try_from(data) {
        let both = u64::from_be_bytes(both);
        ((both & ((1 << 34) - 1)).cast_signed(), (both >> 34).cast_signed())
    } else if let Some((nanos, seconds)) = data.split_first_chunk::<4>()
        && let Ok(seconds) = <[u8; 8]>::try_from(seconds)
    {
        (i64::from_be_bytes(seconds), i64::from(u32::from_be_bytes(*nanos)))
    } else {
        return Err(refused("a timestamp of a strange length"));
    };
    if nanos >= NANOS {
        return Err(refused("a timestamp with a second or more of nanoseconds"));
    }
    let nanos = seconds.checked_mul(NANOS).and_then(|whole| whole.checked_add(nanos));
    let nanos = nanos.ok_or(Fault::TimeOutOfRange)?;
    Timestamp::from_nanos(nanos).map_err(|_| Fault::TimeOutOfRange)
}

impl<'a> Tokens<'a> for MessagePack<'a> {
    fn offset(&self) -> usize {
        self.payload.len() - self.rest.len()
    }

    fn next(&mut self) -> Result<Token<'a>, Fault> {
        let (&head, rest) = self.rest.split_first().ok_or(refused("it ends too early"))?;
        self.rest = rest;
        let marker = Marker::from_u8(head);
        Ok(match marker {
            Marker::Null => Token::Null,
            Marker::True => Token::Bool(true),
            Marker::False => Token::Bool(false),
            Marker::FixPos(small) => Self::number(small),
            Marker::FixNeg(small) => Self::number(small),
            Marker::U8 => Self::number(self.unsigned(1)?),
            Marker::U16 => Self::number(self.unsigned(2)?),
            Marker::U32 => Self::number(self.unsigned(4)?),
            Marker::U64 => Self::number(self.unsigned(8)?),
            Marker::I8 => Self::number(self.signed(1)?),
            Marker::I16 => Self::number(self.signed(2)?),
            Marker::I32 => Self::number(self.signed(4)?),
            Marker::I64 => Self::number(self.signed(8)?),
            Marker::F32 => {
                let bits = u32::try_from(self.unsigned(4)?).unwrap_or_default();
                Token::Number(Num::Double(f32::from_bits(bits).into()))
            }
            Marker::F64 => Token::Number(Num::Double(f64::from_bits(self.unsigned(8)?))),
            Marker::FixStr(length) => self.text(length.into())?,
            Marker::Str8 => self.unsigned(1).and_then(|length| self.text(length))?,
            Marker::Str16 => self.unsigned(2).and_then(|length| self.text(length))?,
            Marker::Str32 => self.unsigned(4).and_then(|length| self.text(length))?,
            Marker::Bin8 => self.unsigned(1).and_then(|length| self.bytes(length))?,
            Marker::Bin16 => self.unsigned(2).and_then(|length| self.bytes(length))?,
            Marker::Bin32 => self.unsigned(4).and_then(|length| self.bytes(length))?,
            Marker::FixMap(count) => Token::Map(Open::counted(count.into())),
            Marker::Map16 => Token::Map(Open::counted(self.unsigned(2)?)),
            Marker::Map32 => Token::Map(Open::counted(self.unsigned(4)?)),
            Marker::FixArray(count) => Token::List(Open::counted(count.into())),
            Marker::Array16 => Token::List(Open::counted(self.unsigned(2)?)),
            Marker::Array32 => Token::List(Open::counted(self.unsigned(4)?)),
            Marker::FixExt1 => self.extension(1)?,
            Marker::FixExt2 => self.extension(2)?,
            Marker::FixExt4 => self.extension(4)?,
            Marker::FixExt8 => self.extension(8)?,
            Marker::FixExt16 => self.extension(16)?,
            Marker::Ext8 => self.unsigned(1).and_then(|length| self.extension(length))?,
            Marker::Ext16 => self.unsigned(2).and_then(|length| self.extension(length))?,
            Marker::Ext32 => self.unsigned(4).and_then(|length| self.extension(length))?,
            Marker::Reserved => return Err(refused("a reserved byte")),
        })
    }

    fn more(&mut self, open: &mut Open) -> Result<bool, Fault> {
        Ok(open.count().unwrap_or(false))
    }

    fn key(&mut self) -> Result<Key<'a>, Fault> {
        self.next()?.into_key()
    }

    fn is_at_end(&mut self) -> bool {
        self.rest.is_empty()
    }
}
