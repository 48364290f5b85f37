//! What the runner counts.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

/// Handles of the runner's metrics: whoever makes them registers clones under names of its choice.
#[derive(Clone, Debug, Default)]
pub struct Meters {
    /// Checks that are scheduled.
    pub scheduled: Gauge,
    /// Checks that are due and wait for others to finish.
    pub waiting: Gauge,
    /// Probes that run now. Its bound is [`crate::Settings::probes`].
    pub running: Gauge,
    /// Milliseconds the last probe started after it was due.
    pub late_ms: Gauge,
    /// Probes that ended.
    pub probes: Counter<u64, AtomicU64>,
    /// Probes that ended critical.
    pub failures: Counter<u64, AtomicU64>,
    /// Results that were proposed.
    pub reports: Counter<u64, AtomicU64>,
    /// Results with other output alone that were held back.
    pub held: Counter<u64, AtomicU64>,
}
