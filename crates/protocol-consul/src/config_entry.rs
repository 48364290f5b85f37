//! `/v1/config`: configuration entries of a service mesh, of which there are none.
//!
//! Reading and removing are answered as by a server that has no entries. Nothing can be written: an entry would be taken and have no effect.

use crate::error::Failure;
use crate::reply::Reply;
use crate::request::Request;
use crate::server::Server;
use crate::sight;
use crate::watch::Topic;
use http::StatusCode;
use portolan_catalog::{KeyRange, Keyspace};
use portolan_listener::{Action, Resource};
use std::sync::Arc;

/// The kinds that Consul 1.22 knows.
const KINDS: [&str; 19] = [
    "api-gateway",
    "bound-api-gateway",
    "control-plane-request-limit",
    "exported-services",
    "file-system-certificate",
    "http-route",
    "ingress-gateway",
    "inline-certificate",
    "jwt-provider",
    "mesh",
    "proxy-defaults",
    "sameness-group",
    "service-defaults",
    "service-intentions",
    "service-resolver",
    "service-router",
    "service-splitter",
    "tcp-route",
    "terminating-gateway",
];

fn invalid_kind(kind: &str) -> Option<String> {
    (!KINDS.contains(&kind)).then(|| format!("invalid config entry kind: {kind}"))
}

/// Asks for an entry: those of services like the services, what routes them together as the mesh.
fn may(request: &Request, action: Action, kind: &str, name: &str) -> Result<(), Failure> {
    match (kind, action) {
        ("service-intentions", _) => request.allow(action, Resource::Intentions(name)),
        ("service-defaults" | "service-resolver" | "service-router" | "service-splitter", _) => {
            request.allow(action, sight::service(name))
        }
        ("proxy-defaults", Action::Read) => request.listed(),
        ("proxy-defaults", _) => request.allow(action, Resource::Operator),
        _ => request.allow(action, Resource::Mesh),
    }
}

/// GET /v1/config/:kind and /v1/config/:kind/:name
pub(crate) async fn get(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let path = request.path("rest")?;
    match path.split_once('/') {
        Some((kind, name)) => may(&request, Action::Read, kind, name)?,
        // None is there that could be left out.
        None => request.listed()?,
    }
    let topic = Topic::Records(Keyspace::ConsulObjects, KeyRange::prefix(b"config/"));
    match path.split_once('/') {
        Some((kind, name)) => {
            let text = format!("Config entry not found for {kind:?} / {name:?}");
            server
                .watched(&request, &topic, |_| {
                    Ok(Reply::text(StatusCode::NOT_FOUND, text.clone()))
                })
                .await
        }
        None => match invalid_kind(&path) {
            Some(why) => Err(Failure::server(why)),
            None => {
                server
                    .watched(&request, &topic, |_| Reply::json::<[u8; 0]>(&[]))
                    .await
            }
        },
    }
}

/// DELETE /v1/config/:kind/:name: what is not there is removed already.
pub(crate) async fn delete(_server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    let path = request.path("rest")?;
    let Some((kind, name)) = path.split_once('/') else {
        return Err(Failure::missing(
            "Must provide both a kind and name to delete",
        ));
    };
    may(&request, Action::Write, kind, name)?;
    if let Some(why) = invalid_kind(kind) {
        return Err(Failure::bad(why));
    }
    match request.params().get("cas") {
        "" => Reply::json(&serde_json::json!({})),
        index => match index.parse::<u64>() {
            Ok(_) => Ok(Reply::truth(false)),
            Err(_) => Err(Failure::server(format!(
                "strconv.ParseUint: parsing {index:?}: invalid syntax"
            ))),
        },
    }
}

/// PUT /v1/config
pub(crate) async fn put(_server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    request.allow(Action::Admin, Resource::Operator)?;
    Err(Failure::new(
        StatusCode::NOT_IMPLEMENTED,
        "config entries cannot be written: this server has no service mesh that would act on them",
    ))
}
