//! What the kinds without a file of their own may hold.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::error::Cause;
use crate::names::{is_label, is_subdomain};
use crate::object::{items, meta, text};

/// Endpoints of a slice.
const ENDPOINTS: usize = 1000;
/// Ports of a slice.
const PORTS: usize = 100;
/// Bytes of a ConfigMap's data.
const CONFIG: usize = 1 << 20;

pub(super) const IN_RANGE: &str = "must be between 1 and 65535, inclusive";

pub(super) fn lease(lease: &Value, causes: &mut Vec<Cause>) {
    let seconds = &lease["spec"]["leaseDurationSeconds"];
    if seconds.as_i64().is_some_and(|seconds| seconds <= 0) {
        let field = "spec.leaseDurationSeconds";
        causes.push(Cause::invalid(field, seconds, "must be greater than 0"));
    }
    let count = &lease["spec"]["leaseTransitions"];
    if count.as_i64().is_some_and(|count| count < 0) {
        let field = "spec.leaseTransitions";
        causes.push(Cause::invalid(
            field,
            count,
            "must be greater than or equal to 0",
        ));
    }
}

pub(super) fn event(event: &Value, causes: &mut Vec<Cause>) {
    let about = match event["involvedObject"].is_object() {
        true => "involvedObject",
        false => "regarding",
    };
    let (namespace, own) = (text(&event[about], "/namespace"), meta(event, "namespace"));
    let fits = namespace == own || namespace.is_empty() && own == "default";
    if !fits {
        let field = format!("{about}.namespace");
        causes.push(Cause::invalid(
            field,
            &Value::from(namespace),
            "does not match event.namespace",
        ));
    }
}

pub(super) fn config_map(map: &Value, before: Option<&Value>, causes: &mut Vec<Cause>) {
    let mut total = 0;
    for field in ["data", "binaryData"] {
        for (key, value) in map[field].as_object().into_iter().flatten() {
            total += value.as_str().unwrap_or_default().len();
            let fits = key.len() <= 253
                && !matches!(key.as_str(), "" | "." | "..")
                && key
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
            if !fits {
                let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
                causes.push(Cause::invalid(format!("{field}[{key}]"), &json!(key), why));
            }
        }
    }
    if total > CONFIG {
        causes.push(Cause::forbidden(
            "",
            &format!("Too long: may not be more than {CONFIG} bytes"),
        ));
    }
    let Some(before) = before.filter(|before| before["immutable"] == true) else {
        return;
    };
    for field in ["immutable", "data", "binaryData"] {
        if map[field] != before[field] {
            let why = "field is immutable when `immutable` is set";
            causes.push(Cause::forbidden(field, why));
        }
    }
}

pub(super) fn pod(pod: &Value, before: Option<&Value>, causes: &mut Vec<Cause>) {
    let containers = items(pod, "/spec/containers");
    if containers.is_empty() {
        causes.push(Cause::required("spec.containers", ""));
    }
    for (index, container) in containers.iter().enumerate() {
        let field = |name: &str| format!("spec.containers[{index}].{name}");
        match text(container, "/name") {
            "" => causes.push(Cause::required(field("name"), "")),
            name if !is_label(name) => {
                causes.push(Cause::invalid(
                    field("name"),
                    &json!(name),
                    "a lowercase RFC 1123 label",
                ));
            }
            name if containers[..index]
                .iter()
                .any(|other| other["name"] == name) =>
            {
                causes.push(Cause::duplicate(field("name"), &json!(name)));
            }
            _ => {}
        }
        if text(container, "/image").is_empty() {
            causes.push(Cause::required(field("image"), ""));
        }
        for (at, port) in items(container, "/ports").iter().enumerate() {
            if !is_port(&port["containerPort"]) {
                let path = field(&format!("ports[{at}].containerPort"));
                causes.push(Cause::invalid(path, &port["containerPort"], IN_RANGE));
            }
        }
    }
    let Some(before) = before else { return };
    let fixed = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        for field in [
            "activeDeadlineSeconds",
            "tolerations",
            "terminationGracePeriodSeconds",
        ] {
            spec[field] = Value::Null;
        }
        for list in ["containers", "initContainers"] {
            for container in spec[list].as_array_mut().into_iter().flatten() {
                container["image"] = Value::Null;
            }
        }
        spec
    };
    if fixed(pod) != fixed(before) {
        let why = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
        causes.push(Cause::forbidden("spec", why));
    }
}

fn is_port(value: &Value) -> bool {
    value
        .as_u64()
        .is_some_and(|port| (1..=65_535).contains(&port))
}

fn too_many(field: &str, count: usize, most: usize) -> Cause {
    Cause::forbidden(
        field,
        &format!("Too many: {count}: must have at most {most} items"),
    )
}

pub(super) fn slice(slice: &Value, before: Option<&Value>, causes: &mut Vec<Cause>) {
    let kind = text(slice, "/addressType");
    if kind.is_empty() {
        causes.push(Cause::required("addressType", ""));
    } else if !matches!(kind, "IPv4" | "IPv6" | "FQDN") {
        causes.push(Cause::unsupported(
            "addressType",
            &slice["addressType"],
            &["IPv4", "IPv6", "FQDN"],
        ));
    }
    if before.is_some_and(|before| before["addressType"] != slice["addressType"]) {
        causes.push(Cause::invalid(
            "addressType",
            &slice["addressType"],
            "field is immutable",
        ));
    }
    let (endpoints, ports) = (items(slice, "/endpoints"), items(slice, "/ports"));
    if endpoints.len() > ENDPOINTS {
        causes.push(too_many("endpoints", endpoints.len(), ENDPOINTS));
    }
    if ports.len() > PORTS {
        causes.push(too_many("ports", ports.len(), PORTS));
    }
    for (index, endpoint) in endpoints.iter().take(ENDPOINTS).enumerate() {
        let addresses = items(endpoint, "/addresses");
        let field = format!("endpoints[{index}].addresses");
        if addresses.is_empty() {
            causes.push(Cause::required(
                field.as_str(),
                "must contain at least 1 address",
            ));
        }
        if addresses.len() > 100 {
            causes.push(too_many(&field, addresses.len(), 100));
        }
        for (at, address) in addresses.iter().take(100).enumerate() {
            let own = address.as_str().unwrap_or_default();
            let fits = match kind {
                "IPv4" => own.parse().is_ok_and(|ip: IpAddr| ip.is_ipv4()),
                "IPv6" => own.parse().is_ok_and(|ip: IpAddr| ip.is_ipv6()),
                "FQDN" => is_subdomain(own),
                _ => true,
            };
            if !fits {
                let why = format!("must be a valid {kind} address");
                causes.push(Cause::invalid(format!("{field}[{at}]"), address, &why));
            }
        }
        let hostname = text(endpoint, "/hostname");
        if !hostname.is_empty() && !is_label(hostname) {
            let field = format!("endpoints[{index}].hostname");
            causes.push(Cause::invalid(
                field,
                &json!(hostname),
                "a lowercase RFC 1123 label",
            ));
        }
    }
    for (index, port) in ports.iter().take(PORTS).enumerate() {
        let name = text(port, "/name");
        if ports[..index]
            .iter()
            .any(|other| text(other, "/name") == name)
        {
            causes.push(Cause::duplicate("ports", &json!(name)));
        }
        check_port(port, &format!("ports[{index}]"), causes);
    }
}

fn check_port(port: &Value, field: &str, causes: &mut Vec<Cause>) {
    if !port["port"].is_null() && !is_port(&port["port"]) {
        causes.push(Cause::invalid(
            format!("{field}.port"),
            &port["port"],
            IN_RANGE,
        ));
    }
    let protocols = ["SCTP", "TCP", "UDP"];
    if !protocols.contains(&text(port, "/protocol")) {
        causes.push(Cause::unsupported(
            format!("{field}.protocol"),
            &port["protocol"],
            &protocols,
        ));
    }
}

pub(super) fn endpoints(endpoints: &Value, causes: &mut Vec<Cause>) {
    for (index, subset) in items(endpoints, "/subsets").iter().enumerate() {
        let field = format!("subsets[{index}]");
        let lists = ["addresses", "notReadyAddresses"];
        if lists
            .iter()
            .all(|list| items(subset, &format!("/{list}")).is_empty())
        {
            causes.push(Cause::required(
                field.as_str(),
                "must specify `addresses` or `notReadyAddresses`",
            ));
        }
        for list in lists {
            for (at, address) in items(subset, &format!("/{list}")).iter().enumerate() {
                let own = text(address, "/ip");
                if own.parse::<IpAddr>().is_err() {
                    let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
                    let field = format!("{field}.{list}[{at}].ip");
                    causes.push(Cause::invalid(field, &json!(own), why));
                }
            }
        }
        let ports = items(subset, "/ports");
        for (at, port) in ports.iter().enumerate() {
            let field = format!("{field}.ports[{at}]");
            if port["port"].is_null() {
                causes.push(Cause::invalid(format!("{field}.port"), &json!(0), IN_RANGE));
            }
            if ports.len() > 1 && text(port, "/name").is_empty() {
                causes.push(Cause::required(format!("{field}.name"), ""));
            }
            check_port(port, &field, causes);
        }
    }
}
