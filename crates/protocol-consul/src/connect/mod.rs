//! `/v1/connect/ca/*` and `/v1/agent/connect/ca/*`: the authority that gives services certificates to prove to each other who they are.

mod authority;
pub(crate) mod leaves;
mod settings;
mod stored;

use crate::error::Failure;
use crate::reply::{Freshness, Reply};
use crate::request::Request;
use crate::server::Server;
use crate::sight;
use crate::watch::Topic;
use crate::wire::Consistency;
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use leaves::Given;
use portolan_catalog::KeyRange;
use portolan_listener::{Action, Resource};
use serde_json::json;
use settings::CaConfig;
use std::sync::Arc;
use std::time::Duration;
use stored::Roots;

/// How often one waits for a certificate before it looks at the clock.
const LOOK: Duration = Duration::from_secs(60);

/// What everything here is told where it is switched off.
fn switched_on(server: &Server, request: &Request) -> Result<(), Failure> {
    if server.info.connect.enabled {
        return Ok(());
    }
    // That it is off is no secret.
    request.allow(Action::Read, Resource::Public)?;
    Err(Failure::server(
        "Connect must be enabled in order to use this endpoint",
    ))
}

fn topic() -> Topic {
    Topic::Records(stored::SPACE, KeyRange::prefix(stored::BELOW.as_bytes()))
}

/// The roots; made where there are none yet.
async fn roots_now(server: &Server, request: &Request) -> Result<Roots, Failure> {
    if let Some(roots) = Roots::of(&server.snapshot()) {
        return Ok(roots);
    }
    stored::rotate(server, request, None).await?;
    Roots::of(&server.snapshot())
        .ok_or_else(|| Failure::server("the root certificate is not there yet"))
}

/// The domain of the names in certificates.
pub(crate) async fn trust_domain(server: &Server, request: &Request) -> Result<String, Failure> {
    let roots = roots_now(server, request).await?;
    let domain = roots.active().map(|root| root.trust_domain.clone());
    domain.ok_or_else(|| Failure::server("there is no root certificate"))
}

/// GET /v1/connect/ca/roots and /v1/agent/connect/ca/roots
pub(crate) async fn roots(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    switched_on(&server, &request)?;
    request.allow(Action::Read, Resource::Public)?;
    roots_now(&server, &request).await?;
    server
        .watched(&request, &topic(), |shown| {
            let roots = Roots::of(shown.state)
                .ok_or_else(|| Failure::server("the stored roots cannot be read"))?;
            if request.params().flag("pem")? {
                let pem: String = roots.list.iter().map(|root| &*root.root_cert).collect();
                let kind = HeaderValue::from_static("application/pem-certificate-chain");
                return Ok(Reply::text(StatusCode::OK, pem).header(CONTENT_TYPE, kind));
            }
            Reply::json(&stored::render(&roots))
        })
        .await
}

/// GET /v1/connect/ca/configuration
pub(crate) async fn configuration(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    switched_on(&server, &request)?;
    request.allow(Action::Read, Resource::Operator)?;
    server
        .watched(&request, &topic(), |shown| {
            let (config, created, modified) = stored::config(&server, shown.state);
            Reply::json(&config.shown(created, modified))
        })
        .await
}

/// PUT /v1/connect/ca/configuration
pub(crate) async fn configure(server: Arc<Server>, mut request: Request) -> Result<Reply, Failure> {
    switched_on(&server, &request)?;
    request.allow(Action::Write, Resource::Operator)?;
    let body = request.json_object().await?;
    let config = CaConfig::read(&body).map_err(Failure::server)?;
    let roots = roots_now(&server, &request).await?;
    stored::put_config(&server, &request, &config).await?;
    // Another kind of key is another root.
    if roots
        .active()
        .is_some_and(|root| root.bits != config.bits())
    {
        stored::rotate(&server, &request, Some(&roots)).await?;
    }
    Ok(Reply::empty())
}

/// GET /v1/agent/connect/ca/leaf/:service: waits by its own index, which is the time a certificate was made.
pub(crate) async fn leaf(server: Arc<Server>, request: Request) -> Result<Reply, Failure> {
    switched_on(&server, &request)?;
    let service = request.named("service", "Missing service name")?;
    request.allow(Action::Write, sight::service(&service))?;
    let mut options = request.read_options()?;
    let given = current(&server, &request, &service).await?;
    if options.index < given.index {
        return shown(&server, &service, &given);
    }
    let wait = options.wait;
    let waiting = async {
        loop {
            let state = server.snapshot();
            let active =
                |state: &portolan_catalog::State| Some(Roots::of(state)?.active()?.id.clone());
            options.wait = LOOK;
            let news =
                |state: &portolan_catalog::State| active(state).is_some_and(|id| id != given.root);
            Box::pin(server.wait(&request, &options, &topic(), state, news)).await;
            let now = current(&server, &request, &service).await?;
            if options.index < now.index {
                return Ok(now);
            }
        }
    };
    let draining = request.caller.draining();
    let ended: Result<Arc<Given>, Failure> = tokio::select! {
        ended = tokio::time::timeout(wait, waiting) => ended.unwrap_or(Ok(given.clone())),
        () = draining => Ok(given.clone()),
    };
    let ended = ended?;
    // The right may have gone meanwhile.
    request.allow(Action::Write, sight::service(&service))?;
    shown(&server, &service, &ended)
}

/// The certificate of a service that is good now.
async fn current(server: &Server, request: &Request, service: &str) -> Result<Arc<Given>, Failure> {
    let mut roots = roots_now(server, request).await?;
    let mut key = keyed(server, &roots);
    if key.is_none() {
        // A root from before certificates were given out: its key was thrown away.
        stored::rotate(server, request, Some(&roots)).await?;
        roots = roots_now(server, request).await?;
        key = keyed(server, &roots);
    }
    let (Some(root), Some(key)) = (roots.active(), key) else {
        return Err(Failure::server("the key of the root is not there yet"));
    };
    let now = server.now_ms();
    if let Some(given) = server.leaves.current(service, root, now) {
        return Ok(given);
    }
    let (config, ..) = stored::config(server, &server.snapshot());
    let datacenter = &server.info.datacenter;
    let leaf = authority::sign_leaf(root, &key, service, datacenter, now, config.leaf_ttl());
    let leaf = leaf.map_err(|error| {
        Failure::server(format!("signing a certificate for {service:?}: {error}"))
    })?;
    let early = portolan_environment::random_fraction();
    Ok(server.leaves.keep(service, root, leaf, now, early))
}

fn keyed(server: &Server, roots: &Roots) -> Option<String> {
    stored::private_key(&server.snapshot(), roots.active()?)
}

fn shown(server: &Server, service: &str, given: &Given) -> Result<Reply, Failure> {
    let leaf = &given.leaf;
    let reply = Reply::json(&json!({
        "SerialNumber": leaf.serial_number,
        "CertPEM": leaf.certificate,
        "PrivateKeyPEM": leaf.key,
        "Service": service,
        "ServiceURI": leaf.uri,
        "ValidAfter": authority::time(leaf.from_ms),
        "ValidBefore": authority::time(leaf.until_ms),
        "CreateIndex": given.index,
        "ModifyIndex": given.index,
    }))?;
    Ok(reply.fresh(Freshness {
        index: given.index,
        known_leader: server.known_leader(),
        last_contact_ms: 0,
        consistency: Consistency::Leader,
        cached: None,
    }))
}
