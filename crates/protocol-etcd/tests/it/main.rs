//! The etcd front end from outside: over the network, with the clients generated from the protocol's own definitions.

mod differential;
mod differential_runs;
mod support;
