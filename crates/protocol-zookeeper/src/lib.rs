//! ZooKeeper's client protocol over the shared catalog: what its unmodified clients cannot tell from ZooKeeper 3.9.
//!
//! What it promises
//! - Znodes are records of the catalog: order of checks, versions, sequence numbers, stats and error codes are ZooKeeper's. A zxid is the
//!   revision, so it grows with each write and never goes back, whatever becomes of the store.
//! - A session is a lease: it outlives connections, moves between them, and ends strictly when nobody asked anything for its timeout, with
//!   its ephemerals in the same revision. Who does not know the password changes nothing about it.
//! - Replies come in the order of the requests; what a client watches it hears before it sees it.
//! - A node that a layout recognises is an instance for everybody, and instances of other protocols are nodes.
//!
//! What it deliberately does not do: it keeps no nodes and no sessions, and times nothing. SASL and changes of members are
//! refused as by a server without them; see `README.md`.
//!
//! Where to start: `routes` is the index of operations. `serving` takes one after the other, `write` makes commands of them, `read`
//! makes replies of states, `watch` makes notifications of changes; `session` is how a connection begins. [`wire`] knows the bytes and
//! nothing of the catalog.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod acl;
mod app;
mod certificate;
mod connection;
mod counts;
mod error;
#[doc(hidden)]
pub mod frames;
#[doc(hidden)]
pub mod fuzzing;
mod metrics;
mod out;
mod path;
mod read;
mod routes;
mod serving;
mod session;
mod watch;
pub mod wire;
mod words;
mod write;

use std::sync::Arc;
use std::time::Duration;

use portolan_listener::{Limits, ServerContext, StreamOptions, TcpPort, serve_stream};
use portolan_registry::Registry;
use tokio::task::JoinHandle;

use crate::app::App;
pub use crate::app::{Ask, Mode, Settings};
use crate::routes::PROTOCOL;

/// How long a connection may say nothing: longer than any session lives in silence.
const IDLE: Duration = Duration::from_secs(60);

/// Serves ZooKeeper's client port until the server drains. Must be called inside a Tokio runtime.
pub fn serve(
    context: &ServerContext,
    mut port: TcpPort,
    registry: Registry,
    settings: Settings,
) -> JoinHandle<()> {
    let limits = port.options.limits.take();
    let limits = limits.unwrap_or_else(|| context.limits().clone());
    port.options.limits = Some(Limits {
        connections_per_peer: match settings.connections_per_address {
            0 => usize::MAX,
            most => most,
        },
        ..limits
    });
    let app = Arc::new(App::new(
        registry,
        context.clone(),
        settings,
        port.address.port(),
    ));
    metrics::register(&app);
    let watching = app.clone();
    context.spawn(PROTOCOL, async move {
        let draining = watching.context.clone();
        tokio::select! {
            () = watching.watches.hand_out_always() => {}
            () = draining.draining() => {}
        }
    });
    let options = StreamOptions {
        idle_timeout: Some(IDLE),
    };
    serve_stream(context, port, options, move |connection| {
        serving::serve(app.clone(), connection)
    })
}

/// The names of the operations, for tests that ask each of them for its decision.
pub fn operations() -> impl Iterator<Item = &'static str> {
    wire::Opcode::ALL.into_iter().map(wire::Opcode::name)
}
