//! Endpoints of features that are switched off: each answers as Consul does without that feature.

use crate::error::Failure;
use crate::read::Shown;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::watch::Topic;
use http::StatusCode;
use portolan_catalog::{KeyRange, Keyspace, NodeName};
use portolan_listener::{Action, Resource};
use serde_json::{Value, json};
use std::sync::Arc;

/// What every use of access lists is told.
pub(crate) fn acl_disabled() -> Failure {
    Failure::new(StatusCode::UNAUTHORIZED, "ACL support disabled")
}

/// Whether a lookup of a service asks for the instances that a peered cluster exports.
pub(crate) fn of_a_peer(request: &Request) -> bool {
    const LOOKUPS: [&str; 6] = [
        "/v1/health/service/",
        "/v1/health/connect/",
        "/v1/health/ingress/",
        "/v1/health/checks/",
        "/v1/catalog/service/",
        "/v1/catalog/connect/",
    ];
    let path = request.uri_path();
    LOOKUPS.iter().any(|lookup| path.starts_with(lookup))
        && !request.params().get("peer").is_empty()
}

/// A lookup with `?peer=`: no cluster is peered with, and one that is not known exports nothing. Other endpoints do not look at it.
pub(crate) async fn peer_services(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.listed()?;
    let topic = Topic::Records(Keyspace::ConsulObjects, KeyRange::prefix(b"peering/"));
    server
        .watched(&request, &topic, |_| Reply::json::<[u8; 0]>(&[]))
        .await
}

/// /v1/operator/keyring
pub(crate) async fn keyring(_server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let action = match *request.method() {
        http::Method::GET => Action::Read,
        _ => Action::Write,
    };
    request.allow(action, Resource::Keyring)?;
    Err(Failure::server(
        "keyring is empty: gossip encryption is not enabled",
    ))
}

/// GET /v1/peerings: no cluster is peered with.
pub(crate) async fn peerings(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Read, Resource::Peering)?;
    // Peers would be kept among the Consul objects; who waits for one waits there.
    let range = KeyRange::prefix(b"peering/");
    server
        .watched(
            &request,
            &Topic::Records(Keyspace::ConsulObjects, range),
            |_| Reply::json::<[u8; 0]>(&[]),
        )
        .await
}

/// /v1/peering/*
pub(crate) async fn peering(_server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let action = match *request.method() {
        http::Method::GET => Action::Read,
        _ => Action::Write,
    };
    request.allow(action, Resource::Peering)?;
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
    request: Request,
) -> Result<Reply, Failure> {
    request.listed()?;
    let rows = vec![
        json!({"Node": format!("{}.{}", server.info.node_name, server.info.datacenter), "Coord": coordinate()}),
    ];
    Reply::json(&[
        json!({"Datacenter": server.info.datacenter, "AreaID": "wan", "Coordinates": rows}),
    ])
}

/// The members of the one segment there is, which has no name.
fn coordinates(
    server: &Server,
    shown: Shown<'_>,
    segment: &str,
    wanted: Option<&NodeName>,
) -> Vec<Value> {
    shown
        .state
        .nodes()
        .filter(|node| {
            segment.is_empty()
                && wanted.is_none_or(|name| node.name == *name)
                && server.is_member(shown.state, &node.name)
                && shown.sees_node(&node.name)
        })
        .map(|node| json!({"Node": node.spelling, "Segment": "", "Coord": coordinate()}))
        .collect()
}

/// GET /v1/coordinate/nodes
pub(crate) async fn coordinate_nodes(
    server: Arc<Server>,
    request: Request,
) -> Result<Reply, Failure> {
    request.listed()?;
    let segment = request.params().get("segment").to_owned();
    server
        .watched(&request, &Topic::Nodes, |shown| {
            Reply::json(&coordinates(&server, shown, &segment, None))
        })
        .await
}

/// GET /v1/coordinate/node/:node
pub(crate) async fn coordinate_node(
    server: Arc<Server>,
    request: Request,
) -> Result<Reply, Failure> {
    let node = request.named("node", "Missing node name")?;
    request.listed()?;
    let segment = request.params().get("segment").to_owned();
    let name = NodeName::new(&node);
    server
        .watched(&request, &Topic::Node(name.clone()), |shown| {
            let rows = coordinates(&server, shown, &segment, Some(&name));
            if rows.is_empty() {
                Ok(Reply::empty().status(StatusCode::NOT_FOUND))
            } else {
                Reply::json(&rows)
            }
        })
        .await
}

/// PUT /v1/coordinate/update
pub(crate) async fn coordinate_update(
    _server: Arc<Server>,
    request: Request,
) -> Result<Reply, Failure> {
    request.allow(Action::Write, Resource::Node(&_server.info.node_name))?;
    Err(Failure::new(
        StatusCode::UNAUTHORIZED,
        "Coordinate support disabled",
    ))
}
