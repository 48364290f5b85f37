//! What etcd's client port answers to plain HTTP: version, health and metrics.

use std::{fmt::Write, sync::Arc};

use http::{
    HeaderValue, Method, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use portolan_catalog::Keyspace;
use portolan_listener::{Action, Body, Caller, Params, Request, Resource, Response, text};

use crate::{alarm, app::App, cluster, wire::etcdserverpb::AlarmType};

/// A check of `/livez` and `/readyz`, and what it says when it fails.
const LIVE: &[&str] = &["serializable_read"];
const READY: &[&str] = &[
    "data_corruption",
    "serializable_read",
    "linearizable_read",
    "non_learner",
];

pub(crate) async fn version(app: Arc<App>, request: Request) -> Response {
    if let Err(answer) = may(&request, Resource::Public) {
        return *answer;
    }
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let (server, storage) = (
        quoted(&app.settings.version),
        quoted(&cluster::storage_version(&app.settings.version)),
    );
    let body =
        format!("{{\"etcdserver\":{server},\"etcdcluster\":{storage},\"storage\":{storage}}}");
    let mut response = Response::new(Body::from(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(crate) async fn health(app: Arc<App>, request: Request) -> Response {
    if let Err(answer) = may(&request, Resource::Public) {
        return *answer;
    }
    let query = request.uri().query().unwrap_or("");
    let excluded = values(query, "exclude");
    let serializable = values(query, "serializable")
        .first()
        .is_some_and(|value| *value == "true");
    let state = app.registry.snapshot();
    let alarm = alarm::all(&app, &state).into_iter().find_map(|alarm| {
        let kind = AlarmType::try_from(alarm.alarm)
            .unwrap_or_default()
            .as_str_name();
        (!excluded.contains(&kind)).then(|| format!("ALARM {kind}"))
    });
    let reason = match alarm {
        Some(alarm) => alarm,
        None if !serializable && !app.standing().has_leader => "RAFT NO LEADER".to_owned(),
        None => match app.state(serializable).await {
            Ok(_) => String::new(),
            Err(failure) => format!("RANGE ERROR:{}", failure.text),
        },
    };
    let healthy = reason.is_empty();
    let body = format!(
        "{{\"health\":\"{healthy}\",\"reason\":{}}}",
        serde_json::Value::from(reason)
    );
    if healthy {
        text(StatusCode::OK, body)
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, body + "\n")
    }
}

pub(crate) async fn live(app: Arc<App>, request: Request, params: Params) -> Response {
    checks(&app, &request, "livez", LIVE, params.get("check")).await
}

pub(crate) async fn ready(app: Arc<App>, request: Request, params: Params) -> Response {
    checks(&app, &request, "readyz", READY, params.get("check")).await
}

async fn checks(
    app: &App,
    request: &Request,
    of: &str,
    all: &[&'static str],
    one: Option<&str>,
) -> Response {
    if let Err(answer) = may(request, Resource::Public) {
        return *answer;
    }
    let query = request.uri().query().unwrap_or("");
    let excluded = values(query, "exclude");
    let chosen: Vec<_> = match one {
        Some(one) => all.iter().filter(|name| **name == one).collect(),
        None => all.iter().filter(|name| !excluded.contains(name)).collect(),
    };
    if one.is_some() && chosen.is_empty() {
        return not_found();
    }
    let (mut lines, mut fine) = (String::new(), true);
    for name in chosen {
        let _ = match failure(app, name).await {
            None => writeln!(lines, "[+]{name} ok"),
            Some(why) => {
                fine = false;
                writeln!(lines, "[-]{name} failed: {why}")
            }
        };
    }
    match (
        fine,
        query
            .split('&')
            .any(|part| part == "verbose" || part.starts_with("verbose=")),
    ) {
        (true, false) => text(StatusCode::OK, "ok\n"),
        (true, true) => text(StatusCode::OK, lines + "ok\n"),
        (false, _) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{lines}{of} check failed\n"),
        ),
    }
}

async fn failure(app: &App, check: &str) -> Option<String> {
    match check {
        "data_corruption" => alarm::not_corrupt(&app.registry.snapshot())
            .err()
            .map(|_| "alarm activated: CORRUPT".to_owned()),
        "linearizable_read" => app
            .state(false)
            .await
            .err()
            .map(|failure| failure.text.into_owned()),
        // This server's own state can always be read, and it has no servers that only learn.
        _ => None,
    }
}

/// The names that dashboards made for etcd look for, then everything else that the process counts.
pub(crate) async fn metrics(app: Arc<App>, request: Request) -> Response {
    let caller = Caller::of(&request);
    if let Err(answer) = may(&request, Resource::Metrics) {
        return *answer;
    }
    let (standing, state) = (app.standing(), app.registry.snapshot());
    let mut out = String::new();
    let mut line = |name: &str, kind: &str, help: &str, value: u64| {
        let _ = write!(
            out,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
        );
    };
    line(
        "etcd_server_has_leader",
        "gauge",
        "Whether or not a leader exists.",
        u64::from(standing.has_leader),
    );
    line(
        "etcd_server_is_leader",
        "gauge",
        "Whether or not this member is the leader.",
        u64::from(standing.is_leader),
    );
    line(
        "etcd_server_proposals_committed_total",
        "gauge",
        "Entries of the log that are committed.",
        standing.committed,
    );
    line(
        "etcd_server_proposals_applied_total",
        "gauge",
        "Entries of the log that are applied.",
        standing.applied,
    );
    line(
        "etcd_mvcc_db_total_size_in_bytes",
        "gauge",
        "Bytes of the data directory.",
        standing.bytes,
    );
    line(
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "gauge",
        "Bytes of the data directory that are in use.",
        standing.bytes,
    );
    line(
        "etcd_debugging_mvcc_keys_total",
        "gauge",
        "Keys in the etcd keyspace.",
        state.record_count(Keyspace::Etcd) as u64,
    );
    line(
        "etcd_debugging_mvcc_watcher_total",
        "gauge",
        "Watchers.",
        u64::try_from(app.gauges.watchers.get()).unwrap_or(0),
    );
    line(
        "etcd_debugging_mvcc_watch_stream_total",
        "gauge",
        "Watch streams.",
        u64::try_from(app.gauges.watch_streams.get()).unwrap_or(0),
    );
    let _ = write!(
        out,
        "# HELP etcd_cluster_version Which version is running.\n# TYPE etcd_cluster_version gauge\netcd_cluster_version{{cluster_version=\"{}\"}} 1\n",
        minor(&app.settings.version)
    );
    out.push_str(&caller.context().metrics().encode());
    let mut response = Response::new(Body::from(out));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
    );
    response
}

fn minor(version: &str) -> &str {
    version.rsplit_once('.').map_or(version, |(minor, _)| minor)
}

/// Only GET, and only for those who may.
fn may(request: &Request, resource: Resource<'_>) -> Result<(), Box<Response>> {
    let allowed = Caller::of(request).allow(Action::Read, resource);
    if *request.method() != Method::GET {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET"));
        return Err(Box::new(response));
    }
    allowed.map_err(|denied| Box::new(text(StatusCode::FORBIDDEN, format!("{denied}\n"))))
}

/// Everything that no row of the table leads to.
pub(crate) fn elsewhere(caller: &Caller) -> Response {
    match caller.allow(Action::Read, Resource::Public) {
        Ok(()) => not_found(),
        Err(denied) => text(StatusCode::FORBIDDEN, format!("{denied}\n")),
    }
}

fn not_found() -> Response {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// The values of a parameter, as they stand in the query.
fn values<'a>(query: &'a str, name: &str) -> Vec<&'a str> {
    query
        .split('&')
        .filter_map(|part| part.split_once('='))
        .filter(|(key, value)| *key == name && !value.is_empty())
        .map(|(_, value)| value)
        .collect()
}
