//! The server itself: version, readiness, errors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Every answer with a status of 400 and above.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// A sentence for people.
    pub error: String,
    /// A word for programs: `bad_request`, `not_found`, `denied`, `changed`, `exists`, `compacted`, `limit`, `disk_full`, `no_leader`,
    /// `busy`, `stopping`, `unknown`, `too_large`...
    pub code: String,
}

/// `GET /v1/version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Portolan's version.
    pub version: String,
    /// Name of the server's node.
    pub node: String,
    /// Revision of the catalog.
    pub revision: u64,
    /// Counts elections.
    pub term: u64,
    /// Whether this server decides.
    pub leads: bool,
    /// Open ports: protocol to `ip:port`.
    pub ports: BTreeMap<String, String>,
}

/// Whether a protocol may be sent clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProtocolState {
    /// Not yet.
    Starting,
    /// Yes.
    Ready,
    /// Not any more: the server is stopping.
    Leaving,
}

/// `GET /readyz` and `/readyz/{protocol}`: 200 when ready, 503 when not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Whether everything asked for is ready.
    pub ready: bool,
    /// Whether writes are taken: false while the disk is full or nobody leads. Reads go on.
    pub writable: bool,
    /// Each open protocol.
    pub protocols: BTreeMap<String, ProtocolState>,
    /// Revision of the catalog.
    pub revision: u64,
    /// Last entry of the log that was applied.
    pub applied_index: u64,
}
