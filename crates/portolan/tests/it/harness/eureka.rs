//! Eureka's reads over plain HTTP: app, apps, VIP and delta as they are on the wire.

use std::net::SocketAddr;

use serde_json::Value;

use super::http;

/// One instance as Eureka shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub id: String,
    pub address: String,
    pub port: u64,
    pub status: String,
    /// ADDED, MODIFIED or DELETED; only a delta means something by it.
    pub action: String,
}

fn seen(instance: &Value) -> Seen {
    let text = |name: &str| instance[name].as_str().unwrap_or_default().to_owned();
    Seen {
        id: text("instanceId"),
        address: text("ipAddr"),
        port: instance["port"]["$"].as_u64().unwrap_or(0),
        status: text("status"),
        action: text("actionType"),
    }
}

fn instances(application: &Value) -> Vec<Seen> {
    application["instance"]
        .as_array()
        .map(|list| list.iter().map(seen).collect())
        .unwrap_or_default()
}

fn of_applications(body: &Value, app: &str) -> Vec<Seen> {
    let applications = body["applications"]["application"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    applications
        .iter()
        .filter(|one| one["name"].as_str() == Some(&app.to_ascii_uppercase()))
        .flat_map(instances)
        .collect()
}

/// `GET /apps/{APP}`; an unknown application has no instances.
pub fn app(address: SocketAddr, name: &str) -> Result<Vec<Seen>, String> {
    let reply = http::call_with(
        address,
        "GET",
        &format!("/eureka/apps/{name}"),
        &[("Accept", "application/json")],
        None,
    )?;
    match reply.status {
        404 => Ok(Vec::new()),
        200 => Ok(instances(&reply.json()?["application"])),
        other => Err(format!("GET app: {other} {}", reply.text())),
    }
}

/// `GET /apps`.
pub fn apps(address: SocketAddr, name: &str) -> Result<Vec<Seen>, String> {
    Ok(of_applications(
        &http::get_json(address, "/eureka/apps")?,
        name,
    ))
}

/// `GET /vips/{vip}`.
pub fn vip(address: SocketAddr, name: &str) -> Result<Vec<Seen>, String> {
    Ok(of_applications(
        &http::get_json(address, &format!("/eureka/vips/{name}"))?,
        name,
    ))
}

/// `GET /apps/delta`.
pub fn delta(address: SocketAddr, name: &str) -> Result<Vec<Seen>, String> {
    Ok(of_applications(
        &http::get_json(address, "/eureka/apps/delta")?,
        name,
    ))
}

/// Checks the rule every client relies on: the hash code of a delta is that of the whole registry.
pub fn hash_code_agrees(address: SocketAddr) -> Result<(), String> {
    let all = http::get_json(address, "/eureka/apps")?;
    let delta = http::get_json(address, "/eureka/apps/delta")?;
    let mut counts = std::collections::BTreeMap::<String, u32>::new();
    for application in all["applications"]["application"]
        .as_array()
        .unwrap_or(&Vec::new())
    {
        for instance in instances(application) {
            *counts.entry(instance.status).or_default() += 1;
        }
    }
    let expected: String = counts
        .iter()
        .map(|(status, count)| format!("{status}_{count}_"))
        .collect();
    super::same(
        delta["applications"]["apps__hashcode"]
            .as_str()
            .unwrap_or("none"),
        &expected,
    )
}
