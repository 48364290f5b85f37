//! Registering and deregistering services through the agent.

use super::{find_service, is_agents};
use crate::ask::Ask;
use crate::error::Failure;
use crate::reply::Reply;
use crate::server::Server;
use crate::wire::{CheckBody, DefinitionBody, Fields, ServiceBody};
use crate::write::service::{agent_registration, service_id};
use portolan_catalog::{Command, Host, InstanceKey, Refusal, Register, State, Target};
use portolan_listener::{Action, Resource};
use serde_json::{Value, json};
use std::sync::Arc;

/// The ports sidecars get when they name none.
const SIDECAR_PORTS: std::ops::RangeInclusive<u16> = 21_000..=21_255;

/// PUT /v1/agent/service/register
pub(crate) async fn register(server: Arc<Server>, mut ask: Ask) -> Result<Reply, Failure> {
    let body = ask.json_object().await?;
    let params = ask.params();
    let replace = params.has("replace-existing-checks")
        && matches!(params.get("replace-existing-checks"), "" | "true");
    let mut service = ServiceBody::of_agent(&body)?;
    ask.allow(
        Action::Register,
        Resource::Service {
            namespace: "",
            name: &service.name,
        },
    )?;
    let node = server.here.node();
    let commands = {
        let state = server.snapshot();
        let address = match state.node(&node) {
            Some(row) => row.address.clone(),
            None => Host::Ip(server.here.advertise),
        };
        let sidecar = sidecar_of(&mut service, &state, &node)?;
        let main = agent_registration(&node, &address, &service, replace)?;
        let mut commands = Vec::new();
        if let Some(elsewhere) = moved_from(&server, &state, &main) {
            commands.push(Command::Deregister {
                target: Target::Instance(elsewhere),
                expect: None,
            });
        }
        commands.push(Command::Register(Box::new(main)));
        if let Some(sidecar) = sidecar {
            let sidecar = agent_registration(&node, &address, &sidecar, replace)?;
            commands.push(Command::Register(Box::new(sidecar)));
        }
        commands
    };
    match server.propose_all(&ask, commands).await? {
        Ok(_) => Ok(Reply::empty()),
        Err(refusal) => Err(refusal.into()),
    }
}

/// The row that a registration takes over: the same id with the same explicit endpoint on another node of this cluster.
///
/// A load balancer in front of several servers must not make several instances of one.
fn moved_from(server: &Server, state: &State, register: &Register) -> Option<InstanceKey> {
    let facts = &register.facts;
    if facts.inherits_host || facts.endpoint.port() == 0 {
        return None;
    }
    let here = server.here.node();
    state
        .instances_at(&facts.endpoint.host)
        .find(|row| {
            is_agents(row)
                && row.node != here
                && row.endpoint.port() == facts.endpoint.port()
                && row.key.local() == facts.key.local()
        })
        .map(|row| row.key.clone())
}

/// The sidecar that `Connect.SidecarService` asks for, as a service of its own.
fn sidecar_of(
    service: &mut ServiceBody,
    state: &State,
    node: &portolan_catalog::NodeName,
) -> Result<Option<ServiceBody>, Failure> {
    let Some(connect) = &service.connect else {
        return Ok(None);
    };
    let fields = Fields::of(connect, "Connect")?;
    let Some(wanted) = fields.get("sidecarservice") else {
        return Ok(None);
    };
    if fields.flag("native")? {
        return Err(Failure::bad(
            "Invalid SidecarService: cannot have both Native Connect and a SidecarService",
        ));
    }
    let mut sidecar = ServiceBody::of_agent(wanted)?;
    if !sidecar.id.is_empty() {
        return Err(Failure::bad(
            "Invalid SidecarService: ID cannot be specified as it is managed by the agent",
        ));
    }
    let parent = service_id(service).to_owned();
    sidecar.id = format!("{parent}-sidecar-proxy");
    if sidecar.name.is_empty() {
        sidecar.name = format!("{}-sidecar-proxy", service.name);
    }
    "connect-proxy".clone_into(&mut sidecar.kind);
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
    let mut proxy = match sidecar.proxy.take() {
        Some(Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    };
    for (key, value) in [
        ("DestinationServiceName", service.name.clone()),
        ("DestinationServiceID", parent.clone()),
    ] {
        if !proxy
            .keys()
            .any(|have| have.replace('_', "").eq_ignore_ascii_case(key))
        {
            proxy.insert(key.to_owned(), json!(value));
        }
    }
    if service.port > 0 {
        proxy
            .entry("LocalServiceAddress")
            .or_insert_with(|| json!("127.0.0.1"));
        proxy
            .entry("LocalServicePort")
            .or_insert_with(|| json!(service.port));
    }
    sidecar.proxy = Some(Value::Object(proxy));
    if sidecar.port == 0 {
        sidecar.port = i64::from(free_port(state, node, &sidecar.id)?);
    }
    if sidecar.checks.is_empty() {
        let host = if sidecar.address.is_empty() {
            "127.0.0.1"
        } else {
            &sidecar.address
        };
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

/// The sidecar's port as before, or the first one no other service of the node has.
fn free_port(state: &State, node: &portolan_catalog::NodeName, id: &str) -> Result<u16, Failure> {
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
            Failure::bad("Invalid SidecarService: none left of the ports 21000 to 21255")
        })
}

/// PUT /v1/agent/service/deregister/:id
pub(crate) async fn deregister(server: Arc<Server>, ask: Ask) -> Result<Reply, Failure> {
    let id = ask.named("id", "Missing service ID")?;
    ask.allow(
        Action::Register,
        Resource::Service {
            namespace: "",
            name: &id,
        },
    )?;
    let commands = {
        let state = server.snapshot();
        let shown = server.shown(&state);
        let row = find_service(&server, shown, &id).ok_or_else(|| {
            Failure::missing(format!(
                "Unknown service ID {id:?}. Ensure that the service ID is passed, not the service name."
            ))
        })?;
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
    match server.propose_all(&ask, commands).await? {
        // Somebody else was faster: what was asked for is so.
        Ok(()) | Err(Refusal::NoInstance) => Ok(Reply::empty()),
        Err(refusal) => Err(refusal.into()),
    }
}
