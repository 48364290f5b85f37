//! Names of addresses: the node at an address, else the service there.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use portolan_catalog::name::flat;
use portolan_catalog::{Host, NodeName, Revision, State};

use crate::builder::{Builder, nothing};
use crate::names::Zone;
use crate::records::node_name;
use crate::settings::Settings;
use crate::template::Template;
use crate::wire::{Rcode, push_name, rtype};

/// What is asked of all nodes together, made when first asked for and again when a node has changed: the catalog has no such index,
/// and a question about something unknown must not cost a walk over all nodes.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    made: Mutex<Option<(Revision, Arc<Index>)>>,
}

#[derive(Debug, Default)]
struct Index {
    by_address: HashMap<IpAddr, NodeName>,
    /// Of `a.b.c`: `b.c` and `c`.
    empty_non_terminals: HashSet<Box<str>>,
}

impl Nodes {
    fn of(&self, state: &State) -> Arc<Index> {
        let changed = state.marks().nodes;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((at, index)) if *at == changed => Arc::clone(index),
            Some(_) | None => {
                let index = Arc::new(Index::of(state));
                *made = Some((changed, Arc::clone(&index)));
                index
            }
        }
    }

    /// Whether nodes have names below `name`, which is none itself.
    pub(crate) fn are_below(&self, state: &State, name: &str) -> bool {
        // Virtual nodes have no row.
        name == "virtual" || self.of(state).empty_non_terminals.contains(name)
    }
}

impl Index {
    fn of(state: &State) -> Self {
        let mut index = Self::default();
        for node in state.nodes() {
            if let Some(ip) = node.address.ip() {
                let place = index.by_address.entry(ip);
                place.or_insert_with(|| node.name.clone());
            }
            let mut rest = node.name.as_str();
            while let Some((_, upper)) = rest.split_once('.') {
                index.empty_non_terminals.insert(upper.into());
                rest = upper;
            }
        }
        index
    }
}

/// The answer about an address: its node if it has one, else the first service that has the address as its own.
pub(crate) fn resolve(
    state: &State,
    settings: &Settings,
    nodes: &Nodes,
    ip: IpAddr,
    qtype: u16,
) -> Template {
    let node = nodes
        .of(state)
        .by_address
        .get(&ip)
        .map(|node| node_name(settings, Zone::Reverse, node.as_str()));
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
