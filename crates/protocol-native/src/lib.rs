//! Portolan's own protocol: HTTP and JSON, for the command line, scripts and people with curl.
//!
//! What it promises: everything the catalog knows can be asked here, in one vocabulary, also as it was at an earlier time; `why` explains
//! from recorded causes. The types of bodies are in `portolan-api`.
//!
//! What it deliberately does not do: it imitates nobody, so it may say what other protocols have no words for. It keeps no state; a
//! watch is a feed, a lease is renewed by its holder.
//!
//! Where to start: `routes` is the index, `read` makes answers of states, `write` makes commands of requests, `watch` makes lines of
//! feeds, `why` makes causes of history. The README lists every operation.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod as_of;
mod backend;
mod error;
mod exposition;
mod guard;
mod health;
mod kv;
mod members;
mod metrics;
mod query;
mod read;
mod readiness;
mod remarks;
mod render;
mod reply;
mod route;
mod routes;
mod snapshot;
#[cfg(test)]
mod tests;
mod watch;
mod which;
mod why;
mod write;

use std::net::SocketAddr;
use std::sync::Arc;

use portolan_api as api;
use portolan_catalog::Protocol;
use portolan_listener::{HttpOptions, Methods, Router, ServerContext, TcpPort, serve_http};
use portolan_registry::Registry;
use prometheus_client::metrics::gauge::Gauge;
use tokio::task::JoinHandle;

pub use backend::{Backend, Standing};
pub use readiness::Readiness;
pub use remarks::Remarks;

/// Who this server is: plain values from the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Portolan's version.
    pub version: Arc<str>,
    /// The name of this server's node.
    pub node: Arc<str>,
    /// Open ports, by protocol.
    pub ports: Vec<(Protocol, SocketAddr)>,
    /// Every open port, the cluster's included, for whoever asks who can reach it.
    pub open: Vec<api::OpenPort>,
    /// Which protocols are ready.
    pub readiness: Readiness,
    /// What stands behind the registry.
    pub backend: Arc<dyn Backend>,
    /// How DNS is served, for `why`.
    pub dns: Dns,
    /// What other protocols have to say of a service, for `why`.
    pub remarks: Remarks,
}

/// What DNS would answer, as far as `why` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// The domain below which services are. Default `consul`.
    pub domain: Arc<str>,
    /// Whether instances with a warning are left out. Default false.
    pub only_passing: bool,
}

impl Default for Dns {
    fn default() -> Dns {
        Dns {
            domain: "consul".into(),
            only_passing: false,
        }
    }
}

/// What every handler holds.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) registry: Registry,
    pub(crate) context: ServerContext,
    pub(crate) settings: Settings,
    /// Watches that are open.
    pub(crate) watches: Gauge,
}

/// Serves the native protocol on `port` until the server drains. Must be called inside a Tokio runtime.
pub fn serve(
    context: &ServerContext,
    port: TcpPort,
    registry: Registry,
    settings: Settings,
) -> JoinHandle<()> {
    metrics::publish(context.metrics(), &registry);
    let watches = Gauge::default();
    context.metrics().register(
        "native_watches",
        "watches open on the native port",
        watches.clone(),
    );
    let app = Arc::new(App {
        registry,
        context: context.clone(),
        settings,
        watches,
    });
    let router = Arc::new(Router::new(
        context.metrics(),
        Protocol::Native,
        &[routes::ROUTES],
    ));
    let options = HttpOptions {
        body_bytes: Some(write_bytes(context)),
        snapshots: Some("/v1/snapshot"),
        ..HttpOptions::default()
    };
    serve_http(context, port, options, move |request| {
        routes::dispatch(app.clone(), router.clone(), request)
    })
}

/// A record of the etcd keyspace may be as large as a request of the port.
fn write_bytes(context: &ServerContext) -> usize {
    context.limits().body_bytes
}

/// Every route: its methods and its path pattern, for a test that asks each of them for its decision.
pub fn routes() -> impl Iterator<Item = (Methods, &'static str)> {
    routes::ROUTES
        .iter()
        .map(|route| (route.methods, route.pattern))
}
