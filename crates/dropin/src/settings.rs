//! What a command line or file of another program comes to.

use std::path::PathBuf;

use thiserror::Error;

/// A server's settings, in the words of `portolan serve`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Flags of `portolan serve` without their dashes, and their values, in order. Ports that are not named are off.
    pub flags: Vec<(String, String)>,
    /// Definitions of services and checks that stood in the configuration itself: a name for messages, and JSON.
    pub definitions: Vec<(String, String)>,
    /// Files and folders whose definitions are read again when the server is told to.
    pub definition_places: Vec<PathBuf>,
    /// Nothing is kept on the disk.
    pub in_memory: bool,
    /// Whether a server without `--join` may found a cluster by itself.
    pub may_found: bool,
    /// What was not understood or has no effect, one line each.
    pub warnings: Vec<String>,
    /// What is open to other machines because the command line says so, one line each: worth repeating.
    pub consents: Vec<String>,
}

impl Settings {
    pub(crate) fn set(&mut self, flag: &str, value: impl Into<String>) {
        self.flags.push((flag.to_owned(), value.into()));
    }

    pub(crate) fn consent(&mut self, what: impl Into<String>) {
        self.consents.push(what.into());
    }

    pub(crate) fn warn(&mut self, what: impl Into<String>) {
        self.warnings.push(what.into());
    }
}

/// Why a configuration is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Refusal(pub String);

impl Refusal {
    pub(crate) fn new(what: impl Into<String>) -> Refusal {
        Refusal(what.into())
    }
}
