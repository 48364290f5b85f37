//! What routers, splitters and resolvers may say.

use super::value::{items, text, texts};
use crate::filter::Filter;
use crate::wire::parse_duration;
use serde_json::{Number, Value};
use std::collections::BTreeSet;

/// A share of traffic in hundredths of a percent; the smallest there is.
pub(crate) fn scaled(weight: f64) -> i64 {
    // What is far from a share is as wrong as what is farther.
    (weight * 100.0).round().clamp(-1.0e9, 1.0e9) as i64
}

/// A share as it is kept: a whole number of hundredths of a percent.
pub(crate) fn share(weight: f64) -> Value {
    let scaled = scaled(weight);
    match scaled % 100 {
        0 => (scaled / 100).into(),
        _ => Number::from_f64(scaled as f64 / 100.0).map_or(Value::Null, Value::Number),
    }
}

/// Methods are in capitals.
pub(super) fn capitals(methods: &mut Value) {
    for method in methods.as_array_mut().into_iter().flatten() {
        if let Some(text) = method.as_str() {
            *method = text.to_uppercase().into();
        }
    }
}

fn each<'a>(entry: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    entry
        .get_mut(key)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}

pub(super) fn settle_router(entry: &mut Value) {
    for route in each(entry, "Routes") {
        if let Some(methods) = route.pointer_mut("/Match/HTTP/Methods") {
            capitals(methods);
        }
    }
}

pub(super) fn settle_splitter(entry: &mut Value) {
    for split in each(entry, "Splits") {
        let weight = split["Weight"].as_f64().unwrap_or(0.0);
        split["Weight"] = share(weight);
    }
}

/// How many of the fields say something.
pub(super) fn said(value: &Value, keys: &[&str]) -> usize {
    keys.iter()
        .filter(|key| match &value[**key] {
            Value::Bool(flag) => *flag,
            Value::String(text) => !text.is_empty(),
            _ => false,
        })
        .count()
}

/// What is wrong with a list of methods.
pub(super) fn check_methods(http: &Value) -> Option<String> {
    const METHODS: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE",
    ];
    let mut seen: Vec<&str> = Vec::new();
    for method in texts(http, "Methods") {
        if !METHODS.contains(&method) {
            return Some(format!("Methods contains an invalid method {method:?}"));
        }
        if seen.contains(&method) {
            return Some(format!("Methods contains {method:?} more than once"));
        }
        seen.push(method);
    }
    None
}

pub(super) fn check_router(entry: &Value) -> Result<(), String> {
    for (at, route) in items(entry, "Routes").iter().enumerate() {
        check_route(route).map_err(|why| format!("Route[{at}] {why}"))?;
    }
    Ok(())
}

fn check_route(route: &Value) -> Result<(), String> {
    const RETRIES: [&str; 12] = [
        "5xx",
        "gateway-error",
        "reset",
        "connect-failure",
        "envoy-ratelimited",
        "retriable-4xx",
        "refused-stream",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    ];
    let http = &route["Match"]["HTTP"];
    for key in ["PathExact", "PathPrefix"] {
        let path = text(http, key);
        if !path.is_empty() && !path.starts_with('/') {
            return Err(format!("{key} doesn't start with '/': {path:?}"));
        }
    }
    if said(http, &["PathExact", "PathPrefix", "PathRegex"]) > 1 {
        return Err(
            "should only contain at most one of PathExact, PathPrefix, or PathRegex".to_owned(),
        );
    }
    for (at, header) in items(http, "Header").iter().enumerate() {
        if text(header, "Name").is_empty() {
            return Err(format!("Header[{at}] missing required Name field"));
        }
        let kinds = ["Present", "Exact", "Prefix", "Suffix", "Contains", "Regex"];
        if said(header, &kinds) != 1 {
            return Err(format!(
                "Header[{at}] should only contain one of Present, Exact, Prefix, Suffix, or Regex"
            ));
        }
    }
    for (at, query) in items(http, "QueryParam").iter().enumerate() {
        if text(query, "Name").is_empty() {
            return Err(format!("QueryParam[{at}] missing required Name field"));
        }
        if said(query, &["Present", "Exact", "Regex"]) != 1 {
            return Err(format!(
                "QueryParam[{at}] should only contain one of Present, Exact, or Regex"
            ));
        }
    }
    if let Some(why) = check_methods(http) {
        return Err(why);
    }
    let destination = &route["Destination"];
    let rewrites = !text(destination, "PrefixRewrite").is_empty();
    if rewrites && said(http, &["PathExact", "PathPrefix"]) == 0 {
        return Err(
            "cannot make use of PrefixRewrite without configuring either PathExact or PathPrefix"
                .to_owned(),
        );
    }
    match texts(destination, "RetryOn").find(|one| !RETRIES.contains(one)) {
        Some(one) => Err(format!("contains an invalid retry condition: {one:?}")),
        None => Ok(()),
    }
}

pub(super) fn check_splitter(entry: &Value) -> Result<(), String> {
    let splits = items(entry, "Splits");
    if splits.is_empty() {
        return Err("no splits configured".to_owned());
    }
    let name = text(entry, "Name");
    let mut seen = BTreeSet::new();
    let mut sum = 0;
    for split in splits {
        let service = match text(split, "Service") {
            "" => name,
            service => service,
        };
        let to = (service, text(split, "ServiceSubset"));
        if !seen.insert(to) {
            return Err(format!(
                "split destination occurs more than once: service={:?}, subset={:?}, namespace=\"\", partition=\"\"",
                to.0, to.1
            ));
        }
        sum += scaled(split["Weight"].as_f64().unwrap_or(0.0));
    }
    match sum {
        10_000 => Ok(()),
        sum => Err(format!(
            "the sum of all split weights must be 100, not {:.6}",
            sum as f64 / 100.0
        )),
    }
}

pub(super) fn check_resolver(entry: &Value) -> Result<(), String> {
    let name = text(entry, "Name");
    let subsets = entry["Subsets"].as_object();
    for (subset, says) in subsets.into_iter().flatten() {
        check_subset(subset, says)?;
    }
    let is_subset = |subset: &str| subsets.is_some_and(|subsets| subsets.contains_key(subset));
    let chosen = text(entry, "DefaultSubset");
    if !chosen.is_empty() && !is_subset(chosen) {
        return Err(format!("DefaultSubset {chosen:?} is not a valid subset"));
    }
    let failover = entry["Failover"].as_object().filter(|map| !map.is_empty());
    if let Some(redirect) = entry["Redirect"].as_object().map(|_| &entry["Redirect"]) {
        if failover.is_some() {
            return Err("Redirect and Failover cannot both be set".to_owned());
        }
        let (service, subset) = (text(redirect, "Service"), text(redirect, "ServiceSubset"));
        if said(redirect, &["Service", "ServiceSubset", "Datacenter"]) == 0 {
            return Err("Redirect is empty".to_owned());
        }
        if service.is_empty() && !subset.is_empty() {
            return Err("Redirect.ServiceSubset defined without Redirect.Service".to_owned());
        }
        if service == name && !subset.is_empty() && !is_subset(subset) {
            return Err(format!(
                "Redirect.ServiceSubset {subset:?} is not a valid subset of {name:?}"
            ));
        }
    }
    for (subset, says) in failover.into_iter().flatten() {
        check_failover(name, subset, says, &is_subset)?;
    }
    for key in ["ConnectTimeout", "RequestTimeout"] {
        let timeout = text(entry, key);
        if parse_duration(timeout).is_ok_and(|nanos| nanos < 0) {
            return Err(format!("Bad {key} '{timeout}', must be >= 0"));
        }
    }
    match &entry["LoadBalancer"] {
        Value::Null => Ok(()),
        balancer => check_balancer(balancer),
    }
}

fn check_subset(subset: &str, says: &Value) -> Result<(), String> {
    if subset.is_empty() {
        return Err("Subset defined with empty name".to_owned());
    }
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    let edges = !subset.starts_with('-') && !subset.ends_with('-');
    if !edges || subset.len() > 63 || !subset.as_bytes().iter().all(plain) {
        return Err(format!(
            "Subset {subset:?} is invalid: must be 63 characters or fewer, begin or end with lower case alphanumeric characters, and contain lower case alphanumeric characters or '-' in between"
        ));
    }
    let filter = text(says, "Filter");
    if !filter.is_empty()
        && let Err(why) = Filter::parse(filter, &[])
    {
        let why = why.trim_start_matches("Failed to create boolean expression evaluator: ");
        return Err(format!(
            "Filter for subset {subset:?} is not a valid expression: {why}"
        ));
    }
    Ok(())
}

fn check_failover(
    name: &str,
    subset: &str,
    says: &Value,
    is_subset: &dyn Fn(&str) -> bool,
) -> Result<(), String> {
    let bad = |why: String| Err(format!("Bad Failover[{subset:?}]: {why}"));
    if subset != "*" && !is_subset(subset) {
        return bad("not a valid subset subset".to_owned());
    }
    let (datacenters, targets) = (items(says, "Datacenters"), items(says, "Targets"));
    let somewhere = said(says, &["Service", "ServiceSubset"]) > 0;
    if !somewhere && datacenters.is_empty() && targets.is_empty() {
        return bad(
            "one of Service, ServiceSubset, Namespace, Targets, SamenessGroup, or Datacenters is required"
                .to_owned(),
        );
    }
    if !matches!(
        text(&says["Policy"], "Mode"),
        "" | "sequential" | "default" | "order-by-locality"
    ) {
        return bad("Policy must be one of '', 'sequential', or 'order-by-locality'".to_owned());
    }
    let own = |value: &Value| matches!(text(value, "Service"), service if service.is_empty() || service == name);
    let (service, wanted) = (text(says, "Service"), text(says, "ServiceSubset"));
    if !wanted.is_empty() && own(says) && !is_subset(wanted) {
        return bad(format!(
            "ServiceSubset {wanted:?} is not a valid subset of {service:?}"
        ));
    }
    if !targets.is_empty() {
        for (given, key) in [
            (!datacenters.is_empty(), "Datacenters"),
            (!wanted.is_empty(), "ServiceSubset"),
            (!service.is_empty(), "Service"),
        ] {
            if given {
                return bad(format!("Targets cannot be set with {key}"));
            }
        }
    }
    for (at, target) in targets.iter().enumerate() {
        let bad = |why: String| Err(format!("Bad Failover[{subset:?}].Targets[{at}]: {why}"));
        let wanted = text(target, "ServiceSubset");
        if !text(target, "Peer").is_empty() {
            if !wanted.is_empty() {
                return bad("Peer cannot be set with ServiceSubset".to_owned());
            }
            if !text(target, "Datacenter").is_empty() {
                return bad("Peer cannot be set with Datacenter".to_owned());
            }
        }
        if !wanted.is_empty() && own(target) && !is_subset(wanted) {
            return bad(format!(
                "ServiceSubset {wanted:?} is not a valid subset of {name:?}"
            ));
        }
    }
    if texts(says, "Datacenters").any(str::is_empty) {
        return Err(format!(
            "Bad Failover[{subset:?}].Datacenters: found empty datacenter"
        ));
    }
    Ok(())
}

/// Whether a policy of balancing hashes something.
pub(crate) fn hashes(balancer: &Value) -> bool {
    matches!(text(balancer, "Policy"), "maglev" | "ring_hash")
}

fn check_balancer(balancer: &Value) -> Result<(), String> {
    let policy = text(balancer, "Policy");
    if !matches!(
        policy,
        "" | "random" | "round_robin" | "least_request" | "ring_hash" | "maglev"
    ) {
        return Err(format!(
            "Bad LoadBalancer policy: {policy:?} is not supported"
        ));
    }
    for (key, of) in [
        ("RingHashConfig", "ring_hash"),
        ("LeastRequestConfig", "least_request"),
    ] {
        if policy != of && !balancer[key].is_null() {
            return Err(format!(
                "Bad LoadBalancer configuration. {key} specified for incompatible load balancing policy {policy:?}"
            ));
        }
    }
    let policies = items(balancer, "HashPolicies");
    if !hashes(balancer) && !policies.is_empty() {
        return Err(format!(
            "Bad LoadBalancer configuration: HashPolicies specified for non-hash-based Policy: {policy:?}"
        ));
    }
    for (at, hash) in policies.iter().enumerate() {
        if let Some(why) = check_hash(hash) {
            return Err(format!("Bad LoadBalancer HashPolicy[{at}]: {why}"));
        }
    }
    Ok(())
}

fn check_hash(hash: &Value) -> Option<String> {
    let (field, value) = (text(hash, "Field"), text(hash, "FieldValue"));
    let source = hash["SourceIP"] == true;
    let cookie = &hash["CookieConfig"];
    Some(match () {
        () if !matches!(field, "" | "header" | "cookie" | "query_parameter") => {
            format!("{field:?} is not a supported field")
        }
        () if source && !field.is_empty() => {
            format!("A single hash policy cannot hash both a source address and a {field:?}")
        }
        () if source && !value.is_empty() => {
            "A FieldValue cannot be specified when hashing SourceIP".to_owned()
        }
        () if !field.is_empty() && value.is_empty() => {
            format!("Field {field:?} was specified without a FieldValue")
        }
        () if field.is_empty() && !value.is_empty() => {
            "FieldValue requires a Field to apply to".to_owned()
        }
        () if !cookie.is_null() && field != "cookie" => {
            format!("cookie_config provided for {field:?}")
        }
        () if cookie["Session"] == true && cookie["TTL"].as_i64().unwrap_or(0) != 0 => {
            "a session cookie cannot have an associated TTL".to_owned()
        }
        () => return None,
    })
}
