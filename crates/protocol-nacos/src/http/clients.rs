//! Clients, as operators see them: gRPC connections of this server, and the addresses that HTTP registered.

use std::collections::BTreeSet;
use std::sync::Arc;

use portolan_catalog::{Instance, LeaseId, Protocol, State};
use portolan_listener::{Action, Resource, Response};
use serde_json::{Value, json};

use super::params::Asked;
use crate::app::App;
use crate::error::{Code, Problem, success};
use crate::read;
use crate::translate::Row;
use crate::watch::connections::Connection;

type Answer = Result<Response, Problem>;

/// The client that an instance is of: its connection's id here, or what HTTP clients are called.
fn client_of(app: &App, row: &Instance) -> Option<String> {
    let address = || format!("{}:{}", row.endpoint.host, row.endpoint.port());
    match (&row.key.origin, &row.lease) {
        (Protocol::Nacos, Some(LeaseId::Connection(number))) => app
            .connections
            .all()
            .iter()
            .find(|connection| connection.number == *number)
            .map(|connection| connection.id.clone()),
        (Protocol::Nacos, Some(_)) => Some(format!("{}#true", address())),
        (Protocol::Nacos, None) => Some(format!("{}#false", address())),
        _ => None,
    }
}

fn own(state: &State) -> impl Iterator<Item = &Arc<Instance>> {
    state
        .all_instances()
        .filter(|row| row.key.origin == Protocol::Nacos)
}

pub(crate) async fn list(asked: Asked) -> Answer {
    asked.caller.allow(Action::Admin, Resource::Operator)?;
    let state = asked.app.registry.snapshot();
    let http = own(&state).filter(|row| !matches!(row.lease, Some(LeaseId::Connection(_))));
    let mut ids: BTreeSet<String> = http.filter_map(|row| client_of(&asked.app, row)).collect();
    ids.extend(asked.app.connections.all().iter().map(|it| it.id.clone()));
    Ok(success(ids))
}

fn connection(asked: &Asked, id: &str) -> Option<Arc<Connection>> {
    asked
        .app
        .connections
        .all()
        .into_iter()
        .find(|it| it.id == id)
}

fn no_client(id: &str) -> Problem {
    Problem::coded(Code::NotFound, format!("clientId [ {id} ] not exist"))
}

/// The instances that a client registered.
fn published(app: &App, state: &State, id: &str) -> Vec<Arc<Instance>> {
    own(state)
        .filter(|row| client_of(app, row).as_deref() == Some(id))
        .cloned()
        .collect()
}

pub(crate) async fn detail(asked: Asked) -> Answer {
    asked.caller.allow(Action::Admin, Resource::Operator)?;
    let id = asked.required("clientId")?;
    if let Some(connection) = connection(&asked, id) {
        return Ok(success(json!({
            "clientId": id, "ephemeral": true, "lastUpdatedTime": connection.since.0,
            "clientType": "connection", "connectType": "GRPC", "appName": connection.app(),
            "version": connection.agent(), "clientIp": connection.ip(), "clientPort": connection.peer.port(),
        })));
    }
    let state = asked.app.registry.snapshot();
    let rows = published(&asked.app, &state, id);
    let Some(row) = rows.first() else {
        return Err(no_client(id));
    };
    Ok(success(json!({
        "clientId": id, "ephemeral": row.lease.is_some(), "lastUpdatedTime": row.modified_at.0,
        "clientType": "ipPort", "clientIp": row.endpoint.host.to_string(), "clientPort": row.endpoint.port().to_string(),
    })))
}

pub(crate) async fn publishes(asked: Asked) -> Answer {
    asked.caller.allow(Action::Admin, Resource::Operator)?;
    let id = asked.required("clientId")?;
    let state = asked.app.registry.snapshot();
    let rows = published(&asked.app, &state, id);
    if rows.is_empty() && connection(&asked, id).is_none() {
        return Err(no_client(id));
    }
    let all: Vec<Value> = rows
        .iter()
        .filter_map(|row| {
            let service = state.service(&row.service)?;
            let name = read::name_of(&state, service);
            Some(json!({
                "namespace": name.namespace, "group": name.group, "serviceName": name.name,
                "registeredInstance": {
                    "ip": row.endpoint.host.to_string(), "port": row.endpoint.port(), "cluster": &*row.cluster,
                },
            }))
        })
        .collect();
    Ok(success(all))
}

pub(crate) async fn subscribes(asked: Asked) -> Answer {
    asked.caller.allow(Action::Admin, Resource::Operator)?;
    let id = asked.required("clientId")?;
    let Some(connection) = connection(&asked, id) else {
        return Err(no_client(id));
    };
    let all: Vec<Value> = connection.with(|held| {
        let all = held.services.values();
        all.map(|it| {
            json!({
                "namespace": it.name.namespace, "group": it.name.group, "serviceName": it.name.name,
                "subscriberInfo": {
                    "app": connection.app(), "agent": connection.agent(), "addr": connection.peer.to_string(),
                },
            })
        })
        .collect()
    });
    Ok(success(all))
}

pub(crate) async fn publishers(asked: Asked) -> Answer {
    let service = asked.service()?;
    asked
        .app
        .allow_service(&asked.caller, Action::Discover, &service.key)?;
    let state = asked.app.registry.snapshot();
    let rows = read::rows_of(&state, &service.key);
    let shown = |row: &Row| {
        let id = client_of(&asked.app, &row.instance)?;
        let ip = row.instance.endpoint.host.to_string();
        let port = row.instance.endpoint.port();
        Some(json!({"clientId": id, "ip": ip, "port": port}))
    };
    let all: Vec<Value> = rows.iter().filter_map(shown).collect();
    Ok(success(all))
}

pub(crate) async fn subscribers(asked: Asked) -> Answer {
    let service = asked.service()?;
    asked
        .app
        .allow_service(&asked.caller, Action::Discover, &service.key)?;
    let all: Vec<Value> = asked
        .app
        .hub
        .subscribers(&service.key)
        .iter()
        .map(|it| json!({"clientId": it.id, "ip": it.ip(), "port": it.peer.port()}))
        .collect();
    Ok(success(all))
}

/// How many clients follow what, and how.
pub(crate) async fn current(asked: Asked) -> Answer {
    asked.caller.allow(Action::Admin, Resource::Operator)?;
    let all = asked.app.connections.all();
    let shown: serde_json::Map<String, Value> = all
        .iter()
        .map(|it| {
            let value = json!({
                "connectionId": it.id, "clientIp": it.ip(), "remotePort": it.peer.port(), "version": it.agent(),
                "appName": it.app(), "labels": it.introduced.labels, "declaredIp": it.introduced.client_ip,
                "createTime": crate::error::time(it.since),
            });
            (it.id.clone(), value)
        })
        .collect();
    Ok(asked.form.data(&Value::Object(shown)))
}
