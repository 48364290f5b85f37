//! `/v1/connect/intentions` and `/v1/agent/connect/authorize`: which service may call which.

mod authorize;
mod change;
mod rows;

use crate::config::entries;
use crate::error::Failure;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::sight;
use crate::watch::Topic;
use change::name;
use http::{Method, StatusCode};
use portolan_listener::{Action, Resource};
use rows::{KIND, Pair, Row};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use uuid::Uuid;

pub(crate) use authorize::authorize;

fn topic() -> Topic {
    Topic::Records(entries::SPACE, entries::range(KIND))
}

fn not_found() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "Intention not found")
}

/// The time, as Go prints it.
fn now(server: &Server) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(server.now_ms()).unwrap_or(0));
    at.map(|at| at.to_string()).unwrap_or_default()
}

/// What is allowed where no intention says anything: as access control has it.
fn by_default(server: &Server) -> bool {
    let access = server.info.access.as_ref();
    let otherwise = access.is_none_or(|access| access.settings().default_allow);
    server.info.connect.intentions_allow.unwrap_or(otherwise)
}

/// GET /v1/connect/intentions
pub(crate) async fn list(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.listed()?;
    let filter = match request.params().get("filter") {
        "" => None,
        text => Some(crate::filter::Filter::parse(text, &[]).map_err(Failure::bad)?),
    };
    server
        .watched(&request, &topic(), |shown| {
            let sees = |row: &Row| {
                shown.sees(Resource::Intentions(&row.pair.destination))
                    || shown.sees(Resource::Intentions(&row.pair.source))
            };
            let rows = rows::all(shown.state).into_iter();
            let mut rows: Vec<Value> = rows.filter(sees).map(|row| row.shown()).collect();
            if let Some(filter) = &filter {
                filter.retain(&mut rows).map_err(Failure::bad)?;
            }
            Reply::json(&rows)
        })
        .await
}

/// POST /v1/connect/intentions
pub(crate) async fn create(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    let wanted = change::read(&request.json_object().await?, None)?;
    request.allow(
        Action::Write,
        Resource::Intentions(&wanted.pair.destination),
    )?;
    if !wanted.id.is_empty() {
        return Err(Failure::server(
            "ID must be empty when creating a new intention",
        ));
    }
    let id = Uuid::from_bytes(portolan_environment::uuid()).to_string();
    change::create(&server, &request, &wanted, &id, &now(&server)).await?;
    Reply::json(&json!({"ID": id}))
}

/// GET, PUT and DELETE /v1/connect/intentions/:id
pub(crate) async fn by_id(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let id = request.named("id", "Missing intention ID")?;
    request.listed()?;
    if Uuid::parse_str(&id).is_err() || id.len() != 36 {
        return Err(Failure::bad(
            "failed intention lookup: index error: UUID must be 36 characters",
        ));
    }
    match *request.method() {
        Method::GET => {
            let topic = topic();
            let found = server.watched(&request, &topic, |shown| {
                match rows::with_id(shown.state, &id) {
                    Some(row) => {
                        request.allow(Action::Read, Resource::Intentions(&row.pair.destination))?;
                        Reply::json(&row.shown())
                    }
                    None => Ok(not_found().into()),
                }
            });
            found.await
        }
        Method::PUT => update(&server, request, &id).await,
        _ => {
            let latest = server.state_with(|_| false).await?;
            // What is gone is removed already.
            if let Some(row) = rows::with_id(&latest, &id) {
                request.allow(Action::Write, Resource::Intentions(&row.pair.destination))?;
                let destination = &row.pair.destination;
                let is = |source: &Value| source["LegacyID"] == *id;
                change::remove(&server, &request, destination, is).await?;
                return Ok(Reply::truth(true));
            }
            Err(Failure::server(format!(
                "Cannot delete non-existent intention: '{id}'"
            )))
        }
    }
}

async fn update(server: &Server, mut request: Request, id: &str) -> Result<Reply, Failure> {
    let wanted = change::read(&request.json_object().await?, None)?;
    let latest = server.state_with(|_| false).await?;
    let row = rows::with_id(&latest, id)
        .ok_or_else(|| Failure::server(format!("Cannot modify non-existent intention: '{id}'")))?;
    drop(latest);
    request.allow(Action::Write, Resource::Intentions(&row.pair.destination))?;
    if wanted.pair.destination != row.pair.destination {
        return Err(Failure::server(
            "cannot modify Destination partition/namespace/name for an intention once it exists.",
        ));
    }
    change::update(server, &request, &row, &wanted, &now(server)).await?;
    Reply::json(&json!({"ID": id}))
}

/// A parameter that has to be there.
fn needed(request: &Request, key: &str) -> Result<String, Failure> {
    match request.params().get(key) {
        "" => {
            request.listed()?;
            Err(Failure::bad(format!(
                "required query parameter '{key}' not set"
            )))
        }
        text => Ok(text.to_owned()),
    }
}

fn pair(request: &Request) -> Result<Pair, Failure> {
    Ok(Pair {
        source: name(&needed(request, "source")?)?,
        destination: name(&needed(request, "destination")?)?,
    })
}

/// GET, PUT and DELETE /v1/connect/intentions/exact
pub(crate) async fn exact(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    let pair = pair(&request)?;
    let action = match *request.method() {
        Method::GET => Action::Read,
        _ => Action::Write,
    };
    request.allow(action, Resource::Intentions(&pair.destination))?;
    match *request.method() {
        Method::GET => {
            let topic = topic();
            let found = server.watched(&request, &topic, |shown| {
                match rows::between(shown.state, &pair) {
                    Some(row) => Reply::json(&row.shown()),
                    None => Ok(not_found().into()),
                }
            });
            found.await
        }
        Method::PUT => {
            let wanted = change::read(&request.json_object().await?, Some(pair))?;
            change::upsert(&server, &request, &wanted).await?;
            Ok(Reply::truth(true))
        }
        _ => {
            let is = |source: &Value| source["Name"] == *pair.source;
            change::remove(&server, &request, &pair.destination, is).await?;
            Ok(Reply::truth(true))
        }
    }
}

/// GET /v1/connect/intentions/match
pub(crate) async fn matching(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let by = needed(&request, "by")?;
    let find = match &*by {
        "source" => rows::from,
        "destination" => rows::to,
        _ => {
            request.listed()?;
            return Err(Failure::bad(
                "'by' parameter must be one of 'source' or 'destination'",
            ));
        }
    };
    needed(&request, "name")?;
    let params = request.params();
    let asked: Vec<String> = params.all("name").map(str::to_owned).collect();
    let mut names = Vec::new();
    for text in &asked {
        let name = name(text)?;
        request.allow(Action::Read, Resource::Intentions(&name))?;
        names.push(name);
    }
    server
        .watched(&request, &topic(), |shown| {
            let mut answer = Map::new();
            for (text, name) in asked.iter().zip(&names) {
                let rows = find(shown.state, name);
                let rows = rows.iter().map(Row::shown).collect();
                answer.insert(text.clone(), Value::Array(rows));
            }
            Reply::json(&answer)
        })
        .await
}

/// GET /v1/connect/intentions/check
pub(crate) async fn check(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let pair = pair(&request)?;
    match request.params().get("source-type") {
        "" | "consul" => {}
        _ => {
            request.listed()?;
            return Err(Failure::bad("unsupported source type"));
        }
    }
    // Whoever may see a service may know who may call it.
    request.allow(Action::Read, sight::service(&pair.destination))?;
    server
        .watched(&request, &topic(), |shown| {
            let row = rows::decision(shown.state, &pair);
            let allowed = row.map_or_else(|| by_default(&server), |row| row.allows());
            Reply::json(&json!({"Allowed": allowed}))
        })
        .await
}
