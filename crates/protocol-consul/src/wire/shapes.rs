//! The JSON Consul answers with: exact names, and exactly where a field is left out.
//!
//! The shapes borrow from the rows they show, so that rendering a list allocates little more than its bytes.

use serde::ser::{Serialize, Serializer};
use serde_json::Value;
use std::borrow::Cow;

/// Text that is borrowed from a row where it can be.
pub(crate) type Text<'a> = Cow<'a, str>;

/// A map of texts, in the order given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pairs<'a>(pub(crate) Vec<(Text<'a>, Text<'a>)>);

impl<'a> Pairs<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_ref())
    }
}

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

/// A map with values of any shape, in the order given: `/agent/services`, `/catalog/services`.
#[derive(Debug)]
pub(crate) struct MapOf<K, V>(pub(crate) Vec<(K, V)>);

impl<K: Serialize, V: Serialize> Serialize for MapOf<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Locality<'a> {
    pub(crate) region: Text<'a>,
    pub(crate) zone: Text<'a>,
}

#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Weights {
    pub(crate) passing: u32,
    pub(crate) warning: u32,
}

#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TaggedAddress {
    pub(crate) address: String,
    pub(crate) port: i64,
}

#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NamedPort<'a> {
    pub(crate) name: Text<'a>,
    pub(crate) port: u16,
    pub(crate) default: bool,
}

/// A row of `/catalog/nodes` and the `Node` of health answers.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Node<'a> {
    #[serde(rename = "ID")]
    pub(crate) id: Text<'a>,
    pub(crate) node: Text<'a>,
    pub(crate) address: Text<'a>,
    pub(crate) datacenter: &'a str,
    pub(crate) tagged_addresses: Pairs<'a>,
    pub(crate) meta: Pairs<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) locality: Option<Locality<'a>>,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
}

/// The `Service` of health answers and of `/catalog/node`.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NodeService<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) kind: Text<'a>,
    #[serde(rename = "ID")]
    pub(crate) id: Text<'a>,
    pub(crate) service: Text<'a>,
    pub(crate) tags: Vec<Text<'a>>,
    pub(crate) address: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tagged_addresses: Option<std::collections::BTreeMap<String, TaggedAddress>>,
    pub(crate) meta: Pairs<'a>,
    pub(crate) port: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ports: Vec<NamedPort<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) socket_path: Text<'a>,
    pub(crate) weights: Weights,
    pub(crate) enable_tag_override: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proxy: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connect: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) locality: Option<Locality<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) datacenter: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_hash: Option<String>,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
}

/// A row of `/catalog/service/:name`.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CatalogService<'a> {
    #[serde(rename = "ID")]
    pub(crate) id: Text<'a>,
    pub(crate) node: Text<'a>,
    pub(crate) address: Text<'a>,
    pub(crate) datacenter: &'a str,
    pub(crate) tagged_addresses: Pairs<'a>,
    pub(crate) node_meta: Pairs<'a>,
    pub(crate) service_kind: Text<'a>,
    #[serde(rename = "ServiceID")]
    pub(crate) service_id: Text<'a>,
    pub(crate) service_name: Text<'a>,
    pub(crate) service_tags: Vec<Text<'a>>,
    pub(crate) service_address: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_tagged_addresses: Option<std::collections::BTreeMap<String, TaggedAddress>>,
    pub(crate) service_weights: Weights,
    pub(crate) service_meta: Pairs<'a>,
    pub(crate) service_port: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) service_ports: Vec<NamedPort<'a>>,
    pub(crate) service_socket_path: Text<'a>,
    pub(crate) service_enable_tag_override: bool,
    pub(crate) service_proxy: Value,
    pub(crate) service_connect: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_locality: Option<Locality<'a>>,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
}

/// A check, everywhere.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HealthCheck<'a> {
    pub(crate) node: Text<'a>,
    #[serde(rename = "CheckID")]
    pub(crate) check_id: Text<'a>,
    pub(crate) name: Text<'a>,
    pub(crate) status: &'static str,
    pub(crate) notes: Text<'a>,
    pub(crate) output: Text<'a>,
    #[serde(rename = "ServiceID")]
    pub(crate) service_id: Text<'a>,
    pub(crate) service_name: Text<'a>,
    pub(crate) service_tags: Vec<Text<'a>>,
    #[serde(rename = "Type")]
    pub(crate) kind: Text<'a>,
    pub(crate) interval: Text<'a>,
    pub(crate) timeout: Text<'a>,
    pub(crate) exposed_port: u16,
    pub(crate) definition: Value,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
}

/// One row of a health answer.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ServiceEntry<'a> {
    pub(crate) node: Node<'a>,
    pub(crate) service: NodeService<'a>,
    pub(crate) checks: Vec<HealthCheck<'a>>,
}

/// A key and its value, the value as base64 or null.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct KvPair<'a> {
    pub(crate) lock_index: u64,
    pub(crate) key: Text<'a>,
    pub(crate) flags: u64,
    pub(crate) value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<String>,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
}

/// A service check a session is bound to.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ServiceCheck<'a> {
    #[serde(rename = "ID")]
    pub(crate) id: Text<'a>,
    pub(crate) namespace: &'static str,
}

#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Session<'a> {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) name: Text<'a>,
    pub(crate) node: Text<'a>,
    /// Nanoseconds.
    pub(crate) lock_delay: i64,
    pub(crate) behavior: &'static str,
    #[serde(rename = "TTL")]
    pub(crate) ttl: String,
    pub(crate) node_checks: Vec<Text<'a>>,
    pub(crate) service_checks: Option<Vec<ServiceCheck<'a>>>,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
}

/// One row of `/agent/health/service/...`.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AgentHealth<'a> {
    pub(crate) aggregated_status: &'static str,
    pub(crate) service: NodeService<'a>,
    pub(crate) checks: Vec<HealthCheck<'a>>,
}
