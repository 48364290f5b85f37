//! `/v1/query/*`: prepared queries. A definition is kept as JSON under `query/<id>` among the Consul objects; its name
//! under `query-name/<name>`, so that no two have the same.

use crate::error::Failure;
use crate::read::Shown;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::sight::Sight;
use crate::watch::Topic;
use crate::wire::{Consistency, PreparedQuery, ServiceEntry};
use bytes::Bytes;
use portolan_catalog::{
    Command, Expect, Key, KeyRange, Keyspace, LeaseId, Op, Put, Record, Refusal, SessionId, State,
    Write, name::read_flat,
};
use portolan_listener::{Action, Resource};
use rand::seq::SliceRandom;
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

const SPACE: Keyspace = Keyspace::ConsulObjects;
const DEFINITIONS: &str = "query/";
const NAMES: &str = "query-name/";

fn not_found() -> Failure {
    Failure::missing("Query not found")
}

fn definition_key(id: &str) -> Key {
    Key::from(format!("{DEFINITIONS}{id}").as_str())
}

fn name_key(name: &str) -> Key {
    Key::from(format!("{NAMES}{}", name.to_ascii_lowercase()).as_str())
}

fn decode(record: &Record) -> Option<PreparedQuery> {
    PreparedQuery::of(&serde_json::from_slice(&record.bytes()).ok()?).ok()
}

/// The definition that a change is about.
///
/// # Errors
/// 500, as Consul's servers say it, when there is none.
fn existing(state: &State, id: &str) -> Result<PreparedQuery, Failure> {
    state
        .record(SPACE, &definition_key(id))
        .and_then(|record| decode(record))
        .ok_or_else(|| {
            Failure::server(format!("Cannot modify non-existent prepared query: '{id}'"))
        })
}

/// A definition as it is shown: what was sent, and its indexes.
fn shown_definition(query: &PreparedQuery, record: &Record) -> Result<Value, Failure> {
    let mut value =
        serde_json::to_value(query).map_err(|error| Failure::server(error.to_string()))?;
    value["CreateIndex"] = json!(record.created.0);
    value["ModifyIndex"] = json!(record.modified.0);
    Ok(value)
}

/// POST /v1/query
pub(crate) async fn create(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    let mut query = PreparedQuery::of(&request.json_object().await?)?;
    may(&request, Action::Write, &query.name)?;
    if !query.id.is_empty() {
        return Err(Failure::server(
            "ID must be empty when creating a new prepared query",
        ));
    }
    if let Some(why) = query.refused() {
        return Err(Failure::server(why));
    }
    query.id = Uuid::from_bytes(portolan_environment::uuid()).to_string();
    let mut ops = Vec::new();
    if !query.name.is_empty() {
        ops.push(put(
            &query,
            name_key(&query.name),
            query.id.clone().into(),
            Expect::Absent,
        )?);
    }
    ops.push(store(&query)?);
    write(&server, &request, ops, &query).await?;
    Reply::json(&json!({"ID": query.id}))
}

/// PUT /v1/query/:id
pub(crate) async fn update(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    let id = request.named("id", "Missing query ID")?;
    let mut query = PreparedQuery::of(&request.json_object().await?)?;
    request.listed()?;
    query.id.clone_from(&id);
    let latest = server.state_for(Consistency::Consistent).await?;
    let old = existing(&latest, &id)?;
    drop(latest);
    may(&request, Action::Write, &old.name)?;
    may(&request, Action::Write, &query.name)?;
    if let Some(why) = query.refused() {
        return Err(Failure::server(why));
    }
    let mut ops = Vec::new();
    if !old.name.eq_ignore_ascii_case(&query.name) {
        if !old.name.is_empty() {
            ops.push(Op::Delete {
                space: SPACE,
                range: KeyRange::One(name_key(&old.name)),
                expect: Expect::Any,
            });
        }
        if !query.name.is_empty() {
            ops.push(put(
                &query,
                name_key(&query.name),
                query.id.clone().into(),
                Expect::Absent,
            )?);
        }
    }
    ops.push(store(&query)?);
    write(&server, &request, ops, &query).await?;
    Ok(Reply::empty())
}

fn store(query: &PreparedQuery) -> Result<Op, Failure> {
    let bytes = serde_json::to_vec(query).map_err(|error| Failure::server(error.to_string()))?;
    put(query, definition_key(&query.id), bytes.into(), Expect::Any)
}

/// A put that goes with the session the query is bound to, if it is bound to one.
fn put(query: &PreparedQuery, key: Key, value: Bytes, expect: Expect) -> Result<Op, Failure> {
    let mut put = Put::new(SPACE, key, value);
    put.quiet = true;
    put.expect = expect;
    if !query.session.is_empty() {
        let session = SessionId::parse(&query.session)
            .ok_or_else(|| Failure::server(format!("invalid session {:?}", query.session)))?;
        put.lease = Some(LeaseId::Session(session));
    }
    Ok(Op::Put(Box::new(put)))
}

async fn write(
    server: &Server,
    request: &Request,
    ops: Vec<Op>,
    query: &PreparedQuery,
) -> Result<(), Failure> {
    let command = Command::Write(Write {
        then: ops,
        ..Write::default()
    });
    match server.propose(request, command).await?.outcome {
        Ok(_) => Ok(()),
        Err(Refusal::Exists) => Err(Failure::server(format!(
            "name {:?} aliases an existing query name",
            query.name
        ))),
        Err(Refusal::NoLease) => Err(Failure::server(format!(
            "invalid session {:?}",
            query.session
        ))),
        Err(refusal) => Err(refusal.into()),
    }
}

/// DELETE /v1/query/:id
pub(crate) async fn delete(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let id = request.named("id", "Missing query ID")?;
    request.listed()?;
    let latest = server.state_for(Consistency::Consistent).await?;
    let query = existing(&latest, &id)?;
    drop(latest);
    may(&request, Action::Write, &query.name)?;
    let remove = |key: Key| Op::Delete {
        space: SPACE,
        range: KeyRange::One(key),
        expect: Expect::Any,
    };
    let mut ops = vec![remove(definition_key(&id))];
    if !query.name.is_empty() {
        ops.push(remove(name_key(&query.name)));
    }
    write(&server, &request, ops, &query).await?;
    Ok(Reply::empty())
}

/// GET /v1/query
pub(crate) async fn list(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.listed()?;
    let range = KeyRange::prefix(DEFINITIONS.as_bytes());
    server
        .watched(&request, &Topic::Records(SPACE, range.clone()), |shown| {
            let mut rows = Vec::new();
            for (_, record) in shown.state.range(SPACE, &range) {
                if let Some(query) = decode(record).filter(|query| listed(shown, query)) {
                    rows.push(shown_definition(&redacted(shown, query), record)?);
                }
            }
            Reply::json(&rows)
        })
        .await
}

/// GET /v1/query/:id
pub(crate) async fn get(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let id = request.named("id", "Missing query ID")?;
    request.listed()?;
    let range = KeyRange::One(definition_key(&id));
    server
        .watched(&request, &Topic::Records(SPACE, range), |shown| match shown
            .state
            .record(SPACE, &definition_key(&id))
        {
            Some(record) => match decode(record) {
                Some(query) => {
                    may(&request, Action::Read, &query.name)?;
                    Reply::json(&[shown_definition(&redacted(shown, query), record)?])
                }
                None => Err(Failure::server("the stored query cannot be read")),
            },
            None => Ok(not_found().into()),
        })
        .await
}

/// The definition an id or a name stands for: an id, an exact name, else the template with the longest prefix, filled in.
fn resolve(state: &State, id_or_name: &str) -> Option<PreparedQuery> {
    if let Some(query) = state
        .record(SPACE, &definition_key(id_or_name))
        .and_then(|record| decode(record))
    {
        return Some(query);
    }
    let range = KeyRange::prefix(DEFINITIONS.as_bytes());
    let mut best: Option<PreparedQuery> = None;
    for query in state
        .range(SPACE, &range)
        .filter_map(|(_, record)| decode(record))
    {
        let template = !query.template.kind.is_empty();
        if !template && query.name.eq_ignore_ascii_case(id_or_name) && !query.name.is_empty() {
            return Some(query);
        }
        let prefix = id_or_name
            .get(..query.name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(&query.name));
        if template
            && prefix
            && best
                .as_ref()
                .is_none_or(|best| best.name.len() < query.name.len())
        {
            best = Some(query);
        }
    }
    best.map(|query| query.filled_for(id_or_name))
}

/// GET /v1/query/:idOrName/execute
pub(crate) async fn execute(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let name = request.named("id", "Missing query ID")?;
    request.listed()?;
    let options = request.read_options()?;
    let params = request.params();
    let limit = match params.get("limit") {
        "" => 0,
        text => text.parse::<i64>().map_err(|_| {
            Failure::server(format!(
                "Bad limit: strconv.Atoi: parsing {text:?}: invalid syntax"
            ))
        })?,
    };
    let connect = params.flag("connect")?;
    let state = server.state_for(options.consistency).await?;
    let query = resolve(&state, &name).ok_or_else(not_found)?;
    let seen = token_sight(&server, &request, &query)?;
    let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0);
    let near = match params.get("near") {
        "" => &query.service.near,
        near => near,
    };
    let here = |entries: &[ServiceEntry<'_>]| nearest(&server, &request, near, entries);
    let sight = seen.as_deref();
    let shown = Shown {
        sight,
        ..server.shown(&state)
    };
    let mut nodes = executed(shown, &query, connect, limit, here)?;
    let (mut answered, mut failovers) = (server.clone(), 0);
    for datacenter in failover(&server, &query) {
        if !nodes.is_empty() {
            break;
        }
        failovers += 1;
        if let Ok(other) = server.elsewhere(&datacenter) {
            let state = other.snapshot();
            let shown = Shown {
                sight,
                ..other.shown(&state)
            };
            nodes = executed(shown, &query, connect, limit, |_| None)?;
            answered = other;
        }
    }
    let reply = Reply::json(&json!({
        "Service": query.service.service,
        "Nodes": nodes,
        "DNS": {"TTL": query.dns.ttl},
        "Datacenter": answered.info.datacenter,
        "Failovers": failovers,
    }))?;
    let reply = reply.seen_through(seen.as_deref());
    Ok(reply.fresh(server.freshness(&options, state.revision().0)))
}

/// The rows a query selects in one datacenter: one that `first` picks, and the others in any order.
fn executed(
    shown: Shown<'_>,
    query: &PreparedQuery,
    connect: bool,
    limit: Option<usize>,
    first: impl Fn(&[ServiceEntry<'_>]) -> Option<usize>,
) -> Result<Vec<Value>, Failure> {
    let mut nodes = healthy(shown, query, connect);
    nodes.shuffle(&mut portolan_environment::generator());
    if let Some(at) = first(&nodes) {
        nodes.swap(0, at);
    }
    nodes.truncate(limit.unwrap_or(usize::MAX));
    let rows = nodes.iter().map(serde_json::to_value);
    rows.collect::<Result<_, _>>()
        .map_err(|error| Failure::server(error.to_string()))
}

/// The datacenters where a query goes on when nothing is found here, in order: the nearest ones, then those it names. Datacenters that
/// nobody knows are passed over, and so are peers, of which there are none.
fn failover(server: &Server, query: &PreparedQuery) -> Vec<String> {
    let failover = &query.service.failover;
    let known = &server.info.datacenters;
    let nearest = known.by_distance().into_iter();
    let nearest = nearest.take(usize::try_from(failover.nearest_n).unwrap_or(0));
    let targets = failover.targets.iter().flatten();
    let named = failover.datacenters.iter().flatten();
    let named = named.chain(targets.map(|target| &target.datacenter));
    let mut places: Vec<String> = nearest.map(|one| one.name().to_string()).collect();
    for one in named.filter_map(|name| known.find(name)) {
        if !places.iter().any(|place| **place == **one.name()) {
            places.push(one.name().to_string());
        }
    }
    places
}

/// What a query sees: what its own token may, if it has one, else what whoever asks may.
fn token_sight(
    server: &Server,
    request: &Request,
    query: &PreparedQuery,
) -> Result<Option<Arc<Sight>>, Failure> {
    let access = server.info.access.as_ref();
    let Some(access) = access.filter(|_| !query.token.is_empty()) else {
        return Ok(request.sight.clone());
    };
    let principal = access
        .identify(&query.token)
        .ok_or_else(|| Failure::new(http::StatusCode::FORBIDDEN, "ACL not found"))?;
    Ok(Sight::of(&request.caller.clone().identified(principal)))
}

/// Asks for a query by its name. One without a name is known to nobody but those who were told its id.
fn may(request: &Request, action: Action, name: &str) -> Result<(), Failure> {
    match name {
        "" => request.listed(),
        name => request.allow(action, Resource::Query(name)),
    }
}

/// Whether a list shows a query: one without a name only to whoever manages access.
fn listed(shown: Shown<'_>, query: &PreparedQuery) -> bool {
    match &*query.name {
        "" => shown.sees(Resource::Access),
        name => shown.sees(Resource::Query(name)),
    }
}

/// A query without its token, for whoever does not manage access.
fn redacted(shown: Shown<'_>, mut query: PreparedQuery) -> PreparedQuery {
    if !query.token.is_empty() && !shown.manages() {
        "<hidden>".clone_into(&mut query.token);
    }
    query
}

/// The place of the instance on the node that others should be near to: `_agent` is this server's, `_ip` that of the
/// client's address. No times are measured, so all the others are equally far.
fn nearest(
    server: &Server,
    request: &Request,
    near: &str,
    entries: &[ServiceEntry<'_>],
) -> Option<usize> {
    let client = request.caller.peer().ip().to_string();
    entries.iter().position(|entry| match near {
        "" => false,
        "_agent" => entry.node.node.eq_ignore_ascii_case(&server.info.node_name),
        "_ip" => entry.node.address == client,
        name => entry.node.node.eq_ignore_ascii_case(name),
    })
}

/// The instances a query selects. Critical ones never; warning ones unless only passing ones are wanted.
fn healthy<'a>(shown: Shown<'a>, query: &PreparedQuery, connect: bool) -> Vec<ServiceEntry<'a>> {
    let service = &query.service;
    let rows: Vec<_> = if service.connect || connect {
        shown.connected(&service.service).collect()
    } else {
        shown.rows_of(&read_flat(&service.service))
    };
    let ignored = service.ignore_check_ids.as_deref().unwrap_or_default();
    rows.into_iter()
        .filter(|row| {
            service.tags.iter().flatten().all(|tag| {
                let (wanted, tag) = tag
                    .strip_prefix('!')
                    .map_or((true, tag.as_str()), |tag| (false, tag));
                row.tags.iter().any(|have| have.eq_ignore_ascii_case(tag)) == wanted
            })
        })
        .map(|row| shown.entry(row))
        .filter(|entry| {
            let node_meta = service.node_meta.iter().flatten();
            let service_meta = service.service_meta.iter().flatten();
            node_meta
                .clone()
                .all(|(key, value)| entry.node.meta.get(key) == Some(value))
                && service_meta
                    .clone()
                    .all(|(key, value)| entry.service.meta.get(key) == Some(value))
        })
        .filter(|entry| {
            entry
                .checks
                .iter()
                .filter(|check| !ignored.iter().any(|id| *id == check.check_id))
                .all(|check| {
                    check.status == "passing"
                        || (check.status == "warning" && !service.only_passing)
                })
        })
        .collect()
}

/// GET /v1/query/:idOrName/explain
pub(crate) async fn explain(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let name = request.named("id", "Missing query ID")?;
    request.listed()?;
    let options = request.read_options()?;
    let state = server.state_for(Consistency::Leader).await?;
    let query = resolve(&state, &name).ok_or_else(not_found)?;
    may(&request, Action::Read, &query.name)?;
    let query = redacted(server.shown_to(&request, &state), query);
    Ok(
        Reply::json(&json!({"Query": query}))?
            .fresh(server.freshness(&options, state.revision().0)),
    )
}
