//! `GET /v1/why/{service}`: what each protocol shows, and why an instance is missing or unhealthy.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// The service as it was asked for.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// Its group.
    pub group: String,
    /// The instance as it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Whether the service exists.
    pub exists: bool,
    /// Revision of the answer.
    pub revision: u64,
    /// When it was given.
    pub at: String,
    /// One sentence.
    pub summary: String,
    /// The most likely cause first; empty when everything is shown and healthy.
    pub causes: Vec<Reason>,
    /// What each protocol shows now.
    pub shown: Vec<Shown>,
    /// What else may surprise, such as records that stay visible although their instance is not healthy.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// One cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// `never_registered`, `wrong_namespace`, `wrong_service`, `name_case`, `unrecognised_record`, `ttl_missed`, `check_failing`,
    /// `maintenance`, `declared_down`, `unweighted`, `node_down`, `deregistered`, `lease_expired`, `disconnected`, `reaped`, `moved`,
    /// `guard`, `replaced_by_twin`.
    pub kind: String,
    /// The instance it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// When it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The revision it happened at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// A sentence for people.
    pub text: String,
    /// The facts behind it, by name: `protocol`, `peer`, `check`, `output`, `silent_ms`, `ttl_ms`, `twin`, `near`...
    #[serde(default)]
    pub detail: Map<String, Value>,
}

/// What readers of one protocol see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// `consul`, `dns`, `etcd`, `eureka` or `native`.
    pub protocol: String,
    /// The layout, for protocols that have several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
    /// The name it is asked for by there.
    pub name: String,
    /// What keeps this reader from seeing anything, such as a layout that sleeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
    /// The rows.
    pub instances: Vec<ShownRow>,
}

/// One row of what is seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownRow {
    /// Its id there.
    pub id: String,
    /// `host:port`.
    pub address: String,
    /// Its status in that protocol's words; `hidden` when it is left out.
    pub status: String,
    /// The instance of the catalog.
    pub instance: String,
}
