//! etcd v3 on the catalog: what etcd's own clients, and the registries built on its keys, cannot tell from etcd.
//!
//! What it promises
//! - KV, transactions, watches and leases answer as etcd 3.7 does, down to error texts and which revision a header carries.
//! - A write's header is that write's own revision; headers never go back on a connection; events come in order, without gaps, and all of
//!   one revision together.
//! - A key and value that a layout recognises are an instance of the catalog in the same revision, and instances of other protocols are keys.
//!
//! What it deliberately does not do: it keeps no keys, no leases and no history of its own, and decides nothing. A connection has watch ids
//! and feeds, and no other state. Users and roles are records of the settings.
//!
//! Where to start: `routes` is the index, `write` makes commands of requests, `read` makes replies of states, `watch` makes streams of feeds,
//! `gateway` is all of it in JSON.
//! The facts are in the protocol's sheet; `README.md` says what is served.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod alarm;
mod app;
mod asker;
mod auth;
mod authentication;
mod check;
mod cluster;
mod defragment;
mod election;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
mod health;
mod http;
mod key_range;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod members;
mod permitted;
mod queue;
mod read;
mod routes;
mod watch;
pub mod wire;
mod write;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
};

use portolan_catalog::Protocol;
use portolan_grpc as grpc;
use portolan_listener::{
    BoxFuture, HttpOptions, Request, Response, ServerContext, TcpPort, serve_http,
};
use portolan_registry::Registry;
use tokio::task::JoinHandle;

use crate::app::App;
pub use crate::app::{Ask, Settings, Standing};
pub use crate::auth::TokenKind;
pub use crate::defragment::Defragment;
use crate::routes::Tables;

/// What etcd allows a request beyond the size of what is kept.
const OVERHEAD_BYTES: usize = 512 << 10;
/// Bytes of one message that a client may send.
const RECEIVE_BYTES: usize = 2 << 20;

/// Serves etcd's client port until the server drains. Must be called inside a Tokio runtime.
pub fn serve(
    context: &ServerContext,
    port: TcpPort,
    registry: Registry,
    mut settings: Settings,
) -> JoinHandle<()> {
    if settings.client_urls.is_empty() {
        settings.client_urls = vec![format!("http://{}", reachable(port.address))];
    }
    let options = HttpOptions {
        body_bytes: Some(gateway::BODY_BYTES),
        ..HttpOptions::default()
    };
    serve_http(context, port, options, service(context, registry, settings))
}

/// What answers the requests of [`serve`], without the port: a simulation calls it in memory. Each request carries its
/// [`Caller`](portolan_listener::Caller) in its extensions. Must be called inside a Tokio runtime.
pub fn service(
    context: &ServerContext,
    registry: Registry,
    settings: Settings,
) -> impl Fn(Request) -> BoxFuture<Response> + Send + Sync + 'static {
    let metrics = context.metrics();
    let tables = Arc::new(Tables::new(metrics, Protocol::Etcd));
    let app = Arc::new(App::new(registry, settings));
    tokio::spawn(app.clone().keep_term(context.clone()));
    tokio::spawn(maintenance::keep_within(app.clone(), context.clone()));
    metrics.register(
        "etcd_watchers",
        "watchers open on the etcd port",
        app.gauges.watchers.clone(),
    );
    metrics.register(
        "etcd_watch_streams",
        "watch streams open on the etcd port",
        app.gauges.watch_streams.clone(),
    );
    move |request| {
        let (tables, app) = (tables.clone(), app.clone());
        Box::pin(async move { tables.answer(app, request).await })
    }
}

/// The paths of the gRPC methods that are answered by more than `UNIMPLEMENTED` or by that on purpose, such as `/etcdserverpb.KV/Put`.
pub fn methods() -> impl Iterator<Item = &'static str> {
    routes::GRPC.iter().map(|route| route.pattern)
}

/// The paths of the JSON gateway behind `/v3/`, each with the gRPC method it leads to: `("kv/put", "/etcdserverpb.KV/Put")`.
pub fn json_methods() -> impl Iterator<Item = (&'static str, &'static str)> {
    gateway::paths()
}

/// Where clients reach a listening address: itself, or for a wildcard the address from which this machine talks to others.
fn reachable(listening: SocketAddr) -> SocketAddr {
    if !listening.ip().is_unspecified() {
        return listening;
    }
    // Connecting a UDP socket sends nothing; it only asks the system for the way out. The target is an address kept for documentation.
    let (own, target): (IpAddr, &str) = if listening.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED.into(), "192.0.2.1:9")
    } else {
        (listening.ip(), "[2001:db8::1]:9")
    };
    let outgoing = UdpSocket::bind((own, 0)).and_then(|socket| {
        socket.connect(target)?;
        socket.local_addr()
    });
    let ip = outgoing.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip());
    SocketAddr::new(ip, listening.port())
}
