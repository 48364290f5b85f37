//! Real bytes: streams of both forms against a registry in memory.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test program: what goes wrong is to be seen where it does"
)]

mod access;
mod assignments;
mod delta;
mod hostile;
mod proxies;
mod support;
mod world;
