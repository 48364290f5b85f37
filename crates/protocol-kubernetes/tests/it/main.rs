//! The API on a port, over a registry in memory: real bytes in, real bytes out.

#![allow(clippy::unwrap_used)]

mod apply;
mod client;
mod controllers;
mod crosswise;
mod discovery;
mod encodings;
mod hostile;
mod lists;
mod objects;
mod patches;
mod reviews;
mod services;
mod watches;
