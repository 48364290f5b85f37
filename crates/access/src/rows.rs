//! What is kept: tokens, policies and roles, as JSON in records of the settings.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A service that a token speaks for: it may write it and its sidecar, and read every service and node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceIdentity {
    /// The service.
    pub service_name: String,
    /// Where it holds; everywhere if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub datacenters: Vec<String>,
}

/// A node that a token speaks for: it may write it, and read every service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeIdentity {
    /// The node.
    pub node_name: String,
    /// Where it holds.
    pub datacenter: String,
}

/// What a template is filled with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TemplateVariables {
    /// A service's or node's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// A built-in policy with a name filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TemplatedPolicy {
    /// The template's id.
    #[serde(rename = "TemplateID", skip_serializing_if = "String::is_empty")]
    pub template_id: String,
    /// The template's name: `builtin/service`.
    pub template_name: String,
    /// What it is filled with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_variables: Option<TemplateVariables>,
    /// Where it holds; everywhere if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub datacenters: Vec<String>,
}

/// What a token or a role stands for, beside roles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Grants {
    /// Ids of policies.
    pub policies: Vec<String>,
    /// Services it speaks for.
    pub service_identities: Vec<ServiceIdentity>,
    /// Nodes it speaks for.
    pub node_identities: Vec<NodeIdentity>,
    /// Built-in policies.
    pub templated_policies: Vec<TemplatedPolicy>,
}

/// A token. Its secret is the credential; it is never shown by `Debug`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Token {
    /// Its public name, a UUID.
    pub accessor: String,
    /// The credential, a UUID.
    pub secret: String,
    /// For people.
    pub description: String,
    /// Ids of roles.
    pub roles: Vec<String>,
    /// What it stands for itself.
    pub grants: Grants,
    /// Whether it is for this datacenter alone.
    pub local: bool,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// From when on it is worth nothing, milliseconds since 1970; 0 for never.
    pub expires_ms: u64,
    /// The login method that gave it; empty for those that were made by hand.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub auth_method: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("accessor", &self.accessor)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// Whether it is worth nothing at that time.
    pub fn expired(&self, now_ms: u64) -> bool {
        self.expires_ms != 0 && self.expires_ms <= now_ms
    }
}

/// A policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Policy {
    /// A UUID.
    pub id: String,
    /// Unique in any case.
    pub name: String,
    /// For people.
    pub description: String,
    /// Rules, as they were written.
    pub rules: String,
    /// Where it holds; everywhere if empty.
    pub datacenters: Vec<String>,
}

/// A role: several policies and identities under a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Role {
    /// A UUID.
    pub id: String,
    /// Unique in any case.
    pub name: String,
    /// For people.
    pub description: String,
    /// What it stands for.
    pub grants: Grants,
}

/// A fingerprint of a row, which changes when the row does, and from which nothing can be told.
pub fn hash(row: &impl Serialize) -> String {
    let bytes = serde_json::to_vec(row).unwrap_or_default();
    STANDARD.encode(Sha256::digest(bytes))
}

/// A row with its revisions.
#[derive(Clone, Debug)]
pub struct Kept<T> {
    /// The row.
    pub row: T,
    /// The revision that made it.
    pub created: u64,
    /// The revision that changed it last.
    pub modified: u64,
}
