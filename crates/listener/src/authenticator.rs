//! Who somebody is: asked once for each request of an HTTP port, and once for each connection of the others.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use http::{HeaderMap, HeaderValue, Uri};

use crate::access::Principal;

/// What there is to tell who asks. Borrowed: nothing is copied to ask.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// Whom the connection's [`Handshake`](crate::Handshake) found: the name in a client's certificate, for example.
    pub connection: &'a Principal,
    /// The request's headers; `None` for protocols without HTTP.
    pub headers: Option<&'a HeaderMap>,
    /// The request's target, which may hold a token; `None` for protocols without HTTP.
    pub uri: Option<&'a Uri>,
}

/// Tells who asks on one port ([`PortOptions::authenticator`](crate::PortOptions::authenticator)).
///
/// Called before any handler, for every request: it must not wait. Whoever gives no credentials may be anonymous; the policy decides
/// what that is worth.
pub trait Authenticator: fmt::Debug + Send + Sync {
    /// The principal, or why the credentials are not good.
    ///
    /// # Errors
    /// The answer is 401, for gRPC `UNAUTHENTICATED`; a connection without HTTP is closed.
    fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Principal, Unauthenticated>;
}

/// Credentials that are not good. The text is shown to the client, so it says what to do and no secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Unauthenticated {
    /// For people.
    pub text: Cow<'static, str>,
    /// The value of `WWW-Authenticate`, if the port has one (RFC 9110 section 11.6.1).
    pub challenge: Option<HeaderValue>,
}
