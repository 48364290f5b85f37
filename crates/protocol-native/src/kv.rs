//! Records: `/v1/kv/{keyspace}` and `/v1/kv/{keyspace}/{key}`.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, HeaderValue};
use http::{Method, StatusCode};
use portolan_api as api;
use portolan_catalog::layout::{self, LayoutState};
use portolan_catalog::{
    Command, Done, Expect, Key, KeyRange, Keyspace, Op, OpDone, Put, Registration, Revision, State,
    Write, Written,
};
use portolan_listener::{Action, Caller, Params, Request, Resource, Response, read_body};

use crate::App;
use crate::as_of::{self, Rows};
use crate::error::{Answer, Failure};
use crate::query::{Query, decoded_bytes};
use crate::render::entry;
use crate::reply::{json, of};
use crate::write::propose;

/// Records in one answer unless the request says otherwise.
const ROWS: u64 = 1_000;
/// And at most.
const MOST_ROWS: u64 = 100_000;

fn space(params: &Params) -> Result<Keyspace, Failure> {
    let name = params.raw("keyspace");
    Keyspace::ALL
        .into_iter()
        .find(|space| space.as_str() == name)
        .ok_or_else(|| {
            let known: Vec<&str> = Keyspace::ALL.iter().map(|space| space.as_str()).collect();
            Failure::not_found(format!(
                "there is no keyspace {name:?}, there is {}",
                known.join(", ")
            ))
        })
}

/// Those whose records are plain keys and values; the others' rows belong to their protocol.
fn writable(space: Keyspace) -> Result<(), Failure> {
    match space {
        Keyspace::Etcd | Keyspace::ConsulKv => Ok(()),
        Keyspace::ConsulObjects
        | Keyspace::Znodes
        | Keyspace::NacosConfig
        | Keyspace::NacosConfigHistory
        | Keyspace::Kubernetes
        | Keyspace::Settings => Err(Failure::bad(format!(
            "keyspace {} can only be read here; etcd and consul-kv can be written",
            space.as_str()
        ))),
    }
}

/// `GET /v1/kv/{keyspace}`.
pub(crate) async fn list(app: Arc<App>, request: Request, params: Params) -> Answer {
    let caller = Caller::of(&request);
    let query = Query::of(&request, &["prefix", "limit", "keys", "at"]);
    let prefix = query.as_ref().ok().and_then(|query| query.get("prefix"));
    caller.allow(
        Action::Read,
        Resource::Prefix {
            keyspace: params.raw("keyspace"),
            prefix: prefix.unwrap_or("").as_bytes(),
        },
    )?;
    let space = space(&params)?;
    let query = query?;
    let prefix = query.get("prefix").unwrap_or("").as_bytes();
    let limit = query.number("limit")?.unwrap_or(ROWS).min(MOST_ROWS);
    let range = KeyRange::prefix(prefix);
    let rows = Rows::Records(space, range.clone());
    let state = as_of::state(&app.registry, &query, rows).await?;
    let allowed = |key: &Key| {
        let resource = Resource::Record {
            keyspace: space.as_str(),
            key,
        };
        !space.hides(key) && caller.may(Action::Read, resource)
    };
    let count = state
        .range(space, &range)
        .filter(|(key, _)| allowed(key))
        .count();
    let entries = state
        .range(space, &range)
        .filter(|(key, _)| allowed(key))
        .take(usize::try_from(limit).unwrap_or(usize::MAX))
        .map(|(key, row)| entry(space, key, row, !query.has("keys")))
        .collect();
    Ok(json(&api::KvList {
        revision: state.revision().0,
        count,
        entries,
    }))
}

/// `GET`, `PUT` and `DELETE /v1/kv/{keyspace}/{key}`.
pub(crate) async fn one(app: Arc<App>, request: Request, params: Params) -> Answer {
    let key = Key::from(&decoded_bytes(params.raw("key"))[..]);
    let caller = Caller::of(&request);
    let action = if *request.method() == Method::GET || *request.method() == Method::HEAD {
        Action::Read
    } else {
        Action::Write
    };
    caller.allow(
        action,
        Resource::Record {
            keyspace: params.raw("keyspace"),
            key: &key,
        },
    )?;
    let space = space(&params)?;
    if space.hides(&key) {
        return Err(missing(&key));
    }
    match *request.method() {
        Method::PUT => put(&app, &caller, request, space, key).await,
        Method::DELETE => delete(&app, &caller, &request, space, key).await,
        _ => {
            let query = Query::of(&request, &["raw", "at"])?;
            get(&app, &query, space, &key).await
        }
    }
}

async fn get(app: &App, query: &Query, space: Keyspace, key: &Key) -> Answer {
    let rows = Rows::Records(space, KeyRange::One(key.clone()));
    let state = as_of::state(&app.registry, query, rows).await?;
    let row = state.record(space, key).ok_or_else(|| missing(key))?;
    if query.has("raw") {
        return Ok(raw(row.bytes()));
    }
    Ok(json(&entry(space, key, row, true)))
}

/// The bytes of a value, in a way that no browser takes for a page.
fn raw(bytes: Bytes) -> Response {
    let mut response = of(StatusCode::OK, "application/octet-stream", bytes);
    response
        .headers_mut()
        .insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    response
}

fn missing(key: &Key) -> Failure {
    Failure::not_found(format!("there is no key \"{}\"", key.escape_ascii()))
}

async fn put(
    app: &App,
    caller: &Caller,
    mut request: Request,
    space: Keyspace,
    key: Key,
) -> Answer {
    writable(space)?;
    let query = Query::of(&request, &["expect", "flags"])?;
    let limit = match space {
        Keyspace::ConsulKv => 512 << 10,
        _ => app.context.limits().body_bytes,
    };
    let value = read_body(&mut request, limit).await?;
    if key.is_empty() {
        return Err(Failure::bad("the key is empty"));
    }
    let state = app.registry.snapshot();
    let mut put = Put::new(space, key.clone(), value.clone());
    let recognised = recognised(&state, space, &key, &value);
    put.recognised = recognised.into_iter().map(Arc::new).collect();
    put.quiet = space == Keyspace::ConsulKv;
    put.flags = query.number("flags")?.unwrap_or(0);
    put.expect = match query.number("expect")? {
        None => Expect::Any,
        Some(0) => Expect::Absent,
        Some(revision) => Expect::Modified(Revision(revision)),
    };
    let instance = put.recognised.first().map(|facts| facts.key.to_string());
    let command = Command::Write(Write::one(Op::Put(Box::new(put))));
    let (revision, _) = propose(app, caller, command).await?;
    Ok(json(&api::KvWritten {
        revision,
        records: 1,
        instance,
    }))
}

/// The instance in a value, so that a record written here is the same as one written through its own protocol.
fn recognised(state: &State, space: Keyspace, key: &Key, value: &[u8]) -> Option<Registration> {
    layout::recognise(state.layouts(), space, key, value)
        .map(|(_, facts)| facts)
        .filter(|facts| !state.is_own_service(&facts.service))
}

async fn delete(
    app: &App,
    caller: &Caller,
    request: &Request,
    space: Keyspace,
    key: Key,
) -> Answer {
    writable(space)?;
    let query = Query::of(request, &["prefix"])?;
    let range = if query.has("prefix") {
        KeyRange::prefix(&key)
    } else {
        KeyRange::One(key.clone())
    };
    let op = Op::Delete {
        space,
        range,
        expect: Expect::Any,
    };
    let (revision, done) = propose(app, caller, Command::Write(Write::one(op))).await?;
    let records = match done {
        Done::Written(Written { results, .. }) => results
            .iter()
            .map(|result| {
                if let OpDone::Deleted(rows) = result {
                    rows.len()
                } else {
                    0
                }
            })
            .sum(),
        _ => 0,
    };
    if records == 0 && !query.has("prefix") {
        return Err(missing(&key));
    }
    Ok(json(&api::KvWritten {
        revision,
        records,
        instance: None,
    }))
}

/// `GET /v1/layouts`.
pub(crate) async fn layouts(app: Arc<App>, request: Request, _: Params) -> Answer {
    Caller::of(&request).allow(Action::Read, Resource::Operator)?;
    Query::of(&request, &[])?;
    let state = app.registry.snapshot();
    let rows: Vec<api::Layout> = state
        .layouts()
        .map(|(name, row)| layout_row(&state, name, row))
        .collect();
    Ok(json(&rows))
}

fn layout_row(state: &State, name: &str, row: &LayoutState) -> api::Layout {
    let form = match row.form {
        layout::Form::Kitex => "kitex",
        layout::Form::Kratos => "kratos",
        layout::Form::GoZero { .. } => "go-zero",
        layout::Form::GrpcNaming { .. } => "grpc",
        layout::Form::Curator { .. } => "curator",
        layout::Form::Dubbo { .. } => "dubbo",
        layout::Form::Template(_) => "template",
    };
    let root = row.form.root();
    let below = KeyRange::prefix(root.as_bytes());
    api::Layout {
        name: name.to_owned(),
        form: form.to_owned(),
        keyspace: row.form.keyspace().as_str().to_owned(),
        records: state.count(row.form.keyspace(), &below),
        root,
        mode: mode(row.mode).to_owned(),
    }
}

/// Whether a layout derives.
pub(crate) fn mode(mode: layout::Mode) -> &'static str {
    match mode {
        layout::Mode::Off => "off",
        layout::Mode::Asleep => "asleep",
        layout::Mode::Awake => "awake",
    }
}
