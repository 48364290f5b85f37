//! Log entries: a command with its time and its cause.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::command::Command;
use crate::ids::{CheckKey, Protocol, Timestamp};

/// Who caused a change, through which protocol and why. Kept with the change for as long as the history lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Who was authenticated; none for anonymous callers.
    pub principal: Option<Arc<str>>,
    /// The protocol it came through; [`Protocol::Portolan`] for what the server decides itself.
    pub protocol: Protocol,
    /// The client's address.
    pub peer: Option<SocketAddr>,
    /// Why.
    pub why: Why,
}

impl Cause {
    /// A client's call through `protocol`.
    pub fn call(protocol: Protocol, peer: Option<SocketAddr>) -> Cause {
        Cause {
            principal: None,
            protocol,
            peer,
            why: Why::Call,
        }
    }

    /// A decision of the server itself.
    pub fn own(why: Why) -> Cause {
        Cause {
            principal: None,
            protocol: Protocol::Portolan,
            peer: None,
            why,
        }
    }
}

/// Why a change was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// A client asked for it.
    Call,
    /// A lease ran out: nobody renewed it since then.
    Silence {
        /// The last renewal, or the grant.
        since: Timestamp,
    },
    /// A probe's result.
    Probe,
    /// A check was critical for longer than its definition allows.
    Reaped {
        /// The check.
        check: CheckKey,
    },
    /// The mass-expiry guard.
    Guard,
    /// A client's connection was closed.
    Disconnected,
    /// Another registry was followed.
    Mirror,
    /// A layout woke up or was switched.
    Layout,
    /// Retention, sweeping, services without instances.
    Housekeeping,
    /// First start, or the server's own registration.
    Start,
}

/// A command as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The leader's clock when it took the command into a batch.
    pub at: Timestamp,
    /// Who and why.
    pub cause: Arc<Cause>,
    /// What.
    pub command: Command,
}
