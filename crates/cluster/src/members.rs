//! Who is there: what servers say of themselves, and how one comes and goes.

use std::io;
use std::time::Duration;

use portolan_environment::{Channel, Transport};
use serde::{Deserialize, Serialize};

use crate::forward::Leader;
use crate::message::{decode, encode};

/// A server as it introduces itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Server {
    /// Its Raft id.
    pub node: u64,
    /// Its name, the only one of this name in a cluster.
    pub name: String,
    /// Where others reach its cluster port: `10.0.0.1:8300`.
    pub address: String,
    /// The highest feature level it knows.
    pub level: u8,
}

/// What a server says of itself and its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Itself.
    pub server: Server,
    /// Its cluster; 0 while it belongs to none.
    pub cluster: u64,
    /// The cluster it has promised itself to, which may not be founded yet.
    pub promised: u64,
    /// How many servers it waits for before it founds a cluster; 0 when it founds none.
    pub expect: u32,
    /// Its version, for people.
    pub version: String,
    /// Raft's term.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<Leader>,
    /// The last entry in its log, and the last one it applied.
    pub last_index: u64,
    /// The last entry it applied.
    pub applied_index: u64,
}

/// What an operator wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A server leaves: it is named by id, name or address.
    Remove(String),
    /// Another server leads; the most advanced one when none is named.
    Transfer(Option<String>),
    /// A server is asked to join, by its address.
    Add(String),
    /// A server that only learns gets a vote.
    Promote(String),
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Who are you? With what the asker says of itself.
    Meet(About),
    /// Take me in.
    Join(Server),
    /// Promise to belong to this cluster, which is to have these servers, if it is founded.
    Promise {
        /// The cluster.
        cluster: u64,
        /// Who founds it.
        founder: u64,
        /// All of its servers.
        servers: Vec<Server>,
    },
    /// The cluster was not founded; nobody is bound to it.
    Release {
        /// The cluster.
        cluster: u64,
    },
    /// Is the connection to this leader broken for you as well?
    Broken {
        /// The leader.
        leader: u64,
        /// Its term.
        term: u64,
    },
    /// Do not answer for as long as this server leads and all is well, at most for the time that whoever asks waits.
    Hold,
    /// Do what an operator wants; asked of the leader.
    Change(Change),
    /// Go and join the cluster of whoever asks, if you belong to none.
    Invite {
        /// Where to ask.
        address: String,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// This server, and others it has heard of that belong to no cluster.
    Met {
        /// Itself.
        about: Box<About>,
        /// The others.
        others: Vec<About>,
    },
    /// Yes: it belongs to this cluster from now on.
    Welcome {
        /// The cluster.
        cluster: u64,
    },
    /// Ask this one.
    Elsewhere(Leader),
    /// It is done.
    Done,
    /// No, and why, in words.
    Refused(String),
    /// Whether it is broken, and how far the log here reaches: term and index.
    Broken {
        /// Whether it is.
        broken: bool,
        /// Term and index of the last entry.
        last: (u64, u64),
    },
}

/// Asks a server, by its id or [`portolan_environment::ANYBODY`].
///
/// # Errors
/// Those of the transport, and `InvalidData` when the answer cannot be read.
pub async fn ask(
    transport: &dyn Transport,
    to: u64,
    address: &str,
    request: &Request,
    limit: Duration,
) -> io::Result<Response> {
    let answer = transport
        .call(to, address, Channel::Members, encode(request), limit)
        .await?;
    decode(&answer)
}
