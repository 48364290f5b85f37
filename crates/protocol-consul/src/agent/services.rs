//! Registering and deregistering services through the agent.

use super::{find_service, is_agents};
use crate::catalog::may_register;
use crate::error::Failure;
use crate::read::{Shown, service_name};
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::sight;
use crate::wire::{CheckBody, DefinitionBody, Fields, ServiceBody};
use crate::write::Source;
use crate::write::service::{agent_registration, service_id};
use crate::write::valid::proxy_text;
use portolan_catalog::{Command, Host, InstanceKey, NodeName, Refusal, Register, State, Target};
use portolan_listener::Action;
use serde_json::{Value, json};
use std::sync::Arc;

/// The ports sidecars get when they name none.
const SIDECAR_PORTS: std::ops::RangeInclusive<u16> = 21_000..=21_255;

/// PUT /v1/agent/service/register
pub(crate) async fn register(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    let body = request.json_object().await?;
    let params = request.params();
    let replace = params.has("replace-existing-checks")
        && matches!(params.get("replace-existing-checks"), "" | "true");
    let service = ServiceBody::of_agent(&body)?;
    let node = server.info.node();
    let commands = {
        let state = server.snapshot();
        let shown = server.shown(&state);
        may_register(&request, shown, &node, service_id(&service), &service.name)?;
        if let Some(why) = shown.refused_service(&node, service_id(&service)) {
            return Err(Failure::bad(why));
        }
        let address = match state.node(&node) {
            Some(row) => row.address.clone(),
            None => Host::Ip(server.info.advertise),
        };
        let registers = registrations(&service, &state, &node, &address, replace, Source::Call)?;
        let mut commands = Vec::new();
        for register in registers.iter().skip(1) {
            // A sidecar may be named as it likes.
            let facts = &register.facts;
            may_register(&request, shown, &node, facts.key.local(), &facts.spelling)?;
        }
        if let Some(elsewhere) = registers
            .first()
            .and_then(|main| moved_from(&server, &state, main))
        {
            if let Some(row) = state.instance(&elsewhere) {
                request.allow(Action::Register, sight::service(&service_name(row)))?;
            }
            commands.push(Command::Deregister {
                target: Target::Instance(elsewhere),
                expect: None,
            });
        }
        let registers = registers.into_iter().map(Box::new);
        commands.extend(registers.map(Command::Register));
        commands
    };
    match server.propose_all(&request, commands).await? {
        Ok(_) => Ok(Reply::empty()),
        Err(refusal) => Err(refusal.into()),
    }
}

/// A service and the sidecar it asks for.
pub(crate) fn registrations(
    service: &ServiceBody,
    state: &State,
    node: &NodeName,
    address: &Host,
    replace_checks: bool,
    source: Source,
) -> Result<Vec<Register>, Failure> {
    let sidecar = sidecar_of(service, state, node)?;
    let bodies = std::iter::once(service).chain(&sidecar);
    bodies
        .map(|body| agent_registration(node, address, body, replace_checks, source))
        .collect()
}

/// The row that a registration takes over: the same id with the same explicit endpoint on another node of this cluster.
///
/// A load balancer in front of several servers must not make several instances of one.
fn moved_from(server: &Server, state: &State, register: &Register) -> Option<InstanceKey> {
    let facts = &register.facts;
    if facts.inherits_host || facts.endpoint.port() == 0 {
        return None;
    }
    let own = server.info.node();
    state
        .instances_at(&facts.endpoint.host)
        .find(|row| {
            is_agents(row)
                && row.node != own
                && row.endpoint.port() == facts.endpoint.port()
                && row.key.local() == facts.key.local()
        })
        .map(|row| row.key.clone())
}

/// The sidecar that `Connect.SidecarService` asks for, as a service of its own.
fn sidecar_of(
    service: &ServiceBody,
    state: &State,
    node: &NodeName,
) -> Result<Option<ServiceBody>, Failure> {
    let Some(connect) = &service.connect else {
        return Ok(None);
    };
    let fields = Fields::of(connect, "Connect")?;
    let Some(wanted) = fields.get("sidecarservice") else {
        return Ok(None);
    };
    let mut sidecar = ServiceBody::of_agent(wanted)?;
    if !sidecar.id.is_empty() {
        return Err(Failure::bad(
            "Validation failed: 1 error occurred:\n\t* A SidecarService cannot specify an ID as this is managed by the agent\n\n",
        ));
    }
    let parent = service_id(service).to_owned();
    sidecar.id = format!("{parent}-sidecar-proxy");
    if sidecar.name.is_empty() {
        sidecar.name = format!("{}-sidecar-proxy", service.name);
    }
    if sidecar.kind.is_empty() {
        "connect-proxy".clone_into(&mut sidecar.kind);
    }
    if sidecar.address.is_empty() {
        sidecar.address.clone_from(&service.address);
    }
    if sidecar.tags.is_empty() {
        sidecar.tags.clone_from(&service.tags);
    }
    if sidecar.meta.is_empty() {
        sidecar.meta.clone_from(&service.meta);
    }
    if sidecar.locality.is_none() {
        sidecar.locality.clone_from(&service.locality);
    }
    for (key, value) in [
        ("DestinationServiceName", &service.name),
        ("DestinationServiceID", &parent),
    ] {
        if proxy_text(&sidecar, &key.to_ascii_lowercase()).is_empty() {
            set_proxy(&mut sidecar, key, json!(value));
        }
    }
    point_at(&mut sidecar, service);
    if sidecar.port == 0 {
        sidecar.port = i64::from(free_port(state, node, &sidecar.id)?);
    }
    if sidecar.checks.is_empty() {
        let local = proxy_text(&sidecar, "localserviceaddress");
        let host = [&sidecar.address, local]
            .into_iter()
            .find(|host| !host.is_empty())
            .unwrap_or("127.0.0.1");
        sidecar.checks = vec![
            CheckBody {
                name: "Connect Sidecar Listening".to_owned(),
                definition: DefinitionBody {
                    tcp: Host::new(host).with_port(u16::try_from(sidecar.port).unwrap_or(0)),
                    interval: Some(10_000_000_000),
                    ..DefinitionBody::default()
                },
                ..CheckBody::default()
            },
            CheckBody {
                name: format!("Connect Sidecar Aliasing {parent}"),
                definition: DefinitionBody {
                    alias_service: parent,
                    ..DefinitionBody::default()
                },
                ..CheckBody::default()
            },
        ];
    }
    Ok(Some(sidecar))
}

/// Has a sidecar find its service, as far as it does not say itself where that is.
fn point_at(sidecar: &mut ServiceBody, service: &ServiceBody) {
    let port = Fields::of(sidecar.proxy.as_ref().unwrap_or(&Value::Null), "Proxy")
        .and_then(|proxy| proxy.integer("localserviceport"))
        .unwrap_or(0);
    let address = !proxy_text(sidecar, "localserviceaddress").is_empty();
    if !proxy_text(sidecar, "localservicesocketpath").is_empty() || (address && port > 0) {
        return;
    }
    if !service.socket_path.is_empty() {
        set_proxy(
            sidecar,
            "LocalServiceSocketPath",
            json!(service.socket_path),
        );
        return;
    }
    if !address {
        set_proxy(sidecar, "LocalServiceAddress", json!("127.0.0.1"));
    }
    if port < 1 && service.port > 0 {
        set_proxy(sidecar, "LocalServicePort", json!(service.port));
    }
}

/// Sets a field of `Proxy`, whatever case its key had so far.
fn set_proxy(body: &mut ServiceBody, name: &str, value: Value) {
    let proxy = body.proxy.get_or_insert_with(|| json!({}));
    if let Some(map) = proxy.as_object_mut() {
        map.retain(|key, _| !key.replace('_', "").eq_ignore_ascii_case(name));
        map.insert(name.to_owned(), value);
    }
}

/// The sidecar's port as before, or the first one no other service of the node has.
fn free_port(state: &State, node: &NodeName, id: &str) -> Result<u16, Failure> {
    if let Some(row) = state.instance(&InstanceKey::consul(node, id)) {
        return Ok(row.endpoint.port());
    }
    let taken: std::collections::BTreeSet<u16> = state
        .instances_on(node)
        .map(|row| row.endpoint.port())
        .collect();
    SIDECAR_PORTS
        .into_iter()
        .find(|port| !taken.contains(port))
        .ok_or_else(|| {
            Failure::server(format!(
                "no port provided for sidecar_service and none left in the configured range [{}, {}]",
                SIDECAR_PORTS.start(),
                SIDECAR_PORTS.end()
            ))
        })
}

/// PUT /v1/agent/service/deregister/:id
pub(crate) async fn deregister(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let id = request.named("id", "Missing service ID")?;
    request.listed()?;
    let known = |shown: Shown<'_>| find_service(&server, shown, &id).is_some();
    let state = server.state_with(known).await?;
    let commands = {
        let shown = server.shown(&state);
        let row = find_service(&server, shown, &id).ok_or_else(|| {
            Failure::missing(format!(
                "Unknown service ID {id:?}. Ensure that the service ID is passed, not the service name."
            ))
        })?;
        request.allow(Action::Register, sight::service(&service_name(row)))?;
        let sidecar = InstanceKey::consul(&row.node, &format!("{id}-sidecar-proxy"));
        let targets = std::iter::once(row.key.clone())
            .chain(state.instance(&sidecar).map(|row| row.key.clone()));
        targets
            .map(|key| Command::Deregister {
                target: Target::Instance(key),
                expect: None,
            })
            .collect::<Vec<_>>()
    };
    drop(state);
    match server.propose_all(&request, commands).await? {
        // Somebody else was faster: what was asked for is so.
        Ok(()) | Err(Refusal::NoInstance) => Ok(Reply::empty()),
        Err(refusal) => Err(refusal.into()),
    }
}
