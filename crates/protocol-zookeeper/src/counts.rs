//! What is counted for four-letter words.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// What four-letter words tell of the past.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) outstanding: AtomicI64,
    pub(crate) latency: Latencies,
}

/// Milliseconds between a request and its reply.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    count: AtomicU64,
    micros: AtomicU64,
    least: AtomicU64,
    most: AtomicU64,
}

impl Latencies {
    pub(crate) fn note(&self, took: Duration) {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if self.count.fetch_add(1, Ordering::Relaxed) == 0 {
            self.least.store(ms, Ordering::Relaxed);
        }
        self.micros.fetch_add(micros, Ordering::Relaxed);
        self.least.fetch_min(ms, Ordering::Relaxed);
        self.most.fetch_max(ms, Ordering::Relaxed);
    }

    /// Least, mean and most.
    pub(crate) fn figures(&self) -> (u64, f64, u64) {
        let count = self.count.load(Ordering::Relaxed).max(1);
        let mean = self.micros.load(Ordering::Relaxed) as f64 / count as f64 / 1000.0;
        let least = self.least.load(Ordering::Relaxed);
        (least, mean, self.most.load(Ordering::Relaxed))
    }
}
