//! The discovery part of the Kubernetes API over the shared catalog: Services, Endpoints, EndpointSlices, Pods, Nodes, Namespaces,
//! ConfigMaps, Leases and Events.
//!
//! What it promises
//! - Unmodified clients (kubectl, client-go's informers and leader election, other languages' clients) list, watch, write and patch; a
//!   version is the catalog's revision, one number for all kinds.
//! - A watch misses nothing and repeats nothing; one that cannot go on is told `Expired`, and lists anew.
//! - Two writers of one object never undo each other.
//! - The ready endpoints of a Service are instances of a service for every other protocol, and a service registered elsewhere is a Service
//!   with slices here.
//! - Who owns which field is kept with every write, and server-side apply goes by it.
//! - JSON, YAML and protobuf say the same.
//!
//! What it deliberately does not do: it keeps no objects of its own, they are records of the catalog. It runs no pods. Admission, roles,
//! exec and logs are refused in the API's own words; `README.md` says what is served.
//!
//! Where to start: `kind` is the table of what there is, `routes` the index of paths. `read` answers, `watch` streams, `write` makes commands,
//! `managed` keeps account of owners, `schema` is the list of fields, from which `protobuf` and the descriptions follow. `service` gives
//! Services their addresses, `controller` makes endpoints of pods and of what others registered, `instances` the reverse.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod accept;
mod app;
mod controller;
mod describe;
mod error;
pub mod fuzzing;
mod instances;
mod kind;
mod managed;
mod media;
mod names;
mod object;
mod params;
mod patch;
mod protobuf;
mod ranges;
mod read;
mod respond;
mod review;
mod routes;
mod schema;
mod selector;
mod service;
mod watch;
mod write;
mod yaml;

use std::sync::Arc;

use portolan_catalog::Protocol;
use portolan_listener::{HttpOptions, Methods, Router, ServerContext, TcpPort, serve_http};
use portolan_registry::Registry;
use tokio::task::JoinHandle;

use crate::app::{App, Gauges};
pub use crate::app::{PortRange, ServiceRange, Settings};
use crate::ranges::Ranges;

/// Serves the API on `port` until the server drains. The handle ends with the accept loop. Must be called inside a Tokio runtime.
pub fn serve(
    context: &ServerContext,
    port: TcpPort,
    registry: Registry,
    settings: Settings,
) -> JoinHandle<()> {
    let metrics = context.metrics();
    let gauges = Gauges::default();
    gauges.register(metrics);
    let mut address = port.address;
    if let Some(ip) = settings.advertise {
        address.set_ip(ip);
    }
    let options = HttpOptions {
        body_bytes: Some(settings.object_bytes),
        ..HttpOptions::default()
    };
    let app = Arc::new(App {
        ranges: Ranges {
            addresses: settings.service_range,
            ports: settings.node_ports,
        },
        registry,
        settings,
        address,
        gauges,
        authenticator: port.options.authenticator.clone(),
    });
    let (draining, keeper) = (context.clone(), app.clone());
    context.spawn(Protocol::Kubernetes, async move {
        tokio::select! {
            () = controller::run(keeper) => {}
            () = draining.draining() => {}
        }
    });
    let router = Arc::new(Router::new(
        metrics,
        Protocol::Kubernetes,
        &[routes::ROUTES],
    ));
    serve_http(context, port, options, move |request| {
        routes::dispatch(app.clone(), router.clone(), request)
    })
}

/// Every route: its methods and its path pattern, for a test that asks each of them for its decision.
pub fn routes() -> impl Iterator<Item = (Methods, &'static str)> {
    routes::ROUTES
        .iter()
        .map(|route| (route.methods, route.pattern))
}
