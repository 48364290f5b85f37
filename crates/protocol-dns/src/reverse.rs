//! Names of addresses: the node at an address, else the service there.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use portolan_catalog::name::flat;
use portolan_catalog::{Host, NodeName, Revision, State};

use crate::read::node_name;
use crate::settings::Settings;
use crate::template::{Builder, Template, nothing};
use crate::wire::{Rcode, push_name, rtype};

/// Nodes by address, made when first asked for and again when a node has changed: the catalog has no such index, and a question
/// about an unknown address must not cost a walk over all nodes.
#[derive(Debug, Default)]
pub(crate) struct NodesByAddress {
    made: Mutex<(Revision, Arc<HashMap<IpAddr, NodeName>>)>,
}

impl NodesByAddress {
    fn of(&self, state: &State) -> Arc<HashMap<IpAddr, NodeName>> {
        let changed = state.marks().nodes;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.0 != changed || made.1.is_empty() {
            let mut by_address = HashMap::new();
            for node in state.nodes() {
                if let Some(ip) = node.address.ip() {
                    by_address.entry(ip).or_insert_with(|| node.name.clone());
                }
            }
            *made = (changed, Arc::new(by_address));
        }
        Arc::clone(&made.1)
    }
}

/// The answer about an address: its node if it has one, else the first service that has the address as its own.
pub(crate) fn resolve(
    state: &State,
    settings: &Settings,
    nodes: &NodesByAddress,
    ip: IpAddr,
    qtype: u16,
) -> Template {
    let node = nodes
        .of(state)
        .get(&ip)
        .map(|node| node_name(settings, node.as_str()));
    let mut data = Vec::new();
    match node.or_else(|| service_at(state, settings, ip)) {
        Some(name) if push_name(&mut data, &name) => {
            let mut builder = Builder::default();
            if matches!(qtype, rtype::PTR | rtype::ANY) {
                builder.answer(rtype::PTR, 0, &data);
            }
            builder.finish()
        }
        _ => nothing(Rcode::NxDomain),
    }
}

fn service_at(state: &State, settings: &Settings, ip: IpAddr) -> Option<String> {
    let host = Host::Ip(ip);
    let instance = state
        .instances_at(&host)
        .find(|instance| !instance.inherits_host)?;
    let flat = flat(&instance.service);
    // A name that is no label is found by its label.
    let first = if flat.contains('.') {
        &state.service(&instance.service)?.label
    } else {
        flat.as_str()
    };
    let zones = &settings.zones;
    Some(format!(
        "{first}.service.{}.{}",
        zones.datacenter, zones.domain
    ))
}
