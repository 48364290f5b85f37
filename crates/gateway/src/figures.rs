//! What is counted, for each service and endpoint. Counting takes no lock: whoever counts holds what it counts into.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use portolan_listener::{Latency, Metrics};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

/// What is counted of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct EndpointFigures {
    /// Answers, by the first digit of their status, from 1 to 5.
    answers: [Counter; 5],
    /// Attempts without an answer.
    pub(crate) failures: Counter,
    pub(crate) ejections: Counter,
    pub(crate) in_flight: Gauge,
    /// Time to the head of the answer.
    pub(crate) latency: Latency,
}

impl EndpointFigures {
    /// Counts an answer.
    pub(crate) fn answered(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, 5);
        self.answers[class - 1].inc();
    }
}

/// What is counted of one service.
#[derive(Debug, Default)]
pub(crate) struct ServiceFigures {
    pub(crate) requests: Counter,
    pub(crate) retries: Counter,
    /// Retries that were not made because the budget was spent.
    pub(crate) unbudgeted: Counter,
}

type Of<K, V> = Mutex<BTreeMap<K, Weak<V>>>;

/// All figures. What no service and no endpoint holds any more is not shown any more.
#[derive(Clone, Default)]
pub(crate) struct Figures(Arc<Inner>);

#[derive(Default)]
struct Inner {
    services: Of<Arc<str>, ServiceFigures>,
    endpoints: Of<(Arc<str>, Arc<str>), EndpointFigures>,
    errors: Mutex<BTreeMap<&'static str, Counter>>,
    connections: Gauge,
    refused: Counter,
    unlogged: Counter,
    rules: Gauge,
}

fn held<K: Ord, V: Default>(all: &Of<K, V>, key: K) -> Arc<V> {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = all.get(&key).and_then(Weak::upgrade) {
        return known;
    }
    let fresh = Arc::new(V::default());
    all.retain(|_, one| one.strong_count() > 0);
    all.insert(key, Arc::downgrade(&fresh));
    fresh
}

impl Figures {
    /// Shows everything in the process's metrics.
    pub(crate) fn register(&self, metrics: &Metrics) {
        metrics.register(
            "gateway_connections",
            "connections of clients to the gateway",
            self.0.connections.clone(),
        );
        metrics.register(
            "gateway_connections_refused",
            "connections turned away because there are too many",
            self.0.refused.clone(),
        );
        metrics.register(
            "gateway_log_lost",
            "lines of the access log that were not written because the disk is too slow",
            self.0.unlogged.clone(),
        );
        metrics.register(
            "gateway_rules",
            "routing rules, of explicit routes and of tags",
            self.0.rules.clone(),
        );
        metrics.register_collector(self.clone());
    }

    pub(crate) fn service(&self, name: &Arc<str>) -> Arc<ServiceFigures> {
        held(&self.0.services, name.clone())
    }

    pub(crate) fn endpoint(&self, service: &Arc<str>, address: &str) -> Arc<EndpointFigures> {
        held(&self.0.endpoints, (service.clone(), address.into()))
    }

    /// Counts an answer of the gateway's own.
    pub(crate) fn error(&self, word: &'static str) {
        let mut errors = self.0.errors.lock().unwrap_or_else(PoisonError::into_inner);
        errors.entry(word).or_default().inc();
    }

    pub(crate) fn connections(&self) -> &Gauge {
        &self.0.connections
    }

    pub(crate) fn refused(&self) {
        self.0.refused.inc();
    }

    pub(crate) fn unlogged(&self) {
        self.0.unlogged.inc();
    }

    pub(crate) fn rules(&self, count: usize) {
        self.0.rules.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

fn living<K: Clone, V>(all: &Of<K, V>) -> Vec<(K, Arc<V>)> {
    let all = all.lock().unwrap_or_else(PoisonError::into_inner);
    let living = all
        .iter()
        .filter_map(|(key, one)| Some((key.clone(), one.upgrade()?)));
    living.collect()
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let services = living(&self.0.services);
        type Counted = fn(&ServiceFigures) -> &Counter;
        let of_services: [(&str, &str, Counted); 3] = [
            ("gateway_requests", "requests, by service", |one| {
                &one.requests
            }),
            ("gateway_retries", "requests tried once more", |one| {
                &one.retries
            }),
            (
                "gateway_retries_refused",
                "requests not tried once more because too many are",
                |one| &one.unbudgeted,
            ),
        ];
        for (name, help, of) in of_services {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (service, one) in &services {
                let labels = [("service", &**service)];
                of(one).encode(family.encode_family(&labels)?)?;
            }
        }
        let endpoints = living(&self.0.endpoints);
        let name = "gateway_answers";
        let help = "answers of endpoints, by the class of their status";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for ((service, address), one) in &endpoints {
            for (class, counter) in ["1xx", "2xx", "3xx", "4xx", "5xx"].iter().zip(&one.answers) {
                if counter.get() > 0 {
                    let labels = [
                        ("service", &**service),
                        ("endpoint", &**address),
                        ("class", *class),
                    ];
                    counter.encode(family.encode_family(&labels)?)?;
                }
            }
        }
        type Shown = fn(&EndpointFigures) -> &dyn EncodeMetric;
        let of_endpoints: [(&str, &str, MetricType, Shown); 4] = [
            (
                "gateway_failures",
                "attempts at an endpoint without an answer",
                MetricType::Counter,
                |one| &one.failures,
            ),
            (
                "gateway_ejections",
                "times that an endpoint was not asked for a while because of what it did",
                MetricType::Counter,
                |one| &one.ejections,
            ),
            (
                "gateway_in_flight",
                "requests that an endpoint is answering",
                MetricType::Gauge,
                |one| &one.in_flight,
            ),
            (
                "gateway_latency_seconds",
                "time to the head of an endpoint's answer",
                MetricType::Histogram,
                |one| &one.latency,
            ),
        ];
        for (name, help, kind, of) in of_endpoints {
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for ((service, address), one) in &endpoints {
                let labels = [("service", &**service), ("endpoint", &**address)];
                of(one).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "answers of the gateway's own, by their reason";
        let mut family =
            encoder.encode_descriptor("gateway_errors", help, None, MetricType::Counter)?;
        let errors = self.0.errors.lock().unwrap_or_else(PoisonError::into_inner);
        for (reason, counter) in errors.iter() {
            let labels = [("reason", *reason)];
            counter.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
