//! Instances: register, deregister, change, beat, find.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use portolan_listener::{Action, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Form;
use super::params::{Asked, metadata};
use crate::error::{Code, Problem, failure, json as json_answer, json_bytes, success};
use crate::names::{self, ServiceName};
use crate::read::{self, Ask, Spelled};
use crate::translate::{self, Checked, Row};
use crate::wire::instance::{BEAT_INTERVAL_MS, Beat, Instance, Shown};
use crate::write::{self, Beaten, Changes};

type Answer = Result<Response, Problem>;

/// Clients whose lists may ask for pushes by UDP, by how their `User-Agent` begins.
const PUSHED: [&str; 6] = [
    "Nacos-Java-Client",
    "Nacos-CPP-Client",
    "Nacos-Go-Client",
    "Nacos-CSharp-Client",
    "Nacos-Client",
    "Nacos-Node",
];

pub(crate) async fn register(asked: Asked) -> Answer {
    let service = asked.service()?;
    asked
        .app
        .allow_service(&asked.caller, Action::Register, &service.key)?;
    if asked.form == Form::V3 && asked.flag("heartBeat")? == Some(true) {
        return beat_v3(&asked, &service).await;
    }
    let sent = asked.instance()?;
    write::register(&asked.app, &asked.caller, &service, &sent).await?;
    Ok(asked.form.ok())
}

async fn beat_v3(asked: &Asked, service: &ServiceName) -> Answer {
    let sent = asked.instance()?;
    match write::beat(&asked.app, &asked.caller, service, &sent, false).await? {
        Beaten::Alive(_) => Ok(success("ok")),
        Beaten::Unknown => Ok(failure(Code::InstanceNotFound)),
    }
}

pub(crate) async fn deregister(asked: Asked) -> Answer {
    let service = asked.service()?;
    asked
        .app
        .allow_service(&asked.caller, Action::Register, &service.key)?;
    let sent = asked.instance()?;
    write::deregister(&asked.app, &asked.caller, &service, &sent).await?;
    Ok(asked.form.ok())
}

pub(crate) async fn update(asked: Asked) -> Answer {
    let service = asked.service()?;
    asked
        .app
        .allow_service(&asked.caller, Action::Register, &service.key)?;
    let sent = asked.instance()?;
    let changes = Changes {
        weight: Some(sent.weight.0),
        enabled: Some(sent.enabled),
        metadata: sent.metadata.clone(),
        whole: true,
        ..Changes::default()
    };
    write::update(&asked.app, &asked.caller, &service, &sent, &changes).await?;
    Ok(asked.form.ok())
}

/// Changes what is given, and leaves the rest.
pub(crate) async fn patch(asked: Asked) -> Answer {
    let service = asked.service()?;
    asked
        .app
        .allow_service(&asked.caller, Action::Register, &service.key)?;
    let sent = asked.instance()?;
    let enabled = asked.any(&["enabled", "enable"]).is_some();
    let given = asked.metadata()?;
    let changes = Changes {
        weight: asked.get("weight").map(|_| sent.weight.0),
        enabled: enabled.then_some(sent.enabled),
        whole: given.is_some(),
        metadata: given.unwrap_or_default(),
        ..Changes::default()
    };
    write::update(&asked.app, &asked.caller, &service, &sent, &changes).await?;
    Ok(asked.form.ok())
}

/// One instance, as v1 tells of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    service: &'a str,
    ip: &'a str,
    port: u16,
    cluster_name: &'a str,
    weight: f64,
    healthy: bool,
    instance_id: &'a str,
    metadata: &'a crate::wire::instance::Pairs<'a>,
}

pub(crate) async fn find(asked: Asked) -> Answer {
    let service = asked.service()?;
    asked
        .app
        .allow_service(&asked.caller, Action::Discover, &service.key)?;
    let sent = asked.instance()?;
    let state = asked.app.registry.snapshot();
    let host = sent.host();
    let given = asked.any(&["clusterName", "cluster"]).is_some();
    let fits = |row: &Row| {
        row.instance.endpoint.host == host
            && row.instance.endpoint.port() == sent.port
            && (!given || row.cluster() == sent.cluster)
    };
    let rows = read::rows_of(&state, &service.key);
    let Some(row) = rows.into_iter().find(fits) else {
        return Err(Problem::coded(
            Code::InstanceNotFound,
            "no matched ip found!",
        ));
    };
    let grouped = service.grouped();
    let shown = row.shown(&grouped);
    if asked.form == Form::V3 {
        return Ok(success(&shown));
    }
    Ok(asked.form.data(&Detail {
        service: &grouped,
        ip: &shown.ip,
        port: shown.port,
        cluster_name: shown.cluster_name,
        weight: shown.weight,
        healthy: shown.healthy,
        instance_id: &shown.instance_id,
        metadata: &shown.metadata,
    }))
}

pub(crate) async fn list(asked: Asked) -> Answer {
    let service = asked.service()?;
    asked
        .app
        .allow_service(&asked.caller, Action::Discover, &service.key)?;
    let clusters = asked.any(&["clusters", "clusterName"]).unwrap_or_default();
    let ask = Ask {
        clusters,
        healthy_only: asked.flag("healthyOnly")?.unwrap_or(false),
        disabled: false,
    };
    let registry = &asked.app.registry;
    if asked.form == Form::V3 {
        let hosts = read::hosts(registry, &service, ask);
        return Ok(enveloped(&hosts.json));
    }
    follow_by_udp(&asked, &service, clusters)?;
    let info = read::info(registry, &service, Spelled::Grouped, ask);
    Ok(match asked.form.enveloped() {
        true => enveloped(&info),
        false => json_bytes(info),
    })
}

/// The envelope around JSON that is encoded already.
fn enveloped(data: &[u8]) -> Response {
    let mut out = br#"{"code":0,"message":"success","data":"#.to_vec();
    out.extend_from_slice(data);
    out.push(b'}');
    json_bytes(out)
}

/// Has a client of 1.x told of changes for a while.
fn follow_by_udp(asked: &Asked, service: &ServiceName, clusters: &str) -> Result<(), Problem> {
    let Some(port) = asked
        .whole("udpPort")?
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0)
    else {
        return Ok(());
    };
    let agent = asked.header("user-agent");
    let agent = match agent {
        "" => asked.header("client-version"),
        agent => agent,
    };
    if !PUSHED.iter().any(|known| agent.starts_with(known)) {
        return Ok(());
    }
    let app = &asked.app;
    let to = SocketAddr::new(asked.caller.peer().ip(), port);
    let ask = Ask {
        clusters,
        disabled: true,
        ..Ask::default()
    };
    let told = read::hosts(&app.registry, service, ask);
    if !app
        .udp
        .follow(to, service, clusters, told, app.settings.udp_clients)
    {
        app.gauges.limited.inc();
    }
    Ok(())
}

/// Beats of v1 and v2. A beat that has all of an instance registers one that is not there.
pub(crate) async fn beat(asked: Asked) -> Answer {
    let name = asked.required("serviceName")?.to_owned();
    let sent: Beat = match asked.get("beat") {
        Some(text) => serde_json::from_str(text)
            .map_err(|_| Problem::invalid(format!("beat {text:?} is not a beat")))?,
        None => Beat::default(),
    };
    let full = asked.get("beat").is_some();
    let service = ServiceName::new(asked.namespace(), asked.text("groupName"), &name)?;
    asked
        .app
        .allow_service(&asked.caller, Action::Register, &service.key)?;
    let instance = Instance {
        ip: sent.ip.or_else(|| asked.get("ip").map(str::to_owned)),
        port: match sent.port {
            Some(port) => Some(port),
            None => asked.whole("port")?,
        },
        weight: sent.weight,
        cluster_name: sent
            .cluster
            .or_else(|| asked.any(&["clusterName", "cluster"]).map(str::to_owned)),
        metadata: sent.metadata,
        ..Instance::default()
    };
    if instance.ip.as_deref().is_none_or(str::is_empty) {
        return Err(Problem::Missing("ip"));
    }
    let checked = translate::checked(&instance)?;
    let beaten = write::beat(&asked.app, &asked.caller, &service, &checked, full).await?;
    let (interval, code) = match beaten {
        Beaten::Alive(interval) => (interval, 10_200),
        Beaten::Unknown => (BEAT_INTERVAL_MS, 20_404),
    };
    let body = json!({"clientBeatInterval": interval, "code": code, "lightBeatEnabled": true});
    Ok(match asked.form.enveloped() {
        true => success(body),
        false => json_answer(&body),
    })
}

/// Which instances a change of many is about.
#[derive(Deserialize)]
struct Which {
    ip: String,
    port: u16,
    #[serde(default, rename = "clusterName", alias = "cluster")]
    cluster: Option<String>,
    #[serde(default)]
    ephemeral: Option<bool>,
}

/// Sets or takes away metadata of several instances, or of all.
pub(crate) async fn batch_metadata(asked: Asked) -> Answer {
    let service = asked.service()?;
    asked
        .app
        .allow_service(&asked.caller, Action::Register, &service.key)?;
    let pairs = metadata(asked.required("metadata")?)?;
    let kind = asked.get("consistencyType");
    let which: Option<Vec<Which>> = match asked.get("instances") {
        None => None,
        Some(text) => Some(serde_json::from_str(text).map_err(|_| {
            Problem::invalid(format!("instances {text:?} is not a list of instances"))
        })?),
    };
    let state = asked.app.registry.snapshot();
    let wanted = |row: &Row| {
        let ephemeral = row.instance.lease.is_some();
        let of_kind = match kind {
            Some("ephemeral") => ephemeral,
            Some("persist") => !ephemeral,
            Some(_) | None => true,
        };
        let named = |it: &Which| {
            row.instance.endpoint.host == portolan_catalog::Host::new(&it.ip)
                && row.instance.endpoint.port() == it.port
                && it
                    .cluster
                    .as_deref()
                    .is_none_or(|cluster| cluster == row.cluster())
                && it.ephemeral.is_none_or(|kind| kind == ephemeral)
        };
        row.is_own()
            && of_kind
            && which
                .as_ref()
                .is_none_or(|all| all.is_empty() || all.iter().any(named))
    };
    let changes = match asked.method {
        http::Method::DELETE => Changes {
            without: pairs.keys().cloned().collect(),
            ..Changes::default()
        },
        _ => Changes {
            metadata: pairs,
            ..Changes::default()
        },
    };
    let mut updated = Vec::new();
    for row in read::rows_of(&state, &service.key)
        .iter()
        .filter(|row| wanted(row))
    {
        let one = of_row(row);
        write::update(&asked.app, &asked.caller, &service, &one, &changes).await?;
        let kind = match one.ephemeral {
            true => "ephemeral",
            false => "persistent",
        };
        updated.push(format!(
            "{}:{}:unknown:{}:{kind}",
            one.ip, one.port, one.cluster
        ));
    }
    Ok(asked.form.data(&json!({"updated": updated})))
}

fn of_row(row: &Row) -> Checked {
    Checked {
        ip: row.instance.endpoint.host.to_string(),
        port: row.instance.endpoint.port(),
        weight: row.instance.weight,
        healthy: row.healthy,
        enabled: row.enabled,
        ephemeral: row.instance.lease.is_some(),
        cluster: row.cluster().to_owned(),
        metadata: BTreeMap::new(),
    }
}

/// Who has which instance of a service: here, everybody the same. `key` is `namespace##GROUP@@service`.
pub(crate) async fn statuses(asked: Asked) -> Answer {
    let key = asked.required("key")?;
    let (namespace, name) = key.split_once("##").unwrap_or((names::PUBLIC, key));
    let service = ServiceName::new(namespace, "", name)?;
    asked
        .app
        .allow_service(&asked.caller, Action::Discover, &service.key)?;
    let state = asked.app.registry.snapshot();
    let rows = read::rows_of(&state, &service.key);
    let pairs: Vec<_> = rows
        .iter()
        .map(|row| {
            let address = format!(
                "{}:{}",
                row.instance.endpoint.host,
                row.instance.endpoint.port()
            );
            json!({"key": format!("{address}_{}", row.cluster()), "value": row.healthy})
        })
        .collect();
    Ok(json_answer(&json!({"ips": pairs})))
}

/// Sets whether an instance is healthy whose cluster nobody checks.
pub(crate) async fn health(asked: Asked) -> Answer {
    let service = asked.service()?;
    asked
        .app
        .allow_service(&asked.caller, Action::Register, &service.key)?;
    let sent = asked.instance()?;
    let Some(healthy) = asked.flag("healthy")? else {
        return Err(Problem::coded(
            Code::HealthyMissing,
            "Param 'healthy' is required.",
        ));
    };
    write::set_healthy(&asked.app, &asked.caller, &service, &sent, healthy).await?;
    Ok(asked.form.ok())
}

/// A page of a service's instances, whatever their state.
pub(crate) async fn page(asked: Asked) -> Answer {
    let service = asked.service()?;
    asked
        .app
        .allow_service(&asked.caller, Action::Discover, &service.key)?;
    let page = asked.page(10)?;
    let clusters = asked.any(&["clusterName", "clusters"]).unwrap_or_default();
    let healthy_only = asked.flag("healthyOnly")?.unwrap_or(false);
    let state = asked.app.registry.snapshot();
    if state.service(&service.key).is_none() {
        return Err(write::no_service(&service));
    }
    let rows = read::rows_of(&state, &service.key).into_iter();
    let rows =
        rows.filter(|row| read::in_clusters(row, clusters) && (!healthy_only || row.healthy));
    let (rows, count) = read::page(rows.collect(), page.0, page.1);
    let grouped = service.grouped();
    let shown: Vec<Shown<'_>> = rows.iter().map(|row| row.shown(&grouped)).collect();
    Ok(match asked.form {
        Form::V3 if asked.method == http::Method::GET && asked.get("pageNo").is_none() => {
            success(&shown)
        }
        Form::V3 => success(super::catalog::paged(&shown, count, page)),
        form => form.data(&json!({"list": shown, "count": count})),
    })
}

/// The health checkers that there are.
pub(crate) async fn checkers(asked: Asked) -> Answer {
    asked
        .caller
        .allow(Action::Read, portolan_listener::Resource::Public)?;
    let body = r#"{"TCP":{},"HTTP":{"path":"","headers":"","expectedResponseCode":200},"NONE":{}}"#;
    Ok(match asked.form.enveloped() {
        true => enveloped(body.as_bytes()),
        false => json_bytes(body),
    })
}
