//! The cluster port: how servers and agents reach each other, and who they are.
//!
//! Promises
//! - Everything on the wire carries a version; bytes from the network are refused, never trusted and never a panic; sizes, connections and
//!   requests in flight are bounded.
//! - Servers of different clusters never talk: the cluster's id is part of the first words on every connection.
//! - Of servers that belong to no cluster, no two ever found one with the same others.
//! - A command that was forwarded is decided once: it goes out again only when it is known that it was not decided.
//!
//! Deliberately absent: Raft, files, and anything that a protocol's client sees.
//!
//! Start reading at [`Tcp`] for the transport, [`frame`] for its bytes, [`founding`] for how a cluster begins, [`forward`] for the way to its
//! leader.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod answers;
mod connection;
pub mod forward;
pub mod founding;
pub mod frame;
pub mod members;
pub mod message;
pub mod tls;
pub mod transport;

pub use connection::Traffic;
pub use transport::Tcp;
