//! Requests to commands: what Consul's words mean for the catalog.

/// Where an agent's registration comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A call: no scripts.
    Call,
    /// A file of definitions on this machine.
    File {
        /// Whether checks may run programs.
        scripts: bool,
    },
}

pub(crate) mod check;
pub(crate) mod node;
pub(crate) mod service;
pub(crate) mod valid;
