//! Consul's HTTP API over the one catalog: agent, catalog, health, keys, sessions, transactions, prepared queries.
//!
//! What it promises
//! - Unmodified Consul clients register, look up, watch, lock and transact; bodies, headers and error texts are Consul's.
//! - A blocking query is woken by news about what it asked for and by nothing else, and holds no state while it waits.
//! - A lookup of one service's health without odd parameters is a pointer load and a write of shared bytes.
//! - What is not there answers as a Consul server without that feature, never 200 with nothing behind it.
//!
//! What it deliberately does not do: it keeps nothing of its own, runs no checks (they are definitions in the catalog that
//! others run), serves no DNS, decides nothing about access (`portolan-access` does), and runs no proxies: what a service mesh is made of is kept and told. Scripts are refused as check definitions of calls.
//!
//! Where to start: `routes` is the index of the API; `watch` says how queries wait; `read` shows the catalog in Consul's
//! rows, `write` turns Consul's bodies into commands. The README lists every endpoint.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod access_routes;
mod agent;
mod catalog;
mod chain;
mod config;
mod connect;
mod datacenters;
mod definition_keys;
mod definitions;
mod disabled;
mod error;
mod event;
mod extension;
mod filter;
#[doc(hidden)]
pub mod fuzzing;
mod gateways;
mod health;
mod intentions;
mod kv;
mod query;
mod read;
mod reply;
mod request;
mod routes;
mod selection;
mod server;
mod server_info;
mod session;
mod sight;
mod snapshot;
mod status;
mod txn;
mod ui;
mod view;
mod watch;
mod wire;
mod write;

use portolan_catalog::Protocol;
use portolan_listener::{
    BoxFuture, HttpOptions, Methods, Request, Response, Router, ServerContext, TcpPort, serve_http,
};
use portolan_registry::Registry;
use server::Server;
use std::sync::Arc;
use tokio::task::JoinHandle;

pub use definitions::Definitions;
pub use server_info::{CONSUL_VERSION, Connect, Ports, Reload, ServerInfo, Snapshots, Term};

/// Serves the API on `port` until the server drains. Must be called inside a Tokio runtime; the handle ends with the port.
pub fn serve(
    context: &ServerContext,
    port: TcpPort,
    registry: Registry,
    settings: ServerInfo,
) -> JoinHandle<()> {
    // Consul has no HTTP/2 without TLS.
    let options = HttpOptions {
        http1_only: true,
        title_case: true,
        snapshots: Some("/v1/snapshot"),
        ..HttpOptions::default()
    };
    serve_http(context, port, options, service(context, registry, settings))
}

/// What answers the requests of [`serve`], without the port: a simulation calls it in memory. Each request carries its
/// [`Caller`](portolan_listener::Caller) in its extensions.
pub fn service(
    context: &ServerContext,
    registry: Registry,
    settings: ServerInfo,
) -> impl Fn(Request) -> BoxFuture<Response> + Send + Sync + 'static {
    let server = Arc::new(Server::new(registry, settings));
    let router = Arc::new(Router::new(
        context.metrics(),
        Protocol::Consul,
        &[routes::ROUTES],
    ));
    move |request| Box::pin(routes::respond(server.clone(), router.clone(), request))
}

/// Every route with its methods, for the test that asks each for its decision.
pub fn routes() -> impl Iterator<Item = (Methods, &'static str)> {
    routes::ROUTES
        .iter()
        .map(|route| (route.methods, route.pattern))
}
