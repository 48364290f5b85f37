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

/// What a request is about, and so who answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Channel {
    /// The messages of Raft, and parts of snapshots.
    Raft = 0,
    /// Proposals, renewals and read barriers on their way to the leader.
    Forward = 1,
    /// Who is there, founding and joining.
    Members = 2,
    /// Changes on their way to agents.
    Feed = 3,
}

impl Channel {
    /// All of them, each at its own number.
    pub const ALL: [Channel; 4] = [
        Channel::Raft,
        Channel::Forward,
        Channel::Members,
        Channel::Feed,
    ];

    /// The channel with this number on the wire.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Channel> {
        Channel::ALL.get(usize::from(number)).copied()
    }
}

/// The id of a server that is asked by its address alone; no server has it.
pub const ANYBODY: u64 = 0;

/// Reaches other servers.
pub trait Transport: fmt::Debug + Send + Sync {
    /// Sends `request` to the server `to` ([`ANYBODY`]: to whichever it is), which listens at `address`, and gives back its answer.
    ///
    /// Fails with `TimedOut` when there is none within `limit`; with `ConnectionRefused` when the request is known not to have reached
    /// the server; with another error when the way to it broke, or it refused, after the request may have reached it. Dropping the
    /// future gives up waiting and takes nothing back.
    fn call<'a>(
        &'a self,
        to: u64,
        address: &'a str,
        channel: Channel,
        request: Vec<u8>,
        limit: Duration,
    ) -> Answer<'a>;

    /// Has requests from other servers on `channel` answered by `peer` from now on.
    fn serve(&self, channel: Channel, peer: Arc<dyn Peer>);
}

/// Answers requests of other servers.
pub trait Peer: Send + Sync {
    /// Answers one of the server `from`; an error ends in silence, or in an error, on the other side.
    fn answer(&self, from: u64, request: Vec<u8>) -> Answer<'_>;
}

/// Reaches nobody: the transport of a server that is alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPeers;

impl Transport for NoPeers {
    fn call<'a>(&'a self, _: u64, _: &'a str, _: Channel, _: Vec<u8>, _: Duration) -> Answer<'a> {
        Box::pin(async {
            Err(io::Error::new(
                io::ErrorKind::ConnectionRefused,
                "this server has no way to other servers",
            ))
        })
    }

    fn serve(&self, _: Channel, _: Arc<dyn Peer>) {}
}
