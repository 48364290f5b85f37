//! Nodes: rows of their own, and stand-ins for hosts of instances whose protocol has no nodes.

use super::Shown;
use crate::server_info::CONSUL_VERSION;
use crate::wire::{Locality, Node, Pairs, Text};
use portolan_catalog::{Instance, InstanceKey, Meta, NodeName, Protocol};
use std::borrow::Cow;
use std::net::IpAddr;

/// The service that every server has.
const SERVERS_SERVICE: &str = "consul";
/// The check by which the cluster says that a member is alive.
pub(crate) const SERF_HEALTH: &str = "serfHealth";
/// The shortest beginning of an id that stands for a node.
const SHORTEST_ID: usize = 2;

impl<'a> Shown<'a> {
    /// A node by name: its row, or the stand-in that some shown instance is on.
    pub(crate) fn node(self, name: &NodeName) -> Option<Node<'a>> {
        if !self.sees_node(name) {
            return None;
        }
        if let Some(node) = self.state.node(name) {
            return Some(self.real_node(node));
        }
        let rows: Vec<_> = self.there_on(name).collect();
        let first = *rows.first()?;
        Some(Node {
            create_index: rows
                .iter()
                .map(|row| row.created.0)
                .min()
                .unwrap_or(first.created.0),
            modify_index: rows
                .iter()
                .map(|row| row.created.0)
                .max()
                .unwrap_or(first.created.0),
            ..self.stand_in(first)
        })
    }

    /// The node of an instance.
    pub(crate) fn node_of(self, instance: &'a Instance) -> Node<'a> {
        match self.state.node(&instance.node) {
            Some(node) => self.real_node(node),
            None => self.stand_in(instance),
        }
    }

    /// Every node: rows first, then stand-ins of shown instances.
    pub(crate) fn nodes(self) -> Vec<Node<'a>> {
        let mut nodes: Vec<_> = self
            .state
            .nodes()
            .filter(|node| self.sees_node(&node.name))
            .map(|node| self.real_node(node))
            .collect();
        nodes.extend(
            self.state
                .virtual_nodes()
                .filter_map(|name| self.node(name)),
        );
        nodes
    }

    /// Whether a node is a server of this cluster: it carries the servers' own service.
    pub(crate) fn is_server(self, name: &NodeName) -> bool {
        let local = InstanceKey::consul(name, SERVERS_SERVICE).id;
        let key = InstanceKey::new(Protocol::Portolan, local);
        self.state.instance(&key).is_some()
    }

    /// Why a service is not to be changed, if so: it is the one that makes its node a server.
    ///
    /// Where agents gossip, the leader would put it back at once; here its loss would stay.
    pub(crate) fn refused_service(self, node: &NodeName, id: &str) -> Option<String> {
        (id == SERVERS_SERVICE && self.is_server(node)).then(|| {
            format!(
                "service {id:?} on node {:?} is the server's own and stays as it is",
                node.as_str()
            )
        })
    }

    /// Why a check is not to be changed, if so: it says whether a server is alive.
    pub(crate) fn refused_check(self, node: &NodeName, id: &str) -> Option<String> {
        (id == SERF_HEALTH && self.is_server(node)).then(|| {
            format!(
                "check {id:?} on node {:?} is the cluster's own and stays as it is",
                node.as_str()
            )
        })
    }

    /// The node that is meant: by its name, or by its id, or the beginning of one that is like no other.
    pub(crate) fn node_named(self, text: &str) -> NodeName {
        let name = NodeName::new(text);
        if self.state.node(&name).is_some() || text.len() < SHORTEST_ID {
            return name;
        }
        let id = text.to_ascii_lowercase();
        let mut meant = self.state.nodes().filter(|node| node.id.starts_with(&id));
        match (meant.next(), meant.next()) {
            (Some(node), None) => node.name.clone(),
            _ => name,
        }
    }

    fn real_node(self, node: &'a portolan_catalog::Node) -> Node<'a> {
        let mut tagged = pairs(&node.tagged_addresses);
        let mut meta = pairs(&node.meta);
        if self.is_server(&node.name) {
            // Agents carry exactly these beside what was configured; clients compare the version with the agent's.
            let address = node.address.to_string();
            let family = if matches!(node.address.ip(), Some(IpAddr::V6(_))) {
                "ipv6"
            } else {
                "ipv4"
            };
            for name in ["lan", "wan"] {
                for key in [name.to_owned(), format!("{name}_{family}")] {
                    if tagged.get(&key).is_none() {
                        tagged
                            .0
                            .push((Cow::Owned(key), Cow::Owned(address.clone())));
                    }
                }
            }
            for (key, value) in [
                ("consul-network-segment", ""),
                ("consul-version", CONSUL_VERSION),
            ] {
                if meta.get(key).is_none() {
                    meta.0.push((Cow::Borrowed(key), Cow::Borrowed(value)));
                }
            }
        }
        Node {
            id: Cow::Borrowed(&node.id),
            node: Cow::Borrowed(&node.spelling),
            address: Cow::Owned(node.address.to_string()),
            datacenter: &self.info.datacenter,
            tagged_addresses: tagged,
            meta,
            locality: node.locality.as_deref().map(locality),
            create_index: node.created.0,
            modify_index: node.modified.0,
        }
    }

    fn stand_in(self, instance: &'a Instance) -> Node<'a> {
        Node {
            id: Text::default(),
            node: Cow::Borrowed(instance.node.as_str()),
            address: Cow::Owned(instance.endpoint.host.to_string()),
            datacenter: &self.info.datacenter,
            tagged_addresses: Pairs::default(),
            meta: Pairs::default(),
            locality: None,
            create_index: instance.created.0,
            modify_index: instance.created.0,
        }
    }
}

/// Metadata as a map of the wire.
pub(super) fn pairs(meta: &Meta) -> Pairs<'_> {
    Pairs(
        meta.iter()
            .map(|(key, value)| (Cow::Borrowed(key), Cow::Borrowed(value)))
            .collect(),
    )
}

pub(super) fn locality(locality: &portolan_catalog::Locality) -> Locality<'_> {
    Locality {
        region: Cow::Borrowed(&locality.region),
        zone: Cow::Borrowed(&locality.zone),
    }
}
