//! Endpoints of features that are switched off: each answers as Consul does without that feature.

use crate::ask::Ask;
use crate::error::Failure;
use crate::read::Shown;
use crate::reply::Reply;
use crate::server::Server;
use crate::wire::Consistency;
use http::StatusCode;
use portolan_catalog::NodeName;
use portolan_listener::{Action, Resource};
use serde_json::{Value, json};
use std::sync::Arc;

/// /v1/acl/*
pub(crate) async fn acl(_server: Arc<Server>, ask: Ask) -> Result<Reply, Failure> {
    ask.allow(Action::Admin, Resource::Operator)?;
    Err(Failure::new(
        StatusCode::UNAUTHORIZED,
        "ACL support disabled",
    ))
}

/// /v1/snapshot
pub(crate) async fn snapshot(_server: Arc<Server>, ask: Ask) -> Result<Reply, Failure> {
    ask.allow(Action::Admin, Resource::Operator)?;
    Err(Failure::new(
        StatusCode::NOT_IMPLEMENTED,
        "snapshots are not available over this API; use the command line's snapshot save and restore",
    ))
}

/// /v1/config/*
pub(crate) async fn config(_server: Arc<Server>, ask: Ask) -> Result<Reply, Failure> {
    ask.allow(Action::Admin, Resource::Operator)?;
    Err(Failure::new(
        StatusCode::NOT_IMPLEMENTED,
        "config entries are not supported by this server",
    ))
}

/// /v1/operator/keyring
pub(crate) async fn keyring(_server: Arc<Server>, ask: Ask) -> Result<Reply, Failure> {
    ask.allow(Action::Admin, Resource::Operator)?;
    Err(Failure::server(
        "keyring is empty: gossip encryption is not enabled",
    ))
}

/// GET /v1/peerings: no cluster is peered with.
pub(crate) async fn peerings(server: Arc<Server>, ask: Ask) -> Result<Reply, Failure> {
    ask.allow(Action::Read, Resource::Operator)?;
    let options = ask.read_options()?;
    Ok(Reply::json::<[u8; 0]>(&[])?.fresh(server.freshness(&options, 1)))
}

/// /v1/peering/*
pub(crate) async fn peering(_server: Arc<Server>, ask: Ask) -> Result<Reply, Failure> {
    ask.allow(Action::Admin, Resource::Operator)?;
    Err(Failure::missing(
        "Peering must be enabled: this server does not peer with other clusters",
    ))
}

/// A coordinate before anything was measured, as a fresh agent has it.
fn coordinate() -> Value {
    json!({"Vec": vec![0.0; 8], "Error": 1.5, "Adjustment": 0.0, "Height": 1e-5})
}

/// GET /v1/coordinate/datacenters
pub(crate) async fn coordinate_datacenters(
    server: Arc<Server>,
    ask: Ask,
) -> Result<Reply, Failure> {
    ask.allow(Action::Read, Resource::Nodes)?;
    let rows = vec![
        json!({"Node": format!("{}.{}", server.here.node_name, server.here.datacenter), "Coord": coordinate()}),
    ];
    Reply::json(&[
        json!({"Datacenter": server.here.datacenter, "AreaID": "wan", "Coordinates": rows}),
    ])
}

fn coordinates(server: &Server, shown: Shown<'_>, wanted: Option<&NodeName>) -> Vec<Value> {
    shown
        .state
        .nodes()
        .filter(|node| {
            wanted.is_none_or(|name| node.name == *name)
                && server.is_member(shown.state, &node.name)
        })
        .map(|node| json!({"Node": node.spelling, "Segment": "", "Coord": coordinate()}))
        .collect()
}

/// GET /v1/coordinate/nodes
pub(crate) async fn coordinate_nodes(server: Arc<Server>, ask: Ask) -> Result<Reply, Failure> {
    ask.allow(Action::Read, Resource::Nodes)?;
    let options = ask.read_options()?;
    let state = server.state_for(Consistency::Stale).await?;
    let rows = coordinates(&server, server.shown(&state), None);
    Ok(Reply::json(&rows)?.fresh(server.freshness(&options, state.marks().nodes.0)))
}

/// GET /v1/coordinate/node/:node
pub(crate) async fn coordinate_node(server: Arc<Server>, ask: Ask) -> Result<Reply, Failure> {
    let node = ask.named("node", "Missing node name")?;
    ask.allow(Action::Read, Resource::Node(&node))?;
    let options = ask.read_options()?;
    let state = server.state_for(Consistency::Stale).await?;
    let rows = coordinates(&server, server.shown(&state), Some(&NodeName::new(&node)));
    let reply = if rows.is_empty() {
        Reply::empty().status(StatusCode::NOT_FOUND)
    } else {
        Reply::json(&rows)?
    };
    Ok(reply.fresh(server.freshness(&options, state.marks().nodes.0)))
}

/// PUT /v1/coordinate/update
pub(crate) async fn coordinate_update(_server: Arc<Server>, ask: Ask) -> Result<Reply, Failure> {
    ask.allow(Action::Write, Resource::Nodes)?;
    Err(Failure::new(
        StatusCode::UNAUTHORIZED,
        "Coordinate support disabled",
    ))
}
