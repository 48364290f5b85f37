//! The process's metrics: one registry, and handles that are resolved before the first request needs them.
//!
//! Invariants
//! - No label is looked up or allocated per request: a route's [`Meter`] is made when its table is read.
//! - Label values come from tables of ours, never from the network, so the number of series is bounded.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use portolan_catalog::Protocol;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

use crate::meter::{Meter, Meters};

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// The registry and the listener's own counters. Cloning is a pointer copy. Every name gets the prefix `portolan_`.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Mutex<Registry>,
    /// Metrics whose names every program shares, without the prefix.
    plain: Mutex<Registry>,
    ports: Arc<Ports>,
    meters: Arc<Meters>,
    accepted: Family<Labels<1>, Counter>,
    limited: Family<Labels<2>, Counter>,
    undecided: Family<Labels<1>, Counter>,
    panics: Family<Labels<1>, Counter>,
    exposed: Family<Vec<(String, String)>, Gauge>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    /// A registry that holds the listener's own metrics.
    pub fn new() -> Metrics {
        let inner = Inner {
            registry: Mutex::new(Registry::with_prefix("portolan")),
            plain: Mutex::default(),
            ports: Arc::default(),
            meters: Arc::default(),
            accepted: Family::default(),
            limited: Family::default(),
            undecided: Family::default(),
            panics: Family::default(),
            exposed: Family::default(),
        };
        let metrics = Metrics {
            inner: Arc::new(inner),
        };
        let own = &metrics.inner;
        metrics.register(
            "connections_accepted",
            "connections accepted",
            own.accepted.clone(),
        );
        metrics.register(
            "limited",
            "connections and requests turned away, by the limit they met",
            own.limited.clone(),
        );
        metrics.register(
            "answers_without_decision",
            "answers given without asking whether they may be",
            own.undecided.clone(),
        );
        metrics.register(
            "panics",
            "panics that ended a request or a connection",
            own.panics.clone(),
        );
        metrics.register(
            "insecure_listen",
            "1 for each port that other machines can reach without authentication",
            own.exposed.clone(),
        );
        metrics.register_collector(own.meters.clone());
        metrics.register_collector(own.ports.clone());
        metrics
    }

    /// Adds a metric: `register("log_syncs", "calls of fsync", counter.clone())` shows as `portolan_log_syncs_total`.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.registry().register(name, help, metric);
    }

    /// Adds metrics that are computed when they are read, such as sizes of tables.
    pub fn register_collector(&self, collector: impl Collector) {
        self.registry().register_collector(Box::new(collector));
    }

    /// As [`Metrics::register_collector`] without the prefix: for names that every program shares, such as `process_open_fds`.
    pub fn register_plain_collector(&self, collector: impl Collector) {
        lock(&self.inner.plain).register_collector(Box::new(collector));
    }

    /// Everything, in the OpenMetrics text format; answer it as `application/openmetrics-text; version=1.0.0; charset=utf-8`.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a `String` does not fail; a collector that does leaves a text without its end mark, which readers notice.
        let _ = encode_registry(&mut text, &lock(&self.inner.plain))
            .and_then(|()| encode(&mut text, &self.registry()));
        text
    }

    /// The handle for one route: a path's name or a method's (`KV/Range`). Ask once, when the table is built.
    pub fn meter(&self, protocol: Protocol, route: &'static str) -> Meter {
        self.inner.meters.meter(protocol, route)
    }

    /// How many answers of `protocol` were given without a decision; zero in a healthy server.
    pub fn answers_without_decision(&self, protocol: Protocol) -> u64 {
        self.inner
            .undecided
            .get_or_create_owned(&[("protocol", protocol.as_str())])
            .get()
    }

    /// How many panics of `protocol` were caught.
    pub fn panics(&self, protocol: Protocol) -> u64 {
        self.panic_counter(protocol).get()
    }

    pub(crate) fn undecided(&self, protocol: Protocol) {
        self.inner
            .undecided
            .get_or_create_owned(&[("protocol", protocol.as_str())])
            .inc();
    }

    pub(crate) fn panic_counter(&self, protocol: Protocol) -> Counter {
        self.inner
            .panics
            .get_or_create_owned(&[("protocol", protocol.as_str())])
    }

    pub(crate) fn accepted(&self, protocol: Protocol) -> Counter {
        self.inner
            .accepted
            .get_or_create_owned(&[("protocol", protocol.as_str())])
    }

    pub(crate) fn limited(&self, protocol: Protocol, limit: &'static str) {
        let labels = [("protocol", protocol.as_str()), ("limit", limit)];
        self.inner.limited.get_or_create_owned(&labels).inc();
    }

    pub(crate) fn exposed(&self, protocol: Protocol, address: SocketAddr) {
        let labels = vec![
            ("protocol".to_owned(), protocol.to_string()),
            ("listen".to_owned(), address.to_string()),
        ];
        self.inner.exposed.get_or_create_owned(&labels).set(1);
    }

    pub(crate) fn watch_port(&self, port: Weak<dyn Bounded>) {
        self.inner.ports.lock().push(port);
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        lock(&self.inner.registry)
    }
}

fn lock(registry: &Mutex<Registry>) -> MutexGuard<'_, Registry> {
    registry.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// A port that can say how near it is to its bounds.
pub(crate) trait Bounded: fmt::Debug + Send + Sync {
    fn protocol(&self) -> Protocol;
    fn address(&self) -> SocketAddr;
    fn bounds(&self) -> Vec<Bound>;
}

/// One bound of a port. Times are in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// The field of [`Limits`](crate::Limits).
    pub(crate) limit: &'static str,
    pub(crate) bound: f64,
    /// What is used of it: now for counts and waits, the largest seen for sizes; none where only the crossing is noticed.
    pub(crate) used: Option<f64>,
}

#[derive(Debug, Default)]
struct Ports {
    ports: Mutex<Vec<Weak<dyn Bounded>>>,
}

impl Ports {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<dyn Bounded>>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Ports {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut rows = Vec::new();
        self.lock().retain(|port| match port.upgrade() {
            Some(port) => {
                for row in port.bounds() {
                    let labels = [
                        ("protocol", port.protocol().to_string()),
                        ("listen", port.address().to_string()),
                        ("limit", row.limit.to_owned()),
                    ];
                    rows.push((labels, row));
                }
                true
            }
            None => false,
        });
        let mut gauges = encoder.encode_descriptor(
            "limit",
            "bounds of a port; times in seconds",
            None,
            MetricType::Gauge,
        )?;
        for (labels, row) in &rows {
            encode_gauge(&mut gauges, labels, &row.bound)?;
        }
        let mut gauges = encoder.encode_descriptor(
            "limit_used",
            "what is used of a port's bounds: now for counts and waits, the largest seen for sizes",
            None,
            MetricType::Gauge,
        )?;
        for (labels, row) in &rows {
            if let Some(used) = row.used {
                encode_gauge(&mut gauges, labels, &used)?;
            }
        }
        Ok(())
    }
}

fn encode_gauge(
    gauges: &mut MetricEncoder<'_>,
    labels: &[(&'static str, String); 3],
    value: &impl EncodeGaugeValue,
) -> fmt::Result {
    gauges.encode_family(labels)?.encode_gauge(value)
}
