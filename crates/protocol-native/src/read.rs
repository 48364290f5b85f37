//! State -> reply: services and instances.

use std::sync::Arc;

use portolan_api::{InstanceList, ServiceDetail, ServiceList};
use portolan_catalog::{Health, Protocol, Service, ServiceKey};
use portolan_listener::{Action, Caller, Params, Request, Resource};

use crate::App;
use crate::as_of::{self, Rows};
use crate::error::{Answer, Failure};
use crate::query::{Query, decoded};
use crate::render::{Sight, service_key};
use crate::reply::json;
use crate::which;

/// Resource of a service, for decisions.
pub(crate) fn resource(key: &ServiceKey) -> Resource<'_> {
    let namespace = match key.namespace() {
        portolan_catalog::DEFAULT => "",
        other => other,
    };
    Resource::Service {
        namespace,
        name: key.name(),
    }
}

/// `GET /v1/services`.
pub(crate) async fn services(app: Arc<App>, request: Request, _: Params) -> Answer {
    let caller = Caller::of(&request);
    caller.allow(Action::Discover, Resource::AnyService)?;
    let query = Query::of(&request, &["namespace", "at"])?;
    let state = as_of::state(&app.registry, &query, Rows::All).await?;
    let sight = Sight {
        state: &state,
        registry: query.get("at").is_none().then_some(&app.registry),
    };
    let namespace = query.get("namespace").map(str::to_ascii_lowercase);
    // A service whose last instance went lives on for a minute, for watchers; it is no news to a reader of the list.
    let kept = |row: &&Arc<Service>| {
        !row.declared_by.is_empty() || state.instances(&row.key).next().is_some()
    };
    let services = state
        .services()
        .filter(kept)
        .filter(|row| {
            namespace
                .as_deref()
                .is_none_or(|wanted| row.key.namespace() == wanted)
        })
        .filter(|row| caller.may(Action::Discover, resource(&row.key)))
        .map(|row| sight.service(row))
        .collect();
    Ok(json(&ServiceList {
        revision: state.revision().0,
        services,
    }))
}

/// `GET /v1/services/{service}`.
pub(crate) async fn service(app: Arc<App>, request: Request, params: Params) -> Answer {
    let query = Query::of(&request, &["namespace", "group", "at"]);
    let name = decoded(params.raw("service"));
    let key = match (&query, &name) {
        (Ok(query), Ok(name)) => service_key(name, query.get("namespace"), query.get("group")),
        _ => ServiceKey::plain(params.raw("service")),
    };
    Caller::of(&request).allow(Action::Discover, resource(&key))?;
    let (query, name) = (query?, name?);
    let state = as_of::state(&app.registry, &query, Rows::Service(key.clone())).await?;
    let sight = Sight {
        state: &state,
        registry: query.get("at").is_none().then_some(&app.registry),
    };
    let row = state.service(&key).ok_or_else(|| {
        Failure::not_found(format!(
            "there is no service {name:?}; `portolan why {name}` says why"
        ))
    })?;
    Ok(json(&ServiceDetail {
        revision: state.revision().0,
        service: sight.service(row),
        endpoints: state
            .endpoints(&key)
            .map(|row| sight.endpoint(row))
            .collect(),
    }))
}

/// `GET /v1/instances`.
pub(crate) async fn instances(app: Arc<App>, request: Request, _: Params) -> Answer {
    let caller = Caller::of(&request);
    caller.allow(Action::Discover, Resource::AnyService)?;
    let query = Query::of(
        &request,
        &[
            "service",
            "namespace",
            "group",
            "node",
            "origin",
            "health",
            "limit",
            "at",
        ],
    )?;
    let service = query
        .get("service")
        .map(|name| service_key(name, query.get("namespace"), query.get("group")));
    if let Some(key) = &service {
        caller.allow(Action::Discover, resource(key))?;
    }
    let rows = service.clone().map_or(Rows::All, Rows::Service);
    let state = as_of::state(&app.registry, &query, rows).await?;
    let sight = Sight {
        state: &state,
        registry: query.get("at").is_none().then_some(&app.registry),
    };
    if let Some(key) = service.as_ref().filter(|key| state.service(key).is_none()) {
        return Err(Failure::not_found(format!(
            "there is no service \"{key}\"; `portolan why {key}` says why"
        )));
    }
    let origin = match query.get("origin") {
        Some(name) => {
            let unknown = || Failure::bad(format!("there is no protocol {name:?}"));
            Some(Protocol::parse(name).ok_or_else(unknown)?)
        }
        None => None,
    };
    let health = query.get("health").map(health).transpose()?;
    let node = query.get("node").map(str::to_ascii_lowercase);
    let limit = query.number("limit")?.unwrap_or(u64::MAX);
    let rows: Box<dyn Iterator<Item = _>> = match &service {
        Some(key) => Box::new(state.instances(key)),
        None => Box::new(state.all_instances()),
    };
    let instances = rows
        .filter(|row| {
            node.as_deref()
                .is_none_or(|wanted| row.node.as_str() == wanted)
        })
        .filter(|row| origin.is_none_or(|wanted| row.key.origin == wanted))
        .filter(|row| health.is_none_or(|wanted| row.health == wanted))
        .filter(|row| caller.may(Action::Discover, resource(&row.service)))
        .take(usize::try_from(limit).unwrap_or(usize::MAX))
        .map(|row| sight.instance(row))
        .collect();
    Ok(json(&InstanceList {
        revision: state.revision().0,
        instances,
    }))
}

fn health(text: &str) -> Result<Health, Failure> {
    let all = [
        Health::Passing,
        Health::Warning,
        Health::Critical,
        Health::Maintenance,
    ];
    let found = all.into_iter().find(|health| health.as_str() == text);
    found.ok_or_else(|| {
        Failure::bad(format!(
            "there is no health {text:?}, there is {}",
            all.map(Health::as_str).join(", ")
        ))
    })
}

/// `GET /v1/instances/{instance}`.
pub(crate) async fn instance(app: Arc<App>, request: Request, params: Params) -> Answer {
    let caller = Caller::of(&request);
    caller.allow(Action::Discover, Resource::AnyService)?;
    let query = Query::of(&request, &["at"])?;
    let state = as_of::state(&app.registry, &query, Rows::All).await?;
    let sight = Sight {
        state: &state,
        registry: query.get("at").is_none().then_some(&app.registry),
    };
    let row = which::find(&state, None, &decoded(params.raw("instance"))?)?;
    caller.allow(Action::Discover, resource(&row.service))?;
    Ok(json(&sight.instance(&row)))
}
