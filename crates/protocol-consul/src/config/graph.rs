//! Entries that stand in each other's way: a write is refused if a chain that it is part of could no longer be compiled.

use super::entries::Entries;
use super::valid_gateways::is_http_like;
use super::value::{items, text};
use crate::chain::{self, Asked};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The kinds that chains are made of, beside defaults.
const PARTS: [&str; 3] = ["service-router", "service-splitter", "service-resolver"];

/// Whether all chains that an entry is part of can be compiled. `value` is what becomes of it.
///
/// # Errors
/// Consul's sentence about the first that cannot.
pub(super) fn check(
    entries: &Entries<'_>,
    kind: &str,
    name: &str,
    value: Option<&Value>,
) -> Result<(), String> {
    match kind {
        "service-defaults" | "proxy-defaults" => {
            permissive(entries, value)?;
            chains(entries, (kind == "service-defaults").then_some(name))
        }
        "service-router" | "service-splitter" | "service-resolver" => chains(entries, Some(name)),
        "ingress-gateway" => {
            clash(entries, "terminating-gateway", kind, name, value)?;
            value.map_or(Ok(()), |value| ingress(entries, value))
        }
        "terminating-gateway" => clash(entries, "ingress-gateway", kind, name, value),
        "service-intentions" => value.map_or(Ok(()), |value| intentions(entries, value)),
        _ => Ok(()),
    }
}

fn permissive(entries: &Entries<'_>, value: Option<&Value>) -> Result<(), String> {
    let wanted = value.is_some_and(|value| text(value, "MutualTLSMode") == "permissive");
    if !wanted {
        return Ok(());
    }
    let mesh = entries.get("mesh", "mesh");
    match mesh.is_some_and(|mesh| mesh["AllowEnablingPermissiveMutualTLS"] == true) {
        true => Ok(()),
        false => Err("cannot set MutualTLSMode=permissive because AllowEnablingPermissiveMutualTLS=false in the mesh config entry".to_owned()),
    }
}

fn clash(
    entries: &Entries<'_>,
    other: &str,
    kind: &str,
    name: &str,
    value: Option<&Value>,
) -> Result<(), String> {
    match value.is_some() && entries.get(other, name).is_some() {
        true => Err(format!(
            "cannot create a {kind:?} config entry with name {name:?}, a {other:?} config entry with that name already exists"
        )),
        false => Ok(()),
    }
}

/// The protocol that a service is spoken to in.
fn protocol(entries: &Entries<'_>, service: &str) -> Result<String, String> {
    let chain = chain::compile(entries, &Asked::plain(service))?;
    Ok(text(&chain, "Protocol").to_owned())
}

fn ingress(entries: &Entries<'_>, gateway: &Value) -> Result<(), String> {
    for listener in items(gateway, "Listeners") {
        let wanted = text(listener, "Protocol");
        if wanted == "tcp" {
            continue;
        }
        for service in items(listener, "Services") {
            let name = text(service, "Name");
            if name == "*" {
                continue;
            }
            let spoken = protocol(entries, name)?;
            if spoken != wanted {
                return Err(format!(
                    "service {name:?} has protocol {spoken:?}, which is incompatible with listener protocol {wanted:?}"
                ));
            }
        }
    }
    Ok(())
}

fn intentions(entries: &Entries<'_>, entry: &Value) -> Result<(), String> {
    let name = text(entry, "Name");
    let permits = items(entry, "Sources")
        .iter()
        .any(|source| !items(source, "Permissions").is_empty());
    if name == "*" || !permits {
        return Ok(());
    }
    let spoken = protocol(entries, name)?;
    match is_http_like(&spoken) {
        true => Ok(()),
        false => Err(format!(
            "service {name:?} has protocol {spoken:?}, which does not permit intentions with L7 permissions"
        )),
    }
}

/// Compiles the chains of a service and of all that lead to it, or all chains.
fn chains(entries: &Entries<'_>, service: Option<&str>) -> Result<(), String> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    // From a service to those whose entries mention it.
    let mut mentioned: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for kind in PARTS {
        for entry in entries.all(kind) {
            let name = text(&entry, "Name").to_ascii_lowercase();
            for other in mentions(kind, &entry) {
                mentioned.entry(other).or_default().push(name.clone());
            }
            if service.is_none() {
                names.insert(name);
            }
        }
    }
    if let Some(service) = service {
        let mut found = vec![service.to_ascii_lowercase()];
        while let Some(name) = found.pop() {
            found.extend(mentioned.get(&name).into_iter().flatten().cloned());
            found.retain(|name| !names.contains(name));
            names.insert(name);
        }
    }
    for name in names {
        chain::compile(entries, &Asked::plain(&name))?;
    }
    // What intentions and gateways count on.
    let touched = |name: &str| service.is_none_or(|service| service.eq_ignore_ascii_case(name));
    for entry in entries.all("service-intentions") {
        if touched(text(&entry, "Name")) {
            intentions(entries, &entry)?;
        }
    }
    for gateway in entries.all("ingress-gateway") {
        ingress(entries, &gateway)?;
    }
    Ok(())
}

/// The other services that an entry names.
fn mentions(kind: &str, entry: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut add = |value: &Value| {
        let service = text(value, "Service");
        if !service.is_empty() {
            found.insert(service.to_ascii_lowercase());
        }
    };
    match kind {
        "service-router" => items(entry, "Routes")
            .iter()
            .for_each(|route| add(&route["Destination"])),
        "service-splitter" => items(entry, "Splits").iter().for_each(add),
        _ => {
            add(&entry["Redirect"]);
            for (_, failover) in entry["Failover"].as_object().into_iter().flatten() {
                add(failover);
                items(failover, "Targets").iter().for_each(&mut add);
            }
        }
    }
    found
}

/// The other services that an entry names, of whatever kind it is.
pub(super) fn related(entry: &Value) -> BTreeSet<String> {
    let kind = text(entry, "Kind");
    match PARTS.contains(&kind) {
        true => mentions(kind, entry),
        false => BTreeSet::new(),
    }
}
