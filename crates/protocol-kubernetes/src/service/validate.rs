//! What a Service may be, in the API server's words.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{addresses, is_headless, type_of};
use crate::error::Cause;
use crate::names::{check_labels, is_label, is_subdomain};
use crate::object::{items, text};
use crate::ranges::Ranges;

const IN_RANGE: &str = "must be between 1 and 65535, inclusive";

/// Looks through `service`, which is complete.
pub(crate) fn validate(
    service: &Value,
    before: Option<&Value>,
    ranges: &Ranges,
    causes: &mut Vec<Cause>,
) {
    let spec = &service["spec"];
    let kind = type_of(service);
    let types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    if !types.contains(&kind) {
        causes.push(Cause::unsupported("spec.type", &spec["type"], &types));
        return;
    }
    one_of(spec, "sessionAffinity", &["ClientIP", "None"], causes);
    one_of(spec, "internalTrafficPolicy", &["Cluster", "Local"], causes);
    one_of(spec, "externalTrafficPolicy", &["Cluster", "Local"], causes);
    let distributions = ["PreferClose", "PreferSameNode", "PreferSameZone"];
    one_of(spec, "trafficDistribution", &distributions, causes);
    check_labels(&spec["selector"], "spec.selector", causes);
    let timeout = &spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
    if timeout
        .as_i64()
        .is_some_and(|seconds| !(1..=86_400).contains(&seconds))
    {
        let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        let why = "must be greater than 0 and less than 86400";
        causes.push(Cause::invalid(field, timeout, why));
    }
    for (index, ip) in items(spec, "/externalIPs").iter().enumerate() {
        if ip.as_str().is_none_or(|ip| ip.parse::<IpAddr>().is_err()) {
            let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            causes.push(Cause::invalid(
                format!("spec.externalIPs[{index}]"),
                ip,
                why,
            ));
        }
    }
    match kind {
        "ExternalName" => {
            let name = text(spec, "/externalName").trim_end_matches('.');
            if name.is_empty() {
                causes.push(Cause::required("spec.externalName", ""));
            } else if !is_subdomain(name) {
                let why = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
                causes.push(Cause::invalid("spec.externalName", &json!(name), why));
            }
            if !text(spec, "/clusterIP").is_empty() {
                causes.push(Cause::forbidden(
                    "spec.clusterIPs",
                    "may not be used when `type` is 'ExternalName'",
                ));
            }
        }
        "LoadBalancer" | "NodePort" if is_headless(service) => {
            let why = format!("may not be set to 'None' for {kind} services");
            causes.push(Cause::invalid("spec.clusterIPs[0]", &json!("None"), &why));
        }
        _ => {}
    }
    ports(service, ranges, causes);
    own_addresses(service, before, ranges, causes);
}

fn one_of(spec: &Value, field: &str, of: &[&str], causes: &mut Vec<Cause>) {
    let value = &spec[field];
    if !value.is_null() && value.as_str().is_none_or(|text| !of.contains(&text)) {
        causes.push(Cause::unsupported(format!("spec.{field}"), value, of));
    }
}

fn ports(service: &Value, ranges: &Ranges, causes: &mut Vec<Cause>) {
    let all = items(service, "/spec/ports");
    let kind = type_of(service);
    if all.is_empty() && kind != "ExternalName" && !is_headless(service) {
        causes.push(Cause::required("spec.ports", ""));
    }
    for (index, port) in all.iter().enumerate() {
        let field = |name: &str| format!("spec.ports[{index}].{name}");
        let earlier = &all[..index];
        let name = text(port, "/name");
        if name.is_empty() && all.len() > 1 {
            causes.push(Cause::required(field("name"), ""));
        } else if !name.is_empty() && !is_label(name) {
            let why = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
            causes.push(Cause::invalid(field("name"), &json!(name), why));
        } else if !name.is_empty() && earlier.iter().any(|other| other["name"] == name) {
            causes.push(Cause::duplicate(field("name"), &json!(name)));
        }
        let is_port = |value: &Value| {
            value
                .as_u64()
                .is_some_and(|port| (1..=65_535).contains(&port))
        };
        if !is_port(&port["port"]) {
            let given = if port["port"].is_null() {
                json!(0)
            } else {
                port["port"].clone()
            };
            causes.push(Cause::invalid(field("port"), &given, IN_RANGE));
        }
        let protocols = ["SCTP", "TCP", "UDP"];
        if !protocols.contains(&text(port, "/protocol")) {
            causes.push(Cause::unsupported(
                field("protocol"),
                &port["protocol"],
                &protocols,
            ));
        }
        let same =
            |other: &&Value| other["port"] == port["port"] && other["protocol"] == port["protocol"];
        if earlier.iter().any(|other| same(&other)) {
            let value = json!({"port": port["port"], "protocol": port["protocol"]});
            causes.push(Cause::duplicate(format!("spec.ports[{index}]"), &value));
        }
        match &port["targetPort"] {
            Value::String(name) => {
                let fits = name.len() <= 15
                    && is_label(name)
                    && name.bytes().any(|b| b.is_ascii_lowercase());
                if !fits {
                    let why = "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-), at most 15, and at least one letter (a-z)";
                    causes.push(Cause::invalid(field("targetPort"), &json!(name), why));
                }
            }
            Value::Null => {}
            number if !is_port(number) => {
                causes.push(Cause::invalid(field("targetPort"), number, IN_RANGE));
            }
            _ => {}
        }
        let Some(number) = port["nodePort"].as_u64() else {
            continue;
        };
        if !matches!(kind, "NodePort" | "LoadBalancer") {
            let why = format!("may not be used when `type` is '{kind}'");
            causes.push(Cause::forbidden(field("nodePort"), &why));
        } else if !(u64::from(ranges.ports.first)..=u64::from(ranges.ports.last)).contains(&number)
        {
            let why = format!(
                "provided port is not in the valid range. The range of valid ports is {}",
                ranges.ports
            );
            causes.push(Cause::invalid(field("nodePort"), &port["nodePort"], &why));
        }
    }
}

fn own_addresses(
    service: &Value,
    before: Option<&Value>,
    ranges: &Ranges,
    causes: &mut Vec<Cause>,
) {
    let spec = &service["spec"];
    let given = items(spec, "/clusterIPs");
    if type_of(service) == "ExternalName" {
        return;
    }
    let family = ranges.addresses.family();
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    one_of(spec, "ipFamilyPolicy", &policies, causes);
    let two = spec["ipFamilyPolicy"] == "RequireDualStack" || given.len() > 1;
    if two && !is_headless(service) {
        let why = "this cluster is not configured for dual-stack services";
        causes.push(Cause::invalid(
            "spec.ipFamilyPolicy",
            &spec["ipFamilyPolicy"],
            why,
        ));
    }
    if !is_headless(service) && items(spec, "/ipFamilies").iter().any(|own| own != family) {
        let other = if family == "IPv4" { "IPv6" } else { "IPv4" };
        let why = format!("not configured on this cluster: {other}");
        causes.push(Cause::invalid("spec.ipFamilies[0]", &json!(other), &why));
    }
    if let Some(first) = given.first()
        && *first != spec["clusterIP"]
    {
        let why = "first value must match `clusterIP`";
        causes.push(Cause::invalid("spec.clusterIPs[0]", first, why));
    }
    for (index, ip) in addresses(service).into_iter().enumerate() {
        let field = format!("spec.clusterIPs[{index}]");
        match ip.parse::<IpAddr>() {
            Err(_) => {
                let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
                causes.push(Cause::invalid(field, &json!(ip), why));
            }
            Ok(own) if !ranges.addresses.contains(own) => {
                let why = format!(
                    "failed to allocate IP {ip}: the provided network does not match the current range: the range of valid IPs is {}",
                    ranges.addresses
                );
                causes.push(Cause::invalid("spec.clusterIPs", &json!([ip]), &why));
            }
            Ok(_) => {}
        }
    }
    let Some(before) = before.filter(|before| type_of(before) != "ExternalName") else {
        return;
    };
    let old = &before["spec"]["clusterIP"];
    if !old.is_null() && *old != "" && spec["clusterIP"] != *old {
        let why = "may not change once set";
        causes.push(Cause::invalid(
            "spec.clusterIPs[0]",
            &json!([spec["clusterIP"]]),
            why,
        ));
    }
}
