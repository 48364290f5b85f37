//! `/v1/event/*`: user events. The last 256 are kept among the Consul objects.

use crate::error::Failure;
use crate::read::Shown;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::watch::Topic;
use crate::wire::Params;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use portolan_catalog::{Command, Expect, Key, KeyRange, Keyspace, Op, Put, Write};
use portolan_listener::{Action, Resource};
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

const SPACE: Keyspace = Keyspace::ConsulObjects;
const EVENTS: &str = "event/";
const KEPT: usize = 256;
/// The largest payload, as gossip carries it in Consul.
const PAYLOAD_BYTES: usize = 512;

/// The largest compiled filter.
const FILTER_BYTES: usize = 256 * 1024;

fn range() -> KeyRange {
    KeyRange::prefix(EVENTS.as_bytes())
}

/// PUT /v1/event/fire/:name
pub(crate) async fn fire(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    let name = request.named("name", "Missing name")?;
    request.allow(Action::Write, Resource::Event(&name))?;
    let payload = request.body(PAYLOAD_BYTES).await?;
    let params = request.params();
    if let Some(why) = refused(&params) {
        return Err(Failure::server(why));
    }
    let state = server.snapshot();
    let id = Uuid::from_bytes(portolan_environment::uuid());
    let event = json!({
        "ID": id.to_string(),
        "Name": name,
        "Payload": if payload.is_empty() { Value::Null } else { json!(STANDARD.encode(&payload)) },
        "NodeFilter": params.get("node"),
        "ServiceFilter": params.get("service"),
        "TagFilter": params.get("tag"),
        "Version": 1,
        "LTime": state.revision().0,
    });
    // Keys sort by age, so the oldest ones are the first.
    let key = format!("{EVENTS}{:016x}-{id}", state.revision().0);
    let range = range();
    let surplus = state.range(SPACE, &range).count().saturating_sub(KEPT - 1);
    let mut ops: Vec<Op> = state
        .range(SPACE, &range)
        .take(surplus)
        .map(|(key, _)| Op::Delete {
            space: SPACE,
            range: KeyRange::One(key.clone()),
            expect: Expect::Any,
        })
        .collect();
    drop(state);
    ops.push(Op::Put(Box::new(Put::new(
        SPACE,
        Key::from(key.as_str()),
        Bytes::from(event.to_string()),
    ))));
    match server
        .propose(
            &request,
            Command::Write(Write {
                then: ops,
                ..Write::default()
            }),
        )
        .await?
        .outcome
    {
        Ok(_) => Reply::json(&event),
        Err(refusal) => Err(refusal.into()),
    }
}

/// What is wrong with the filters of an event, in Consul's words.
fn refused(params: &Params<'_>) -> Option<String> {
    if !params.get("tag").is_empty() && params.get("service").is_empty() {
        return Some("Cannot provide tag filter without service filter".to_owned());
    }
    ["node", "service", "tag"].into_iter().find_map(|filter| {
        let error = regex::RegexBuilder::new(params.get(filter))
            .size_limit(FILTER_BYTES)
            .build()
            .err()?;
        Some(format!("Invalid {filter} filter: {error}"))
    })
}

/// GET /v1/event/list
pub(crate) async fn list(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let name = request.params().get("name").to_owned();
    request.listed()?;
    server
        .watched_until_different(
            &request,
            &Topic::Records(SPACE, range()),
            |shown| index(&events(shown, &name)),
            |shown| Reply::json(&events(shown, &name)),
        )
        .await
}

fn events(shown: Shown<'_>, name: &str) -> Vec<Value> {
    let range = range();
    shown
        .state
        .range(SPACE, &range)
        .filter_map(|(_, record)| serde_json::from_slice::<Value>(&record.bytes()).ok())
        .filter(|event| name.is_empty() || event["Name"] == name)
        .filter(|event| shown.sees(Resource::Event(event["Name"].as_str().unwrap_or_default())))
        .collect()
}

/// The index is computed from the newest event's id, so that clients can compute it too.
fn index(events: &[Value]) -> u64 {
    let id = events
        .last()
        .and_then(|event| event["ID"].as_str())
        .and_then(|id| Uuid::parse_str(id).ok());
    id.map_or(1, |id| {
        let (high, low) = id.as_u64_pair();
        (high ^ low).max(1)
    })
}
