//! Cuts packets out of the byte stream of one connection.
//!
//! A packet is a type-and-flags byte, the remaining length as a variable byte integer, and as many bytes. Its size
//! is checked from the header, before a byte of its body is kept for it (I6); what arrives is kept in one growing
//! buffer, so that a client that announces much and sends little costs what it sent.

use bytes::{Buf, Bytes, BytesMut};

use super::violation::Violation;
use super::wire::{Varint, varint};

/// One packet: the first byte and what follows the remaining length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// Packet type (high four bits) and flags (low four bits).
    pub(super) first: u8,
    /// Variable header and payload, a slice of what was read.
    pub(super) body: Bytes,
}

impl Frame {
    /// Whether it is a PUBLISH that its sender marks as sent before (DUP).
    pub(super) fn is_sent_again(&self) -> bool {
        const PUBLISH_AGAIN: u8 = 0x38;
        self.first & 0xF8 == PUBLISH_AGAIN
    }

    /// Bytes of the packet, without its fixed header.
    pub(super) fn bytes(&self) -> usize {
        self.body.len()
    }
}

/// Bytes received and not yet taken as packets.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Whole packets only, shared with the slices handed out.
    whole: Bytes,
    /// What follows them: the beginning of a packet, or packets not yet looked at.
    rest: BytesMut,
}

/// Where the packet at the front of some bytes lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Front {
    Whole { header: usize, body: usize },
    Incomplete,
}

impl Inbox {
    /// Appends what was read.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
    }

    /// Takes the next whole packet, if there is one.
    ///
    /// # Errors
    /// The packet at the front is over `packet_bytes_max` or has no valid length; those before it were taken.
    pub(super) fn take(&mut self, packet_bytes_max: usize) -> Result<Option<Frame>, Violation> {
        if self.whole.is_empty() {
            let whole = whole_packets(&self.rest, packet_bytes_max);
            if whole == 0 {
                // Either incomplete, or at fault.
                return front(&self.rest, packet_bytes_max).map(|_| None);
            }
            self.whole = self.rest.split_to(whole).freeze();
        }
        let Front::Whole { header, body } = front(&self.whole, packet_bytes_max)? else { return Ok(None) };
        let first = self.whole.first().copied().unwrap_or_default();
        self.whole.advance(header);
        Ok(Some(Frame { first, body: self.whole.split_to(body) }))
    }

    /// About how many more packets wait, where each has a body of so many bytes.
    pub(super) fn more_of(&self, body: usize) -> usize {
        self.whole.len() / (body + 2)
    }

    /// The first byte waiting: tells what a packet will be before it is whole.
    pub(super) fn peek(&self) -> Option<u8> {
        self.whole.first().or_else(|| self.rest.first()).copied()
    }

    /// Whether the beginning of a packet waits for its end.
    pub(super) fn is_partial(&self) -> bool {
        self.whole.is_empty() && !self.rest.is_empty()
    }

    /// Gives memory back when nothing is waiting.
    pub(super) fn release(&mut self) {
        if self.whole.is_empty() {
            self.whole = Bytes::new();
            if self.rest.is_empty() {
                self.rest = BytesMut::new();
            }
        }
    }
}

/// Length of the run of whole, acceptable packets at the front.
fn whole_packets(bytes: &[u8], packet_bytes_max: usize) -> usize {
    let mut end = 0;
    while let Ok(Front::Whole { header, body }) =
        front(bytes.get(end..).unwrap_or_default(), packet_bytes_max)
    {
        end += header + body;
    }
    end
}

fn front(bytes: &[u8], packet_bytes_max: usize) -> Result<Front, Violation> {
    let Some((_, after)) = bytes.split_first() else { return Ok(Front::Incomplete) };
    let (value, width) = match varint(after) {
        Varint::Value { value, width } => (value, width),
        Varint::Incomplete => return Ok(Front::Incomplete),
        Varint::TooLong => return Err(Violation::Malformed("remaining length over four bytes")),
    };
    let header = 1 + width;
    let body = usize::try_from(value).unwrap_or(usize::MAX - header);
    if header + body > packet_bytes_max {
        return Err(Violation::PacketTooLarge { bytes: header + body, limit: packet_bytes_max });
    }
    Ok(if bytes.len() < header + body { Front::Incomplete } else { Front::Whole { header, body } })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::{Frame, Inbox};
    use crate::source::listener::violation::Violation;

    const LIMIT: usize = 1_000;

    fn encode(frame: &Frame) -> Vec<u8> {
        let mut bytes = vec![frame.first];
        let mut length = frame.body.len();
        loop {
            let low = u8::try_from(length % 128).unwrap();
            length /= 128;
            bytes.push(if length == 0 { low } else { low | 0x80 });
            if length == 0 {
                break;
            }
        }
        bytes.extend_from_slice(&frame.body);
        bytes
    }

    fn drain(inbox: &mut Inbox) -> Vec<Frame> {
        std::iter::from_fn(|| inbox.take(LIMIT).unwrap()).collect()
    }

    #[test]
    fn an_announced_size_over_the_limit_is_refused_from_the_header_alone() {
        let mut inbox = Inbox::default();
        inbox.extend(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]);
        assert_eq!(
            inbox.take(LIMIT),
            Err(Violation::PacketTooLarge { bytes: 268_435_460, limit: LIMIT }),
            "nothing of its body had to arrive"
        );
        assert!(inbox.rest.capacity() < 100);
    }

    #[test]
    fn packets_before_a_bad_one_are_taken_first() {
        let mut inbox = Inbox::default();
        inbox.extend(&[0xC0, 0, 0x30, 0xFF, 0xFF, 0xFF, 0xFF]);
        assert_eq!(inbox.take(LIMIT).unwrap().unwrap().first, 0xC0);
        assert!(inbox.take(LIMIT).is_err());
    }

    #[test]
    fn an_idle_inbox_holds_no_memory() {
        let mut inbox = Inbox::default();
        inbox.extend(&[0xC0, 0]);
        assert!(inbox.take(LIMIT).unwrap().is_some());
        inbox.release();
        assert_eq!(inbox.rest.capacity(), 0);
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_packets(
            packets in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..400)), 0..20),
            cuts in prop::collection::vec(1usize..600, 0..40),
        ) {
            let frames: Vec<Frame> =
                packets.into_iter().map(|(first, body)| Frame { first, body: Bytes::from(body) }).collect();
            let stream: Vec<u8> = frames.iter().flat_map(encode).collect();
            let mut inbox = Inbox::default();
            let mut taken = Vec::new();
            let mut left = stream.as_slice();
            for cut in cuts.into_iter().chain(std::iter::repeat(1)) {
                let (chunk, after) = left.split_at(cut.min(left.len()));
                inbox.extend(chunk);
                taken.extend(drain(&mut inbox));
                left = after;
                if left.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(taken, frames);
            prop_assert!(!inbox.is_partial());
        }

        #[test]
        fn hostile_bytes_are_packets_or_a_violation(stream in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let mut inbox = Inbox::default();
            for chunk in stream.chunks(97) {
                inbox.extend(chunk);
                loop {
                    match inbox.take(LIMIT) {
                        Ok(Some(frame)) => prop_assert!(frame.body.len() <= LIMIT),
                        Ok(None) => break,
                        Err(_) => return Ok(()),
                    }
                }
                prop_assert!(inbox.rest.len() <= LIMIT + 97);
            }
        }
    }
}
