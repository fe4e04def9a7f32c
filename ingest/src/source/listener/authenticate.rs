//! The place where a CONNECT is judged. Today everybody may connect ([`AllowAll`]), which is why only loopback is
//! bound by default; user names, tokens and client certificates come in here.

use std::future::Future;

/// What a client says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// The client id; one made up by the listener where the client left it empty.
    pub client_id: &'a str,
    /// The user name.
    pub user_name: Option<&'a str>,
    /// The password: any bytes.
    pub password: Option<&'a [u8]>,
}

/// What becomes of a CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may stay.
    Allowed,
    /// Unknown user name or wrong password.
    BadCredentials,
    /// Known, but may not connect.
    NotAuthorized,
}

/// Judges each CONNECT. Waiting counts towards the connect timeout; a dropped future must leave nothing behind.
pub trait Authenticate: Send + Sync + 'static {
    /// Judges one CONNECT.
    fn authenticate(&self, credentials: Credentials<'_>) -> impl Future<Output = Verdict> + Send;
}

/// Lets everybody in.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowAll;

impl Authenticate for AllowAll {
    async fn authenticate(&self, _credentials: Credentials<'_>) -> Verdict {
        Verdict::Allowed
    }
}
