//! Feed -> lines: one JSON object per revision, for as long as the connection lasts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use portolan_api::{self as api, ChangeKind, Line};
use portolan_catalog::{Batch, Change, KeyRange, Keyspace, NodeName, Revision, Table};
use portolan_listener::{Action, Body, BoxError, Caller, Denied, Params, Request, Resource};
use portolan_registry::{Cut, Feed, NotThen, Registry, Selector};
use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::App;
use crate::as_of::print;
use crate::error::{Answer, Failure};
use crate::query::Query;
use crate::read::resource;
use crate::render::{Sight, admin_status, cause, check, entry, service_key};
use crate::reply::of;

/// A line at least this often, so that both sides know that the other is there.
const IDLE: Duration = Duration::from_secs(15);

/// How often it is looked whether whoever watches still may.
const LOOK: Duration = Duration::from_secs(2);

/// `GET /v1/watch`.
pub(crate) async fn watch(app: Arc<App>, request: Request, _: Params) -> Answer {
    let caller = Caller::of(&request);
    caller.allow(Action::Read, Resource::Public)?;
    let known = [
        "service",
        "namespace",
        "group",
        "node",
        "keyspace",
        "prefix",
        "after",
    ];
    let query = Query::of(&request, &known)?;
    let selector = selector(&query)?;
    allowed(&caller, &selector)?;
    let current = app.registry.snapshot().revision();
    let after = query.number("after")?.map_or(current, Revision);
    // Whoever has seen more than there is watched another catalog, or this one before it was restored: silence would be the wrong answer.
    if after > current {
        return Err(NotThen::Future(current).into());
    }
    let feed = app.registry.follow(vec![selector.clone()], after)?;
    let first = VecDeque::from([line(&Line::Start { revision: after.0 })]);
    let now = Instant::now();
    let watcher = Watcher {
        // Without access control nothing is ever taken back.
        look: (caller.restricted() || caller.principal().name().is_some()).then_some(now + LOOK),
        idle: now + IDLE,
        _open: Open::counted(&app.watches),
        caller,
        registry: app.registry.clone(),
        selector,
        feed,
        ready: first,
        last: after,
        over: false,
    };
    let stream = futures_util::stream::unfold(watcher, |mut watcher| async move {
        watcher
            .next()
            .await
            .map(|line| (Ok::<Bytes, BoxError>(line), watcher))
    });
    Ok(of(
        StatusCode::OK,
        "application/x-ndjson",
        Body::stream(stream),
    ))
}

fn selector(query: &Query) -> Result<Selector, Failure> {
    let given = [
        query.get("service"),
        query.get("node"),
        query.get("keyspace"),
    ];
    if given.iter().flatten().count() > 1 {
        return Err(Failure::bad("watch one of service, node and keyspace"));
    }
    Ok(match given {
        [Some(service), _, _] => Selector::Service(service_key(
            service,
            query.get("namespace"),
            query.get("group"),
        )),
        [_, Some(node), _] => Selector::Node(NodeName::new(node)),
        [_, _, Some(name)] => {
            let space = Keyspace::ALL
                .into_iter()
                .find(|space| space.as_str() == name);
            let space = space
                .ok_or_else(|| Failure::not_found(format!("there is no keyspace {name:?}")))?;
            Selector::Range(
                space,
                KeyRange::prefix(query.get("prefix").unwrap_or("").as_bytes()),
            )
        }
        _ if query.get("prefix").is_some() => return Err(Failure::bad("prefix needs a keyspace")),
        _ => Selector::Everything,
    })
}

/// Whether somebody may watch what is selected.
fn allowed(caller: &Caller, selector: &Selector) -> Result<(), Denied> {
    match selector {
        Selector::Service(key) => caller.allow(Action::Watch, resource(key)),
        Selector::Node(name) => caller.allow(Action::Watch, Resource::Node(name.as_str())),
        Selector::Range(space, range) => {
            let end: &[u8] = match range {
                KeyRange::Between(_, end) => end,
                _ => b"",
            };
            caller.allow(
                Action::Watch,
                Resource::Range {
                    keyspace: space.as_str(),
                    start: range.start(),
                    end,
                },
            )
        }
        Selector::Everything | Selector::Key(..) | Selector::Table(_) => {
            caller.allow(Action::Watch, Resource::Operator)
        }
    }
}

/// One open watch among those that are counted.
struct Open(Gauge);

impl Open {
    fn counted(watches: &Gauge) -> Open {
        watches.inc();
        Open(watches.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

struct Watcher {
    _open: Open,
    caller: Caller,
    registry: Registry,
    selector: Selector,
    feed: Feed,
    /// When it is looked next whether the watch is still allowed.
    look: Option<Instant>,
    /// When a line is due.
    idle: Instant,
    ready: VecDeque<Bytes>,
    last: Revision,
    over: bool,
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                self.idle = Instant::now() + IDLE;
                return Some(line);
            }
            if self.over {
                return None;
            }
            let look = self.look;
            let due = sleep_until(look.map_or(self.idle, |look| look.min(self.idle)));
            tokio::select! {
                biased;
                () = self.caller.draining() => {
                    self.end("stopping", "the server is stopping; watch again from this revision".into());
                }
                batch = self.feed.next() => self.take(batch),
                () = due => match look.filter(|look| *look <= self.idle) {
                    Some(_) => self.look_again(),
                    None => {
                        self.last = self.last.max(self.feed.frontier());
                        self.ready.push_back(line(&Line::Idle { revision: self.last.0 }));
                    }
                },
            }
        }
    }

    /// A token may be gone, or allow less: what it was allowed before goes on no longer.
    fn look_again(&mut self) {
        self.look = Some(Instant::now() + LOOK);
        if let Err(denied) = allowed(&self.caller, &self.selector) {
            self.end("denied", denied.to_string());
        }
    }

    fn end(&mut self, code: &str, error: String) {
        self.over = true;
        let end = Line::End {
            revision: self.last.0,
            code: code.to_owned(),
            error,
        };
        self.ready.push_back(line(&end));
    }

    fn take(&mut self, batch: Result<Arc<Batch>, Cut>) {
        match batch {
            Ok(batch) => {
                self.last = batch.revision;
                let changes = self.changes(&batch);
                if !changes.is_empty() {
                    self.ready.push_back(line(&Line::Event {
                        revision: batch.revision.0,
                        at: print(batch.at),
                        cause: cause(&batch.cause),
                        changes,
                    }));
                }
            }
            Err(cut) => {
                self.last = cut.after;
                self.end(
                    "compacted",
                    format!(
                        "this reader was too slow: the history begins at revision {}",
                        cut.floor
                    ),
                );
            }
        }
    }

    fn changes(&self, batch: &Batch) -> Vec<api::Change> {
        let state = self.registry.snapshot();
        let sight = Sight {
            state: &state,
            registry: None,
        };
        batch
            .changes
            .iter()
            .filter(|change| self.wanted(change))
            .filter(|change| self.allowed(change))
            .map(|change| render(&sight, change))
            .collect()
    }

    /// A batch is delivered whole; a reader of one service or range wants its part.
    fn wanted(&self, change: &Change) -> bool {
        match &self.selector {
            Selector::Service(service) => match change {
                Change::Instance { before, after } => [before, after]
                    .into_iter()
                    .flatten()
                    .any(|row| row.service == *service),
                Change::Endpoint { before, after } => [before, after]
                    .into_iter()
                    .flatten()
                    .any(|row| row.key.service == *service),
                Change::Service { before, after } => [before, after]
                    .into_iter()
                    .flatten()
                    .any(|row| row.key == *service),
                Change::Check { .. } | Change::Node { .. } => true,
                Change::Namespace { .. } | Change::Session { .. } | Change::Record { .. } => false,
            },
            selector @ (Selector::Key(..) | Selector::Range(..)) => selector.matches_change(change),
            Selector::Table(table) => change.table() == *table,
            Selector::Node(_) | Selector::Everything => true,
        }
    }

    /// Each event is asked for by itself: permission to watch one thing is none to see another.
    fn allowed(&self, change: &Change) -> bool {
        let allowed = |resource| self.caller.may(Action::Watch, resource);
        match change {
            Change::Instance { before, after } => after
                .as_ref()
                .or(before.as_ref())
                .is_none_or(|row| allowed(resource(&row.service))),
            Change::Endpoint { before, after } => after
                .as_ref()
                .or(before.as_ref())
                .is_none_or(|row| allowed(resource(&row.key.service))),
            Change::Service { before, after } => after
                .as_ref()
                .or(before.as_ref())
                .is_none_or(|row| allowed(resource(&row.key))),
            Change::Record { space, key, .. } if space.hides(key) => false,
            Change::Record { space, key, .. } => allowed(Resource::Record {
                keyspace: space.as_str(),
                key,
            }),
            Change::Node { .. } | Change::Check { .. } => allowed(Resource::Nodes),
            Change::Namespace { .. } => allowed(Resource::Services),
            Change::Session { .. } => allowed(Resource::Nodes),
        }
    }
}

fn line(line: &Line) -> Bytes {
    let mut bytes = serde_json::to_vec(line).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}

fn value(row: impl Serialize) -> Option<Value> {
    serde_json::to_value(row).ok()
}

fn sides<T>(
    before: &Option<Arc<T>>,
    after: &Option<Arc<T>>,
    show: impl Fn(&T) -> Option<Value>,
) -> (Option<Value>, Option<Value>) {
    (
        before.as_deref().and_then(&show),
        after.as_deref().and_then(&show),
    )
}

fn render(sight: &Sight<'_>, change: &Change) -> api::Change {
    let kind = match change.presence() {
        (false, _) => ChangeKind::Created,
        (true, true) => ChangeKind::Changed,
        (true, false) => ChangeKind::Removed,
    };
    let table = match change.table() {
        Table::Instances => "instance",
        Table::Endpoints => "endpoint",
        Table::Services => "service",
        Table::Namespaces => "namespace",
        Table::Nodes => "node",
        Table::Checks => "check",
        Table::Sessions => "session",
        Table::Records(space) => space.as_str(),
    };
    let (row, service, (before, after)) = match change {
        Change::Instance { before, after } => {
            let row = after.as_ref().or(before.as_ref());
            (
                row.map(|row| row.key.to_string()),
                row.map(|row| row.service.to_string()),
                sides(before, after, |row| value(sight.instance(row))),
            )
        }
        Change::Endpoint { before, after } => {
            let row = after.as_ref().or(before.as_ref());
            let show = |row: &portolan_catalog::EndpointRow| {
                let members: Vec<String> = row
                    .members
                    .iter()
                    .map(|member| member.key.to_string())
                    .collect();
                Some(json!({ "health": row.health.as_str(), "members": members }))
            };
            (
                row.map(|row| row.key.host.with_port(row.key.port)),
                row.map(|row| row.key.service.to_string()),
                sides(before, after, show),
            )
        }
        Change::Service { before, after } => {
            let row = after.as_ref().or(before.as_ref());
            let show = |row: &portolan_catalog::Service| {
                Some(json!({ "name": &*row.spelling, "label": &*row.label }))
            };
            (
                row.map(|row| row.key.to_string()),
                row.map(|row| row.key.to_string()),
                sides(before, after, show),
            )
        }
        Change::Namespace { before, after } => {
            let row = after.as_ref().or(before.as_ref());
            let show = |row: &portolan_catalog::Namespace| {
                Some(json!({ "name": &*row.spelling, "title": &*row.title }))
            };
            (
                row.map(|row| row.name.to_string()),
                None,
                sides(before, after, show),
            )
        }
        Change::Node { before, after } => {
            let row = after.as_ref().or(before.as_ref());
            let show = |row: &portolan_catalog::Node| {
                let admin = row.admin.as_ref().map(|admin| admin_status(admin.status));
                Some(
                    json!({ "name": &*row.spelling, "address": row.address.to_string(), "id": &*row.id, "admin": admin }),
                )
            };
            (
                row.map(|row| row.name.to_string()),
                None,
                sides(before, after, show),
            )
        }
        Change::Check { before, after } => {
            let row = after.as_ref().or(before.as_ref());
            let name = row.map(|row| format!("{}/{}", row.key.node(), row.key.id()));
            let instance = row
                .and_then(|row| row.instance.as_ref())
                .and_then(|key| sight.state.instance(key));
            (
                name,
                instance.map(|row| row.service.to_string()),
                sides(before, after, |row| value(check(row))),
            )
        }
        Change::Session { before, after } => {
            let row = after.as_ref().or(before.as_ref());
            let show = |row: &portolan_catalog::Session| {
                Some(json!({ "node": row.node.as_str(), "name": &*row.name, "ttl_ms": row.ttl_ms }))
            };
            (
                row.map(|row| row.id.to_string()),
                None,
                sides(before, after, show),
            )
        }
        Change::Record {
            space,
            key,
            before,
            after,
        } => (
            Some(String::from_utf8_lossy(key).into_owned()),
            None,
            sides(before, after, |row| value(entry(*space, key, row, true))),
        ),
    };
    api::Change {
        kind,
        table: table.to_owned(),
        row: row.unwrap_or_default(),
        service,
        before,
        after,
    }
}
