//! The rule for exposing a service that does not ask who is there. Pure; every listening part applies it.

use std::net::SocketAddr;

/// Whether an address may be bound by a service without authentication: loopback always, others only where the
/// operator says `insecure_allow_remote`.
pub fn bind_is_allowed(address: SocketAddr, insecure_allow_remote: bool) -> bool {
    insecure_allow_remote || address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::bind_is_allowed;

    fn allowed(address: &str, insecure: bool) -> bool {
        bind_is_allowed(address.parse().unwrap(), insecure)
    }

    #[test]
    fn loopback_is_always_allowed() {
        for address in ["127.0.0.1:1883", "127.9.9.9:0", "[::1]:1883", "[::ffff:127.0.0.1]:1883"] {
            assert!(allowed(address, false), "{address}");
        }
    }

    #[test]
    fn other_addresses_need_the_operators_word() {
        for address in ["0.0.0.0:1883", "192.168.1.2:1883", "[::]:1883", "[::ffff:10.0.0.1]:1883"] {
            assert!(!allowed(address, false), "{address}");
            assert!(allowed(address, true), "{address}");
        }
    }
}
