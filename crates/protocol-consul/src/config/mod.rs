//! `/v1/config`: entries that say how services are reached, as Consul's service mesh has them. They are kept, judged and listed; discovery
//! chains are made of them, and intentions are some of them. Who routes traffic by them asks for them.

pub(crate) mod entries;
mod gateways;
mod graph;
pub(crate) mod kinds;
mod schema;
mod services;
mod valid;
pub(crate) mod valid_chain;
pub(crate) mod valid_gateways;
pub(crate) mod valid_intentions;
pub(crate) mod value;
pub(crate) mod write;

use crate::error::Failure;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::sight;
use crate::watch::Topic;
use http::StatusCode;
use kinds::Kind;
use portolan_catalog::KeyRange;
use portolan_listener::{Action, Resource};
use serde_json::{Value, json};
use std::sync::Arc;
use value::text;
use write::Change;

fn invalid_kind(kind: &str) -> String {
    format!("invalid config entry kind: {kind}")
}

/// What has to be allowed for an entry: those of services like the services, what routes them together as the mesh. None is for everybody.
fn needs<'a>(action: Action, kind: &str, name: &'a str) -> Option<Resource<'a>> {
    match (kind, action) {
        ("service-intentions", _) => Some(Resource::Intentions(name)),
        ("service-defaults" | "service-resolver" | "service-router" | "service-splitter", _)
        | ("ingress-gateway" | "terminating-gateway", Action::Read) => Some(sight::service(name)),
        ("proxy-defaults", Action::Read) => None,
        _ => Some(Resource::Mesh),
    }
}

fn may(request: &Request, action: Action, kind: &str, name: &str) -> Result<(), Failure> {
    match needs(action, kind, name) {
        Some(resource) => request.allow(action, resource),
        None => request.listed(),
    }
}

/// A kind and a name, as they stand in a path.
fn split(path: &str) -> (&str, &str) {
    path.split_once('/').unwrap_or((path, ""))
}

/// GET /v1/config/:kind and /v1/config/:kind/:name
pub(crate) async fn get(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let path = request.path("rest")?;
    let (kind, name) = split(&path);
    if name.is_empty() {
        return list(&server, &request, kind).await;
    }
    may(&request, Action::Read, kind, name)?;
    let key = entries::key(kind, name);
    let topic = Topic::Records(entries::SPACE, KeyRange::One(key.clone()));
    server
        .watched(&request, &topic, |shown| {
            match entries::kept(shown.state, &key) {
                Some(kept) => Reply::json(&kept.shown()),
                None => Ok(Reply::text(
                    StatusCode::NOT_FOUND,
                    format!("Config entry not found for {kind:?} / {name:?}"),
                )),
            }
        })
        .await
}

async fn list(server: &Server, request: &Request, kind: &str) -> Result<Reply, Failure> {
    request.listed()?;
    if kinds::find(kind).is_none() {
        return Err(Failure::server(invalid_kind(kind)));
    }
    let topic = Topic::Records(entries::SPACE, entries::range(kind));
    server
        .watched(request, &topic, |shown| {
            let rows = entries::all(shown.state, kind).into_iter();
            let rows: Vec<Value> = rows
                .filter(|kept| {
                    needs(Action::Read, kind, text(&kept.value, "Name"))
                        .is_none_or(|resource| shown.sees(resource))
                })
                .map(|kept| kept.shown())
                .collect();
            Reply::json(&rows)
        })
        .await
}

/// What `?cas=` says.
fn cas(request: &Request) -> Result<Option<u64>, Failure> {
    match request.params().get("cas") {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            Failure::server(format!(
                "strconv.ParseUint: parsing {text:?}: invalid syntax"
            ))
        }),
    }
}

/// PUT /v1/config
pub(crate) async fn put(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    let body = request.json_body().await?;
    let (kind, entry) = match body.and_then(|body| read(&body)) {
        Ok(read) => read,
        Err(why) => {
            // That a body cannot be read is no secret, but is told only to whom a token is known.
            request.listed()?;
            return Err(Failure::bad(format!("Request decoding failed: {why}")));
        }
    };
    let cas = cas(&request);
    let name = match kind.name {
        "mesh" => "mesh".to_owned(),
        _ => text(&entry, "Name").to_owned(),
    };
    may(&request, Action::Write, kind.name, &name)?;
    for other in graph::related(&entry) {
        request.allow(Action::Read, sight::service(&other))?;
    }
    valid::check(kind.name, &entry).map_err(Failure::server)?;
    let cas = cas?;
    let mut done = true;
    let put = write::write(&server, &request, kind.name, &name, |old| {
        let modified = old.map_or(0, |old| old.modified);
        if cas.is_some_and(|index| index != modified) {
            done = false;
            return Ok(Change::Nothing);
        }
        done = true;
        Ok(match old {
            Some(old) if old.value == entry && cas.is_none() => Change::Nothing,
            _ => Change::Put(entry.clone()),
        })
    });
    put.await?;
    Ok(Reply::truth(done))
}

/// Reads a body, and puts it right.
fn read(body: &Value) -> Result<(&'static Kind, Value), String> {
    let named = |key: &str| body.get(key).filter(|value| !value.is_null());
    let kind = match named("Kind").or_else(|| named("kind")) {
        None => {
            return Err("Payload does not contain a kind/Kind key at the top level".to_owned());
        }
        Some(kind) => kind
            .as_str()
            .ok_or("Kind value in payload is not a string")?,
    };
    let found = kinds::find(kind).ok_or_else(|| invalid_kind(kind))?;
    if let Some(why) = found.refused {
        return Err(format!(
            "config entries of kind {kind} are not taken: {why}"
        ));
    }
    let mut entry = schema::read(body, found.fields)?;
    if kind == "service-intentions" {
        valid_intentions::forget_ids(&mut entry)?;
    }
    valid::settle(kind, &mut entry)?;
    Ok((found, entry))
}

/// DELETE /v1/config/:kind/:name: what is not there is removed already.
pub(crate) async fn delete(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let path = request.path("rest")?;
    let (kind, name) = split(&path);
    if name.is_empty() {
        return Err(Failure::missing(
            "Must provide both a kind and name to delete",
        ));
    }
    may(&request, Action::Write, kind, name)?;
    if kinds::find(kind).is_none() {
        return Err(Failure::bad(invalid_kind(kind)));
    }
    let cas = cas(&request)?;
    let mut done = true;
    let removed = write::write(&server, &request, kind, name, |old| {
        done = match (cas, old) {
            (None, _) => true,
            (Some(index), old) => old.is_some_and(|old| old.modified == index),
        };
        Ok(match old {
            Some(_) if done => Change::Drop,
            _ => Change::Nothing,
        })
    });
    removed.await?;
    match cas {
        Some(_) => Ok(Reply::truth(done)),
        None => Reply::json(&json!({})),
    }
}

/// Puts an entry right that was made here, and says what is wrong with it.
///
/// # Errors
/// Consul's sentence.
pub(crate) fn made(kind: &str, mut entry: Value) -> Result<Value, String> {
    let fields = kinds::find(kind).map_or(&[][..], |kind| kind.fields);
    entry = schema::read(&entry, fields)?;
    valid::settle(kind, &mut entry)?;
    valid::check(kind, &entry)?;
    Ok(entry)
}

/// Reads an entry and says what is wrong with it, as a request that puts it is judged before anything is written.
///
/// # Errors
/// Consul's sentence.
pub(crate) fn judge(body: &Value) -> Result<(), String> {
    let (kind, entry) = read(body)?;
    valid::check(kind.name, &entry)
}
