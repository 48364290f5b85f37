//! `/v1/session/*`: sessions, which hold locks for as long as their node, checks and TTL allow.

use crate::error::Failure;
use crate::read::{SERF_HEALTH, Shown};
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::watch::Topic;
use crate::wire::{ServiceCheck, Session, SessionBody, parse_duration, print_millis};
use portolan_catalog::{
    Behaviour, Command, LeaseId, NodeName, Refusal, Revision, SessionId, State, Terms,
};
use portolan_listener::{Action, Resource};
use std::borrow::Cow;
use std::sync::Arc;
use uuid::Uuid;

const SHORTEST_TTL: i64 = 10_000_000_000;
const LONGEST_TTL: i64 = 86_400_000_000_000;
const DEFAULT_LOCK_DELAY: i64 = 15_000_000_000;

/// PUT /v1/session/create
pub(crate) async fn create(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    let body = SessionBody::of(&request.json().await?)?;
    let node = if body.node.is_empty() {
        server.info.node_name.to_string()
    } else {
        body.node.clone()
    };
    request.allow(Action::Write, Resource::Session(&node))?;
    let behaviour = match body.behavior.as_str() {
        "" | "release" => Behaviour::Release,
        "delete" => Behaviour::Delete,
        other => {
            return Err(Failure::server(format!(
                "Invalid Behavior setting '{other}'"
            )));
        }
    };
    let ttl_ms = ttl(&body.ttl)?;
    let lock_delay = body.lock_delay.unwrap_or(DEFAULT_LOCK_DELAY).max(0);
    let list = |ids: &[String]| -> Arc<[Arc<str>]> {
        ids.iter().map(|id| Arc::from(id.as_str())).collect()
    };
    let name = NodeName::new(&node);
    let id = SessionId(*Uuid::from_bytes(portolan_environment::uuid()).as_bytes());
    let node_checks = match &body.node_checks {
        Some(checks) => list(checks),
        None => {
            let state = server.snapshot();
            // Nodes that were only written to the catalog have no agent, hence no such check.
            if state.node(&name).is_some() && !server.is_member(&state, &name) {
                Arc::default()
            } else {
                Arc::from([Arc::from(SERF_HEALTH)])
            }
        }
    };
    let session = portolan_catalog::Session {
        id,
        node: name,
        name: body.name.as_str().into(),
        behaviour,
        lock_delay_ms: u64::try_from(lock_delay / 1_000_000).unwrap_or(0),
        ttl_ms,
        node_checks,
        service_checks: list(&body.service_checks),
        created: Revision::default(),
        modified: Revision::default(),
    };
    let command = Command::Grant {
        lease: LeaseId::Session(id),
        terms: (ttl_ms > 0).then(|| Terms::session(ttl_ms)),
        session: Some(Box::new(session)),
    };
    match server.propose(&request, command).await?.outcome {
        Ok(_) => Reply::json(&serde_json::json!({"ID": id.to_string()})),
        Err(refusal) => Err(refusal.into()),
    }
}

/// Milliseconds of a session's TTL, 0 for none.
fn ttl(text: &str) -> Result<u64, Failure> {
    if text.is_empty() {
        return Ok(0);
    }
    let nanos = parse_duration(text)
        .map_err(|error| Failure::server(format!("Session TTL '{text}' invalid: {error}")))?;
    if nanos == 0 {
        return Ok(0);
    }
    if !(SHORTEST_TTL..=LONGEST_TTL).contains(&nanos) {
        return Err(Failure::server(format!(
            "Invalid Session TTL '{nanos}', must be between [10s=24h0m0s]"
        )));
    }
    Ok(nanos.unsigned_abs() / 1_000_000)
}

/// PUT /v1/session/destroy/:id
pub(crate) async fn destroy(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let text = request.named("id", "Missing session")?;
    let found = SessionId::parse(&text).and_then(|id| {
        let state = server.snapshot();
        Some((id, state.session(&id)?.node.clone()))
    });
    let Some((id, node)) = found else {
        request.listed()?;
        return Ok(Reply::truth(true));
    };
    request.allow(Action::Write, Resource::Session(node.as_str()))?;
    match server
        .propose(
            &request,
            Command::Revoke {
                lease: LeaseId::Session(id),
            },
        )
        .await?
        .outcome
    {
        Ok(_) | Err(Refusal::NoLease | Refusal::NoSession(_)) => Ok(Reply::truth(true)),
        Err(refusal) => Err(refusal.into()),
    }
}

/// PUT /v1/session/renew/:id
pub(crate) async fn renew(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let text = request.named("id", "Missing session")?;
    request.listed()?;
    let missing = || Failure::missing(format!("Session id '{text}' not found"));
    let id = SessionId::parse(&text).ok_or_else(missing)?;
    let known = |shown: Shown<'_>| shown.state.session(&id).is_some();
    let state = server.state_with(known).await?;
    let session = state.session(&id).ok_or_else(missing)?;
    request.allow(Action::Write, Resource::Session(session.node.as_str()))?;
    // A session without TTL has no lease to renew; it lives as long as its node and checks.
    if session.ttl_ms > 0 && !server.renew(&LeaseId::Session(id)).await? {
        return Err(missing());
    }
    Reply::json(&[shape(session, &state)])
}

/// GET /v1/session/info/:id
pub(crate) async fn info(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let text = request.named("id", "Missing session")?;
    request.listed()?;
    let id = SessionId::parse(&text);
    listed(server, request, move |session| Some(session.id) == id).await
}

/// GET /v1/session/node/:node
pub(crate) async fn node(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let node = request.named("node", "Missing node name")?;
    request.listed()?;
    let name = NodeName::new(&node);
    listed(server, request, move |session| session.node == name).await
}

/// GET /v1/session/list
pub(crate) async fn list(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.listed()?;
    listed(server, request, |_| true).await
}

async fn listed(
    server: Arc<Server>,
    request: Request,
    wanted: impl Fn(&portolan_catalog::Session) -> bool,
) -> Result<Reply, Failure> {
    server
        .watched(&request, &Topic::Sessions, |shown| {
            let state = shown.state;
            let sessions: Vec<_> = state
                .sessions()
                .filter(|session| wanted(session))
                .filter(|session| shown.sees(Resource::Session(session.node.as_str())))
                .map(|session| shape(session, state))
                .collect();
            Reply::json(&sessions)
        })
        .await
}

fn shape<'a>(session: &'a portolan_catalog::Session, state: &'a State) -> Session<'a> {
    let node = state
        .node(&session.node)
        .map_or(session.node.as_str(), |node| &node.spelling);
    let service_checks: Vec<_> = session
        .service_checks
        .iter()
        .map(|id| ServiceCheck {
            id: Cow::Borrowed(&**id),
            namespace: "",
        })
        .collect();
    Session {
        id: session.id.to_string(),
        name: Cow::Borrowed(&session.name),
        node: Cow::Borrowed(node),
        lock_delay: i64::try_from(session.lock_delay_ms)
            .unwrap_or(0)
            .saturating_mul(1_000_000),
        behavior: match session.behaviour {
            Behaviour::Release => "release",
            Behaviour::Delete => "delete",
        },
        ttl: if session.ttl_ms == 0 {
            String::new()
        } else {
            print_ttl(session.ttl_ms)
        },
        node_checks: session
            .node_checks
            .iter()
            .map(|id| Cow::Borrowed(&**id))
            .collect(),
        service_checks: if service_checks.is_empty() {
            None
        } else {
            Some(service_checks)
        },
        create_index: session.created.0,
        modify_index: session.modified.0,
    }
}

/// The TTL as clients write it: whole seconds stay seconds (`120s`, not `2m0s`). The text that was sent is not kept.
fn print_ttl(ms: u64) -> String {
    if ms.is_multiple_of(1000) {
        format!("{}s", ms / 1000)
    } else {
        print_millis(ms)
    }
}
