//! Endpoints of a Service: of the pods that it selects, or of Endpoints that somebody wrote.

use std::collections::BTreeMap;
use std::net::IpAddr;

use portolan_catalog::State;
use serde_json::{Value, json};

use super::index::{Index, Pod, labels};
use super::slices::Group;
use crate::app::record;
use crate::kind::{Kind, find};
use crate::object::{items, text};

/// Addresses that Endpoints name at most.
const ADDRESSES: usize = 1000;
/// Says that there are more.
pub(super) const OVER: &str = "endpoints.kubernetes.io/over-capacity";

fn nodes() -> Option<&'static Kind> {
    find("", "v1", "nodes")
}

/// Zones of nodes, each read once.
#[derive(Default)]
struct Zones(BTreeMap<String, Option<String>>);

impl Zones {
    fn of(&mut self, state: &State, node: &str) -> Option<String> {
        let found = self.0.entry(node.to_owned()).or_insert_with(|| {
            let row = record(state, nodes()?, "", node)?;
            let row = crate::object::decode(row);
            let zone = crate::object::label(&row, "topology.kubernetes.io/zone")?;
            Some(zone.to_owned())
        });
        found.clone()
    }
}

/// The groups of endpoints that a Service's selector gives.
pub(super) fn selected(state: &State, index: &Index, service: &Value) -> Vec<Group> {
    let namespace = crate::object::meta(service, "namespace");
    let selector = labels(&service["spec"]["selector"]);
    let family = items(service, "/spec/ipFamilies")
        .first()
        .and_then(Value::as_str)
        .unwrap_or("IPv4");
    let address_type = if family == "IPv6" { "IPv6" } else { "IPv4" };
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let mut zones = Zones::default();
    for (name, pod) in index.selected(namespace, &selector) {
        let is_own = |address: &&String| {
            address
                .parse()
                .is_ok_and(|ip: IpAddr| ip.is_ipv6() == (address_type == "IPv6"))
        };
        let Some(address) = pod.addresses.iter().find(is_own).filter(|_| !pod.ended) else {
            continue;
        };
        let ports = ports(service, pod);
        let endpoint = endpoint(state, service, name, pod, address, &mut zones);
        let group = groups
            .entry(Value::Array(ports.clone()).to_string())
            .or_insert_with(|| Group {
                address_type,
                ports,
                endpoints: BTreeMap::new(),
            });
        group.endpoints.insert(address.clone(), endpoint);
    }
    if groups.is_empty() {
        return vec![Group {
            address_type,
            ..Group::default()
        }];
    }
    groups.into_values().collect()
}

/// A Service's ports, as this pod has them.
fn ports(service: &Value, pod: &Pod) -> Vec<Value> {
    let all = items(service, "/spec/ports").iter();
    all.filter_map(|port| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let number = match &port["targetPort"] {
            Value::String(name) => {
                let mut own = pod.ports.iter();
                own.find(|(own, of, _)| own == name && of == protocol)?.2
            }
            Value::Null => u16::try_from(port["port"].as_u64()?).ok()?,
            number => u16::try_from(number.as_u64()?).ok()?,
        };
        let mut found = json!({"name": text(port, "/name"), "port": number, "protocol": protocol});
        if !port["appProtocol"].is_null() {
            found["appProtocol"] = port["appProtocol"].clone();
        }
        Some(found)
    })
    .collect()
}

fn endpoint(
    state: &State,
    service: &Value,
    name: &str,
    pod: &Pod,
    address: &str,
    zones: &mut Zones,
) -> Value {
    let ending = pod.ends.is_some();
    let always = service["spec"]["publishNotReadyAddresses"] == true;
    let mut endpoint = json!({
        "addresses": [address],
        "conditions": {"ready": always || pod.ready && !ending, "serving": pod.ready, "terminating": ending},
        "targetRef": {"kind": "Pod", "name": name, "namespace": crate::object::meta(service, "namespace"), "uid": pod.uid},
    });
    if !pod.node.is_empty() {
        endpoint["nodeName"] = pod.node.as_str().into();
        if let Some(zone) = zones.of(state, &pod.node) {
            let near = text(service, "/spec/trafficDistribution");
            if !near.is_empty() && !ending {
                endpoint["hints"] = json!({"forZones": [{"name": zone}]});
                if near == "PreferSameNode" {
                    endpoint["hints"]["forNodes"] = json!([{"name": pod.node}]);
                }
            }
            endpoint["zone"] = zone.into();
        }
    }
    if let Some((host, subdomain)) = &pod.host
        && subdomain == crate::object::meta(service, "name")
    {
        endpoint["hostname"] = host.as_str().into();
    }
    endpoint
}

/// The subsets of Endpoints that say the same as `groups`, and whether some did not fit.
pub(super) fn subsets(groups: &[Group]) -> (Value, bool) {
    let (mut all, mut count, mut over) = (Vec::new(), 0, false);
    for group in groups.iter().filter(|group| !group.endpoints.is_empty()) {
        let (mut ready, mut others) = (Vec::new(), Vec::new());
        for (address, endpoint) in &group.endpoints {
            // Endpoints have no word for one that ends.
            if endpoint["conditions"]["terminating"] == true
                && endpoint["conditions"]["ready"] != true
            {
                continue;
            }
            if count == ADDRESSES {
                over = true;
                break;
            }
            count += 1;
            let mut one = json!({"ip": address});
            for field in ["hostname", "nodeName", "targetRef"] {
                if !endpoint[field].is_null() {
                    one[field] = endpoint[field].clone();
                }
            }
            match endpoint["conditions"]["ready"] == true {
                true => ready.push(one),
                false => others.push(one),
            }
        }
        let mut subset = json!({});
        for (field, list) in [
            ("addresses", ready),
            ("notReadyAddresses", others),
            ("ports", unnamed(&group.ports)),
        ] {
            if !list.is_empty() {
                subset[field] = list.into();
            }
        }
        if subset["addresses"].is_array() || subset["notReadyAddresses"].is_array() {
            all.push(subset);
        }
    }
    (all.into(), over)
}

/// Ports of Endpoints go without a name where slices have an empty one.
fn unnamed(ports: &[Value]) -> Vec<Value> {
    let mut ports = ports.to_vec();
    for port in &mut ports {
        if port["name"] == ""
            && let Some(map) = port.as_object_mut()
        {
            map.remove("name");
        }
    }
    ports
}

/// The groups that Endpoints give which somebody wrote.
pub(super) fn written(endpoints: &Value) -> Vec<Group> {
    let mut groups: BTreeMap<(bool, String), Group> = BTreeMap::new();
    for subset in items(endpoints, "/subsets") {
        let mut ports = items(subset, "/ports").to_vec();
        for port in &mut ports {
            if port["name"].is_null() {
                port["name"] = "".into();
            }
        }
        for (list, ready) in [("/addresses", true), ("/notReadyAddresses", false)] {
            for address in items(subset, list) {
                let ip = text(address, "/ip");
                let six = ip.contains(':');
                let mut endpoint = json!({"addresses": [ip], "conditions": {"ready": ready}});
                for field in ["hostname", "nodeName", "targetRef"] {
                    if !address[field].is_null() {
                        endpoint[field] = address[field].clone();
                    }
                }
                let key = (six, Value::Array(ports.clone()).to_string());
                let group = groups.entry(key).or_insert_with(|| Group {
                    address_type: if six { "IPv6" } else { "IPv4" },
                    ports: ports.clone(),
                    endpoints: BTreeMap::new(),
                });
                group.endpoints.insert(ip.to_owned(), endpoint);
            }
        }
    }
    groups.into_values().collect()
}
