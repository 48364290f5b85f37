//! xDS on the catalog: what gRPC's channels on `xds:///web` and Envoy cannot tell from a control plane of their own.
//!
//! What it promises
//! - The four kinds of resources (LDS, RDS, CDS, EDS) over one stream (ADS) or a stream each, as the state of the world and as differences,
//!   in API version 3.
//! - A channel of gRPC gets the service that its target names; an Envoy gets all services, and one listener that routes to them by name.
//! - Only what changed is sent, to those who follow it. What is pointed to comes before what points there, and goes after it: no call fails
//!   for the order of messages.
//! - Instances of a client's own region come first. Weights, health, and what a service's metadata says of breakers, outliers and retries
//!   reach the client.
//! - A response that a client refused is counted, kept, and told by `why`.
//! - A caller sees the services that its token may discover, and no others.
//!
//! What it deliberately does not do: it keeps no resources, they follow from the catalog. A stream has what it asked for and what it was
//! told, and nothing else. Secrets (SDS), load reports (LRS), client status (CSDS) and fetching by REST are not served; `README.md` says
//! how each is refused.
//!
//! Where to start: `watch` is a stream from request to response, `watch::subscription` the rules of what is asked for, `read` makes resources
//! of states, `names` says which service a name means, `policy` what metadata says. [`wire`] has the protocol's own words.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod app;
mod client;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod kind;
mod names;
mod policy;
mod read;
mod remarks;
mod reply;
mod resource;
mod routes;
mod watch;
pub mod wire;

use std::sync::Arc;

use portolan_listener::{HttpOptions, Methods, Router, ServerContext, TcpPort, serve_http};
use portolan_registry::Registry;
use tokio::task::JoinHandle;

pub use crate::app::Settings;
use crate::app::{App, Figures, PROTOCOL};
use crate::names::Zones;
use crate::read::Reader;
pub use crate::remarks::Remarks;
use crate::watch::hub::Hub;

/// Serves xDS on `port` until the server drains: the task, which ends with the accept loop, and what is to be said of a service. Must be called
/// inside a Tokio runtime.
pub fn serve(
    context: &ServerContext,
    port: TcpPort,
    registry: Registry,
    settings: Settings,
) -> (JoinHandle<()>, Remarks) {
    let metrics = context.metrics();
    let figures = Figures::default();
    figures.register(metrics);
    let zones = Zones {
        cluster: settings.cluster_zone.clone(),
        domain: settings.domain.clone(),
    };
    let reader = Reader::new(
        registry.clone(),
        zones,
        settings.datacenter.clone(),
        settings.egress,
    );
    let app = Arc::new(App {
        registry,
        settings,
        reader: Arc::new(reader),
        hub: Arc::default(),
        figures,
    });
    let (draining, hub) = (context.clone(), app.hub.clone());
    let (registry, reader) = (app.registry.clone(), app.reader.clone());
    context.spawn(PROTOCOL, async move {
        tokio::select! {
            () = Hub::run(hub, registry, reader) => {}
            () = draining.draining() => {}
        }
    });
    let remarks = Remarks::new(app.clone());
    let router = Arc::new(Router::new(metrics, PROTOCOL, &[routes::ROUTES]));
    let served = serve_http(context, port, HttpOptions::default(), move |request| {
        let (router, app) = (router.clone(), app.clone());
        Box::pin(async move { routes::answer(&router, app, request).await })
    });
    (served, remarks)
}

/// Every route: its methods and its path pattern, for a test that asks each of them for its decision.
pub fn routes() -> impl Iterator<Item = (Methods, &'static str)> {
    routes::ROUTES
        .iter()
        .map(|route| (route.methods, route.pattern))
}
