//! Nacos over the shared catalog: naming and configuration, over HTTP (v1, v2, v3) and gRPC (2.x, 3.x).
//!
//! What it promises
//! - Unmodified Nacos clients register, find, subscribe, publish and listen; they see what every other protocol registered, and the others
//!   see them.
//! - An instance that a gRPC connection registered goes with the connection, one that beats goes when it falls silent, a persistent one
//!   stays and is checked.
//! - A change reaches subscribers at once. A burst becomes as few pushes as the client takes, without a fixed wait.
//! - What is told is made from the state of a server that has caught up; an empty list is told only when there is nothing.
//!
//! What it deliberately does not do: it keeps no instances, no configurations and no leases of its own. A connection has subscriptions and
//! what it was told last, and nothing else. Users are principals of
//! access control and their permissions its rules, which decide here as everywhere. AI and MCP requests have no handler.
//!
//! Where to start: `routes` is the index of HTTP, `rpc` that of gRPC. `write` makes commands of requests, `read` and `translate` make
//! replies of states, `watch` finds who is to be told, `rpc::stream` tells them. `config` is the other half of the protocol. [`wire`] has the
//! bytes' own words. `README.md` says what is served.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod app;
mod auth;
mod clusters;
mod config;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod names;
mod overlay;
mod read;
mod routes;
mod rpc;
mod translate;
mod watch;
pub mod wire;
mod write;

use std::sync::Arc;

use portolan_catalog::Protocol;
use portolan_listener::{
    BindError, HttpOptions, Methods, Router, ServerContext, TcpPort, bind_udp, serve_http,
};
use portolan_registry::Registry;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

pub use crate::app::Settings;
use crate::app::{App, Gauges};
use crate::auth::Auth;
use crate::rpc::Meters;
use crate::watch::connections::Connections;
use crate::watch::hub::Hub;
use crate::watch::udp::{self, UdpPush};

/// Bytes of a form: a configuration of the largest size, of which every byte may be three.
const BODY_BYTES: usize = 32 << 20;

/// The ports of one server. Clients look for the gRPC port a thousand above the other.
#[derive(Debug)]
pub struct Ports {
    /// HTTP.
    pub http: TcpPort,
    /// gRPC, unless it is off.
    pub grpc: Option<TcpPort>,
}

/// Serves Nacos until the server drains. The handles end with the accept loops. Must be called inside a Tokio runtime.
///
/// # Errors
/// When the port for pushes by UDP cannot be opened.
pub fn serve(
    context: &ServerContext,
    ports: Ports,
    registry: Registry,
    settings: Settings,
) -> Result<Vec<JoinHandle<()>>, BindError> {
    let metrics = context.metrics();
    let mut ports = ports;
    if let Some(access) = &settings.access {
        auth::guard(&mut ports.http, access);
        ports
            .grpc
            .iter_mut()
            .for_each(|port| auth::guard(port, access));
    }
    let gauges = Gauges::default();
    gauges.register(metrics);
    let app = Arc::new(App {
        registry: registry.clone(),
        auth: Auth::new(settings.access.clone()),
        settings,
        address: ports.http.address,
        hub: Arc::new(Hub::default()),
        connections: Connections::default(),
        udp: UdpPush::default(),
        gauges,
    });
    push_by_udp(context, &app)?;
    let (draining, hub) = (context.clone(), app.hub.clone());
    context.spawn(Protocol::Nacos, async move {
        tokio::select! {
            () = hub.run(registry) => {}
            () = draining.draining() => {}
        }
    });
    let (draining, keeper) = (context.clone(), app.clone());
    context.spawn(Protocol::Nacos, async move {
        tokio::select! {
            () = keeper.connections.keep(&keeper.registry) => {}
            () = draining.draining() => {}
        }
    });
    let mut handles = Vec::new();
    let router = Arc::new(Router::new(metrics, Protocol::Nacos, routes::TABLES));
    let options = HttpOptions {
        body_bytes: Some(BODY_BYTES),
        ..HttpOptions::default()
    };
    let served = app.clone();
    handles.push(serve_http(context, ports.http, options, move |request| {
        routes::dispatch(served.clone(), router.clone(), request)
    }));
    if let Some(port) = ports.grpc {
        let meters = Arc::new(Meters::new(metrics));
        handles.push(serve_http(
            context,
            port,
            HttpOptions::default(),
            move |request| rpc::answer(app.clone(), meters.clone(), request),
        ));
    }
    Ok(handles)
}

/// Opens the port for pushes to clients of 1.x and runs what sends them.
fn push_by_udp(context: &ServerContext, app: &Arc<App>) -> Result<(), BindError> {
    let mut address = app.address;
    address.set_port(0);
    let port = bind_udp(context, Protocol::Nacos, address, 1)?;
    let os = |source| BindError::Os {
        protocol: Protocol::Nacos,
        address,
        source,
    };
    for socket in port.sockets {
        let socket = UdpSocket::from_std(socket).map_err(os)?;
        app.hub.tell_udp(app.udp.marks.clone());
        let (draining, app) = (context.clone(), app.clone());
        context.spawn(Protocol::Nacos, async move {
            tokio::select! {
                () = udp::run(app, socket) => {}
                () = draining.draining() => {}
            }
        });
    }
    Ok(())
}

/// Every HTTP route: its methods and its path, for a test that asks each of them for its decision.
pub fn routes() -> impl Iterator<Item = (Methods, &'static str)> {
    let all = routes::TABLES.iter().copied().flatten();
    all.map(|route| (route.methods, route.pattern))
}

/// The gRPC requests that are served, by the name of their type.
pub fn requests() -> impl Iterator<Item = &'static str> {
    rpc::requests()
}
