//! The way to other servers: one request, one answer.
//!
//! What the bytes mean is the caller's business. A transport may lose, delay and reorder requests and answers; it must not make one up, and
//! must not deliver one twice.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// An answer on its way.
pub type Answer<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<u8>>> + Send + 'a>>;

/// Reaches other servers.
pub trait Transport: fmt::Debug + Send + Sync {
    /// Sends `request` to the server `to`, which listens at `address`, and gives back its answer.
    ///
    /// Fails with `TimedOut` when there is none within `limit`, and with another error when the server is known to be out of reach.
    fn call<'a>(
        &'a self,
        to: u64,
        address: &'a str,
        request: Vec<u8>,
        limit: Duration,
    ) -> Answer<'a>;

    /// Has requests from other servers answered by `peer` from now on.
    fn serve(&self, peer: Arc<dyn Peer>);
}

/// Answers requests of other servers.
pub trait Peer: Send + Sync {
    /// Answers one; an error ends in silence on the other side.
    fn answer(&self, request: Vec<u8>) -> Answer<'_>;
}

/// Reaches nobody: the transport of a server that is alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPeers;

impl Transport for NoPeers {
    fn call<'a>(&'a self, _: u64, _: &'a str, _: Vec<u8>, _: Duration) -> Answer<'a> {
        Box::pin(async {
            Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "this server has no way to other servers",
            ))
        })
    }

    fn serve(&self, _: Arc<dyn Peer>) {}
}
