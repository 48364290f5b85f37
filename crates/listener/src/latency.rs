//! A histogram of durations without a lock: one atomic addition per observation, three in all.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Upper bounds in microseconds. The last ones are for long polls; what is above belongs to streams.
const BOUNDS: [u64; 17] = [
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    5_000_000,
    10_000_000,
    60_000_000,
    600_000_000,
];

/// A histogram of latencies in seconds, from 100 microseconds to 10 minutes. Clones share the counts.
#[derive(Clone, Default)]
pub struct Latency {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum_ns: AtomicU64,
}

impl Latency {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let slot = BOUNDS.partition_point(|bound| bound * 1_000 < ns);
        self.inner.counts[slot].fetch_add(1, Ordering::Relaxed);
        self.inner.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.inner
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Latency({} observations)", self.count())
    }
}

impl TypedMetric for Latency {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        let bounds = BOUNDS.into_iter().map(|us| us as f64 / 1e6);
        let bounds = bounds.chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds
            .zip(&self.inner.counts)
            .map(|(bound, count)| (bound, count.load(Ordering::Relaxed)))
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.inner.sum_ns.load(Ordering::Relaxed) as f64 / 1e9;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_that_bounds_them() {
        let latency = Latency::default();
        for us in [1, 100, 101, 2_000_000, 900_000_000] {
            latency.observe(Duration::from_micros(us));
        }
        let counts: Vec<u64> = latency
            .inner
            .counts
            .iter()
            .map(|c| c.load(Ordering::Relaxed))
            .collect();
        assert_eq!(counts[0], 2, "a bound belongs to its bucket");
        assert_eq!(counts[1], 1);
        assert_eq!(counts[13], 1, "two seconds are under five");
        assert_eq!(
            counts[BOUNDS.len()],
            1,
            "fifteen minutes are over every bound"
        );
        assert_eq!(latency.count(), 5);
    }
}
