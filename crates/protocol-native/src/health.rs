//! Seen from outside: is it alive, is it ready, which version, what do the figures say.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Response as HttpResponse, StatusCode};
use portolan_api::{ProtocolState, Ready, Version};
use portolan_listener::{Action, Caller, Params, Request, Resource, Response};

use crate::App;
use crate::error::{Answer, Failure};
use crate::exposition;
use crate::reply::{json, json_with};

pub(crate) async fn healthz(app: Arc<App>, request: Request, _: Params) -> Answer {
    Caller::of(&request).allow(Action::Read, Resource::Public)?;
    if app.settings.backend.standing().failed {
        return Err(Failure::unavailable("the disk failed, the server stops"));
    }
    Ok(portolan_listener::text(StatusCode::OK, "ok\n"))
}

pub(crate) async fn readyz(app: Arc<App>, request: Request, _: Params) -> Answer {
    Caller::of(&request).allow(Action::Read, Resource::Public)?;
    Ok(answer(&app, None))
}

pub(crate) async fn readyz_one(app: Arc<App>, request: Request, params: Params) -> Answer {
    Caller::of(&request).allow(Action::Read, Resource::Public)?;
    let name = params.raw("protocol");
    let known = app.settings.readiness.protocols();
    if !known.iter().any(|protocol| protocol.as_str() == name) {
        return Err(Failure::not_found(format!(
            "protocol {name:?} is not open here"
        )));
    }
    Ok(answer(&app, Some(name)))
}

fn answer(app: &App, only: Option<&str>) -> Response {
    let standing = app.settings.backend.standing();
    let state = match app.settings.readiness.state() {
        ProtocolState::Ready if standing.failed => ProtocolState::Leaving,
        state => state,
    };
    let protocols: BTreeMap<String, ProtocolState> = app
        .settings
        .readiness
        .protocols()
        .iter()
        .map(|protocol| protocol.to_string())
        .filter(|name| only.is_none_or(|only| only == name))
        .map(|name| (name, state))
        .collect();
    let ready = state == ProtocolState::Ready;
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = Ready {
        ready,
        writable: ready && standing.leads && !standing.disk_full,
        protocols,
        revision: app.registry.read(|state| state.revision().0),
        applied_index: standing.applied_index,
    };
    json_with(status, &body)
}

pub(crate) async fn metrics(app: Arc<App>, request: Request, _: Params) -> Answer {
    Caller::of(&request).allow(Action::Read, Resource::Metrics)?;
    let text = app.context.metrics().encode();
    let accepted = request.headers().get_all(ACCEPT).iter();
    let open = accepted
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains(exposition::OPEN));
    let (kind, text) = if open {
        (exposition::OPEN_KIND, text)
    } else {
        (exposition::CLASSIC_KIND, exposition::classic(&text))
    };
    let mut response = HttpResponse::new(text.into());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

pub(crate) async fn version(app: Arc<App>, request: Request, _: Params) -> Answer {
    Caller::of(&request).allow(Action::Read, Resource::Public)?;
    let standing = app.settings.backend.standing();
    Ok(json(&Version {
        version: app.settings.version.to_string(),
        node: app.settings.node.to_string(),
        revision: app.registry.read(|state| state.revision().0),
        term: standing.term,
        leads: standing.leads,
        ports: app
            .settings
            .ports
            .iter()
            .map(|(protocol, address)| (protocol.to_string(), address.to_string()))
            .collect(),
    }))
}

/// `GET /v1/ports`.
pub(crate) async fn ports(app: Arc<App>, request: Request, _: Params) -> Answer {
    Caller::of(&request).allow(Action::Read, Resource::Operator)?;
    Ok(json(&portolan_api::Ports {
        node: app.settings.node.to_string(),
        ports: app.settings.open.clone(),
    }))
}
