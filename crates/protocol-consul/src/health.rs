//! `/v1/health/*`: instances with their checks.

use crate::error::Failure;
use crate::read::Shown;
use crate::reply::Reply;
use crate::request::Request;
use crate::selection::{Selection, fields};
use crate::server::Server;
use crate::view;
use crate::watch::Topic;
use crate::wire::{HealthCheck, ServiceEntry};
use portolan_catalog::{Instance, NodeName, name::read_flat};
use std::sync::Arc;

/// GET /v1/health/service/:name
pub(crate) async fn service(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let name = request.service()?;
    let key = read_flat(&name);
    let params = request.params();
    // What nearly everybody asks for is there already, encoded, and shared by all who ask.
    if view::fits(&params) && request.sight.is_none() {
        let passing = params.flag("passing")?;
        let form = if passing { view::PASSING } else { view::HEALTH };
        let render = |shown: Shown<'_>| {
            let entries: Vec<ServiceEntry<'_>> = shown
                .rows_of(&key)
                .into_iter()
                .map(|row| shown.entry(row))
                .filter(|entry| !passing || is_passing(entry))
                .collect();
            // Rows are plain texts and numbers: there is nothing in them that cannot be encoded.
            serde_json::to_vec(&entries).unwrap_or_default()
        };
        return server.encoded(&request, &key, form, render).await;
    }
    let selection = Selection::parse(&params, fields::ENTRY)?;
    server
        .watched(&request, &Topic::Service(key.clone()), |shown| {
            let rows = shown
                .rows_of(&key)
                .into_iter()
                .filter(|row| selection.wants_tags(&row.tags));
            entries(shown, rows, &selection)
        })
        .await
}

/// GET /v1/health/connect/:name
pub(crate) async fn connect(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let name = request.service()?;
    let selection = Selection::parse(&request.params(), fields::ENTRY)?;
    server
        .watched(&request, &Topic::Health, |shown| {
            let rows = shown
                .connected(&name)
                .filter(|row| selection.wants_tags(&row.tags));
            entries(shown, rows, &selection)
        })
        .await
}

/// Instances as health answers show them.
pub(crate) fn entries<'a>(
    shown: crate::read::Shown<'a>,
    rows: impl Iterator<Item = &'a Arc<Instance>>,
    selection: &Selection,
) -> Result<Reply, Failure> {
    let mut entries: Vec<ServiceEntry<'a>> = rows
        .map(|row| shown.entry(row))
        .filter(|entry| selection.wants_node(&entry.node.meta))
        .filter(|entry| !selection.passing || is_passing(entry))
        .collect();
    selection.near_first(&shown.info.node_name, &mut entries, |entry| {
        &entry.node.node
    });
    Reply::json(&selection.filtered(entries)?)
}

/// Whether every check of the node and of the instance is passing.
pub(crate) fn is_passing(entry: &ServiceEntry<'_>) -> bool {
    entry.checks.iter().all(|check| check.status == "passing")
}

/// GET /v1/health/checks/:service
pub(crate) async fn checks(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let name = request.service()?;
    let selection = Selection::parse(&request.params(), fields::CHECK)?;
    let key = read_flat(&name);
    server
        .watched(&request, &Topic::Service(key.clone()), |shown| {
            let mut checks: Vec<HealthCheck<'_>> = Vec::new();
            for row in shown.rows_of(&key) {
                if !selection.asks_nodes() || selection.wants_node(&shown.node_of(row).meta) {
                    checks.extend(shown.checks_of(row));
                }
            }
            checks.sort_by(|a, b| (&a.node, &a.check_id).cmp(&(&b.node, &b.check_id)));
            selection.near_first(&shown.info.node_name, &mut checks, |check| &check.node);
            Reply::json(&selection.filtered(checks)?)
        })
        .await
}

/// GET /v1/health/node/:node
pub(crate) async fn node(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let node = request.named("node", "Missing node name")?;
    request.listed()?;
    let selection = Selection::parse(&request.params(), fields::CHECK)?;
    let name = NodeName::new(&node);
    server
        .watched(&request, &Topic::NodeHealth(name.clone()), |shown| {
            Reply::json(&selection.filtered(shown.all_checks_on(&name))?)
        })
        .await
}

/// GET /v1/health/state/:state: `any`, or a status. Nothing is in a state that there is not.
pub(crate) async fn state(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let wanted = request.named("state", "Missing check state")?;
    request.listed()?;
    let selection = Selection::parse(&request.params(), fields::CHECK)?;
    server
        .watched(&request, &Topic::Health, |shown| {
            let mut checks: Vec<_> = shown
                .all_checks()
                .into_iter()
                .filter(|check| wanted == "any" || check.status == wanted)
                .filter(|check| {
                    !selection.asks_nodes()
                        || shown
                            .node(&NodeName::new(&check.node))
                            .is_some_and(|node| selection.wants_node(&node.meta))
                })
                .collect();
            selection.near_first(&shown.info.node_name, &mut checks, |check| &check.node);
            Reply::json(&selection.filtered::<HealthCheck<'_>>(checks)?)
        })
        .await
}
