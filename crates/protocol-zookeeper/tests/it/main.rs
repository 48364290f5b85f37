//! The port from outside, byte by byte, over a registry in memory.

#![allow(
    clippy::unwrap_used,
    missing_debug_implementations,
    missing_docs,
    unreachable_pub,
    reason = "a test program: what goes wrong is to be seen where it does"
)]

mod client;
mod hostile;
mod nodes;
mod sessions;
mod watches;
mod words;
