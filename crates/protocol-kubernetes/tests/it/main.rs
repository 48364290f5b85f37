//! The API on a port, over a registry in memory: real bytes in, real bytes out.

#![allow(clippy::unwrap_used)]

mod client;
mod controllers;
mod crosswise;
mod discovery;
mod hostile;
mod lists;
mod objects;
mod patches;
mod services;
mod watches;
