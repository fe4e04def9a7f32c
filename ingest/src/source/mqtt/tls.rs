//! TLS towards a broker: certificates from PEM text to what the client library takes. The crypto is `ring`, and
//! trust comes from the given authorities only.

use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::config::Tls;

/// The certificates or the key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not PEM, or not what it should hold.
    #[error("the {what} is not valid PEM: {reason:?}")]
    Pem {
        /// Which of the three.
        what: &'static str,
        /// What the parser says.
        reason: pem::Error,
    },
    /// No certificate in it.
    #[error("the {0} holds no certificate")]
    Empty(&'static str),
    /// Rejected by the TLS library.
    #[error("{0}")]
    Rejected(#[from] rustls::Error),
}

/// Builds the client's side of TLS.
pub(super) fn client_config(tls: &Tls) -> Result<Arc<ClientConfig>, TlsError> {
    let mut authorities = RootCertStore::empty();
    for certificate in certificates("authority certificates", &tls.authorities)? {
        authorities.add(certificate)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities);
    let config = match &tls.identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let chain = certificates("client certificate", &identity.certificates)?;
            let key = PrivateKeyDer::from_pem_slice(&identity.key)
                .map_err(|reason| TlsError::Pem { what: "client key", reason })?;
            config.with_client_auth_cert(chain, key)?
        }
    };
    Ok(Arc::new(config))
}

fn certificates(what: &'static str, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = parsed.map_err(|reason| TlsError::Pem { what, reason })?;
    if found.is_empty() { Err(TlsError::Empty(what)) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_certificates_is_refused() {
        let tls = Tls { authorities: b"no certificate here".to_vec(), identity: None };
        assert!(matches!(client_config(&tls), Err(TlsError::Empty(_))));
        let broken = b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n".to_vec();
        assert!(client_config(&Tls { authorities: broken, identity: None }).is_err());
    }
}
