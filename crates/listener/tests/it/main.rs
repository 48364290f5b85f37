//! The listener over real sockets on loopback: limits, browsers, panics, drain, decisions, routes.
#![allow(missing_docs, clippy::unwrap_used)]

mod authority;
mod bind;
mod browsers;
mod decisions;
mod drain;
mod limits;
mod panics;
mod plugged;
mod refusals;
mod router;
mod slow;
mod streams;
mod support;
mod tls;
