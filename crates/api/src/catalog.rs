//! Services, instances, checks and records as they are read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn default_name() -> String {
    "default".into()
}

/// A row of the list of services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The name as first registered.
    pub name: String,
    /// Its namespace, `default` if none was given.
    #[serde(default = "default_name")]
    pub namespace: String,
    /// Its group, `default` if none was given.
    #[serde(default = "default_name")]
    pub group: String,
    /// One name for all three, as protocols without namespaces and groups show it.
    pub flat: String,
    /// Its DNS label.
    pub label: String,
    /// Instances registered.
    pub instances: usize,
    /// Endpoints (instances at one address count once) by health.
    #[serde(default)]
    pub passing: usize,
    /// See `passing`.
    #[serde(default)]
    pub warning: usize,
    /// See `passing`.
    #[serde(default)]
    pub critical: usize,
    /// See `passing`.
    #[serde(default)]
    pub maintenance: usize,
    /// Every tag of every instance, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// `GET /v1/services`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceList {
    /// Revision of the answer.
    pub revision: u64,
    /// The services, by namespace, group and name.
    pub services: Vec<Service>,
}

/// `GET /v1/services/{service}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceDetail {
    /// Revision of the answer.
    pub revision: u64,
    /// The service.
    pub service: Service,
    /// Its endpoints, by host and port.
    pub endpoints: Vec<Endpoint>,
}

/// One address of a service; two registrations of it are its members.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// IP address or name.
    pub host: String,
    /// Main port, 0 for none.
    pub port: u16,
    /// `passing`, `warning`, `critical` or `maintenance`, merged over the members.
    pub health: String,
    /// The rows, oldest first.
    pub members: Vec<Instance>,
}

/// A port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its name, may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// 1 to 65535.
    pub number: u16,
    /// Whether it speaks TLS.
    #[serde(default, skip_serializing_if = "is_default")]
    pub secure: bool,
    /// Whether it is UDP.
    #[serde(default, skip_serializing_if = "is_default")]
    pub udp: bool,
}

/// What an operator said of an instance or a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admin {
    /// `up`, `out_of_service`, `draining` or `down`.
    pub status: String,
    /// The reason given.
    #[serde(default)]
    pub reason: String,
    /// The protocol it came through.
    pub by: String,
}

/// What keeps an instance alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// `etcd`, `zookeeper`, `session`, `heartbeat`, `check`, `connection` or `agent`.
    pub kind: String,
    /// Milliseconds of silence until it is unhealthy or gone.
    pub ttl_ms: u64,
    /// Milliseconds left; absent where the time is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
    /// The last renewal, or the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewed_at: Option<String>,
}

/// A health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The node it is on.
    pub node: String,
    /// Its id there.
    pub id: String,
    /// A name for people.
    pub name: String,
    /// `ttl`, `http`, `tcp`, `udp`, `grpc`, `h2ping`, `script`, `alias`, or empty for those that others report.
    #[serde(default)]
    pub kind: String,
    /// `passing`, `warning` or `critical`.
    pub status: String,
    /// Whether it has ever had a result.
    pub reported: bool,
    /// Since when the status is what it is.
    pub since: String,
    /// What it said last.
    #[serde(default)]
    pub output: String,
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// `origin:id`, such as `consul:n1/web-1`.
    pub id: String,
    /// The protocol it was registered through.
    pub origin: String,
    /// The service's name as this registrant wrote it.
    pub service: String,
    /// The service's namespace.
    #[serde(default = "default_name")]
    pub namespace: String,
    /// The service's group.
    #[serde(default = "default_name")]
    pub group: String,
    /// IP address or name.
    pub host: String,
    /// Main port, 0 for none.
    pub port: u16,
    /// Further ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// The node it is on; ends in `.virtual` where its protocol has none.
    pub node: String,
    /// This row's own health.
    pub health: String,
    /// Since when.
    pub health_since: String,
    /// What it says of itself: `up`, `down`, `starting`, `out_of_service` or `unknown`.
    pub declared: String,
    /// What an operator says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
    /// Tags, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
    /// 1 is one ordinary share of the traffic.
    pub weight: f64,
    /// Region, if known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// Zone, if known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// What keeps it alive; absent when it stays until it is deregistered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Its checks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// Revision of the first registration.
    pub created: u64,
    /// Revision of the last change.
    pub modified: u64,
    /// Time of the first registration.
    pub created_at: String,
    /// Time of the last change.
    pub modified_at: String,
}

/// `GET /v1/instances`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceList {
    /// Revision of the answer.
    pub revision: u64,
    /// The instances.
    pub instances: Vec<Instance>,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvEntry {
    /// The key; bytes that are not UTF-8 are replaced, see `key_base64`.
    pub key: String,
    /// The key's bytes, only where they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_base64: Option<String>,
    /// The value, where it is UTF-8 and was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The value's bytes, where they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    /// Bytes of the value.
    pub size: usize,
    /// Puts since creation.
    pub version: u64,
    /// Consul's flags.
    #[serde(default, skip_serializing_if = "is_default")]
    pub flags: u64,
    /// The layout this record was derived by, if no client wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived_by: Option<String>,
    /// The instance a layout recognised in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Whether a lease keeps it alive.
    #[serde(default, skip_serializing_if = "is_default")]
    pub leased: bool,
    /// The session that holds its lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_by: Option<String>,
    /// Revision of its creation.
    pub created: u64,
    /// Revision of the last put.
    pub modified: u64,
    /// Time of the last put.
    pub modified_at: String,
}

/// `GET /v1/kv/{keyspace}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvList {
    /// Revision of the answer.
    pub revision: u64,
    /// How many records there are under the prefix.
    pub count: usize,
    /// The first of them, in byte order.
    pub entries: Vec<KvEntry>,
}
