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

/// `GET /v1/at?at=...`: the moment that a time or revision stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The revision that was current then.
    pub revision: u64,
    /// When that revision was made; absent for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The revision that is current now.
    pub current: u64,
    /// The oldest revision that can be read.
    pub floor: u64,
}

/// One row of `GET /v1/layouts`: a format of instances in a key-value store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Its name.
    pub name: String,
    /// `kitex`, `kratos`, `go-zero`, `grpc` or `template`.
    pub form: String,
    /// The keyspace its records are in.
    pub keyspace: String,
    /// What its keys begin with.
    pub root: String,
    /// `off`, `asleep` (recognises, derives nothing until somebody uses it) or `awake`.
    pub mode: String,
    /// Records below its root.
    pub records: usize,
}

/// What an operator lets the mass-expiry guard do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuardMode {
    /// Its numbers decide.
    #[default]
    Auto,
    /// Nothing is held back: released.
    Off,
    /// Every removal of an instance that is silent or stays critical is held back.
    On,
}

/// `GET /v1/guard`; `PUT /v1/guard` takes `{"mode": "off"}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// What an operator set.
    pub mode: GuardMode,
    /// Whether removals are held back now.
    #[serde(default)]
    pub active: bool,
    /// Instances that were silent when it began.
    #[serde(default)]
    pub silent: usize,
    /// Instances whose check had been critical for long enough to remove them when it began.
    #[serde(default)]
    pub critical: usize,
    /// The services it is about; empty while active means all.
    #[serde(default)]
    pub services: Vec<String>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// One server of the cluster: `GET /v1/members`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id, sixteen hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its cluster address; empty for a server that others cannot reach.
    pub address: String,
    /// `leader`, `voter` or `learner`; `unknown` where only its name is known.
    pub role: String,
    /// Whether it was heard of lately.
    pub alive: bool,
    /// `alive`; `dead`: it does not answer; `unknown`: whoever says this cannot reach any server, or has heard nothing of this one yet.
    #[serde(default)]
    pub status: String,
    /// Since when the cluster takes it for dead; missing for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_since: Option<String>,
    /// How long ago at the most, in milliseconds; missing when it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_contact_ms: Option<u64>,
    /// The last entry in its log, as far as is known.
    pub last_index: u64,
    /// Raft's term, as it said.
    pub term: u64,
    /// Its version; empty before it was heard of.
    pub version: String,
    /// The feature level it knows.
    pub level: u8,
    /// Where it gives its clients what, by protocol.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub addresses: std::collections::BTreeMap<String, String>,
}

/// The members of the cluster: `GET /v1/members`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// The cluster's id, sixteen hexadecimal digits.
    pub cluster: String,
    /// At an agent, how old its copy is, in milliseconds; missing at a server, and where no server was reached since the agent began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_age_ms: Option<u64>,
    /// The servers, by id; at an agent that has reached none since it began, those that its copy tells of.
    pub members: Vec<Member>,
}

/// What is to change: `POST /v1/cluster`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "change", content = "server")]
pub enum ClusterChange {
    /// A server that belongs to no cluster is asked to join, by its cluster address.
    Add(String),
    /// A server loses its vote and its place; by name, cluster address or id.
    Remove(String),
    /// Another server leads: a named one, or the one that has come furthest.
    Transfer(Option<String>),
    /// The server that is asked leaves, and its process stops.
    Leave,
}

/// What a restore came to: `PUT /v1/snapshot`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The catalog's revision now: beyond its own before and the snapshot's.
    pub revision: u64,
    /// The revision of the snapshot.
    pub snapshot_revision: u64,
}

/// An open port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenPort {
    /// The protocol, with the role of its further ports: `nacos-grpc`; `cluster`.
    pub name: String,
    /// `IP:PORT`.
    pub address: String,
    /// Callers are known by certificates.
    pub certificates: bool,
    /// Callers do what a token allows that they show, and without one what whoever shows none may.
    #[serde(default)]
    pub tokens: bool,
}

/// Who can reach this node where: `GET /v1/ports`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// The node.
    pub node: String,
    /// In the order in which they were announced.
    pub ports: Vec<OpenPort>,
}
