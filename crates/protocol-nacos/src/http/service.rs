//! Services: declare, change, delete, list; who subscribes; their clusters.

use std::collections::BTreeSet;
use std::sync::Arc;

use portolan_catalog::{Command, Op, Protocol, PutCheck, Service, State, Write};
use portolan_listener::{Action, Resource, Response};
use serde_json::{Value, json};

use super::Form;
use super::catalog::paged;
use super::params::{Asked, metadata};
use crate::clusters::{self, Checker};
use crate::error::{Problem, json as json_answer, success};
use crate::names::{self, ServiceName};
use crate::read;
use crate::write::{self, ServiceChanges};

type Answer = Result<Response, Problem>;

fn changes(asked: &Asked) -> Result<ServiceChanges, Problem> {
    let selector = match asked.get("selector") {
        None => None,
        Some(text) => {
            let value: Value = serde_json::from_str(text)
                .map_err(|_| Problem::invalid(format!("selector {text:?} is not JSON")))?;
            match value["type"].as_str().unwrap_or("none") {
                "none" => Some(String::new()),
                "label" => Some(value.to_string()),
                other => {
                    return Err(Problem::invalid(format!(
                        "not match any type of selector: {other}"
                    )));
                }
            }
        }
    };
    Ok(ServiceChanges {
        protect_threshold: asked.threshold()?,
        metadata: asked.given("metadata").map(metadata).transpose()?,
        selector,
        ephemeral: Some(asked.flag("ephemeral")?.unwrap_or(false)),
    })
}

pub(crate) async fn create(asked: Asked) -> Answer {
    let service = asked.service()?;
    asked
        .app
        .allow_service(&asked.caller, Action::Register, &service.key)?;
    write::create_service(&asked.app, &asked.caller, &service, &changes(&asked)?).await?;
    Ok(asked.form.ok())
}

pub(crate) async fn update(asked: Asked) -> Answer {
    let service = asked.service()?;
    asked
        .app
        .allow_service(&asked.caller, Action::Register, &service.key)?;
    write::update_service(&asked.app, &asked.caller, &service, &changes(&asked)?).await?;
    Ok(asked.form.ok())
}

pub(crate) async fn delete(asked: Asked) -> Answer {
    let service = asked.service()?;
    asked
        .app
        .allow_service(&asked.caller, Action::Register, &service.key)?;
    write::delete_service(&asked.app, &asked.caller, &service).await?;
    Ok(asked.form.ok())
}

/// A selector as v1 shows it, and as v2 does.
fn selector(row: &Service, form: Form) -> Value {
    let kept: Value = serde_json::from_str(&row.settings.selector).unwrap_or(Value::Null);
    match (kept["type"].as_str(), form.enveloped()) {
        (Some(_), _) => kept,
        (None, false) => json!({"type": "none", "contextType": "NONE"}),
        (None, true) => json!({"type": "none", "contextType": "NONE"}),
    }
}

/// The clusters of a service: those with instances, and those that somebody set.
pub(crate) fn clusters_of(state: &State, row: &Service) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = clusters::named(&row.settings.meta)
        .map(str::to_owned)
        .collect();
    all.extend(
        read::rows_of(state, &row.key)
            .iter()
            .map(|row| row.cluster().to_owned()),
    );
    all
}

pub(crate) async fn find(asked: Asked) -> Answer {
    let service = asked.service()?;
    asked
        .app
        .allow_service(&asked.caller, Action::Discover, &service.key)?;
    let state = asked.app.registry.snapshot();
    let Some(row) = state.service(&service.key) else {
        return Err(write::no_service(&service));
    };
    let threshold = f64::from(row.settings.protect_threshold) / 1000.0;
    let names = clusters_of(&state, row);
    let of = |name: &String| clusters::of(&state, &service.key, name);
    let shown = match asked.form {
        Form::V1 | Form::V1Config => json!({
            "namespaceId": service.namespace, "groupName": service.group, "name": service.name,
            "protectThreshold": threshold, "metadata": clusters::metadata(&row.settings.meta),
            "selector": selector(row, asked.form),
            "clusters": names.iter().map(|name| of(name).shown(name)).collect::<Vec<_>>(),
        }),
        form => {
            let map: serde_json::Map<String, Value> = names
                .iter()
                .map(|name| (name.clone(), of(name).detail(name)))
                .collect();
            let namespace = match form {
                Form::V3 => "namespaceId",
                _ => "namespace",
            };
            let mut shown = json!({
                "serviceName": service.name, "groupName": service.group,
                "clusterMap": map, "metadata": clusters::metadata(&row.settings.meta),
                "protectThreshold": threshold, "selector": selector(row, form),
                "ephemeral": row.ephemeral.unwrap_or(false),
            });
            shown[namespace] = service.namespace.as_str().into();
            shown
        }
    };
    Ok(asked.form.data(&shown))
}

/// Plain names of a group's services.
pub(crate) async fn list(asked: Asked) -> Answer {
    let group = (asked.namespace(), asked.text("groupName"));
    asked
        .app
        .allow_group(&asked.caller, Action::Discover, Some(group))?;
    let page = asked.page(20)?;
    let state = asked.app.registry.snapshot();
    let (services, count) = read::names(&state, asked.namespace(), asked.text("groupName"), page);
    Ok(match asked.form {
        Form::V1 | Form::V1Config => json_answer(&json!({"count": count, "doms": services})),
        form => form.data(&json!({"count": count, "services": services})),
    })
}

/// The services of all namespaces, by namespace.
pub(crate) async fn all_names(asked: Asked) -> Answer {
    asked
        .app
        .allow_group(&asked.caller, Action::Discover, None)?;
    let state = asked.app.registry.snapshot();
    let mut all: std::collections::BTreeMap<String, Vec<String>> =
        std::collections::BTreeMap::new();
    let mut count = 0;
    for row in state.services().filter(|row| read::is_listed(&state, row)) {
        let name = read::name_of(&state, row);
        count += 1;
        all.entry(name.namespace.clone())
            .or_default()
            .push(name.grouped());
    }
    Ok(asked.form.data(&json!({"count": count, "services": all})))
}

/// Pages of v3 and of dashboards.
pub(crate) async fn page(asked: Asked) -> Answer {
    asked
        .app
        .allow_group(&asked.caller, Action::Discover, None)?;
    let page = asked.page(10)?;
    let state = asked.app.registry.snapshot();
    let found = super::catalog::search(&asked, &state);
    let (rows, count) = read::page(found, page.0, page.1);
    let shown: Vec<Value> = rows
        .iter()
        .map(|row| super::catalog::summary(&state, row))
        .collect();
    Ok(success(paged(&shown, count, page)))
}

/// Who subscribes to a service, as far as this server is told.
pub(crate) async fn subscribers(asked: Asked) -> Answer {
    let service = asked.service()?;
    asked
        .app
        .allow_service(&asked.caller, Action::Discover, &service.key)?;
    let page = asked.page(1000)?;
    let app = &asked.app;
    let mut all: Vec<Value> = app
        .hub
        .subscribers(&service.key)
        .iter()
        .map(|connection| {
            let address = connection.peer;
            json!({
                "addrStr": address.to_string(), "agent": connection.agent(), "app": connection.app(),
                "ip": connection.ip(), "port": address.port(), "namespaceId": service.namespace,
                "serviceName": service.grouped(), "cluster": "",
            })
        })
        .collect();
    all.extend(app.udp.subscribers(&service.key).iter().map(|to| {
        json!({
            "addrStr": to.to_string(), "agent": "", "app": "unknown", "ip": to.ip().to_string(),
            "port": to.port(), "namespaceId": service.namespace, "serviceName": service.grouped(), "cluster": "",
        })
    }));
    let (rows, count) = read::page(all, page.0, page.1);
    Ok(match asked.form {
        Form::V1 | Form::V1Config => json_answer(&json!({"count": count, "subscribers": rows})),
        form => form.data(&paged(&rows, count, page)),
    })
}

pub(crate) async fn selector_types(asked: Asked) -> Answer {
    asked.caller.allow(Action::Read, Resource::Public)?;
    let types = ["none", "label"];
    Ok(match asked.form.enveloped() {
        true => success(types),
        false => json_answer(&json!({"code": 200, "message": null, "data": types})),
    })
}

/// Changes how the instances of a cluster are checked.
pub(crate) async fn cluster(asked: Asked) -> Answer {
    let service = asked.service()?;
    asked
        .app
        .allow_service(&asked.caller, Action::Register, &service.key)?;
    let name = names::cluster(asked.required("clusterName")?)?.to_owned();
    let checker = Checker::parse(asked.required("healthChecker")?)?;
    let port = asked.whole("checkPort")?;
    let own_port = match asked.flag("useInstancePort4Check")? {
        Some(own) => Some(own),
        None => asked.flag("useInstancePortForCheck")?,
    };
    let state = asked.app.registry.snapshot();
    let Some(row) = state.service(&service.key) else {
        return Err(write::no_service(&service));
    };
    let mut cluster = clusters::of(&state, &service.key, &name);
    cluster.checker = checker;
    if let Some(port) = port {
        cluster.check_port = u16::try_from(port).map_err(|_| {
            Problem::invalid(format!("checkPort {port} is not between 0 and 65535"))
        })?;
    }
    cluster.own_port = own_port.unwrap_or(cluster.own_port);
    cluster.metadata = asked.metadata()?.unwrap_or(cluster.metadata);
    let mut settings = (*row.settings).clone();
    settings.meta = clusters::with_cluster(&settings.meta, &name, &cluster);
    let declare = Command::Declare {
        service: service.key.clone(),
        spelling: row.spelling.clone(),
        protocol: Protocol::Nacos,
        settings: Some(Arc::new(settings)),
        ephemeral: None,
        create_only: false,
    };
    asked.app.settle(&asked.caller, declare).await?;
    check_anew(&asked, &service, &name, &cluster).await?;
    Ok(asked.form.ok())
}

/// Operations that one command has at most.
const TOGETHER: usize = 64;

/// Gives the persistent instances of a cluster the checks that it has now.
async fn check_anew(
    asked: &Asked,
    service: &ServiceName,
    name: &str,
    cluster: &clusters::Cluster,
) -> Result<(), Problem> {
    let state = asked.app.registry.snapshot();
    let mut commands = Vec::new();
    for row in read::rows_of(&state, &service.key) {
        let instance = &row.instance;
        if !row.is_own() || instance.lease.is_some() || row.cluster() != name {
            continue;
        }
        let before: Vec<_> = state
            .checks_of(&instance.key)
            .map(|check| check.key.clone())
            .collect();
        let check = clusters::check_for(
            &instance.facts,
            cluster,
            &asked.app.settings.node,
            row.healthy,
        );
        let kept = check.as_ref().map(|check| check.facts.key.clone());
        let dropped = before.into_iter().filter(|key| Some(key) != kept.as_ref());
        commands.extend(dropped.map(|key| Command::DropCheck { key, expect: None }));
        commands.extend(check.map(|check| {
            Command::PutCheck(Box::new(PutCheck {
                check,
                expect: None,
            }))
        }));
    }
    for some in commands.chunks(TOGETHER) {
        let write = Write {
            then: some
                .iter()
                .map(|command| Op::Command(Box::new(command.clone())))
                .collect(),
            ..Write::default()
        };
        asked
            .app
            .settle(&asked.caller, Command::Write(write))
            .await?;
    }
    Ok(())
}
