//! Netflix and Spring Cloud Eureka's REST protocol over the shared catalog.
//!
//! What it promises: unmodified Eureka clients register, renew, cancel, override, and fetch full lists and deltas whose
//! hash code they can check; they see what every other protocol registered, and the others see them. Answers come from
//! the present snapshot: there is no read cache that lags behind.
//!
//! What it deliberately does not do: scaling
//! groups (400, as off EC2), eviction and self-preservation (the leader's lease clock and its guard do both), remote
//! regions.
//!
//! Where to start: `routes` is the protocol's index. `write` holds the rules of registration and renewal, `translate`
//! one instance in both directions, `status` which status is shown, `read` which rows are, `view` the encoded whole,
//! `watch` the delta, `peers` the other servers of a running Eureka cluster. [`wire`] knows the bytes and nothing of the catalog.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod error;
mod extension;
mod handlers;
mod lease;
mod pages;
mod peers;
mod read;
mod rope;
mod routes;
mod status;
mod tally;
mod translate;
mod view;
mod watch;
pub mod wire;
mod write;

use std::sync::Arc;

use portolan_catalog::{Protocol, Timestamp};
use portolan_listener::{
    BoxFuture, HttpOptions, Methods, Request, Response, Router, ServerContext, TcpPort, serve_http,
};
use portolan_registry::Registry;
use tokio::task::JoinHandle;

pub use peers::{PeerUrl, Settings};

/// What every handler holds.
#[derive(Debug)]
pub(crate) struct App {
    registry: Registry,
    whole: view::Whole,
    delta: watch::Delta,
    started: Timestamp,
    address: String,
    peers: Option<Arc<peers::Peers>>,
}

impl App {
    fn now(&self) -> Timestamp {
        self.registry.now()
    }
}

/// Serves Eureka on `port` until the server drains. The handle ends with the accept loop.
pub fn serve(
    context: &ServerContext,
    port: TcpPort,
    registry: Registry,
    settings: &Settings,
) -> JoinHandle<()> {
    let address = port.address.ip().to_string();
    let peers = peers::Peers::begin(settings, port.address, &registry);
    if let Some(peers) = &peers {
        peers::publish(context.metrics(), peers);
    }
    let options = HttpOptions {
        http1_only: true,
        ..HttpOptions::default()
    };
    let service = answering(context, registry, address, peers);
    serve_http(context, port, options, service)
}

/// What answers the requests of [`serve`], without the port: a simulation calls it in memory. `address` is this server's own. Each request
/// carries its [`Caller`](portolan_listener::Caller) in its extensions.
pub fn service(
    context: &ServerContext,
    registry: Registry,
    address: String,
) -> impl Fn(Request) -> BoxFuture<Response> + Send + Sync + 'static {
    answering(context, registry, address, None)
}

fn answering(
    context: &ServerContext,
    registry: Registry,
    address: String,
    peers: Option<Arc<peers::Peers>>,
) -> impl Fn(Request) -> BoxFuture<Response> + Send + Sync + 'static {
    let app = Arc::new(App {
        started: registry.now(),
        address,
        peers,
        registry,
        whole: view::Whole::default(),
        delta: watch::Delta::default(),
    });
    let router = Arc::new(Router::new(
        context.metrics(),
        Protocol::Eureka,
        &[routes::ROUTES],
    ));
    move |request| Box::pin(routes::dispatch(app.clone(), router.clone(), request))
}

/// Every route: its methods and its path pattern, for a test that asks each of them for its decision.
pub fn routes() -> impl Iterator<Item = (Methods, &'static str)> {
    routes::ROUTES
        .iter()
        .map(|route| (route.methods, route.pattern))
}
