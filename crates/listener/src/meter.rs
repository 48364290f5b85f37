//! Requests counted and timed per route.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use portolan_catalog::Protocol;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;

use crate::latency::Latency;

/// The values of the label `code`. gRPC says its errors in a header of an answer with status 200.
const CODES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "grpc_error"];

/// One route's request count and latency. Made once for each route and kept for the life of the process, so a copy counts no references.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    inner: &'static Inner,
}

#[derive(Debug)]
struct Inner {
    protocol: Protocol,
    route: &'static str,
    requests: [Counter; CODES.len()],
    durations: Latency,
}

impl Meter {
    fn new(protocol: Protocol, route: &'static str) -> Meter {
        Meter {
            inner: Box::leak(Box::new(Inner {
                protocol,
                route,
                requests: Default::default(),
                durations: Latency::default(),
            })),
        }
    }

    /// The route's name.
    pub fn route(&self) -> &'static str {
        self.inner.route
    }

    /// Counts one answer by its HTTP status.
    pub fn answered(&self, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.count(class, took);
    }

    /// Counts one answer of a protocol without HTTP (as 2xx or 5xx).
    pub fn answered_plain(&self, ok: bool, took: Duration) {
        self.count(if ok { 1 } else { 4 }, took);
    }

    /// Counts one gRPC answer whose status was not OK.
    pub fn answered_grpc_error(&self, took: Duration) {
        self.count(CODES.len() - 1, took);
    }

    fn count(&self, class: usize, took: Duration) {
        self.inner.requests[class].inc();
        self.inner.durations.observe(took);
    }

    fn labels(&self) -> [(&'static str, &'static str); 2] {
        [
            ("protocol", self.inner.protocol.as_str()),
            ("route", self.inner.route),
        ]
    }
}

/// Every meter of the process. Routes that nobody asked for yet are not shown: most clients use a tenth of a protocol.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    all: Mutex<Vec<Meter>>,
}

impl Meters {
    pub(crate) fn meter(&self, protocol: Protocol, route: &'static str) -> Meter {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all
            .iter()
            .find(|meter| meter.inner.protocol == protocol && meter.inner.route == route);
        if let Some(known) = known {
            return *known;
        }
        let meter = Meter::new(protocol, route);
        all.push(meter);
        meter
    }

    fn used(&self) -> Vec<Meter> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let used = |meter: &&Meter| meter.inner.durations.count() > 0;
        all.iter().filter(used).copied().collect()
    }
}

impl Collector for Meters {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let used = self.used();
        if used.is_empty() {
            return Ok(());
        }
        let mut requests = encoder.encode_descriptor(
            "requests",
            "requests answered",
            None,
            MetricType::Counter,
        )?;
        for meter in &used {
            for (counter, code) in meter.inner.requests.iter().zip(CODES) {
                let [protocol, route] = meter.labels();
                if counter.get() > 0 {
                    requests
                        .encode_family(&[protocol, route, ("code", code)])?
                        .encode_counter::<NoLabelSet, u64, u64>(&counter.get(), None)?;
                }
            }
        }
        let mut durations = encoder.encode_descriptor(
            "request_seconds",
            "time from a request's head to its answer's head",
            None,
            MetricType::Histogram,
        )?;
        for meter in &used {
            let labels = meter.labels();
            let family = durations.encode_family(&labels)?;
            meter.inner.durations.encode(family)?;
        }
        Ok(())
    }
}
