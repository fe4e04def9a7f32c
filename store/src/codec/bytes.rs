//! A bounded reader over bytes that nobody has checked yet, and variable-length integers.
//!
//! Every read is checked against what is left; nothing is allocated here. A varint is LEB128: seven bits a byte,
//! low ones first, at most ten bytes. A signed varint is the zigzag of the number (0, -1, 1, -2, …) as a varint.

/// Why bytes are not what an encoder writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes end too early.
    #[error("it ends in the middle of {0}")]
    Truncated(&'static str),
    /// Something holds what it must not hold.
    #[error("{0}")]
    Invalid(&'static str),
}

/// The part of a body that is not read yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub(crate) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `length` bytes.
    pub(crate) fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed::Truncated(what))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self, what: &'static str) -> Result<u8, Malformed> {
        let (&byte, rest) = self.rest.split_first().ok_or(Malformed::Truncated(what))?;
        self.rest = rest;
        Ok(byte)
    }

    pub(crate) fn varint(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return if shift < 63 || bits <= 1 { Ok(value) } else { Err(TOO_LONG) };
            }
        }
        Err(TOO_LONG)
    }

    pub(crate) fn varint_signed(&mut self, what: &'static str) -> Result<i64, Malformed> {
        self.varint(what).map(unzigzag)
    }

    /// A varint that must be an index into memory.
    pub(crate) fn length(&mut self, what: &'static str) -> Result<usize, Malformed> {
        usize::try_from(self.varint(what)?).map_err(|_| Malformed::Truncated(what))
    }

    /// How many things of at least `bytes_min` bytes each follow: more than fit into what is left are refused,
    /// so that a count may size an allocation.
    pub(crate) fn count(&mut self, bytes_min: usize, what: &'static str) -> Result<usize, Malformed> {
        let count = self.length(what)?;
        if count > self.remaining() / bytes_min { Err(Malformed::Truncated(what)) } else { Ok(count) }
    }

    /// A varint of at most 32 bits.
    pub(crate) fn position(&mut self, what: &'static str) -> Result<u32, Malformed> {
        u32::try_from(self.varint(what)?).map_err(|_| TOO_LONG)
    }
}

const TOO_LONG: Malformed = Malformed::Invalid("a variable-length integer is too large");

/// Appends `value` as a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

/// Appends a length or a count as a varint.
pub(crate) fn put_length(out: &mut Vec<u8>, length: usize) {
    put_varint(out, u64::try_from(length).unwrap_or(u64::MAX));
}

/// Appends `value` as a signed varint.
pub(crate) fn put_varint_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

const fn low_byte(value: u64) -> u8 {
    let [low, ..] = value.to_le_bytes();
    low
}

pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

pub(crate) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_round_trip(value: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            put_varint_signed(&mut out, value.cast_signed());
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint("a test"), Ok(value));
            prop_assert_eq!(reader.varint_signed("a test"), Ok(value.cast_signed()));
            prop_assert_eq!(reader.remaining(), 0);
        }
    }

    #[test]
    fn a_varint_of_more_than_64_bits_is_refused() {
        for bytes in
            [[0xff; 10].as_slice(), &[0x80; 11], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]]
        {
            assert_eq!(Reader::new(bytes).varint("a test"), Err(TOO_LONG));
        }
        assert_eq!(Reader::new(&[0x80]).varint("a test"), Err(Malformed::Truncated("a test")));
    }

    #[test]
    fn a_count_that_cannot_fit_is_refused_before_anything_is_allocated() {
        let mut out = Vec::new();
        put_varint(&mut out, 4);
        out.extend([0; 7]);
        assert_eq!(Reader::new(&out).count(2, "things"), Err(Malformed::Truncated("things")));
        out.push(0);
        assert_eq!(Reader::new(&out).count(2, "things"), Ok(4));
    }
}
