//! Nacos over sockets: a server on free ports of this machine, over a registry in memory.

#![allow(clippy::unwrap_used, clippy::type_complexity)]

mod client;
mod config;
mod crosswise;
mod hostile;
mod http;
mod namespaces;
mod rpc;
mod udp;
