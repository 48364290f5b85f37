//! Eureka over a socket: a server on a free port of this machine, over a registry in memory.

#![allow(clippy::unwrap_used, clippy::type_complexity)]

mod client;
mod crosswise;
mod delta;
mod encodings;
mod hostile;
mod peers;
mod routes;
mod rules;
