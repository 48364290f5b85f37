//! Connections of clients: accepted once, then each on one thread until its end.

pub(crate) mod acceptor;
mod connection;
mod control;
pub(crate) mod worker;
