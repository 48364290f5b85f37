//! What an entry may say: what is put right in it, and Consul's sentences for what is wrong with it.

use super::value::{META_VALUE, is_host, items, text, texts};
use super::{valid_chain, valid_gateways, valid_intentions};
use serde_json::Value;

/// Limits of `Meta`.
const META_PAIRS: usize = 64;
const META_KEY: usize = 128;

/// Puts an entry right, as Consul's `Normalize` does.
///
/// # Errors
/// What cannot be put right.
pub(super) fn settle(kind: &str, entry: &mut Value) -> Result<(), String> {
    match kind {
        "service-defaults" => lower(entry, "Protocol"),
        "proxy-defaults" => match text(entry, "Name") {
            "" => entry["Name"] = "global".into(),
            "global" => {}
            name => {
                return Err(format!(
                    "invalid name ({name:?}), only \"global\" is supported"
                ));
            }
        },
        "service-router" => valid_chain::settle_router(entry),
        "service-splitter" => valid_chain::settle_splitter(entry),
        "service-intentions" => valid_intentions::settle(entry),
        "ingress-gateway" => valid_gateways::settle_ingress(entry),
        _ => {}
    }
    Ok(())
}

fn lower(entry: &mut Value, key: &str) {
    let lower = text(entry, key).to_lowercase();
    if !lower.is_empty() {
        entry[key] = lower.into();
    }
}

/// What is wrong with an entry.
///
/// # Errors
/// Consul's sentence.
pub(super) fn check(kind: &str, entry: &Value) -> Result<(), String> {
    let named = !matches!(kind, "mesh" | "proxy-defaults");
    if named && text(entry, "Name").is_empty() {
        return Err("Name is required".to_owned());
    }
    check_meta(entry)?;
    match kind {
        "service-defaults" => check_service_defaults(entry),
        "service-router" => valid_chain::check_router(entry),
        "service-splitter" => valid_chain::check_splitter(entry),
        "service-resolver" => valid_chain::check_resolver(entry),
        "service-intentions" => valid_intentions::check(entry),
        "ingress-gateway" => valid_gateways::check_ingress(entry),
        "terminating-gateway" => valid_gateways::check_terminating(entry),
        "api-gateway" => valid_gateways::check_api_gateway(entry),
        "inline-certificate" => valid_gateways::check_inline_certificate(entry),
        "jwt-provider" => valid_gateways::check_jwt_provider(entry),
        _ => Ok(()),
    }
}

fn check_meta(entry: &Value) -> Result<(), String> {
    let Some(meta) = entry["Meta"].as_object() else {
        return Ok(());
    };
    if meta.len() > META_PAIRS {
        return Err(format!("Meta exceeds maximum element count {META_PAIRS}"));
    }
    for (key, value) in meta {
        if key.len() > META_KEY {
            return Err(format!(
                "Meta key {key:?} exceeds maximum length {META_KEY}"
            ));
        }
        if value.as_str().is_some_and(|text| text.len() > META_VALUE) {
            return Err(format!(
                "Meta value for key {key:?} exceeds maximum length {META_VALUE}"
            ));
        }
    }
    Ok(())
}

fn check_service_defaults(entry: &Value) -> Result<(), String> {
    if text(entry, "Name") == "*" {
        return Err(
            "service-defaults name must be the name of a service, and not a wildcard".to_owned(),
        );
    }
    let mut wrong = Vec::new();
    let balanced = |value: &Value, key: &str| matches!(text(value, key), "" | "exact_balance");
    if !balanced(entry, "BalanceInboundConnections") {
        wrong.push(format!(
            "invalid value for balance_inbound_connections: {}",
            text(entry, "BalanceInboundConnections")
        ));
    }
    let (upstreams, destination) = (&entry["UpstreamConfig"], &entry["Destination"]);
    if !upstreams.is_null() && !destination.is_null() {
        wrong.push(
            "UpstreamConfig and Destination are mutually exclusive for service defaults".to_owned(),
        );
        return several(wrong);
    }
    for upstream in items(upstreams, "Overrides") {
        let name = text(upstream, "Name");
        let why = match name {
            "" => Some("Name is required".to_owned()),
            "*" => Some("Wildcard name (\"*\") is not supported".to_owned()),
            _ => check_upstream(upstream),
        };
        wrong.extend(why.map(|why| format!("error in upstream override for {name}: {why}")));
    }
    if !upstreams["Defaults"].is_null() {
        let defaults = &upstreams["Defaults"];
        let why = match text(defaults, "Name") {
            "" => check_upstream(defaults),
            _ => Some("Name must be empty".to_owned()),
        };
        wrong.extend(why.map(|why| format!("error in upstream defaults: {why}")));
    }
    if !destination.is_null() {
        wrong.extend(check_destination(destination));
    }
    several(wrong)
}

fn check_upstream(upstream: &Value) -> Option<String> {
    let balance = text(upstream, "BalanceOutboundConnections");
    if !matches!(balance, "" | "exact_balance") {
        return Some(format!(
            "invalid value for balance_outbound_connections: {balance}"
        ));
    }
    let limits = &upstream["Limits"];
    let below = |value: &Value, key: &str| value[key].as_i64().is_some_and(|value| value < 0);
    for (key, name) in [
        ("MaxConnections", "max connections"),
        ("MaxPendingRequests", "max pending requests"),
        ("MaxConcurrentRequests", "max concurrent requests"),
    ] {
        if below(limits, key) {
            return Some(format!(
                "invalid {name}: {}, it must not be negative",
                limits[key]
            ));
        }
    }
    below(&upstream["PassiveHealthCheck"], "Interval")
        .then(|| "passive health check interval cannot be negative".to_owned())
}

fn check_destination(destination: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for address in texts(destination, "Addresses") {
        if seen.contains(&address) {
            wrong.push(format!("Duplicate address '{address}' is not allowed"));
            continue;
        }
        seen.push(address);
        if !is_host(address) || address.contains('*') {
            wrong.push(format!(
                "Destination address '{address}' is invalid Could not validate address {address} as an IP or Hostname"
            ));
        }
    }
    if seen.is_empty() {
        wrong.push("Destination must contain at least one valid address".to_owned());
    }
    let port = destination["Port"].as_i64().unwrap_or(0);
    if !(1..=65535).contains(&port) {
        wrong.push(format!("Invalid Port number {port}"));
    }
    wrong
}

/// Several sentences as Consul joins them.
fn several(wrong: Vec<String>) -> Result<(), String> {
    match wrong.len() {
        0 => Ok(()),
        1 => Err(format!("1 error occurred:\n\t* {}\n\n", wrong[0])),
        count => Err(format!(
            "{count} errors occurred:\n\t* {}\n\n",
            wrong.join("\n\t* ")
        )),
    }
}
