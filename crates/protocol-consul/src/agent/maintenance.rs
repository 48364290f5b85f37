//! Maintenance of a service or of the node: an administrative status that every protocol shows in its own way.

use super::find_service;
use crate::error::Failure;
use crate::read::{Shown, service_name};
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::sight;
use crate::wire::parse_bool;
use portolan_catalog::{Admin, AdminStatus, AdminTarget, Command, Protocol, Refusal};
use portolan_listener::{Action, Resource};
use std::sync::Arc;

/// PUT /v1/agent/service/maintenance/:id
pub(crate) async fn service(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let id = request.named("id", "Missing service ID")?;
    request.listed()?;
    let admin = wanted(&request)?;
    // An endpoint shown under `origin:id` can be taken out through Consul as well.
    let found = |shown: Shown<'_>| {
        let row = find_service(&server, shown, &id).or_else(|| shown.foreign(&id));
        row.map(|row| (row.key.clone(), service_name(row).into_owned()))
    };
    let state = server.state_with(|shown| found(shown).is_some()).await?;
    let (key, name) = found(server.shown(&state)).ok_or_else(|| unknown(&id))?;
    drop(state);
    request.allow(Action::Register, sight::service(&name))?;
    set(&server, &request, AdminTarget::Instance(key), admin, || {
        unknown(&id)
    })
    .await
}

/// PUT /v1/agent/maintenance
pub(crate) async fn node(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Write, Resource::Node(&server.info.node_name))?;
    let admin = wanted(&request)?;
    let target = AdminTarget::Node(server.info.node());
    set(&server, &request, target, admin, || {
        Failure::server("Missing node registration")
    })
    .await
}

async fn set(
    server: &Server,
    request: &Request,
    target: AdminTarget,
    admin: Option<Arc<Admin>>,
    missing: impl Fn() -> Failure,
) -> Result<Reply, Failure> {
    let command = Command::SetAdmin {
        target,
        admin,
        declared: None,
    };
    match server.propose(request, command).await?.outcome {
        Ok(_) => Ok(Reply::empty()),
        Err(Refusal::NoInstance | Refusal::NoNode(_)) => Err(missing()),
        Err(refusal) => Err(refusal.into()),
    }
}

fn wanted(request: &Request) -> Result<Option<Arc<Admin>>, Failure> {
    let params = request.params();
    if !params.has("enable") {
        return Err(Failure::bad("Missing value for enable"));
    }
    let text = params.get("enable");
    let enable = parse_bool(text)
        .ok_or_else(|| Failure::bad(format!("Invalid value for enable: {text:?}")))?;
    Ok(enable.then(|| {
        Arc::new(Admin {
            status: AdminStatus::OutOfService,
            reason: params.get("reason").into(),
            by: Protocol::Consul,
        })
    }))
}

fn unknown(id: &str) -> Failure {
    Failure::missing(format!(
        "Unknown service ID {id:?}. Ensure that the service ID is passed, not the service name."
    ))
}
