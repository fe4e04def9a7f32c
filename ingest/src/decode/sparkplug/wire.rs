//! The wire format of Protocol Buffers, as far as Sparkplug B needs it: fields one after another, borrowed from the
//! payload. Nothing is built, so a payload costs no memory beyond its bytes (I6); unknown fields are the caller's to
//! pass over.

use crate::decode::Fault;

/// Longest varint.
const VARINT_BYTES_MAX: u32 = 10;

/// The fields of one message.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    start: usize,
    all: &'a [u8],
    at: usize,
}

/// The value of a field.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    /// Bytes of a string, of bytes or of a message, and where they start in the payload.
    Bytes(&'a [u8], usize),
    Fixed32(u32),
}

pub(super) const fn refused(what: &'static str) -> Fault {
    Fault::Malformed { format: "Sparkplug B", what }
}

impl<'a> Fields<'a> {
    /// The fields of a message that starts at `start` of the payload.
    pub(super) fn new(bytes: &'a [u8], start: usize) -> Self {
        Self { start, all: bytes, at: 0 }
    }

    /// Where reading stands in the payload.
    pub(super) fn offset(&self) -> usize {
        self.start + self.at
    }

    /// The next field with its number.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Wire<'a>)>, Fault> {
        if self.at >= self.all.len() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                let start = self.offset();
                Wire::Bytes(self.take(length)?, start)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(refused("a field of an unknown wire type")),
        };
        Ok(Some((key >> 3, value)))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Fault> {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        let taken = end.and_then(|end| self.all.get(self.at..end));
        let taken = taken.ok_or(refused("it ends too early"))?;
        self.at += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let bytes = self.take(N.try_into().unwrap_or(u64::MAX))?;
        bytes.try_into().map_err(|_| refused("it ends too early"))
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0_u64;
        for position in 0..VARINT_BYTES_MAX {
            let byte = *self.all.get(self.at).ok_or(refused("it ends too early"))?;
            self.at += 1;
            let bits = u64::from(byte & 0x7f);
            if position == VARINT_BYTES_MAX - 1 && byte > 1 {
                break;
            }
            value |= bits << (7 * position);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(refused("a number of more than 64 bits"))
    }
}

impl<'a> Wire<'a> {
    pub(super) fn varint(self) -> Result<u64, Fault> {
        if let Self::Varint(value) = self { Ok(value) } else { Err(refused("a field of the wrong type")) }
    }

    pub(super) fn fixed32(self) -> Result<u32, Fault> {
        if let Self::Fixed32(value) = self { Ok(value) } else { Err(refused("a field of the wrong type")) }
    }

    pub(super) fn fixed64(self) -> Result<u64, Fault> {
        if let Self::Fixed64(value) = self { Ok(value) } else { Err(refused("a field of the wrong type")) }
    }

    pub(super) fn bytes(self) -> Result<(&'a [u8], usize), Fault> {
        if let Self::Bytes(bytes, start) = self {
            Ok((bytes, start))
        } else {
            Err(refused("a field of the wrong type"))
        }
    }

    pub(super) fn text(self) -> Result<&'a str, Fault> {
        std::str::from_utf8(self.bytes()?.0).map_err(|_| refused("a text that is not UTF-8"))
    }
}
