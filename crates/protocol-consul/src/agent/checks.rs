//! Registering, deregistering and reporting on checks through the agent.

use super::{find_check, find_service};
use crate::catalog::{may_change_check, may_check};
use crate::error::Failure;
use crate::read::Shown;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::wire::{CheckBody, Fields};
use crate::write::Source;
use crate::write::check::{agent_check, cut_output};
use http::StatusCode;
use portolan_catalog::{Check, Command, LeaseId, Probe, PutCheck, Refusal, State, Status};
use std::sync::Arc;

/// Output that changed alone is written at most this often, milliseconds.
const OUTPUT_EVERY_MS: u64 = 5 * 60 * 1000;

/// How the output of a check begins that was not reported on in time.
const EXPIRED: &str = "TTL expired";

/// PUT /v1/agent/check/register
pub(crate) async fn register(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    let body = request.json_object().await?;
    let check = CheckBody::of(&body)?.unwrap_or_default();
    request.listed()?;
    if check.name.is_empty() {
        return Err(Failure::bad("Missing check name"));
    }
    if !check.status.is_empty() && Status::parse(&check.status).is_none() {
        return Err(Failure::bad("Bad check status"));
    }
    let known = |shown: Shown<'_>| {
        check.service_id.is_empty() || find_service(&server, shown, &check.service_id).is_some()
    };
    let state = server.state_with(known).await?;
    let put = {
        let shown = server.shown(&state);
        let mut node = server.info.node();
        let bound = if check.service_id.is_empty() {
            None
        } else {
            let row = find_service(&server, shown, &check.service_id).ok_or_else(|| {
                Failure::missing(format!("ServiceID {:?} does not exist", check.service_id))
            })?;
            node = row.node.clone();
            Some(row.key.clone())
        };
        may_check(&request, shown, &node, &check, None)?;
        let name = &check.name;
        let new = agent_check(&node, &check, bound.as_ref(), name, name, Source::Call)?;
        PutCheck {
            check: new,
            expect: None,
        }
    };
    drop(state);
    match server
        .propose(&request, Command::PutCheck(Box::new(put)))
        .await?
        .outcome
    {
        Ok(_) => Ok(Reply::empty()),
        Err(Refusal::NoInstance) => Err(Failure::missing(format!(
            "ServiceID {:?} does not exist",
            check.service_id
        ))),
        Err(refusal) => Err(refusal.into()),
    }
}

/// PUT /v1/agent/check/deregister/:id
pub(crate) async fn deregister(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let id = request.named("id", "Missing check ID")?;
    request.listed()?;
    let known = |shown: Shown<'_>| find_check(&server, shown, &id).is_some();
    let state = server.state_with(known).await?;
    let key = {
        let check = find_check(&server, server.shown(&state), &id).ok_or_else(|| unknown(&id))?;
        may_change(&request, &state, check)?;
        check.key.clone()
    };
    drop(state);
    match server
        .propose(&request, Command::DropCheck { key, expect: None })
        .await?
        .outcome
    {
        Ok(_) | Err(Refusal::NoCheck(_)) => Ok(Reply::empty()),
        Err(refusal) => Err(refusal.into()),
    }
}

/// PUT /v1/agent/check/pass/:id
pub(crate) async fn pass(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    noted(server, request, Status::Passing).await
}

/// PUT /v1/agent/check/warn/:id
pub(crate) async fn warn(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    noted(server, request, Status::Warning).await
}

/// PUT /v1/agent/check/fail/:id
pub(crate) async fn fail(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    noted(server, request, Status::Critical).await
}

async fn noted(server: Arc<Server>, request: Request, status: Status) -> Result<Reply, Failure> {
    let id = request.named("id", "Missing check ID")?;
    request.listed()?;
    let note = request.params().get("note").to_owned();
    update(&server, &request, &id, status, &note).await
}

/// PUT /v1/agent/check/update/:id
pub(crate) async fn update_body(
    server: Arc<Server>,
    mut request: Request,
) -> Result<Reply, Failure> {
    let id = request.named("id", "Missing check ID")?;
    request.listed()?;
    let body = request.json_object().await?;
    let fields = Fields::of(&body, "update")?;
    let text = fields.text("status")?;
    let status = Status::parse(&text)
        .ok_or_else(|| Failure::bad(format!("Invalid check status: '{text}'")))?;
    let output = fields.text("output")?;
    update(&server, &request, &id, status, &output).await
}

/// A TTL check's report. It renews the check's lease; only news goes into the log.
async fn update(
    server: &Server,
    request: &Request,
    id: &str,
    status: Status,
    output: &str,
) -> Result<Reply, Failure> {
    let known = |shown: Shown<'_>| find_check(server, shown, id).is_some();
    let state = server.state_with(known).await?;
    let (key, output, news) = {
        let shown = server.shown(&state);
        let Some(check) = find_check(server, shown, id) else {
            // Rows born elsewhere have a check that is shown and not kept; nobody can report on it.
            let shown_only = id
                .strip_prefix("service:")
                .is_some_and(|service| shown.foreign(service).is_some());
            return Err(if shown_only { not_ttl(id) } else { unknown(id) });
        };
        may_change(request, &state, check)?;
        if !matches!(check.probe, Probe::Ttl { .. }) {
            return Err(not_ttl(id));
        }
        let output = cut_output(output, check.output_limit());
        // A batch that is no longer in the history is old enough.
        let age = || {
            let batch = server.registry.history().batch(check.modified);
            let written = batch.ok().flatten().map_or(0, |batch| batch.at.0);
            server.now_ms().saturating_sub(written)
        };
        // Whatever is said after it expired is worth more than that it expired.
        let fresh = check.output != output
            && (check.output.starts_with(EXPIRED) || age() >= OUTPUT_EVERY_MS);
        (
            check.key.clone(),
            output,
            !check.reported || check.status != status || fresh,
        )
    };
    drop(state);
    if !news && server.renew(&LeaseId::Check(key.clone())).await? {
        return Ok(Reply::empty());
    }
    // A report is a renewal too.
    match server
        .propose(
            request,
            Command::Report {
                check: key,
                status,
                output,
            },
        )
        .await?
        .outcome
    {
        Ok(_) => Ok(Reply::empty()),
        Err(Refusal::NoCheck(_)) => Err(unknown(id)),
        Err(refusal) => Err(refusal.into()),
    }
}

/// Asks for a check that is there: for its service, or for its node.
fn may_change(request: &Request, state: &State, check: &Check) -> Result<(), Failure> {
    let instance = check.instance.as_ref();
    let row = instance.and_then(|key| state.instance(key));
    may_change_check(request, &check.key.node(), row.map(|row| &**row))
}

fn unknown(id: &str) -> Failure {
    Failure::missing(format!(
        "Unknown check ID {id:?}. Ensure that the check ID is passed, not the check name."
    ))
}

fn not_ttl(id: &str) -> Failure {
    Failure::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        format!("CheckID {id:?} does not have associated TTL"),
    )
}
