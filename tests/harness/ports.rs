//! Free loopback ports for servers that a test starts.
//!
//! A [`Port`] is claimed from the moment it is chosen, before its server listens and while its
//! server is stopped, so that parallel trials and parallel test processes never take the same
//! one. The claim is a UDP socket on the same number: the kernel arbitrates, it ends with the
//! process however that dies, and nothing here speaks UDP.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// Below the ephemeral range, so that no outgoing connection takes a claimed port.
const FIRST: u16 = 18_000;
const COUNT: u16 = 14_000;
/// A cluster listens on the same port of 127.0.0.1, .2, …: all of these must be free.
const HOSTS: u8 = 6;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A TCP port that is free on 127.0.0.1 to 127.0.0.6, and this process's until dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _claim: UdpSocket,
}

impl Port {
    /// Claims a free port.
    pub fn claim() -> Result<Self> {
        // Processes start at different places only to spare each other futile attempts.
        let offset = u16::try_from(std::process::id() % u32::from(COUNT))?;
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
            let number = FIRST + (offset + step) % COUNT;
            if let Ok(claim) = UdpSocket::bind(("127.0.0.1", number))
                && is_free(number)
            {
                return Ok(Self { number, _claim: claim });
            }
        }
        bail!("no free port from {FIRST} to {}", FIRST + COUNT)
    }

    /// The port number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The port on 127.0.0.1.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.number))
    }
}

fn is_free(number: u16) -> bool {
    (1..=HOSTS).all(|host| TcpListener::bind(SocketAddr::from(([127, 0, 0, host], number))).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claimed_ports_differ_and_can_be_listened_on() {
        let ports: Vec<Port> = (0..50).map(|_| Port::claim().unwrap()).collect();
        let distinct: std::collections::BTreeSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(distinct.len(), ports.len());
        let listeners: Vec<TcpListener> =
            ports.iter().map(|port| TcpListener::bind(port.address()).unwrap()).collect();
        assert_eq!(listeners.len(), ports.len());
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_not_free() {
        let port = Port::claim().unwrap();
        let _listener = TcpListener::bind(("127.0.0.3", port.number())).unwrap();
        assert!(!is_free(port.number()));
    }
}
