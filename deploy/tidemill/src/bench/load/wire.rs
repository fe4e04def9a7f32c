//! The little of MQTT (3.1.1 and 5) that a publisher speaks: CONNECT, DISCONNECT, and what a server answers.
//!
//! Pure. Packets that a server may send to a publisher that subscribes to nothing are CONNACK, PUBACK, PINGRESP and
//! DISCONNECT; anything else is an error.

use anyhow::{bail, ensure};
use clap::ValueEnum;
use serde::Serialize;

/// MQTT version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
pub(crate) enum Version {
    /// 3.1.1.
    #[value(name = "3.1.1")]
    #[serde(rename = "3.1.1")]
    V311,
    /// 5.
    #[value(name = "5")]
    #[serde(rename = "5")]
    V5,
}

/// Quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
pub(crate) enum Qos {
    /// 0: nothing is acknowledged.
    #[value(name = "0")]
    #[serde(rename = "0")]
    AtMostOnce,
    /// 1: acknowledged.
    #[value(name = "1")]
    #[serde(rename = "1")]
    AtLeastOnce,
}

/// PINGREQ.
pub(super) const PING: [u8; 2] = [0xC0, 0];
/// DISCONNECT of a client that is done.
pub(super) const DISCONNECT: [u8; 2] = [0xE0, 0];
/// Reason codes from here on say that something failed.
const FAILURE: u8 = 0x80;

/// Something a server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The client may stay, with so many unacknowledged messages at most.
    Accepted { receive_maximum: u16 },
    /// A message is acknowledged.
    Acknowledged { packet_id: u16 },
    /// A message was refused (MQTT 5).
    Refused { packet_id: u16 },
    /// PINGRESP.
    Pong,
}

/// CONNECT of a clean session.
pub(super) fn connect(version: Version, client_id: &str, keep_alive_seconds: u16) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', if version == Version::V5 { 5 } else { 4 }, 2];
    body.extend(keep_alive_seconds.to_be_bytes());
    if version == Version::V5 {
        body.push(0);
    }
    body.extend(u16::try_from(client_id.len()).unwrap_or(0).to_be_bytes());
    body.extend(client_id.as_bytes());
    let mut packet = vec![0x10];
    put_remaining_length(body.len(), &mut packet);
    packet.extend(body);
    packet
}

/// Appends a variable byte integer.
pub(super) fn put_remaining_length(length: usize, out: &mut Vec<u8>) {
    let mut rest = length;
    loop {
        let low = u8::try_from(rest % 128).unwrap_or(0);
        rest /= 128;
        out.push(if rest == 0 { low } else { low | 0x80 });
        if rest == 0 {
            return;
        }
    }
}

/// Reads the packets at the front of `bytes` and gives each to `heard`. Returns how many bytes they took: what
/// remains is the beginning of another.
pub(super) fn hear(bytes: &[u8], mut heard: impl FnMut(Answer)) -> anyhow::Result<usize> {
    let mut rest = bytes;
    loop {
        // Nearly everything is this.
        if let [0x40, 2, high, low, after @ ..] = rest {
            heard(Answer::Acknowledged { packet_id: u16::from_be_bytes([*high, *low]) });
            rest = after;
            continue;
        }
        let Some((first, body, after)) = split_packet(rest)? else { return Ok(bytes.len() - rest.len()) };
        heard(answer(first, body)?);
        rest = after;
    }
}

type Packet<'b> = (u8, &'b [u8], &'b [u8]);

fn split_packet(bytes: &[u8]) -> anyhow::Result<Option<Packet<'_>>> {
    let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
    let Some((length, rest)) = split_length(rest)? else { return Ok(None) };
    Ok(rest.split_at_checked(length).map(|(body, after)| (*first, body, after)))
}

fn split_length(bytes: &[u8]) -> anyhow::Result<Option<(usize, &[u8])>> {
    let mut length = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(bytes.get(index + 1..).map(|rest| (length, rest)));
        }
    }
    ensure!(bytes.len() < 4, "the server sent a length of more than four bytes");
    Ok(None)
}

fn answer(first: u8, body: &[u8]) -> anyhow::Result<Answer> {
    match (first, body) {
        (0x20, [_, 0, properties @ ..]) => {
            Ok(Answer::Accepted { receive_maximum: receive_maximum(properties).unwrap_or(u16::MAX) })
        }
        (0x20, [_, code, ..]) => bail!("the server refused the connection with code {code}"),
        (0x40, [high, low, rest @ ..]) => {
            let packet_id = u16::from_be_bytes([*high, *low]);
            let is_refused = rest.first().is_some_and(|code| *code >= FAILURE);
            Ok(if is_refused { Answer::Refused { packet_id } } else { Answer::Acknowledged { packet_id } })
        }
        (0xD0, []) => Ok(Answer::Pong),
        (0xE0, body) => bail!("the server disconnected with code {}", body.first().copied().unwrap_or(0)),
        _ => bail!("the server sent a packet that publishers do not get: {first:#x}"),
    }
}

/// The receive maximum among the properties of a CONNACK (MQTT 5, 3.2.2.3). `None` where there is none.
fn receive_maximum(properties: &[u8]) -> Option<u16> {
    const RECEIVE_MAXIMUM: u8 = 0x21;
    let (length, rest) = split_length(properties).ok()??;
    let mut rest = rest.get(..length)?;
    while let Some((identifier, value)) = rest.split_first() {
        if *identifier == RECEIVE_MAXIMUM {
            return Some(u16::from_be_bytes(*value.first_chunk()?));
        }
        let text = |value: &[u8]| Some(2 + usize::from(u16::from_be_bytes(*value.first_chunk()?)));
        let width = match identifier {
            0x24 | 0x25 | 0x28 | 0x29 | 0x2A => 1,
            0x13 | 0x22 => 2,
            0x11 | 0x27 => 4,
            0x26 => {
                let key = text(value)?;
                key + text(value.get(key..)?)?
            }
            _ => text(value)?,
        };
        rest = value.get(width..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> (Vec<Answer>, usize) {
        let mut answers = Vec::new();
        let taken = hear(bytes, |answer| answers.push(answer)).unwrap();
        (answers, taken)
    }

    #[test]
    fn acknowledgements_of_both_versions_are_heard_and_a_part_of_one_waits() {
        let bytes = [0x40, 2, 1, 2, 0x40, 3, 0, 9, 0, 0x40, 4, 0, 8, 0x97, 0, 0xD0, 0, 0x40, 2, 1];
        let (answers, taken) = all(&bytes);
        let acknowledged = |packet_id| Answer::Acknowledged { packet_id };
        assert_eq!(
            answers,
            [acknowledged(0x102), acknowledged(9), Answer::Refused { packet_id: 8 }, Answer::Pong]
        );
        assert_eq!(taken, bytes.len() - 3);
    }

    #[test]
    fn the_receive_maximum_is_found_behind_other_properties() {
        let bytes = [0x20, 14, 0, 0, 11, 0x25, 0, 0x12, 0, 2, b'i', b'd', 0x21, 0x03, 0xE8];
        assert_eq!(all(&bytes[..]).0, []);
        let bytes = [&[0x20, 13, 0, 0, 10][..], &bytes[5..]].concat();
        assert_eq!(all(&bytes).0, [Answer::Accepted { receive_maximum: 1_000 }]);
        assert_eq!(all(&[0x20, 2, 0, 0]).0, [Answer::Accepted { receive_maximum: u16::MAX }]);
    }

    #[test]
    fn refusals_and_goodbyes_are_errors() {
        assert!(hear(&[0x20, 2, 0, 5], |_| {}).is_err());
        assert!(hear(&[0xE0, 1, 0x8B], |_| {}).is_err());
        assert!(hear(&[0x30, 0], |_| {}).is_err());
    }

    #[test]
    fn a_connect_says_its_version_and_name() {
        assert_eq!(connect(Version::V311, "d1", 60), b"\x10\x0E\x00\x04MQTT\x04\x02\x00\x3C\x00\x02d1");
        assert_eq!(connect(Version::V5, "d", 0), b"\x10\x0E\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01d");
    }
}
