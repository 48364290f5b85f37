//! What the API server fills into a Service that says less.

use serde_json::{Value, json};

use super::{addresses, is_headless, selects, type_of, wants_node_ports};
use crate::object::{items, map_mut};
use crate::ranges::Ranges;

/// Seconds for which a client stays with its endpoint.
const AFFINITY: u64 = 10_800;

fn set(spec: &mut Value, field: &str, value: Value) {
    if spec[field].is_null() || spec[field] == "" {
        spec[field] = value;
    }
}

fn unset(spec: &mut Value, field: &str) {
    if let Some(map) = spec.as_object_mut() {
        map.remove(field);
    }
}

/// Completes `service`, which is new or takes the place of `before`.
pub(crate) fn defaults(service: &mut Value, before: Option<&Value>, ranges: &Ranges) {
    map_mut(service, "spec");
    if let Some(before) = before {
        keep_allocated(service, before);
    }
    let spec = &mut service["spec"];
    set(spec, "type", json!("ClusterIP"));
    set(spec, "sessionAffinity", json!("None"));
    if spec["sessionAffinity"] == "ClientIP"
        && spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].is_null()
    {
        spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": AFFINITY}});
    }
    if spec["sessionAffinity"] == "None" {
        unset(spec, "sessionAffinityConfig");
    }
    for port in spec["ports"].as_array_mut().into_iter().flatten() {
        set(port, "protocol", json!("TCP"));
        let own = port["port"].clone();
        if port["targetPort"] == 0 {
            port["targetPort"] = Value::Null;
        }
        set(port, "targetPort", own);
        if port["nodePort"] == 0 {
            unset(port, "nodePort");
        }
    }
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    let external = matches!(kind.as_str(), "NodePort" | "LoadBalancer")
        || kind == "ClusterIP" && !items(spec, "/externalIPs").is_empty();
    match external {
        true => set(spec, "externalTrafficPolicy", json!("Cluster")),
        false => unset(spec, "externalTrafficPolicy"),
    }
    match kind.as_str() {
        "LoadBalancer" => set(spec, "allocateLoadBalancerNodePorts", json!(true)),
        _ => unset(spec, "allocateLoadBalancerNodePorts"),
    }
    if kind != "ExternalName" {
        set(spec, "internalTrafficPolicy", json!("Cluster"));
    }
    families(service, ranges);
    if service["status"].is_null() || before.is_none() {
        service["status"] = json!({"loadBalancer": {}});
    }
}

/// A writer who leaves out what the server chose means that it stays.
fn keep_allocated(service: &mut Value, before: &Value) {
    let (was, is) = (type_of(before).to_owned(), type_of(service).to_owned());
    let has_address = |kind: &str| kind != "ExternalName";
    let was_addressed = has_address(&was) && has_address(&is);
    let spec = &mut service["spec"];
    if was_addressed {
        if spec["clusterIP"].as_str().unwrap_or_default().is_empty() {
            spec["clusterIP"] = before["spec"]["clusterIP"].clone();
            spec["clusterIPs"] = before["spec"]["clusterIPs"].clone();
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if spec[field].is_null() {
                spec[field] = before["spec"][field].clone();
            }
        }
    } else if !has_address(&is) {
        // What went from ClusterIP to a name has no address any longer.
        for field in ["clusterIP", "clusterIPs"] {
            if spec[field] == before["spec"][field] {
                unset(spec, field);
            }
        }
        unset(spec, "ipFamilies");
        unset(spec, "ipFamilyPolicy");
        unset(spec, "internalTrafficPolicy");
    }
    match wants_node_ports(service) {
        true => {
            let old = items(before, "/spec/ports").to_vec();
            for port in service["spec"]["ports"]
                .as_array_mut()
                .into_iter()
                .flatten()
            {
                let same = |other: &&Value| {
                    let protocol =
                        |port: &Value| port["protocol"].as_str().unwrap_or("TCP").to_owned();
                    other["port"] == port["port"] && protocol(other) == protocol(port)
                };
                if port["nodePort"].is_null()
                    && let Some(old) = old.iter().find(same)
                    && !old["nodePort"].is_null()
                {
                    port["nodePort"] = old["nodePort"].clone();
                }
            }
        }
        false => {
            // What a type without them would not allow goes with the type that had them.
            if wants_node_ports(before) {
                let old = super::node_ports(before);
                for port in service["spec"]["ports"]
                    .as_array_mut()
                    .into_iter()
                    .flatten()
                {
                    let number = port["nodePort"]
                        .as_u64()
                        .and_then(|n| u16::try_from(n).ok());
                    if number.is_some_and(|number| old.contains(&number)) {
                        unset(port, "nodePort");
                    }
                }
            }
            unset(&mut service["spec"], "healthCheckNodePort");
        }
    }
}

fn families(service: &mut Value, ranges: &Ranges) {
    if type_of(service) == "ExternalName" {
        return;
    }
    let family = ranges.addresses.family();
    let bare = is_headless(service) && !selects(service);
    let given: Vec<String> = addresses(service).into_iter().map(str::to_owned).collect();
    let spec = &mut service["spec"];
    if !spec["clusterIP"].is_null()
        && spec["clusterIP"] != ""
        && items(spec, "/clusterIPs").is_empty()
    {
        spec["clusterIPs"] = json!([spec["clusterIP"]]);
    }
    if spec["clusterIP"].is_null() && !given.is_empty() {
        spec["clusterIP"] = given[0].as_str().into();
    }
    // Nobody knows where the endpoints of these are: both families are possible.
    let (policy, families) = match bare {
        true => (
            "RequireDualStack",
            json!([family, if family == "IPv4" { "IPv6" } else { "IPv4" }]),
        ),
        false => ("SingleStack", json!([family])),
    };
    set(spec, "ipFamilyPolicy", json!(policy));
    if items(spec, "/ipFamilies").is_empty() {
        spec["ipFamilies"] = families;
    }
}
