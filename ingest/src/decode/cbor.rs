//! CBOR (RFC 8949) as [`Tokens`]: definite and indefinite lengths, half to double precision, times (tags 0 and 1),
//! integers of up to 120 bits (tags 2 and 3), decimal fractions (tag 4); other tags are passed over. The encoding itself is read by `minicbor`.

use std::borrow::Cow;

use minicbor::Decoder;
use minicbor::data::{IanaTag, Tag, Type};
use minicbor::decode::Error;

use super::number::Decimal;
use super::tokens::{Key, Num, Open, Token, Tokens};
use super::{Fault, TimeUnit, time};

/// Tags in front of one value.
const TAGS_MAX: usize = 8;
/// Bytes of an integer beyond which no value is near.
const INTEGER_BYTES_MAX: usize = 15;
/// The byte that ends what has no length.
const BREAK: u8 = 0xff;

/// CBOR of one payload.
#[derive(Debug)]
pub(super) struct Cbor<'a>(Decoder<'a>);

/// What a tag makes of the value after it.
#[derive(Clone, Copy)]
enum Meaning {
    Plain,
    TimeText,
    TimeNumber,
    /// Bytes that are an integer, or −1 minus it.
    Integer,
    NegativeInteger,
    Fraction,
}

fn broken(error: &Error) -> Fault {
    let what = if error.is_end_of_input() { "it ends too early" } else { "a malformed value" };
    Fault::Malformed { format: "CBOR", what }
}

fn refused(what: &'static str) -> Fault {
    Fault::Malformed { format: "CBOR", what }
}

impl<'a> Cbor<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self(Decoder::new(payload))
    }

    fn datatype(&self) -> Result<Type, Fault> {
        self.0.datatype().map_err(|error| broken(&error))
    }

    /// Takes the tags in front of a value.
    fn tags(&mut self) -> Result<Meaning, Fault> {
        let mut meaning = Meaning::Plain;
        for _ in 0..TAGS_MAX {
            if self.datatype()? != Type::Tag {
                return Ok(meaning);
            }
            let tag = self.0.tag().map_err(|error| broken(&error))?;
            meaning = if tag == Tag::from(IanaTag::DateTime) {
                Meaning::TimeText
            } else if tag == Tag::from(IanaTag::Timestamp) {
                Meaning::TimeNumber
            } else if tag == Tag::from(IanaTag::PosBignum) {
                Meaning::Integer
            } else if tag == Tag::from(IanaTag::NegBignum) {
                Meaning::NegativeInteger
            } else if tag == Tag::from(IanaTag::Decimal) {
                Meaning::Fraction
            } else {
                meaning
            };
        }
        Err(refused("too many tags in front of a value"))
    }

    fn text(&mut self, of: Type) -> Result<Cow<'a, str>, Fault> {
        if of == Type::String {
            return self.0.str().map(Cow::Borrowed).map_err(|error| broken(&error));
        }
        let chunks = self.0.str_iter().map_err(|error| broken(&error))?;
        chunks.collect::<Result<String, _>>().map(Cow::Owned).map_err(|error| broken(&error))
    }

    /// Takes `[exponent, mantissa]`.
    fn fraction(&mut self) -> Result<Num<'a>, Fault> {
        let what = "a decimal fraction is an array of exponent and mantissa";
        if self.0.array().map_err(|error| broken(&error))? != Some(2) {
            return Err(refused(what));
        }
        let exponent = self.0.i32().map_err(|_| refused(what))?;
        let mantissa = self.0.i64().map_err(|_| refused(what))?;
        Ok(Num::Fraction(Decimal::fraction(mantissa, exponent)))
    }

    /// Takes the bytes of an integer, the highest first.
    fn integer(&mut self) -> Result<i128, Fault> {
        let bytes = self.0.bytes().map_err(|_| refused("a tagged integer is a string of bytes"))?;
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        let digits = bytes.get(zeros..).unwrap_or_default();
        if digits.len() > INTEGER_BYTES_MAX {
            return Err(Fault::IntegerTooLong);
        }
        Ok(digits.iter().fold(0, |integer, &byte| (integer << 8) | i128::from(byte)))
    }

    fn plain(&mut self, of: Type) -> Result<Token<'a>, Fault> {
        let wide = |error: Error| broken(&error);
        Ok(match of {
            Type::Null | Type::Undefined => {
                self.0.skip().map_err(wide)?;
                Token::Null
            }
            Type::Bool => Token::Bool(self.0.bool().map_err(wide)?),
            Type::U8
            | Type::U16
            | Type::U32
            | Type::U64
            | Type::I8
            | Type::I16
            | Type::I32
            | Type::I64
            | Type::Int => Token::Number(Num::Integer(self.0.int().map_err(wide)?.into())),
            Type::F16 => Token::Number(Num::Double(self.0.f16().map_err(wide)?.into())),
            Type::F32 => Token::Number(Num::Double(self.0.f32().map_err(wide)?.into())),
            Type::F64 => Token::Number(Num::Double(self.0.f64().map_err(wide)?)),
            Type::String | Type::StringIndef => Token::Text(self.text(of)?),
            Type::Bytes => {
                self.0.bytes().map_err(wide)?;
                Token::Bytes
            }
            Type::BytesIndef => {
                self.0.bytes_iter().map_err(wide)?.try_for_each(|chunk| chunk.map(drop)).map_err(wide)?;
                Token::Bytes
            }
            Type::Array | Type::ArrayIndef => Token::List(open(self.0.array().map_err(wide)?)),
            Type::Map | Type::MapIndef => Token::Map(open(self.0.map().map_err(wide)?)),
            Type::Simple | Type::Tag | Type::Break | Type::Unknown(_) => {
                return Err(refused("expected a value"));
            }
        })
    }
}

fn open(count: Option<u64>) -> Open {
    count.map_or(Open::until(BREAK), Open::counted)
}

impl<'a> Tokens<'a> for Cbor<'a> {
    fn offset(&self) -> usize {
        self.0.position()
    }

    fn next(&mut self) -> Result<Token<'a>, Fault> {
        let meaning = self.tags()?;
        let number = match meaning {
            Meaning::Fraction => Some(self.fraction()?),
            Meaning::Integer => Some(Num::Integer(self.integer()?)),
            Meaning::NegativeInteger => Some(Num::Integer(-1 - self.integer()?)),
            Meaning::Plain | Meaning::TimeText | Meaning::TimeNumber => None,
        };
        if let Some(number) = number {
            return Ok(Token::Number(number));
        }
        let of = self.datatype()?;
        let token = self.plain(of)?;
        let no_time = refused("a tagged time that is none");
        match meaning {
            Meaning::Plain | Meaning::Integer | Meaning::NegativeInteger | Meaning::Fraction => Ok(token),
            Meaning::TimeText => time::from_text(&token.into_text().ok_or(no_time)?).map(Token::Time),
            Meaning::TimeNumber => {
                token.into_number().ok_or(no_time)?.time(TimeUnit::Seconds).map(Token::Time)
            }
        }
    }

    fn more(&mut self, open: &mut Open) -> Result<bool, Fault> {
        if let Some(more) = open.count() {
            return Ok(more);
        }
        if self.0.input().get(self.0.position()) != Some(&BREAK) {
            return Ok(true);
        }
        self.0.set_position(self.0.position() + 1);
        Ok(false)
    }

    fn key(&mut self) -> Result<Key<'a>, Fault> {
        self.next()?.into_key()
    }

    fn is_at_end(&mut self) -> bool {
        self.0.position() >= self.0.input().len()
    }
}
