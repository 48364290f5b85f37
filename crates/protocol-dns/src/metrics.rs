//! Counts of queries by type and code. Each worker counts for itself; the counts are added up when metrics are read.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use portolan_listener::Metrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::cache::Size;
use crate::cookies::Shown;
use crate::wire::{Rcode, rtype};

/// What became of one query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) rcode: Rcode,
    pub(crate) truncated: bool,
}

const TYPES: [(&str, u16); 11] = [
    ("A", rtype::A),
    ("AAAA", rtype::AAAA),
    ("SRV", rtype::SRV),
    ("PTR", rtype::PTR),
    ("TXT", rtype::TXT),
    ("SOA", rtype::SOA),
    ("NS", rtype::NS),
    ("CNAME", rtype::CNAME),
    ("HTTPS", rtype::HTTPS),
    ("ANY", rtype::ANY),
    ("other", 0),
];

const CODES: [(&str, Rcode); 8] = [
    ("NOERROR", Rcode::NoError),
    ("FORMERR", Rcode::FormErr),
    ("SERVFAIL", Rcode::ServFail),
    ("NXDOMAIN", Rcode::NxDomain),
    ("NOTIMP", Rcode::NotImp),
    ("REFUSED", Rcode::Refused),
    ("BADVERS", Rcode::BadVers),
    ("BADCOOKIE", Rcode::BadCookie),
];

/// One worker's counts. Only the worker writes, so it needs no atomic addition.
#[derive(Debug, Default)]
pub(crate) struct WorkerCounts {
    answered: [[AtomicU64; CODES.len()]; TYPES.len()],
    truncated: AtomicU64,
    ignored: AtomicU64,
    unsent: AtomicU64,
    limited: [AtomicU64; 2],
    cookies: [AtomicU64; 3],
}

/// What became of a reply that a network had no room for.
const LIMITED: [&str; 2] = ["dropped", "cut"];

/// What cookies were worth.
const COOKIES: [&str; 3] = ["new", "good", "bad"];

fn bump(count: &AtomicU64, by: u64) {
    count.store(
        count.load(Ordering::Relaxed).wrapping_add(by),
        Ordering::Relaxed,
    );
}

fn code_index(rcode: Rcode) -> usize {
    match rcode {
        Rcode::BadVers => 6,
        Rcode::BadCookie => 7,
        low => low as usize,
    }
}

impl WorkerCounts {
    /// A query was answered.
    #[inline]
    pub(crate) fn answered(&self, qtype: u16, rcode: Rcode, truncated: bool) {
        let kind = TYPES
            .iter()
            .position(|(_, number)| *number == qtype)
            .unwrap_or(TYPES.len() - 1);
        bump(&self.answered[kind][code_index(rcode)], 1);
        if truncated {
            bump(&self.truncated, 1);
        }
    }

    /// A message was answered with a code before its question was looked at.
    pub(crate) fn faulted(&self, rcode: Rcode) {
        bump(&self.answered[TYPES.len() - 1][code_index(rcode)], 1);
    }

    /// A datagram was dropped: a response, or too short.
    pub(crate) fn ignored(&self) {
        bump(&self.ignored, 1);
    }

    /// A reply was not given as it was, since the client's network has had its share.
    pub(crate) fn limited(&self, cut: bool) {
        bump(&self.limited[usize::from(cut)], 1);
    }

    /// A client showed a cookie.
    pub(crate) fn cookie(&self, shown: Shown) {
        bump(&self.cookies[shown as usize], 1);
    }

    /// Answers could not be sent.
    pub(crate) fn unsent(&self, count: u64) {
        bump(&self.unsent, count);
    }
}

/// The counts of all workers. Those of a TCP connection are added when it ends.
#[derive(Debug, Default)]
pub(crate) struct AllCounts {
    workers: Mutex<Vec<Arc<WorkerCounts>>>,
    connections: Mutex<Arc<WorkerCounts>>,
}

impl AllCounts {
    /// Counts for a new worker that lasts as long as the server.
    pub(crate) fn worker(&self) -> Arc<WorkerCounts> {
        let counts = Arc::new(WorkerCounts::default());
        self.workers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&counts));
        counts
    }

    /// Adds the counts of a worker that is done.
    pub(crate) fn add(&self, done: &WorkerCounts) {
        let sum = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let pairs = sum
            .answered
            .iter()
            .flatten()
            .zip(done.answered.iter().flatten());
        let others = [
            (&sum.truncated, &done.truncated),
            (&sum.ignored, &done.ignored),
            (&sum.unsent, &done.unsent),
        ];
        let limited = sum.limited.iter().zip(&done.limited);
        let cookies = sum.cookies.iter().zip(&done.cookies);
        for (to, from) in pairs.chain(others).chain(limited).chain(cookies) {
            bump(to, from.load(Ordering::Relaxed));
        }
    }

    /// A query was answered by no worker: its answer had to be waited for.
    pub(crate) fn answered_later(&self, qtype: u16, rcode: Rcode, truncated: bool) {
        let sum = self.connections.lock();
        let sum = sum.unwrap_or_else(PoisonError::into_inner);
        sum.answered(qtype, rcode, truncated);
    }

    fn sum(&self, of: impl Fn(&WorkerCounts) -> &AtomicU64) -> u64 {
        let connections = of(&self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner))
        .load(Ordering::Relaxed);
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers
            .iter()
            .map(|counts| of(counts).load(Ordering::Relaxed))
            .sum::<u64>()
            + connections
    }
}

/// Puts the counts into the process's metrics, with the series that `further` writes.
pub(crate) fn publish(
    metrics: &Metrics,
    counts: &Arc<AllCounts>,
    cache: impl Fn() -> Size + Send + Sync + 'static,
    further: impl Fn(&mut DescriptorEncoder<'_>) -> fmt::Result + Send + Sync + 'static,
) {
    metrics.register_collector(Counts {
        counts: Arc::clone(counts),
        cache: Box::new(cache),
        further: Box::new(further),
    });
}

type Further = dyn Fn(&mut DescriptorEncoder<'_>) -> fmt::Result + Send + Sync;

struct Counts {
    counts: Arc<AllCounts>,
    cache: Box<dyn Fn() -> Size + Send + Sync>,
    /// Series of others.
    further: Box<Further>,
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counts")
    }
}

impl Collector for Counts {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut queries = encoder.encode_descriptor(
            "dns_queries",
            "queries answered, by type and code",
            None,
            MetricType::Counter,
        )?;
        for (kind, (name, _)) in TYPES.iter().enumerate() {
            for (code, (rcode, _)) in CODES.iter().enumerate() {
                let count = self.counts.sum(|counts| &counts.answered[kind][code]);
                if count > 0 {
                    queries
                        .encode_family(&[("type", *name), ("code", *rcode)])?
                        .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
                }
            }
        }
        let mut limited = encoder.encode_descriptor(
            "dns_rate_limited",
            "replies over UDP that were not given as they were, since the client's network had its share (dns-rate-limit)",
            None,
            MetricType::Counter,
        )?;
        for (action, name) in LIMITED.iter().enumerate() {
            let count = self.counts.sum(|counts| &counts.limited[action]);
            limited
                .encode_family(&[("action", *name)])?
                .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        let mut cookies = encoder.encode_descriptor(
            "dns_cookies",
            "cookies that clients showed, by what they were worth",
            None,
            MetricType::Counter,
        )?;
        for (shown, name) in COOKIES.iter().enumerate() {
            let count = self.counts.sum(|counts| &counts.cookies[shown]);
            cookies
                .encode_family(&[("shown", *name)])?
                .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        type Row = (&'static str, &'static str, fn(&WorkerCounts) -> &AtomicU64);
        let rows: [Row; 3] = [
            (
                "dns_truncated",
                "answers cut to the client's limits",
                |counts| &counts.truncated,
            ),
            (
                "dns_ignored",
                "messages dropped: responses, and those shorter than a header",
                |counts| &counts.ignored,
            ),
            (
                "dns_unsent",
                "answers that the socket did not take",
                |counts| &counts.unsent,
            ),
        ];
        for (name, help, of) in rows {
            let count = self.counts.sum(of);
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        let size = (self.cache)();
        for (name, help, value) in [
            ("dns_prepared", "prepared answers kept", size.entries),
            (
                "dns_prepared_bytes",
                "bytes of prepared answers, roughly",
                size.bytes,
            ),
            (
                "dns_prepared_limit_bytes",
                "bytes of prepared answers above which all are dropped (dns-cache-bytes)",
                size.most,
            ),
        ] {
            encoder
                .encode_descriptor(name, help, None, MetricType::Gauge)?
                .encode_gauge(&(value as i64))?;
        }
        (self.further)(&mut encoder)
    }
}
