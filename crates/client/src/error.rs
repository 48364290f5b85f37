//! What goes wrong between this process and the servers.

use thiserror::Error as Failure;

/// Why a server did not do what it was asked.
#[derive(Clone, Debug, Failure)]
pub enum Error {
    /// No server answered; what is said is of the last one that was tried.
    #[error("no server answers: {0}")]
    Unreachable(String),
    /// A server refused.
    #[error("{message}")]
    Refused {
        /// The status of HTTP: 400, 403, 404, 409, ...
        status: u16,
        /// A word for programs.
        code: String,
        /// A sentence for people.
        message: String,
    },
    /// An answer that cannot be read.
    #[error("the answer of {0} cannot be read: {1}")]
    Unreadable(String, String),
    /// What was given to build a client does not fit.
    #[error("{0}")]
    Setup(String),
    /// The client was told to end.
    #[error("this client has ended")]
    Ended,
}

impl Error {
    /// Whether the servers say that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Refused { status: 404, .. })
    }
}
