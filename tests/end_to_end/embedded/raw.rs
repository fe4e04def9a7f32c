//! MQTT as bytes, for what no client library would send, and to see what comes back, byte by byte.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, Result, ensure};

use crate::SOON;

/// A connection whose packets are written by hand.
#[derive(Debug)]
pub(crate) struct Raw(TcpStream);

/// A packet: its first byte and what follows the length.
pub(crate) type Packet = (u8, Vec<u8>);

impl Raw {
    /// Connects with MQTT 5 and these properties; gives also what the properties of CONNACK are.
    pub(crate) fn connect(address: SocketAddr, client: &str, properties: &[u8]) -> Result<(Self, Vec<u8>)> {
        let mut raw = Self::open(address)?;
        let head = [&text("MQTT")[..], &[5, 2, 0, 60], &with_length(properties)].concat();
        raw.send(&packet(0x10, &[head, text(client)].concat()))?;
        let (first, body) = raw.packet()?.context("no CONNACK")?;
        ensure!(first == 0x20 && body.get(1) == Some(&0), "CONNACK {body:?}");
        Ok((raw, body.get(3..).unwrap_or_default().to_vec()))
    }

    /// Connects and says nothing yet.
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(SOON))?;
        Ok(Self(stream))
    }

    pub(crate) fn of(stream: TcpStream) -> Result<Self> {
        stream.set_read_timeout(Some(SOON))?;
        Ok(Self(stream))
    }

    /// Sends bytes as they are; that the other end has gone away is seen when reading.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match self.0.write_all(bytes) {
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                Ok(())
            }
            written => Ok(written?),
        }
    }

    /// The next packet; none at the end of the connection.
    pub(crate) fn packet(&mut self) -> Result<Option<Packet>> {
        let mut first = [0];
        match self.0.read(&mut first) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let mut byte = [0];
            self.0.read_exact(&mut byte)?;
            let [byte] = byte;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        let [first] = first;
        Ok(Some((first, body)))
    }

    /// The reason code of the PUBACK that must come next, for packet `id`.
    pub(crate) fn acknowledged(&mut self, id: u16) -> Result<u8> {
        let next = self.packet()?;
        let Some((0x40, body)) = &next else { anyhow::bail!("{next:?} instead of the PUBACK of {id}") };
        ensure!(body.starts_with(&id.to_be_bytes()), "PUBACK {body:?} instead of {id}");
        Ok(body.get(2).copied().unwrap_or(0))
    }

    /// The reason code of the DISCONNECT that must come next, and the end behind it.
    pub(crate) fn disconnected(&mut self) -> Result<u8> {
        let next = self.packet()?;
        let Some((0xe0, body)) = &next else { anyhow::bail!("{next:?} instead of DISCONNECT") };
        let code = *body.first().context("a DISCONNECT without a reason")?;
        ensure!(self.packet()?.is_none(), "something follows DISCONNECT");
        Ok(code)
    }
}

/// A packet of MQTT.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first][..], &with_length(body)].concat()
}

/// A PUBLISH of MQTT 5.
pub(crate) fn publish(flags: u8, topic: &str, id: u16, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let id = if flags & 0b110 == 0 { Vec::new() } else { id.to_be_bytes().to_vec() };
    packet(0x30 | flags, &[text(topic), id, with_length(properties), payload.to_vec()].concat())
}

/// A text with its length in front of it.
pub(crate) fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

/// `bytes` behind their count, in the protocol's variable form.
fn with_length(bytes: &[u8]) -> Vec<u8> {
    let (mut left, mut out) = (bytes.len(), Vec::new());
    loop {
        let low = u8::try_from(left % 128).unwrap_or(0);
        left /= 128;
        out.push(if left == 0 { low } else { low | 0x80 });
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(bytes);
    out
}
