//! Requests to commands: what Consul's words mean for the catalog.

pub(crate) mod check;
pub(crate) mod node;
pub(crate) mod service;
pub(crate) mod valid;
