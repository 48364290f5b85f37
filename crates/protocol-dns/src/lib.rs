//! DNS over UDP and TCP, and on ports of their own over TLS and HTTPS: the names of Consul's domain and of the Kubernetes zone, answered from the catalog.
//!
//! What it promises
//! - Any instance is found by name, whichever protocol it was registered through; critical ones and those in maintenance never are.
//! - No packet harms the server: decoding is total, responses are dropped, and a client outside the allowed networks gets no answer
//!   larger than its question.
//! - On the path of a UDP query there is no lock, no allocation and no encoding of records: answers are prepared once, proved against
//!   the catalog's revision and copied.
//! - Nobody is flooded through us: replies over UDP to networks that are not near are limited, but for clients that show their cookie.
//! - Absence is not remembered for long: the SOA minimum is at most 5 seconds.
//! - Replies are cut to what the client takes in the way of each zone's own server: Consul's names as Consul does it.
//!
//! - Names outside the zones are refused, or asked of recursors: what fails is never kept, and times to live count down.
//!
//! What it deliberately does not do: finding answers from the root on, zone files, transfers, updates, DNSSEC. Those get the protocol's own
//! refusal.
//!
//! Where to start: [`serve`], then `answer` (one query from packet to reply), `names` (what a name asks for) and `read` (what the
//! catalog says to it). The README lists every kind of query.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod alias;
mod answer;
mod apex;
mod builder;
mod cache;
mod cluster;
mod cookies;
mod definitions;
mod dependency;
mod elsewhere;
mod found;
#[doc(hidden)]
pub mod fuzzing;
mod https;
mod metrics;
mod names;
mod nodes;
mod prepared_query;
#[cfg(test)]
mod properties;
mod rates;
mod read;
mod records;
mod recursion;
mod recursor;
mod reverse_lookup;
mod services;
mod settings;
mod shuffler;
mod tcp;
mod template;
mod udp;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use portolan_catalog::Protocol;
use portolan_listener::{BindError, ServerContext, TcpPort, bind_udp_and_tcp};
use portolan_registry::{Datacenters, Registry};
use tokio::runtime::Handle;

use crate::answer::{Common, Worker};
use crate::cache::{Cache, LocalCache};
use crate::cookies::Cookies;
use crate::elsewhere::Elsewhere;
use crate::found::Indexes;
use crate::metrics::AllCounts;
use crate::rates::Rates;
use crate::recursion::Recursion;
use crate::settings::Settings;

pub use recursor::Recursor;
pub use settings::{Network, Options};

/// Ports beside that of UDP and TCP, bound and with their handshakes.
#[derive(Debug, Default)]
pub struct Encrypted {
    /// DNS over TLS (RFC 7858).
    pub tls: Option<TcpPort>,
    /// DNS over HTTPS (RFC 8484), at `/dns-query`.
    pub https: Option<TcpPort>,
}

/// Opens the UDP and TCP port and answers on it and on the `encrypted` ones until the server drains. Must be called inside a Tokio runtime.
///
/// Returns the address it got: port 0 takes one that is free for both. UDP is served by threads of its own, one per core by default.
pub fn serve(
    context: &ServerContext,
    registry: &Registry,
    datacenters: &Datacenters,
    options: &Options,
    encrypted: Encrypted,
) -> Result<SocketAddr, BindError> {
    let workers = match options.workers {
        0 => thread::available_parallelism().map_or(1, usize::from),
        some => some,
    };
    let (udp_port, tcp_port) = bind_udp_and_tcp(context, Protocol::Dns, options.listen, workers)?;
    let address = udp_port.address;
    let elsewhere = Elsewhere::new(datacenters, options);
    let common = Arc::new(Common {
        context: context.clone(),
        registry: registry.clone(),
        settings: Settings::new(options).knowing(elsewhere.names()),
        elsewhere,
        cache: Cache::new(options.cache_bytes),
        indexes: Indexes::default(),
        counts: Arc::new(AllCounts::default()),
        recursion: Recursion::new(options, address),
        runtime: Handle::current(),
        cookies: Cookies::new(),
        rates: Rates::new(options),
    });
    let (sized, further) = (Arc::clone(&common), common.recursion.clone());
    metrics::publish(
        context.metrics(),
        &common.counts,
        move || sized.cache.size(),
        move |encoder| match &further {
            Some(recursion) => recursion.encode(encoder),
            None => Ok(()),
        },
    );
    for (index, socket) in udp_port.sockets.into_iter().enumerate() {
        let worker = Worker::new(
            Arc::clone(&common),
            LocalCache::lasting(),
            common.counts.worker(),
        );
        let run = move || {
            if let Err(error) = udp::run(socket, worker) {
                tracing::error!(%error, "dns: a udp worker could not begin");
            }
        };
        #[allow(
            clippy::disallowed_methods,
            reason = "the workers are threads that wait for datagrams, outside any runtime"
        )]
        thread::Builder::new()
            .name(format!("dns-{index}"))
            .spawn(run)
            .map_err(|source| BindError::Os {
                protocol: Protocol::Dns,
                address,
                source,
            })?;
    }
    tcp::serve(&common, tcp_port);
    if let Some(port) = encrypted.tls {
        tcp::serve(&common, port);
    }
    if let Some(port) = encrypted.https {
        https::serve(&common, port);
    }
    Ok(address)
}
