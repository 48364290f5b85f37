//! What other protocols see: the endpoints of a slice that clients wrote, or that was made of their pods, are instances.

use std::collections::BTreeSet;
use std::sync::Arc;

use portolan_catalog::{
    Declared, Endpoint, Host, InstanceKey, Locality, NodeName, Port, Protocol, Registration,
    ServiceKey, Transport, Via,
};
use serde_json::Value;

use crate::kind::Kind;
use crate::object::{items, label, text};

/// The label that names a slice's service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label that says who looks after a slice.
pub(crate) const SLICE_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The label that says who looks after other objects.
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Who looks after what was made of services registered elsewhere.
pub(crate) const OURS: &str = "portolan.io";

/// Whether an object only shows what was registered through another protocol.
pub(crate) fn is_mirrored(object: &Value) -> bool {
    [MANAGED_BY, SLICE_MANAGED_BY]
        .into_iter()
        .any(|by| label(object, by) == Some(OURS))
}

/// Ports that an instance may have.
const PORTS: usize = portolan_catalog::limits::PORTS;

/// The instances in an object, of which only slices have some. Those made of instances are not instances again.
pub(crate) fn recognise(
    kind: &Kind,
    namespace: &str,
    name: &str,
    object: &Value,
) -> Vec<Arc<Registration>> {
    if kind.kind != "EndpointSlice" || label(object, SLICE_MANAGED_BY) == Some(OURS) {
        return Vec::new();
    }
    let Some(service) = label(object, SERVICE_NAME).filter(|service| !service.is_empty()) else {
        return Vec::new();
    };
    // The API server itself is nobody's service but kubectl's.
    if namespace == "default" && service == "kubernetes" {
        return Vec::new();
    }
    let ports: Vec<Port> = items(object, "/ports")
        .iter()
        .filter_map(port)
        .take(PORTS)
        .collect();
    let ports: Arc<[Port]> = ports.into();
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for endpoint in items(object, "/endpoints") {
        let Some(address) = items(endpoint, "/addresses")
            .first()
            .and_then(Value::as_str)
        else {
            continue;
        };
        if !seen.insert(address) {
            continue;
        }
        let key = InstanceKey::new(
            Protocol::Kubernetes,
            format!("{namespace}/{name}/{address}"),
        );
        let at = Endpoint {
            host: Host::new(address),
            ports: ports.clone(),
        };
        let mut facts = Registration::new(key, ServiceKey::new(namespace, "", service), at);
        facts.via = Via::Record;
        facts.spelling = service.into();
        facts.declared = declared(endpoint);
        let node = text(endpoint, "/nodeName");
        if !node.is_empty() && !node.ends_with(".virtual") {
            facts.node = NodeName::new(node);
        }
        let zone = text(endpoint, "/zone");
        if !zone.is_empty() {
            facts.locality = Some(Arc::new(Locality {
                zone: zone.into(),
                ..Locality::default()
            }));
        }
        let pod = text(endpoint, "/targetRef/name");
        if !pod.is_empty() && text(endpoint, "/targetRef/kind") == "Pod" {
            facts.meta = [("kubernetes.io/pod", pod)].into_iter().collect();
        }
        found.push(Arc::new(facts));
    }
    found
}

fn port(port: &Value) -> Option<Port> {
    let number = u16::try_from(port["port"].as_u64()?).ok()?;
    let name = text(port, "/name");
    Some(Port {
        name: name.into(),
        number,
        secure: name == "https",
        transport: match text(port, "/protocol") {
            "UDP" => Transport::Udp,
            _ => Transport::Tcp,
        },
    })
}

/// Nothing said is ready; what ends but still serves is taken out, not broken.
fn declared(endpoint: &Value) -> Declared {
    let condition = |name: &str| endpoint["conditions"][name].as_bool();
    let ready = condition("ready").unwrap_or(true);
    let serving = condition("serving").unwrap_or(ready);
    match (ready, serving && condition("terminating").unwrap_or(false)) {
        (true, _) => Declared::Up,
        (false, true) => Declared::OutOfService,
        (false, false) => Declared::Down,
    }
}
