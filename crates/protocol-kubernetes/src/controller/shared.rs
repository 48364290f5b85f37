//! Services registered through other protocols, as objects: one without an address of its own, with the endpoints in slices.

use std::collections::{BTreeMap, BTreeSet};

use portolan_catalog::{
    AdminStatus, EndpointRow, Host, Port, Protocol, ServiceKey, State, Transport,
};
use serde_json::{Map, Value, json};

use super::slices::Group;
use crate::names::{is_label, is_subdomain};

/// The catalog's service of a name.
pub(super) fn key_of(state: &State, namespace: &str, name: &str) -> ServiceKey {
    state
        .service_by_label(namespace, name)
        .cloned()
        .unwrap_or_else(|| ServiceKey::new(namespace, "", name))
}

/// The endpoints of a service that no object here stands for.
pub(super) fn foreign<'a>(
    state: &'a State,
    key: &'a ServiceKey,
) -> impl Iterator<Item = &'a EndpointRow> {
    let rows = state.endpoints(key).map(|row| &**row);
    rows.filter(|row| !row.has(Protocol::Kubernetes))
}

/// The name of a port, as objects may have one.
fn name_of(port: &Port, several: bool) -> String {
    let name = port.name.to_ascii_lowercase().replace('_', "-");
    let fits = is_label(&name) && name.len() <= 15;
    match (fits, several) {
        (true, _) => name,
        (false, true) => format!("p{}", port.number),
        (false, false) => String::new(),
    }
}

fn ports_of(row: &EndpointRow) -> &[Port] {
    &row.primary().endpoint.ports
}

fn protocol(port: &Port) -> &'static str {
    match port.transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
    }
}

/// Whether ports have to be told apart by their names.
fn several(rows: &[&EndpointRow]) -> bool {
    let ports = rows.iter().flat_map(|row| ports_of(row));
    let names: BTreeSet<_> = ports.map(|port| (&port.name, protocol(port))).collect();
    names.len() > 1 || rows.iter().any(|row| ports_of(row).len() > 1)
}

/// The groups of endpoints.
pub(super) fn groups(rows: &[&EndpointRow]) -> Vec<Group> {
    let several = several(rows);
    let mut groups: BTreeMap<(&'static str, String), Group> = BTreeMap::new();
    for row in rows {
        let (address, address_type) = match &row.key.host {
            Host::Ip(ip) => (ip.to_string(), if ip.is_ipv4() { "IPv4" } else { "IPv6" }),
            Host::Name(name) if is_subdomain(name) => (name.to_string(), "FQDN"),
            Host::Name(_) => continue,
        };
        let ports: Vec<Value> = ports_of(row)
            .iter()
            .map(|port| json!({"name": name_of(port, several), "port": port.number, "protocol": protocol(port)}))
            .collect();
        let key = (address_type, Value::Array(ports.clone()).to_string());
        let group = groups.entry(key).or_insert_with(|| Group {
            address_type,
            ports,
            endpoints: BTreeMap::new(),
        });
        group
            .endpoints
            .insert(address.clone(), endpoint(row, &address));
    }
    groups.into_values().collect()
}

fn endpoint(row: &EndpointRow, address: &str) -> Value {
    let primary = row.primary();
    let serves = row.health.serves();
    let draining = primary
        .admin
        .as_ref()
        .is_some_and(|admin| admin.status == AdminStatus::Draining);
    let conditions = match (serves, draining) {
        (true, _) => json!({"ready": true, "serving": true, "terminating": false}),
        (false, true) => json!({"ready": false, "serving": true, "terminating": true}),
        (false, false) => json!({"ready": false, "serving": false, "terminating": false}),
    };
    let mut endpoint = json!({"addresses": [address], "conditions": conditions});
    if !primary.node.is_virtual() {
        endpoint["nodeName"] = primary.node.as_str().into();
    }
    if let Some(locality) = primary
        .locality
        .as_ref()
        .filter(|locality| !locality.zone.is_empty())
    {
        endpoint["zone"] = (*locality.zone).into();
    }
    let local = primary.key.local();
    if is_label(local) {
        endpoint["hostname"] = local.into();
    }
    endpoint
}

/// The ports of the Service: each name once, with the number that the first endpoint has.
pub(super) fn service_ports(rows: &[&EndpointRow]) -> Vec<Value> {
    let several = several(rows);
    let mut found: BTreeMap<(String, &'static str), u16> = BTreeMap::new();
    for row in rows {
        for port in ports_of(row) {
            found
                .entry((name_of(port, several), protocol(port)))
                .or_insert(port.number);
        }
    }
    let all = found.into_iter().map(|((name, protocol), number)| {
        let mut port = json!({"port": number, "targetPort": number, "protocol": protocol});
        if !name.is_empty() {
            port["name"] = name.into();
        }
        port
    });
    all.collect()
}

/// What says where a service comes from.
pub(super) fn annotations(
    state: &State,
    key: &ServiceKey,
    name: &str,
    rows: &[&EndpointRow],
) -> Map<String, Value> {
    let mut all = Map::new();
    if let Some(row) = state.service(key)
        && (&*row.spelling != name || key.group() != portolan_catalog::DEFAULT)
    {
        let flat = portolan_catalog::name::flat_spelled(key, &row.spelling);
        all.insert("portolan.io/name".into(), flat.into());
    }
    let mut origins: Vec<&str> = rows
        .iter()
        .map(|row| row.primary().key.origin.as_str())
        .collect();
    origins.sort_unstable();
    origins.dedup();
    if !origins.is_empty() {
        all.insert(
            "portolan.io/registered-through".into(),
            origins.join(",").into(),
        );
    }
    all
}
