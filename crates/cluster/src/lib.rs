//! The cluster port: how servers and agents reach each other, and who they are.
//!
//! Promises
//! - Everything on the wire carries a version; bytes from the network are refused, never trusted and never a panic; sizes, connections and
//!   requests in flight are bounded.
//! - Servers of different clusters never talk: the cluster's id is part of the first words on every connection.
//!
//! Deliberately absent: Raft, files, and anything that a protocol's client sees.
//!
//! Start reading at [`frame`] for the bytes.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod frame;
