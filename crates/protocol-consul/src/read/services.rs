//! Instances as the three kinds of row Consul has for them.

use super::nodes::{locality, pairs};
use super::{Shown, is_own, service_id, service_name};
use crate::extension::ServiceExtension;
use crate::server_info::CONSUL_VERSION;
use crate::wire::{
    CatalogService, NamedPort, NodeService, Pairs, ServiceEntry, TaggedAddress, Text, Weights,
};
use portolan_catalog::{Host, Instance, Protocol, Via};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Which answer a service is rendered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// Health answers and `/catalog/node`: `Proxy` and `Connect` always there.
    Catalog,
    /// The agent's own listing: only what was set, and the datacenter. An agent knows no indexes.
    Agent,
}

/// What both renderings need of an instance.
struct Parts<'a> {
    extension: ServiceExtension,
    address: Text<'a>,
    tagged: Option<BTreeMap<String, TaggedAddress>>,
    meta: Pairs<'a>,
    tags: Vec<Text<'a>>,
    ports: Vec<NamedPort<'a>>,
    weights: Weights,
}

impl<'a> Shown<'a> {
    /// One row of a health answer.
    pub(crate) fn entry(self, instance: &'a Instance) -> ServiceEntry<'a> {
        let mut checks = self.checks_of_node(&instance.node);
        checks.extend(self.checks_of(instance));
        ServiceEntry {
            node: self.node_of(instance),
            service: self.service(instance, Flavour::Catalog),
            checks,
        }
    }

    /// The `Service` of health answers, of `/catalog/node` and of the agent.
    pub(crate) fn service(self, instance: &'a Instance, flavour: Flavour) -> NodeService<'a> {
        let parts = self.parts(instance);
        let (proxy, connect) = match flavour {
            Flavour::Catalog => (
                Some(proxy(parts.extension.proxy)),
                Some(parts.extension.connect.unwrap_or(json!({}))),
            ),
            Flavour::Agent => (parts.extension.proxy, parts.extension.connect),
        };
        let (create_index, modify_index) = match flavour {
            // A check that fails changes the instance, but not what was registered, which is all that this index is of.
            Flavour::Catalog => (instance.created.0, instance.registered.0),
            Flavour::Agent => (0, 0),
        };
        NodeService {
            kind: Cow::Owned(parts.extension.kind),
            id: service_id(instance),
            service: service_name(instance),
            tags: parts.tags,
            address: parts.address,
            tagged_addresses: parts.tagged,
            meta: parts.meta,
            port: i64::from(instance.endpoint.port()),
            ports: parts.ports,
            socket_path: Cow::Owned(parts.extension.socket_path),
            weights: parts.weights,
            enable_tag_override: parts.extension.enable_tag_override,
            proxy,
            connect,
            locality: instance.locality.as_deref().map(locality),
            datacenter: (flavour == Flavour::Agent).then_some(&*self.info.datacenter),
            content_hash: None,
            create_index,
            modify_index,
        }
    }

    /// A row of `/catalog/service/:name`.
    pub(crate) fn catalog_row(self, instance: &'a Instance) -> CatalogService<'a> {
        let parts = self.parts(instance);
        let node = self.node_of(instance);
        CatalogService {
            id: node.id,
            node: node.node,
            address: node.address,
            datacenter: node.datacenter,
            tagged_addresses: node.tagged_addresses,
            node_meta: node.meta,
            service_kind: Cow::Owned(parts.extension.kind),
            service_id: service_id(instance),
            service_name: service_name(instance),
            service_tags: parts.tags,
            service_address: parts.address,
            service_tagged_addresses: parts.tagged,
            service_weights: parts.weights,
            service_meta: parts.meta,
            service_port: i64::from(instance.endpoint.port()),
            service_ports: parts.ports,
            service_socket_path: Cow::Owned(parts.extension.socket_path),
            service_enable_tag_override: parts.extension.enable_tag_override,
            service_proxy: proxy(parts.extension.proxy),
            service_connect: parts.extension.connect.unwrap_or(json!({})),
            service_locality: instance.locality.as_deref().map(locality),
            create_index: instance.created.0,
            modify_index: instance.registered.0,
        }
    }

    fn parts(self, instance: &'a Instance) -> Parts<'a> {
        let extension = match instance.key.origin {
            Protocol::Consul => ServiceExtension::decode(&instance.extension),
            _ => ServiceExtension::default(),
        };
        let address = if instance.inherits_host {
            String::new()
        } else {
            instance.endpoint.host.to_string()
        };
        let tagged = self.tagged_addresses(instance, &extension);
        let mut meta = pairs(&instance.meta);
        if !is_own(instance) && !instance.cluster.is_empty() {
            meta.0.push((
                Cow::Borrowed("nacos.cluster"),
                Cow::Borrowed(&instance.cluster),
            ));
        }
        if instance.key.origin == Protocol::Portolan && instance.key.local() == "consul" {
            let grpc = self.info.ports.grpc;
            for (key, value) in [
                ("version", CONSUL_VERSION.to_owned()),
                ("raft_version", "3".to_owned()),
                ("serf_protocol_current", "2".to_owned()),
                ("serf_protocol_min", "1".to_owned()),
                ("serf_protocol_max", "5".to_owned()),
                ("grpc_port", grpc.to_string()),
                ("non_voter", "false".to_owned()),
                ("read_replica", "false".to_owned()),
            ] {
                if meta.get(key).is_none() && (grpc > 0 || key != "grpc_port") {
                    meta.0.push((Cow::Borrowed(key), Cow::Owned(value)));
                }
            }
        }
        let ports = instance
            .endpoint
            .ports
            .iter()
            .enumerate()
            .filter(|(_, port)| !port.name.is_empty() || port.secure)
            .map(|(place, port)| NamedPort {
                name: if port.name.is_empty() {
                    Cow::Borrowed("https")
                } else {
                    Cow::Borrowed(&*port.name)
                },
                port: port.number,
                default: place == 0,
            })
            .collect();
        Parts {
            address: Cow::Owned(address),
            tagged,
            meta,
            tags: instance
                .tags
                .iter()
                .map(|tag| Cow::Borrowed(&**tag))
                .collect(),
            ports,
            weights: Weights {
                passing: instance.weight.to_units(1, 1),
                // Zero while warning is a number of Consul's own; elsewhere nothing is below one share.
                warning: instance
                    .warning_weight
                    .to_units(1, if instance.warning_weight.0 == 0 { 0 } else { 1 }),
            },
            extension,
        }
    }

    /// Addresses by tag: those sent, and for an agent's service with an IP address those the agent adds.
    fn tagged_addresses(
        self,
        instance: &Instance,
        extension: &ServiceExtension,
    ) -> Option<BTreeMap<String, TaggedAddress>> {
        let mut tagged: BTreeMap<String, TaggedAddress> = extension
            .tagged_addresses
            .iter()
            .map(|(name, (address, port))| {
                (
                    name.clone(),
                    TaggedAddress {
                        address: address.clone(),
                        port: *port,
                    },
                )
            })
            .collect();
        if instance.key.origin == Protocol::Consul
            && instance.via == Via::Agent
            && !instance.inherits_host
            && let Host::Ip(ip) = instance.endpoint.host
        {
            let family = if matches!(ip, IpAddr::V6(_)) {
                "ipv6"
            } else {
                "ipv4"
            };
            for name in ["lan", "wan"] {
                tagged
                    .entry(format!("{name}_{family}"))
                    .or_insert_with(|| TaggedAddress {
                        address: ip.to_string(),
                        port: i64::from(instance.endpoint.port()),
                    });
            }
        }
        if tagged.is_empty() {
            None
        } else {
            Some(tagged)
        }
    }
}

/// `Proxy` is never left out of catalog answers.
fn proxy(proxy: Option<Value>) -> Value {
    proxy.unwrap_or_else(|| json!({"Mode": "", "MeshGateway": {}, "Expose": {}}))
}
