//! Eureka over a socket: a server on a free port of this machine, over a registry in memory.

mod client;
mod crosswise;
mod delta;
mod encodings;
mod hostile;
mod routes;
mod rules;
