//! The catalog from outside: laws over random commands, a naive model beside it, stories of several protocols at once.

#![allow(clippy::unwrap_used)]

mod discovery;
mod laws;
mod model;
mod records;
mod refused;
mod restore;
mod steps;
mod stored;
mod stories;
mod support;
mod time;
mod tree;
