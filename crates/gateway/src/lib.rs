//! The gateway: whoever cannot look services up calls one port, and the gateway finds the service, chooses an endpoint and passes the request on.
//!
//! What it promises
//! - A change of the catalog counts for the next request, without a reload, and ends no connection and no request.
//! - HTTP/1.1, HTTP/2, gRPC, server-sent events and WebSockets pass; bodies are streamed and never held as a whole.
//! - What two readers could take for different requests is refused before anybody reads it (`wire`).
//! - A request is tried again only where that is safe, at another endpoint, and within a budget.
//! - When the server stops, requests that are there are answered.
//! - Each thread has its own connections, balancers and connections to endpoints; a request crosses no lock and no other thread.
//!
//! What it deliberately does not do: it keeps no routes and no endpoints of its own, they are the catalog's. Unlike the ports of protocols it
//! serves any `Host`, to anybody who reaches it: it gives away nothing of the registry, only what services answer. It speaks no TLS to
//! endpoints, and passes no TCP and no UDP on.
//!
//! Where to start: [`serve`], then `front` (connections), `proxy` (a request), `route` (which service), `upstream` (which endpoint).

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod body;
mod client;
mod error;
mod figures;
mod front;
mod gateway;
mod headers;
mod local;
mod log;
mod policy;
mod proxy;
mod remarks;
mod route;
mod settings;
mod trace;
mod upstream;
mod wire;

use std::io;
use std::sync::Arc;

use portolan_catalog::Protocol;
use portolan_listener::{ServerContext, TcpPort};
use portolan_registry::Registry;

pub use remarks::remarks;
pub use settings::Settings;

use crate::figures::Figures;
use crate::front::{acceptor, worker};
use crate::gateway::Gateway;
use crate::log::AccessLog;

/// Connections that wait for a thread to take them, for each.
const HANDED: usize = 1024;

/// Serves the gateway on `port` until the server drains; [`ServerContext::finish`] waits for its requests. Must be called inside a Tokio runtime.
///
/// # Errors
/// When there is no thread to be had, or the access log cannot be written.
pub fn serve(
    context: &ServerContext,
    port: TcpPort,
    registry: Registry,
    settings: Settings,
) -> io::Result<()> {
    let figures = Figures::default();
    figures.register(context.metrics());
    let log = settings
        .access_log
        .as_deref()
        .map(|path| AccessLog::open(path, &figures))
        .transpose()?;
    let workers = match settings.workers {
        0 => std::thread::available_parallelism().map_or(2, usize::from),
        some => some,
    };
    let gateway = Arc::new(Gateway {
        registry: registry.clone(),
        table: Arc::default(),
        settings,
        limits: context.limits().clone(),
        figures: figures.clone(),
        log,
    });
    let (table, leaving) = (gateway.table.clone(), context.clone());
    context.spawn(Protocol::Portolan, async move {
        tokio::select! {
            () = route::follow(registry, table, figures) => {}
            () = leaving.draining() => {}
        }
    });
    let mut senders = Vec::new();
    let mut threads = Vec::new();
    for number in 0..workers {
        let (sender, accepted) = tokio::sync::mpsc::channel(HANDED);
        let gateway = gateway.clone();
        let name = format!("portolan-gateway-{number}");
        threads.push(portolan_environment::thread(&name, move || {
            worker::run(gateway, accepted);
        })?);
        senders.push(sender);
    }
    let mut port = port;
    let beside = port.beside.take();
    let accepting = context.clone();
    context.spawn(Protocol::Portolan, async move {
        let (here, there) = (gateway.clone(), accepting.clone());
        let (senders_here, senders_there) = (senders.clone(), senders);
        let plain = acceptor::accept(here, accepting, port, senders_here);
        let beside = async {
            if let Some(port) = beside {
                acceptor::accept(gateway, there, *port, senders_there).await;
            }
        };
        // Threads end when nobody has connections for them any more.
        tokio::join!(plain, beside);
        for thread in threads {
            if let Err(error) = thread.join().await {
                tracing::error!(%error, "a thread of the gateway ended badly");
            }
        }
    });
    Ok(())
}
