//! Health checks: their definitions and their results.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use crate::health::Health;
use crate::ids::{CheckKey, InstanceKey, NodeName, Revision, Timestamp};

/// What a check does. Durations are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Nothing: somebody else reports (catalog checks, `serfHealth`).
    None,
    /// Waits for the client to report within the time.
    Ttl {
        /// Time without report until critical.
        ttl_ms: u64,
    },
    /// An HTTP request.
    Http {
        /// The URL.
        url: Arc<str>,
        /// Method, `GET` by default.
        method: Arc<str>,
        /// Header lines.
        headers: Arc<[(Arc<str>, Arc<str>)]>,
        /// Request body.
        body: Arc<str>,
        /// Whether redirects are not followed at all.
        disable_redirects: bool,
        /// TLS settings, for `https`.
        tls: ProbeTls,
    },
    /// A TCP connection.
    Tcp {
        /// `host:port`.
        target: Arc<str>,
        /// With a TLS handshake.
        tls: Option<ProbeTls>,
    },
    /// A UDP datagram.
    Udp {
        /// `host:port`.
        target: Arc<str>,
    },
    /// gRPC's health protocol.
    Grpc {
        /// `host:port[/service]`.
        target: Arc<str>,
        /// With TLS.
        tls: Option<ProbeTls>,
    },
    /// An HTTP/2 ping.
    H2Ping {
        /// `host:port`.
        target: Arc<str>,
        /// With TLS.
        tls: Option<ProbeTls>,
    },
    /// A program; runs only when it stands in the local configuration.
    Script {
        /// The command line.
        args: Arc<[Arc<str>]>,
    },
    /// A program in a container: stored, never run.
    Docker {
        /// Container.
        container: Arc<str>,
        /// Shell.
        shell: Arc<str>,
        /// The command line.
        args: Arc<[Arc<str>]>,
    },
    /// The worst state of another service's or node's checks.
    Alias {
        /// The node.
        node: NodeName,
        /// The Consul service id there; empty means the node's own checks.
        service: Arc<str>,
    },
    /// An operating system service: stored, never run.
    OsService {
        /// Its name.
        name: Arc<str>,
    },
}

impl Probe {
    /// Consul's `Type`: `ttl http tcp udp grpc h2ping script docker alias os_service`, empty for [`Probe::None`].
    pub fn kind(&self) -> &'static str {
        match self {
            Probe::None => "",
            Probe::Ttl { .. } => "ttl",
            Probe::Http { .. } => "http",
            Probe::Tcp { .. } => "tcp",
            Probe::Udp { .. } => "udp",
            Probe::Grpc { .. } => "grpc",
            Probe::H2Ping { .. } => "h2ping",
            Probe::Script { .. } => "script",
            Probe::Docker { .. } => "docker",
            Probe::Alias { .. } => "alias",
            Probe::OsService { .. } => "os_service",
        }
    }
}

/// How a probe verifies TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeTls {
    /// Server name to ask for and verify; empty means the target's host.
    pub server_name: Arc<str>,
    /// No verification.
    pub skip_verify: bool,
}

/// Result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Working.
    Passing,
    /// Working, with something to look at.
    Warning,
    /// Not working.
    Critical,
}

impl Status {
    /// The health it means.
    pub fn health(self) -> Health {
        match self {
            Status::Passing => Health::Passing,
            Status::Warning => Health::Warning,
            Status::Critical => Health::Critical,
        }
    }

    /// `passing`, `warning` or `critical`.
    pub fn as_str(self) -> &'static str {
        self.health().as_str()
    }

    /// The inverse of [`Status::as_str`].
    pub fn parse(text: &str) -> Option<Status> {
        [Status::Passing, Status::Warning, Status::Critical]
            .into_iter()
            .find(|s| s.as_str() == text)
    }
}

/// How many results in a row change a status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// Successes before passing.
    pub success_before_passing: u32,
    /// Failures before warning; 0 means the same as for critical.
    pub failures_before_warning: u32,
    /// Failures before critical.
    pub failures_before_critical: u32,
}

/// The facts of a check, as registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckFacts {
    /// Identity.
    pub key: CheckKey,
    /// The instance it belongs to; none means the node.
    pub instance: Option<InstanceKey>,
    /// A name for people.
    pub name: Arc<str>,
    /// Notes for people.
    pub notes: Arc<str>,
    /// What it does.
    pub probe: Probe,
    /// Milliseconds between two probes, counted from the end of the last; 0 for none.
    pub interval_ms: u64,
    /// Milliseconds until a probe counts as failed; 0 means the default.
    pub timeout_ms: u64,
    /// Results in a row that change the status.
    pub thresholds: Thresholds,
    /// The instance is deregistered when critical for this long, milliseconds.
    pub reap_after_ms: Option<u64>,
    /// The node whose server or agent runs it; none for checks that only others report.
    pub owner: Option<NodeName>,
    /// Bytes of output that are kept of one result, at most [`crate::limits::OUTPUT`]; 0 means that many.
    pub output_bytes: u32,
    /// What the origin sent and there is no field for (Consul's catalog definition); opaque, canonical.
    pub extension: Bytes,
}

impl CheckFacts {
    /// Bytes of output that are kept of one result.
    pub fn output_limit(&self) -> usize {
        match self.output_bytes as usize {
            0 => crate::limits::OUTPUT,
            bytes => bytes.min(crate::limits::OUTPUT),
        }
    }

    /// A check that others report on.
    pub fn new(key: CheckKey, name: &str) -> CheckFacts {
        CheckFacts {
            key,
            instance: None,
            name: name.into(),
            notes: Arc::default(),
            probe: Probe::None,
            interval_ms: 0,
            timeout_ms: 0,
            thresholds: Thresholds::default(),
            reap_after_ms: None,
            owner: None,
            output_bytes: 0,
            extension: Bytes::new(),
        }
    }
}

/// A check as the catalog keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was registered.
    pub facts: Arc<CheckFacts>,
    /// Its last result, or what it was born with.
    pub status: Status,
    /// Whether it has ever had a result.
    pub reported: bool,
    /// Since when the status is what it is.
    pub since: Timestamp,
    /// Output of the last result, at most 4096 bytes.
    pub output: Arc<str>,
    /// Revision of its registration.
    pub created: Revision,
    /// Revision of its last change.
    pub modified: Revision,
}

impl Deref for Check {
    type Target = CheckFacts;

    fn deref(&self) -> &CheckFacts {
        &self.facts
    }
}
