//! What every stream needs: the registry, what is rendered, who follows, and what is counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portolan_catalog::Protocol;
use portolan_listener::Metrics;
use portolan_registry::Registry;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::kind::Kind;
use crate::read::Reader;
use crate::watch::hub::Hub;

/// How the protocol is served.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This server's name, which clients show as that of their control plane.
    pub node: Arc<str>,
    /// The region of instances that say none. Default `dc1`.
    pub datacenter: Arc<str>,
    /// The zone of Kubernetes, in which services have names. Default `cluster.local`.
    pub cluster_zone: Arc<str>,
    /// The domain of Consul, in which services have names. Default `consul`.
    pub domain: Arc<str>,
    /// Where an Envoy that asks for listeners is told to listen for calls to any service; none: it is told of no listener. Default
    /// `127.0.0.1:10000`.
    pub egress: Option<SocketAddr>,
    /// Streams that are open at a time. Default 20,000.
    pub streams: usize,
    /// Resources that one stream may ask for by name, of all kinds together. Default 50,000.
    pub names: usize,
    /// Bytes of one request. Default 4 MiB, which is what gRPC's libraries take.
    pub request_bytes: usize,
    /// Time between two pushes on one stream while changes go on. The first change after a pause goes at once. Default 20 ms.
    pub pause: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            node: "portolan".into(),
            datacenter: "dc1".into(),
            cluster_zone: "cluster.local".into(),
            domain: "consul".into(),
            egress: Some(SocketAddr::from(([127, 0, 0, 1], 10_000))),
            streams: 20_000,
            names: 50_000,
            request_bytes: 4 << 20,
            pause: Duration::from_millis(20),
        }
    }
}

/// The xDS front end of one server.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) registry: Registry,
    pub(crate) settings: Settings,
    pub(crate) reader: Arc<Reader>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) figures: Figures,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfKind {
    kind: &'static str,
}

/// What is counted beside the requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) streams: Gauge,
    pub(crate) names: Gauge,
    pub(crate) limited: Counter,
    pub(crate) stale: Counter,
    responses: Family<OfKind, Counter>,
    resources: Family<OfKind, Counter>,
    accepted: Family<OfKind, Counter>,
    refused: Family<OfKind, Counter>,
    unknown: Counter,
}

impl Figures {
    pub(crate) fn register(&self, metrics: &Metrics) {
        let Figures {
            streams,
            names,
            limited,
            stale,
            responses,
            resources,
            accepted,
            refused,
            unknown,
        } = self.clone();
        metrics.register("xds_streams", "streams that are open", streams);
        metrics.register("xds_names", "resources that streams ask for by name", names);
        metrics.register(
            "xds_limited",
            "streams refused or ended for a bound: too many, or too many names",
            limited,
        );
        metrics.register(
            "xds_stale_requests",
            "requests that answered an older response than the last, and were ignored",
            stale,
        );
        metrics.register("xds_responses", "responses sent, by kind", responses);
        metrics.register("xds_resources", "resources sent, by kind", resources);
        metrics.register("xds_acks", "responses accepted, by kind", accepted);
        metrics.register(
            "xds_nacks",
            "responses refused by a client, by kind: what it was sent is not used there",
            refused,
        );
        metrics.register(
            "xds_unknown_types",
            "requests for types of resources that are not served, left without an answer",
            unknown,
        );
        // The series are there from the first scrape on, at zero.
        for kind in Kind::ALL {
            self.sent(kind, 0, 0);
            self.answered(kind, false, 0);
            self.answered(kind, true, 0);
        }
    }

    pub(crate) fn sent(&self, kind: Kind, responses: u64, resources: u64) {
        let label = OfKind { kind: kind.short() };
        self.responses.get_or_create(&label).inc_by(responses);
        self.resources.get_or_create(&label).inc_by(resources);
    }

    pub(crate) fn answered(&self, kind: Kind, refused: bool, times: u64) {
        let label = OfKind { kind: kind.short() };
        let family = if refused {
            &self.refused
        } else {
            &self.accepted
        };
        family.get_or_create(&label).inc_by(times);
    }

    pub(crate) fn unknown(&self) {
        self.unknown.inc();
    }
}

/// The protocol's name in messages.
pub(crate) const PROTOCOL: Protocol = Protocol::Xds;
