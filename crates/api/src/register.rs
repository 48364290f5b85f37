//! Requests that change something, and their answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::catalog::Port;

/// `POST /v1/register`. Registering equal facts again is no change and renews the lease.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// The service's name.
    pub service: String,
    /// Its namespace; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its group; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its id within the service; `host:port` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// IP address or name; 127.0.0.1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Main port; 0 or absent for none.
    #[serde(default)]
    pub port: u16,
    /// Further ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
    /// 1 is one ordinary share of the traffic, and what is meant when absent; 0 is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// It is removed when not renewed for so long, in milliseconds; absent: it stays until it is deregistered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
}

/// The answer to [`Register`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The instance: `native:web/10.0.0.1:80`.
    pub instance: String,
    /// Revision of the registration; the current one if it changed nothing.
    pub revision: u64,
    /// Time until the next renewal is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
}

/// `POST /v1/deregister`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deregister {
    /// `origin:id`, or with `service` also the local id or `host:port`.
    pub instance: String,
    /// The service to look in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The service's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// The answer to [`Deregister`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deregistered {
    /// The instance that went.
    pub instance: String,
    /// Revision of the removal.
    pub revision: u64,
}

/// `POST /v1/renew`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// The instance, as [`Registered`] named it.
    pub instance: String,
}

/// The answer to [`Renew`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// Time until the next renewal is due.
    pub ttl_ms: u64,
}

/// `POST /v1/maintenance`: of an instance (with all registrations of its address) or of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// As in [`Deregister`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The service to look in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The service's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// A node instead of an instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// On or off.
    pub enable: bool,
    /// Let open work end: `draining` instead of `out_of_service`.
    #[serde(default)]
    pub drain: bool,
    /// Why, for people.
    #[serde(default)]
    pub reason: String,
}

/// The answer to a change that has nothing else to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Revision of the change; the current one if it changed nothing.
    pub revision: u64,
}

/// The answer to `PUT` and `DELETE /v1/kv/{keyspace}/{key}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvWritten {
    /// Revision of the change; the current one if it changed nothing.
    pub revision: u64,
    /// Records put or deleted.
    pub records: usize,
    /// The instance that a layout recognised in the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}
