//! Services: what is filled in, what is allowed, and the addresses and ports that they get.

mod allocate;
mod defaults;
mod validate;

use serde_json::Value;

use crate::object::{items, text};

pub(crate) use allocate::{address_object, allocate, released};
pub(crate) use defaults::defaults;
pub(crate) use validate::validate;

/// The type; `ClusterIP` where nothing is said.
pub(crate) fn type_of(service: &Value) -> &str {
    match text(service, "/spec/type") {
        "" => "ClusterIP",
        kind => kind,
    }
}

/// Whether it has no address by its own wish.
pub(crate) fn is_headless(service: &Value) -> bool {
    text(service, "/spec/clusterIP") == "None"
}

/// Whether it has endpoints by what it selects.
pub(crate) fn selects(service: &Value) -> bool {
    let selector = service["spec"]["selector"].as_object();
    selector.is_some_and(|selector| !selector.is_empty()) && type_of(service) != "ExternalName"
}

/// Its addresses, of those that have some.
pub(crate) fn addresses(service: &Value) -> Vec<&str> {
    let all = items(service, "/spec/clusterIPs").iter();
    let all = all.filter_map(Value::as_str);
    all.filter(|ip| !matches!(*ip, "" | "None")).collect()
}

/// The node ports that it uses.
pub(crate) fn node_ports(service: &Value) -> Vec<u16> {
    let ports = items(service, "/spec/ports").iter();
    let ports = ports.map(|port| &port["nodePort"]);
    let all = ports.chain([&service["spec"]["healthCheckNodePort"]]);
    let mut all: Vec<u16> = all
        .filter_map(|number| u16::try_from(number.as_u64()?).ok())
        .filter(|number| *number > 0)
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Whether its ports are opened on nodes.
pub(crate) fn wants_node_ports(service: &Value) -> bool {
    match type_of(service) {
        "NodePort" => true,
        "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}
