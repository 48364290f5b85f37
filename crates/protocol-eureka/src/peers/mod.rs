//! Peers: other Eureka servers, which are told of what clients do here and tell what clients do there.
//!
//! As in the original, whichever server takes a client's call tells the peers of it, and what a peer told is told to nobody. What other
//! protocols registered is told by the server that leads, with heartbeats of its own, since nobody else would renew it there.
//!
//! Nothing here decides what is so: what comes from a peer is a command like a client's.

mod client;
mod lent;
mod outbox;
mod receive;
mod takeover;
mod url;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use portolan_catalog::{Protocol, State};
use portolan_listener::Metrics;
use portolan_registry::Registry;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::wire::Happened;

pub use url::PeerUrl;

pub(crate) use receive::batch;

/// What is set about peers.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The other servers; none by default.
    pub peers: Vec<PeerUrl>,
}

/// Metadata that says by its value which cluster shows somebody else's instance to its peers. Coming back, it is not taken for news.
pub(crate) const LENT_BY: &str = "portolan.cluster";

/// The peers of this server.
#[derive(Debug)]
pub(crate) struct Peers {
    each: Vec<Arc<outbox::Outbox>>,
    taking_over: AtomicBool,
    pub(crate) figures: Arc<Figures>,
}

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) sent: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) waiting: AtomicU64,
}

impl Peers {
    /// Begins to tell the peers, and to take over what they have. None without peers.
    pub(crate) fn begin(
        settings: &Settings,
        own: SocketAddr,
        registry: &Registry,
    ) -> Option<Arc<Peers>> {
        // Lists of service URLs often name the server they are given to.
        let own = own.to_string();
        let others = settings.peers.iter().filter(|url| url.authority != own);
        let others: Vec<&PeerUrl> = others.collect();
        if others.is_empty() {
            return None;
        }
        let figures = Arc::new(Figures::default());
        let outbox = |url: &PeerUrl| outbox::Outbox::new(url.clone(), registry.clone(), &figures);
        let peers = Arc::new(Peers {
            each: others.into_iter().map(outbox).collect(),
            taking_over: AtomicBool::new(true),
            figures,
        });
        for outbox in &peers.each {
            tokio::spawn(outbox.clone().tell_always());
        }
        tokio::spawn(takeover::run(peers.clone(), registry.clone()));
        tokio::spawn(lent::tell_always(Arc::downgrade(&peers), registry.clone()));
        Some(peers)
    }

    /// Something happened to an instance here.
    pub(crate) fn tell(&self, happened: Happened, app: &str, id: &str) {
        for outbox in &self.each {
            outbox.put(happened, app, id, None);
        }
    }

    /// Whether lists are kept back: what the peers have is on its way, and there is nothing else.
    pub(crate) fn keeps_back(&self, state: &State) -> bool {
        let own = |state: &State| {
            let mut rows = state.all_instances();
            rows.any(|row| row.key.origin == Protocol::Eureka)
        };
        self.taking_over.load(Ordering::Acquire) && !own(state)
    }
}

/// The name of a cluster in [`LENT_BY`].
pub(crate) fn lender(registry: &Registry) -> String {
    format!("{:016x}", registry.cluster_id())
}

/// Shows the figures in the server's metrics.
pub(crate) fn publish(metrics: &Metrics, peers: &Peers) {
    metrics.register_collector(Shown(peers.figures.clone()));
}

#[derive(Debug)]
struct Shown(Arc<Figures>);

type Row = (&'static str, &'static str, fn(&Figures) -> &AtomicU64);

const COUNTERS: [Row; 3] = [
    (
        "eureka_peers_sent",
        "entries that Eureka peers were told of",
        |f| &f.sent,
    ),
    (
        "eureka_peers_dropped",
        "entries that Eureka peers were not told of in time, or refused",
        |f| &f.dropped,
    ),
    (
        "eureka_peers_received",
        "entries that Eureka peers told of",
        |f| &f.received,
    ),
];

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for (name, help, of) in COUNTERS {
            let value = of(&self.0).load(Ordering::Relaxed);
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        let waiting = self.0.waiting.load(Ordering::Relaxed);
        encoder
            .encode_descriptor(
                "eureka_peers_waiting",
                "entries that wait for Eureka peers to be told of them",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&i64::try_from(waiting).unwrap_or(i64::MAX))
    }
}
