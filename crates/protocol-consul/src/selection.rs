//! Which rows of a list a client wants: `tag`, `node-meta`, `passing`, `filter`.
//!
//! `near` sorts by round trip time. No times between nodes are measured: what is on the node itself comes first, the others are equally far
//! and stay in their order, and a node that nobody knows changes nothing.

use crate::error::Failure;
use crate::filter::Filter;
use crate::wire::{Pairs, Params};
use http::StatusCode;
use serde::Serialize;

/// Names a selector may begin with, per kind of row.
pub(crate) mod fields {
    pub(crate) const NODE: &[&str] = &[
        "ID",
        "Node",
        "Address",
        "Datacenter",
        "TaggedAddresses",
        "Meta",
        "Locality",
        "CreateIndex",
        "ModifyIndex",
    ];
    pub(crate) const ENTRY: &[&str] = &["Node", "Service", "Checks"];
    pub(crate) const CATALOG_SERVICE: &[&str] = &[
        "ID",
        "Node",
        "Address",
        "Datacenter",
        "TaggedAddresses",
        "NodeMeta",
        "ServiceKind",
        "ServiceID",
        "ServiceName",
        "ServiceTags",
        "ServiceAddress",
        "ServiceTaggedAddresses",
        "ServiceWeights",
        "ServiceMeta",
        "ServicePort",
        "ServicePorts",
        "ServiceSocketPath",
        "ServiceEnableTagOverride",
        "ServiceProxy",
        "ServiceConnect",
        "ServiceLocality",
        "CreateIndex",
        "ModifyIndex",
    ];
    pub(crate) const SERVICE: &[&str] = &[
        "Kind",
        "ID",
        "Service",
        "Tags",
        "Address",
        "TaggedAddresses",
        "Meta",
        "Port",
        "Ports",
        "SocketPath",
        "Weights",
        "EnableTagOverride",
        "Proxy",
        "Connect",
        "PeerName",
        "Locality",
        "Datacenter",
        "CreateIndex",
        "ModifyIndex",
    ];
    pub(crate) const CHECK: &[&str] = &[
        "Node",
        "CheckID",
        "Name",
        "Status",
        "Notes",
        "Output",
        "ServiceID",
        "ServiceName",
        "ServiceTags",
        "Type",
        "Interval",
        "Timeout",
        "ExposedPort",
        "PeerName",
        "Definition",
        "CreateIndex",
        "ModifyIndex",
    ];
    pub(crate) const SERVICES: &[&str] = &[
        "ServiceName",
        "ServiceTags",
        "NodeMeta",
        "Node",
        "Address",
        "ServiceMeta",
    ];
    pub(crate) const MEMBER: &[&str] = &["Name", "Addr", "Port", "Tags", "Status"];
}

/// The selecting parameters of one request.
#[derive(Debug)]
pub(crate) struct Selection {
    tags: Vec<String>,
    node_meta: Vec<(String, String)>,
    pub(crate) passing: bool,
    pub(crate) filter: Option<Filter>,
    near: String,
}

impl Selection {
    /// Reads the parameters; `known` are the names a filter's selectors may begin with.
    pub(crate) fn parse(params: &Params<'_>, known: &[&str]) -> Result<Self, Failure> {
        let node_meta = params
            .all("node-meta")
            .map(|pair| {
                let (key, value) = pair.split_once(':').unwrap_or((pair, ""));
                (key.to_owned(), value.to_owned())
            })
            .collect();
        let filter = match params.get("filter") {
            "" => None,
            text => Some(
                Filter::parse(text, known)
                    .map_err(|why| Failure::new(StatusCode::BAD_REQUEST, why))?,
            ),
        };
        Ok(Self {
            tags: params
                .all("tag")
                .filter(|tag| !tag.is_empty())
                .map(str::to_ascii_lowercase)
                .collect(),
            node_meta,
            passing: params.flag("passing")?,
            filter,
            near: params.get("near").to_owned(),
        })
    }

    /// Puts rows on the node that is named by `near` before the others. `_agent` is the node `own`.
    pub(crate) fn near_first<T>(&self, own: &str, rows: &mut [T], node: impl Fn(&T) -> &str) {
        let near = match &*self.near {
            "" => return,
            "_agent" => own,
            name => name,
        };
        // It is a stable sort.
        rows.sort_by_key(|row| !node(row).eq_ignore_ascii_case(near));
    }

    /// Whether a row carries every tag asked for, in any case.
    pub(crate) fn wants_tags<T: AsRef<str>>(&self, tags: &[T]) -> bool {
        self.tags.iter().all(|wanted| {
            tags.iter()
                .any(|tag| tag.as_ref().eq_ignore_ascii_case(wanted))
        })
    }

    /// Whether a node carries every metadata pair asked for.
    pub(crate) fn wants_node(&self, meta: &Pairs<'_>) -> bool {
        self.node_meta
            .iter()
            .all(|(key, value)| meta.get(key) == Some(value))
    }

    /// Whether every row is wanted.
    pub(crate) fn is_everything(&self) -> bool {
        self.tags.is_empty() && self.node_meta.is_empty() && !self.passing && self.filter.is_none()
    }

    /// Whether anything is asked of nodes.
    pub(crate) fn asks_nodes(&self) -> bool {
        !self.node_meta.is_empty()
    }

    /// Applies the filter.
    pub(crate) fn filtered<T: Serialize>(&self, mut rows: Vec<T>) -> Result<Vec<T>, Failure> {
        if let Some(filter) = &self.filter {
            filter.retain(&mut rows).map_err(Failure::bad)?;
        }
        Ok(rows)
    }

    /// Whether one row, not in a list, passes the filter.
    pub(crate) fn wants<T: Serialize>(&self, row: &T) -> Result<bool, Failure> {
        let Some(filter) = &self.filter else {
            return Ok(true);
        };
        let seen = serde_json::to_value(row).map_err(|error| Failure::server(error.to_string()))?;
        filter.matches(&seen).map_err(Failure::bad)
    }
}
