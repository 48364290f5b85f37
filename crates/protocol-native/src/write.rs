//! Request -> command: registering, renewing, deregistering, maintenance.

use std::sync::Arc;

use portolan_api as api;
use portolan_catalog::{
    Admin, AdminStatus, AdminTarget, Command, Done, Endpoint, Host, InstanceKey, LeaseId, Locality,
    NodeName, Port, Protocol, Register, Registration, ServiceKey, State, Target, Terms, Transport,
    Weight, Why,
};
use portolan_listener::{
    Action, Caller, Params, Request, Resource, json_depth_within, read_body_decoded,
};
use portolan_registry::Renewed;
use serde::de::DeserializeOwned;

use crate::App;
use crate::error::{Answer, Failure};
use crate::read::resource;
use crate::render::service_key;
use crate::reply::json;
use crate::which;

/// The shortest time after which silence may remove an instance.
const LEAST_TTL_MS: u64 = 1_000;
/// And the longest.
const MOST_TTL_MS: u64 = 7 * 24 * 3_600_000;

/// Reads a JSON body.
pub(crate) async fn body<T: DeserializeOwned>(
    app: &App,
    request: &mut Request,
) -> Result<T, Failure> {
    let limits = app.context.limits();
    let bytes = read_body_decoded(request, limits.body_bytes, limits.decompressed_bytes).await?;
    if !json_depth_within(&bytes, limits.json_depth) {
        return Err(Failure::bad(format!(
            "the body is nested deeper than {}",
            limits.json_depth
        )));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::bad(format!("the body cannot be read: {error}")))
}

/// Proposes in the caller's name.
pub(crate) async fn propose(
    app: &App,
    caller: &Caller,
    command: Command,
) -> Result<(u64, Done), Failure> {
    let settled = app
        .registry
        .propose(caller.cause(Why::Call), command)
        .await?;
    Ok((settled.revision.0, settled.outcome?))
}

/// `POST /v1/register`.
pub(crate) async fn register(app: Arc<App>, mut request: Request, _: Params) -> Answer {
    let caller = Caller::of(&request);
    caller.allow(Action::Register, Resource::AnyService)?;
    let asked: api::Register = body(&app, &mut request).await?;
    let command = to_command(&asked)?;
    caller.allow(Action::Register, resource(&command.facts.service))?;
    let instance = command.facts.key.to_string();
    let (revision, _) = propose(&app, &caller, Command::Register(Box::new(command))).await?;
    Ok(json(&api::Registered {
        instance,
        revision,
        ttl_ms: asked.ttl_ms,
    }))
}

/// The registration that a body asks for.
fn to_command(asked: &api::Register) -> Result<Register, Failure> {
    let spelling = asked.service.trim();
    if spelling.is_empty() {
        return Err(Failure::bad("a registration needs a service"));
    }
    let service = service_key(spelling, asked.namespace.as_deref(), asked.group.as_deref());
    let host = Host::new(asked.host.as_deref().unwrap_or("127.0.0.1"));
    if host == Host::new("") {
        return Err(Failure::bad("the host is empty"));
    }
    let mut ports = Vec::new();
    let main = (asked.port != 0).then(|| api::Port {
        number: asked.port,
        ..api::Port::default()
    });
    for port in main.iter().chain(&asked.ports) {
        if port.number == 0 {
            return Err(Failure::bad("a further port has no number"));
        }
        ports.push(Port {
            name: port.name.as_str().into(),
            number: port.number,
            secure: port.secure,
            transport: if port.udp {
                Transport::Udp
            } else {
                Transport::Tcp
            },
        });
    }
    let endpoint = Endpoint {
        host,
        ports: ports.into(),
    };
    let id = match asked.id.as_deref().map(str::trim) {
        Some("") => {
            return Err(Failure::bad(
                "the id is empty; leave it out to use host:port",
            ));
        }
        Some(id) => id.to_owned(),
        None => endpoint.host.with_port(endpoint.port()),
    };
    let key = InstanceKey::new(Protocol::Native, format!("{service}/{id}"));
    let mut facts = Registration::new(key.clone(), service, endpoint);
    facts.spelling = spelling_of(spelling, &facts.service, asked);
    facts.tags = asked.tags.iter().map(|tag| tag.as_str().into()).collect();
    facts.meta = asked
        .meta
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    facts.weight = weight(asked.weight)?;
    facts.warning_weight = facts.weight;
    if asked.region.is_some() || asked.zone.is_some() {
        let part = |text: &Option<String>| text.as_deref().unwrap_or("").into();
        facts.locality = Some(Arc::new(Locality {
            region: part(&asked.region),
            zone: part(&asked.zone),
        }));
    }
    let terms = match asked.ttl_ms {
        None => None,
        Some(ttl) if (LEAST_TTL_MS..=MOST_TTL_MS).contains(&ttl) => Some(Terms::heartbeat(ttl)),
        Some(ttl) => {
            return Err(Failure::bad(format!(
                "ttl_ms {ttl} is not between {LEAST_TTL_MS} and {MOST_TTL_MS}"
            )));
        }
    };
    facts.lease = terms.as_ref().map(|_| LeaseId::Heartbeat(key));
    Ok(Register {
        terms,
        ..Register::new(facts)
    })
}

/// The name without group and namespace, as it was written.
fn spelling_of(written: &str, key: &ServiceKey, asked: &api::Register) -> Arc<str> {
    let flat = asked.namespace.is_none() && asked.group.is_none();
    let name = written
        .get(..key.name().len())
        .filter(|_| flat)
        .unwrap_or(written);
    name.into()
}

fn weight(asked: Option<f64>) -> Result<Weight, Failure> {
    let Some(weight) = asked else {
        return Ok(Weight::ORDINARY);
    };
    if !(0.0..=1_000_000.0).contains(&weight) {
        return Err(Failure::bad(format!(
            "weight {weight} is not between 0 and 1000000"
        )));
    }
    Ok(Weight((weight * 1000.0).round() as u32))
}

/// `POST /v1/renew`.
pub(crate) async fn renew(app: Arc<App>, mut request: Request, _: Params) -> Answer {
    let caller = Caller::of(&request);
    caller.allow(Action::Register, Resource::AnyService)?;
    let asked: api::Renew = body(&app, &mut request).await?;
    let unknown = || {
        Failure::not_found(format!(
            "there is no instance {:?} with a lease; register it again",
            asked.instance
        ))
    };
    let key = InstanceKey::parse(&asked.instance)
        .filter(|key| key.origin == Protocol::Native)
        .ok_or_else(unknown)?;
    let service = |state: &State| state.instance(&key).map(|row| row.service.clone());
    let known = |state: &State| service(state).is_some();
    let service = service(&*app.registry.latest_unless(known).await?);
    caller.allow(Action::Register, resource(&service.ok_or_else(unknown)?))?;
    match app.registry.renew(&LeaseId::Heartbeat(key)).await? {
        Renewed::For(time) => Ok(json(&api::Renewed {
            ttl_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        })),
        Renewed::Unknown => Err(unknown()),
    }
}

/// `POST /v1/deregister`.
pub(crate) async fn deregister(app: Arc<App>, mut request: Request, _: Params) -> Answer {
    let caller = Caller::of(&request);
    caller.allow(Action::Register, Resource::AnyService)?;
    let asked: api::Deregister = body(&app, &mut request).await?;
    let service = asked
        .service
        .as_deref()
        .map(|name| service_key(name, asked.namespace.as_deref(), None));
    let known = |state: &State| which::find(state, service.as_ref(), &asked.instance).is_ok();
    let state = app.registry.latest_unless(known).await?;
    let row = which::find(&state, service.as_ref(), &asked.instance)?;
    caller.allow(Action::Register, resource(&row.service))?;
    let command = Command::Deregister {
        target: Target::Instance(row.key.clone()),
        expect: None,
    };
    let (revision, _) = propose(&app, &caller, command).await?;
    Ok(json(&api::Deregistered {
        instance: row.key.to_string(),
        revision,
    }))
}

/// `POST /v1/maintenance`.
pub(crate) async fn maintenance(app: Arc<App>, mut request: Request, _: Params) -> Answer {
    let caller = Caller::of(&request);
    let some = caller.allow(Action::Register, Resource::AnyService);
    let asked: api::Maintenance = body(&app, &mut request).await?;
    if asked.node.is_none() {
        some?;
    }
    let target = match (&asked.node, &asked.instance) {
        (Some(node), None) => {
            let name = NodeName::new(node);
            caller.allow(Action::Write, Resource::Node(name.as_str()))?;
            AdminTarget::Node(name)
        }
        (None, Some(instance)) => {
            let service = asked
                .service
                .as_deref()
                .map(|name| service_key(name, asked.namespace.as_deref(), None));
            let known = |state: &State| which::find(state, service.as_ref(), instance).is_ok();
            let state = app.registry.latest_unless(known).await?;
            let row = which::find(&state, service.as_ref(), instance)?;
            caller.allow(Action::Register, resource(&row.service))?;
            AdminTarget::Instance(row.key.clone())
        }
        _ => return Err(Failure::bad("maintenance is of an instance or of a node")),
    };
    let status = if asked.drain {
        AdminStatus::Draining
    } else {
        AdminStatus::OutOfService
    };
    let admin = asked.enable.then(|| {
        Arc::new(Admin {
            status,
            reason: asked.reason.as_str().into(),
            by: Protocol::Native,
        })
    });
    let command = Command::SetAdmin {
        target,
        admin,
        declared: None,
    };
    let (revision, _) = propose(&app, &caller, command).await?;
    Ok(json(&api::Settled { revision }))
}
