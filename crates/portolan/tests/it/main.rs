//! End to end: the binary as a process, unmodified clients, the wire. One program for all of it, because each would link the server's
//! libraries again. `cargo xtask test` builds the binary, installs the clients and runs one module after the other; run by hand
//! without `PORTOLAN_BIN`, every test says that it was skipped.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test program: what goes wrong is to be seen where it does"
)]

mod acceptance;
mod access;
mod agent;
mod backup;
mod cli;
mod client_library;
mod clients;
mod cluster;
mod corpus;
mod crosswise;
mod datacenters;
mod decisions;
mod definitions;
mod disk;
mod doctor;
mod dropin;
mod durability;
mod etcd_auth;
mod etcd_differential;
mod etcd_gateway;
mod etcd_tools;
mod forwarding;
mod harness;
mod hostile;
mod kubernetes;
mod metrics;
mod nacos;
mod nacos_auth;
mod prove;
mod replayed;
mod resolvers;
mod serve;
mod soak;
mod tls;
mod why;
mod xds;
mod zookeeper;
mod zookeeper_differential;
