//! The etcd front end from outside: over the network, with the clients generated from the protocol's own definitions.

// Helpers of tests stop the test when something is not as it must be; and a test binary has no outside.
#![allow(clippy::unwrap_used, clippy::result_large_err, unreachable_pub)]

mod auth;
mod differential;
mod differential_runs;
mod gateway;
mod kv;
mod layouts;
mod lease;
mod port;
mod queues;
mod support;
mod watch;
