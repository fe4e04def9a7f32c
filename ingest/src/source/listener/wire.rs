//! The primitive values of MQTT (1.5 of both standards), taken from the front of a packet. Nothing is copied:
//! text and binary values are slices. Every read is checked, so that hostile bytes are a [`Violation`].

use bytes::{Buf, Bytes};

use super::violation::Violation;

const SHORT: Violation = Violation::Malformed("the packet ends inside a value");

/// Takes values from the front.
pub(super) trait Wire {
    fn take_u8(&mut self) -> Result<u8, Violation>;
    fn take_u16(&mut self) -> Result<u16, Violation>;
    fn take_u32(&mut self) -> Result<u32, Violation>;
    /// A variable byte integer: up to four bytes of seven bits, least significant first.
    fn take_varint(&mut self) -> Result<u32, Violation>;
    /// As many bytes as said.
    fn take_bytes(&mut self, count: usize) -> Result<Bytes, Violation>;
    /// Bytes behind a 16-bit length.
    fn take_binary(&mut self) -> Result<Bytes, Violation>;
    /// Text behind a 16-bit length: UTF-8 without NUL.
    fn take_text(&mut self) -> Result<Bytes, Violation>;
    /// A packet identifier: 16 bits, not 0.
    fn take_packet_id(&mut self) -> Result<u16, Violation>;
}

impl Wire for Bytes {
    fn take_u8(&mut self) -> Result<u8, Violation> {
        self.try_get_u8().map_err(|_| SHORT)
    }

    fn take_u16(&mut self) -> Result<u16, Violation> {
        self.try_get_u16().map_err(|_| SHORT)
    }

    fn take_u32(&mut self) -> Result<u32, Violation> {
        self.try_get_u32().map_err(|_| SHORT)
    }

    fn take_varint(&mut self) -> Result<u32, Violation> {
        match varint(self) {
            Varint::Value { value, width } => {
                self.advance(width);
                Ok(value)
            }
            Varint::Incomplete => Err(SHORT),
            Varint::TooLong => Err(Violation::Malformed("variable byte integer over four bytes")),
        }
    }

    fn take_bytes(&mut self, count: usize) -> Result<Bytes, Violation> {
        if count > self.len() { Err(SHORT) } else { Ok(self.split_to(count)) }
    }

    fn take_binary(&mut self) -> Result<Bytes, Violation> {
        let count = self.take_u16()?;
        self.take_bytes(usize::from(count))
    }

    fn take_text(&mut self) -> Result<Bytes, Violation> {
        let text = self.take_binary()?;
        if is_text(&text) { Ok(text) } else { Err(Violation::Malformed("text is not UTF-8 or holds NUL")) }
    }

    fn take_packet_id(&mut self) -> Result<u16, Violation> {
        match self.take_u16()? {
            0 => Err(Violation::Protocol("packet identifier 0")),
            id => Ok(id),
        }
    }
}

/// Whether bytes are what MQTT calls a UTF-8 encoded string.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok() && !bytes.contains(&0)
}

/// What stands at the front where a variable byte integer should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Varint {
    /// The integer and the bytes it takes.
    Value {
        /// 0 to 268,435,455.
        value: u32,
        /// 1 to 4.
        width: usize,
    },
    /// More bytes are needed.
    Incomplete,
    /// The fourth byte still announces another.
    TooLong,
}

/// Reads a variable byte integer without consuming it.
pub(super) fn varint(bytes: &[u8]) -> Varint {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Varint::Value { value, width: index + 1 };
        }
    }
    if bytes.len() < 4 { Varint::Incomplete } else { Varint::TooLong }
}

#[cfg(test)]
mod tests {
    use super::{Varint, Wire, varint};
    use bytes::Bytes;

    #[test]
    fn variable_byte_integers_are_read_at_their_bounds() {
        for (bytes, value) in [
            (&[0x00][..], 0),
            (&[0x7F], 127),
            (&[0x80, 0x01], 128),
            (&[0xFF, 0x7F], 16_383),
            (&[0x80, 0x80, 0x01], 16_384),
            (&[0xFF, 0xFF, 0xFF, 0x7F], 268_435_455),
        ] {
            assert_eq!(varint(bytes), Varint::Value { value, width: bytes.len() });
        }
        assert_eq!(varint(&[]), Varint::Incomplete);
        assert_eq!(varint(&[0xFF, 0xFF, 0xFF]), Varint::Incomplete);
        assert_eq!(varint(&[0xFF, 0xFF, 0xFF, 0xFF]), Varint::TooLong);
    }

    #[test]
    fn a_length_past_the_end_is_refused() {
        assert!(Bytes::from_static(&[0, 3, b'a', b'b']).take_binary().is_err());
        assert!(Bytes::from_static(&[0]).take_u16().is_err());
    }

    #[test]
    fn text_with_nul_or_broken_utf8_is_refused() {
        assert!(Bytes::from_static(&[0, 2, b'a', 0]).take_text().is_err());
        assert!(Bytes::from_static(&[0, 1, 0xC3]).take_text().is_err());
        assert_eq!(
            Bytes::from_static(&[0, 2, 0xC3, 0xA9]).take_text(),
            Ok(Bytes::from_static("é".as_bytes()))
        );
    }
}
