//! Checks over a registry in memory, against real servers on loopback.

#![allow(clippy::unwrap_used)]

mod bench;
mod http;
mod others;
mod schedule;
