//! Addresses and node ports: which ones a Service gets, and the records that keep others from getting them as well.
//!
//! A choice is made from a snapshot and written with the Service on condition that nobody else took it; who comes second chooses again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use portolan_catalog::{Expect, Key, KeyRange, Op, Put, State};
use serde_json::{Value, json};

use super::{addresses, is_headless, node_ports, type_of, wants_node_ports};
use crate::app::{App, delete, put, record};
use crate::error::Cause;
use crate::kind::{ADDRESSES, SPACE};
use crate::object::{self, meta};

/// The record that says whose an address is.
pub(crate) fn address_object(ip: &str, namespace: &str, name: &str, created: &str) -> Value {
    let family = if ip.contains(':') { "IPv6" } else { "IPv4" };
    json!({
        "metadata": {
            "name": ip,
            "uid": object::uid(),
            "creationTimestamp": created,
            "labels": {
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {"parentRef": {"group": "", "resource": "services", "namespace": namespace, "name": name}},
    })
}

/// The key of the record that says whose a node port is. No kind's objects have such keys.
fn port_key(port: u16) -> Key {
    Key::from(format!("nodeports//{port}").as_str())
}

fn release_port(port: u16) -> Op {
    Op::Delete {
        space: SPACE,
        range: KeyRange::One(port_key(port)),
        expect: Expect::Any,
    }
}

/// Operations that give back what a Service had.
pub(crate) fn released(service: &Value) -> Vec<Op> {
    let ips = addresses(service).into_iter();
    let ips = ips.map(|ip| delete(&ADDRESSES, "", ip, Expect::Any));
    let ports = node_ports(service).into_iter().map(release_port);
    ips.chain(ports).collect()
}

/// Namespace and name.
fn place(service: &Value) -> (String, String) {
    (
        meta(service, "namespace").to_owned(),
        meta(service, "name").to_owned(),
    )
}

/// Where a Service begins to look: another place for each, and for each attempt.
fn start(namespace: &str, name: &str, salt: &str, attempt: u64) -> u64 {
    // The choice is written down: it has to spread, not to be the same everywhere.
    let mut hasher = DefaultHasher::new();
    (namespace, name, salt, attempt).hash(&mut hasher);
    hasher.finish() >> 16
}

/// Chooses what `service` does not have yet, and finds what has to be written with it.
pub(crate) fn allocate(
    app: &App,
    state: &State,
    service: &mut Value,
    before: Option<&Value>,
    attempt: u64,
    causes: &mut Vec<Cause>,
) -> Vec<Op> {
    let (namespace, name) = place(service);
    let mut ops = Vec::new();
    let taken = |ip: &str| record(state, &ADDRESSES, "", ip).is_some();
    let had: Vec<String> = before
        .map(|before| addresses(before).into_iter().map(str::to_owned).collect())
        .unwrap_or_default();
    let has_address = type_of(service) != "ExternalName" && !is_headless(service);
    if has_address && addresses(service).is_empty() {
        let from = start(&namespace, &name, "address", attempt);
        let free = |ip: &IpAddr| !taken(&ip.to_string()) && *ip != app.ranges.addresses.first();
        match app.ranges.addresses.candidates(from).find(free) {
            Some(ip) => {
                service["spec"]["clusterIP"] = ip.to_string().into();
                service["spec"]["clusterIPs"] = json!([ip.to_string()]);
            }
            None => {
                let why = format!(
                    "failed to allocate a serviceIP: range {} is full",
                    app.ranges.addresses
                );
                causes.push(Cause::invalid("spec.clusterIPs", &json!([]), &why));
            }
        }
    }
    let has: Vec<String> = addresses(service).into_iter().map(str::to_owned).collect();
    for ip in has.iter().filter(|ip| !had.contains(ip)) {
        if taken(ip) {
            let why = format!("failed to allocate IP {ip}: provided IP is already allocated");
            causes.push(Cause::invalid("spec.clusterIPs", &json!([ip]), &why));
        }
        let created = object::time(app.registry.now());
        let own = address_object(ip, &namespace, &name, &created);
        ops.push(put(&ADDRESSES, "", ip, &own, Expect::Absent));
    }
    let gone = had.iter().filter(|ip| !has.contains(ip));
    ops.extend(gone.map(|ip| delete(&ADDRESSES, "", ip, Expect::Any)));
    ops.extend(ports(app, state, service, before, attempt, causes));
    ops
}

fn ports(
    app: &App,
    state: &State,
    service: &mut Value,
    before: Option<&Value>,
    attempt: u64,
    causes: &mut Vec<Cause>,
) -> Vec<Op> {
    let (namespace, name) = place(service);
    let had = before.map(node_ports).unwrap_or_default();
    let taken = |port: u16| state.record(SPACE, &port_key(port)).is_some();
    let mut chosen = node_ports(service);
    if wants_node_ports(service) {
        let local = service["spec"]["externalTrafficPolicy"] == "Local"
            && type_of(service) == "LoadBalancer";
        if local && service["spec"]["healthCheckNodePort"].is_null() {
            service["spec"]["healthCheckNodePort"] = json!(0);
        }
        let spec = service["spec"].as_object_mut();
        let mut slots: Vec<&mut Value> = Vec::new();
        if let Some(spec) = spec {
            for (field, value) in spec.iter_mut() {
                match (field.as_str(), value) {
                    ("ports", Value::Array(all)) => {
                        slots.extend(all.iter_mut().map(|port| &mut port["nodePort"]))
                    }
                    ("healthCheckNodePort", value) => slots.push(value),
                    _ => {}
                }
            }
        }
        let from = start(&namespace, &name, "port", attempt);
        let mut free = app.ranges.port_candidates(from);
        for slot in slots
            .into_iter()
            .filter(|slot| slot.as_u64().is_none_or(|n| n == 0))
        {
            match free.find(|port| !taken(*port) && !chosen.contains(port)) {
                Some(port) => {
                    *slot = port.into();
                    chosen.push(port);
                }
                None => {
                    let why = "failed to allocate a nodePort: range is full";
                    causes.push(Cause::invalid("spec.ports", &json!([]), why));
                    return Vec::new();
                }
            }
        }
    }
    let has = node_ports(service);
    let mut ops = Vec::new();
    for port in has.iter().filter(|port| !had.contains(port)) {
        if taken(*port) {
            let why = "provided port is already allocated";
            causes.push(Cause::invalid("spec.ports[0].nodePort", &json!(port), why));
        }
        let owner = format!("{namespace}/{name}");
        ops.push(Op::Put(Box::new(Put {
            expect: Expect::Absent,
            ..Put::new(SPACE, port_key(*port), owner.into())
        })));
    }
    let gone = had.into_iter().filter(|port| !has.contains(port));
    ops.extend(gone.map(release_port));
    ops
}
