//! The types of Portolan's own protocol: what its HTTP bodies look like, and nothing else.
//!
//! What it promises: every type reads back what it writes; unknown fields are ignored, so that an older client understands a newer
//! server; fields that are absent have the default their docstring names.
//!
//! What it deliberately does not do: it depends on no other crate of the project, opens no socket and decides nothing.

mod server;

pub use server::{Error, ProtocolState, Ready, Version};
