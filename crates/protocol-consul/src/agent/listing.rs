//! What the agent knows: its services, its checks, and how well they are.

use super::{find_service, is_agents};
use crate::error::Failure;
use crate::read::{Flavour, SERF_HEALTH, Shown, aggregated, service_name};
use crate::reply::{JSON, Reply};
use crate::request::Request;
use crate::selection::{Selection, fields};
use crate::server::Server;
use crate::sight;
use crate::watch::Topic;
use crate::wire::{AgentHealth, HealthCheck, MapOf, NodeService};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, StatusCode};
use portolan_catalog::{CheckKey, Instance};
use portolan_listener::Action;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// GET /v1/agent/services
pub(crate) async fn services(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.listed()?;
    let selection = Selection::parse(&request.params(), fields::SERVICE)?;
    let state = server.snapshot();
    let shown = server.shown_to(&request, &state);
    let rows: Vec<NodeService<'_>> = mine(&server, shown)
        .filter(|row| shown.sees_service(row))
        .map(|row| shown.service(row, Flavour::Agent))
        .collect();
    let rows = selection.filtered(rows)?;
    Reply::json(&MapOf(
        rows.into_iter().map(|row| (row.id.clone(), row)).collect(),
    ))
}

fn mine<'a>(server: &Server, shown: Shown<'a>) -> impl Iterator<Item = &'a Arc<Instance>> {
    let node = server.info.node();
    shown
        .state
        .instances_on(&node)
        .filter(|row| is_agents(row))
        .collect::<Vec<_>>()
        .into_iter()
}

/// GET /v1/agent/checks
pub(crate) async fn checks(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.listed()?;
    let selection = Selection::parse(&request.params(), fields::CHECK)?;
    let state = server.snapshot();
    let shown = server.shown_to(&request, &state);
    let node = server.info.node();
    // What was written to the catalog, and `serfHealth`, which the cluster says about the node, are not the agent's.
    let is_agents = |id: &str| {
        let check = state.check(&CheckKey::new(&node, id));
        check.is_none_or(|check| check.owner.as_ref() == Some(&node))
    };
    let own = shown
        .checks_of_node(&node)
        .into_iter()
        .filter(|check| is_agents(&check.check_id));
    let mut rows: Vec<HealthCheck<'_>> = own.collect();
    for row in mine(&server, shown) {
        rows.extend(shown.checks_of(row));
    }
    rows.sort_by(|a, b| a.check_id.cmp(&b.check_id));
    let rows = selection.filtered(as_agents_show(rows))?;
    Reply::json(&MapOf(
        rows.into_iter()
            .map(|row| (row.check_id.clone(), row))
            .collect(),
    ))
}

/// Checks as an agent lists them: it knows no indexes.
fn as_agents_show(mut checks: Vec<HealthCheck<'_>>) -> Vec<HealthCheck<'_>> {
    for check in &mut checks {
        (check.create_index, check.modify_index) = (0, 0);
    }
    checks
}

/// GET /v1/agent/service/:id, which blocks by the hash of its content.
pub(crate) async fn service(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let id = request.named("id", "Missing service ID")?;
    request.listed()?;
    let hash = request.params().get("hash").to_owned();
    let render = |shown: Shown<'_>| -> Result<(String, Reply), Failure> {
        let row = find_service(&server, shown, &id)
            .ok_or_else(|| Failure::missing(format!("unknown service ID: {id}")))?;
        request.allow(Action::Read, sight::service(&service_name(row)))?;
        let mut service = shown.service(row, Flavour::Agent);
        let bytes =
            serde_json::to_vec(&service).map_err(|error| Failure::server(error.to_string()))?;
        let hash: String = Sha256::digest(&bytes)[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        service.content_hash = Some(hash.clone());
        let header = HeaderValue::from_str(&hash).unwrap_or(HeaderValue::from_static(""));
        let reply =
            Reply::json(&service)?.header(HeaderName::from_static("x-consul-contenthash"), header);
        Ok((hash, reply))
    };
    let topic = {
        let state = server.snapshot();
        let row = find_service(&server, server.shown(&state), &id);
        row.map(|row| Topic::Service(row.service.clone()))
    };
    match topic {
        Some(topic) if !hash.is_empty() => {
            server
                .until_hash_differs(&request, &topic, &hash, render)
                .await
        }
        _ => {
            let state = server.snapshot();
            Ok(render(server.shown_to(&request, &state))?.1)
        }
    }
}

/// GET /v1/agent/health/service/id/:id
pub(crate) async fn health_by_id(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let id = request.named("id", "Missing serviceID")?;
    request.listed()?;
    let state = server.snapshot();
    let shown = server.shown(&state);
    let text = wants_text(&request);
    let Some(row) = find_service(&server, shown, &id) else {
        let none = json!({"AggregatedStatus": "critical", "Service": null, "Checks": null});
        return Ok(not_found(
            &format!("ServiceId {id} not found"),
            text,
            Reply::json(&none)?,
        ));
    };
    request.allow(Action::Read, sight::service(&service_name(row)))?;
    let health = health_of(shown, row);
    let status = health.aggregated_status;
    let reply = if text {
        Reply::text(StatusCode::OK, status)
    } else {
        Reply::json(&health)?
    };
    Ok(reply
        .status(code(status))
        .header(REASON, HeaderValue::from_static(status)))
}

/// GET /v1/agent/health/service/name/:name
pub(crate) async fn health_by_name(
    server: Arc<Server>,
    request: Request,
) -> Result<Reply, Failure> {
    let name = request.named("name", "Missing service Name")?;
    request.allow(Action::Read, sight::service(&name))?;
    let state = server.snapshot();
    let shown = server.shown(&state);
    let text = wants_text(&request);
    let rows: Vec<AgentHealth<'_>> = mine(&server, shown)
        .filter(|row| crate::read::service_name(row).eq_ignore_ascii_case(&name))
        .map(|row| health_of(shown, row))
        .collect();
    if rows.is_empty() {
        return Ok(not_found(
            &format!("ServiceName {name} Not Found"),
            text,
            Reply::encoded("[]".into()),
        ));
    }
    let worst = ["maintenance", "critical", "warning"]
        .into_iter()
        .find(|status| rows.iter().any(|row| row.aggregated_status == *status))
        .unwrap_or("passing");
    let reply = if text {
        Reply::text(StatusCode::OK, worst)
    } else {
        Reply::json(&rows)?.header(CONTENT_TYPE, JSON)
    };
    Ok(reply
        .status(code(worst))
        .header(REASON, HeaderValue::from_static(worst)))
}

/// 404, as text or as `json`. The header says what is not there either way.
fn not_found(why: &str, text: bool, json: Reply) -> Reply {
    let reply = if text {
        Reply::text(StatusCode::NOT_FOUND, why.to_owned())
    } else {
        json.status(StatusCode::NOT_FOUND)
    };
    match HeaderValue::from_str(why) {
        Ok(value) => reply.header(REASON, value),
        // A name with a line end in it has no place in a header.
        Err(_) => reply,
    }
}

const REASON: HeaderName = HeaderName::from_static("x-consul-reason");

/// The status code that carries health, for load balancers that read nothing else.
fn code(status: &str) -> StatusCode {
    match status {
        "passing" => StatusCode::OK,
        "warning" => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn wants_text(request: &Request) -> bool {
    let format = request.params().get("format") == "text";
    format
        || request
            .headers()
            .get(ACCEPT)
            .is_some_and(|value| value.as_bytes().starts_with(b"text/plain"))
}

fn health_of<'a>(shown: Shown<'a>, row: &'a Instance) -> AgentHealth<'a> {
    let mut checks = shown.checks_of_node(&row.node);
    checks.retain(|check| check.check_id != SERF_HEALTH);
    checks.extend(shown.checks_of(row));
    AgentHealth {
        aggregated_status: aggregated(&checks),
        service: shown.service(row, Flavour::Agent),
        checks: as_agents_show(checks),
    }
}
