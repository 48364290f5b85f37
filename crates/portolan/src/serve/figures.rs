//! The replica's figures and the log's losses, as metrics.

use std::fmt;
use std::sync::Arc;

use portolan_listener::Metrics;
use portolan_replica::{Figure, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::logging::Lines;

/// Shows them in the house's metrics.
pub(crate) fn publish(metrics: &Metrics, stats: Arc<Stats>, lines: Lines) {
    metrics.register_collector(Figures { stats, lines });
}

struct Figures {
    stats: Arc<Stats>,
    lines: Lines,
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

type Row = (&'static str, &'static str, fn(&Stats) -> &Figure);

/// What only grows.
const COUNTERS: [Row; 12] = [
    ("log_entries", "entries written to the log", |s| {
        &s.log_entries
    }),
    ("log_written_bytes", "bytes written to the log", |s| {
        &s.log_written
    }),
    ("log_syncs", "times the disk was waited for", |s| {
        &s.log_syncs
    }),
    (
        "log_sync_microseconds",
        "time the disk was waited for",
        |s| &s.log_sync_us,
    ),
    ("apply_commands", "commands applied", |s| &s.commands),
    (
        "apply_rounds",
        "rounds in which entries were applied",
        |s| &s.applies,
    ),
    ("proposal_batches", "batches handed to consensus", |s| {
        &s.batches
    }),
    (
        "proposals_refused_full",
        "proposals refused because the disk is full",
        |s| &s.refused_full,
    ),
    ("lease_lapses", "stages of leases that were reached", |s| {
        &s.lapses
    }),
    (
        "lease_clock_pauses",
        "pauses of the process after which leases had their full time again",
        |s| &s.pauses,
    ),
    ("snapshots", "snapshots written", |s| &s.snapshots),
    (
        "snapshots_failed",
        "snapshots that could not be written",
        |s| &s.snapshots_failed,
    ),
];

/// What is so now.
const GAUGES: [Row; 10] = [
    ("log_bytes", "bytes of the log on the disk", |s| {
        &s.log_bytes
    }),
    ("log_segments", "segments of the log", |s| &s.log_segments),
    ("applied_index", "index of the last entry applied", |s| {
        &s.applied_index
    }),
    ("snapshot_bytes", "bytes of the current snapshot", |s| {
        &s.snapshot_bytes
    }),
    (
        "snapshot_index",
        "last entry in the current snapshot",
        |s| &s.snapshot_index,
    ),
    (
        "snapshot_revision",
        "revision of the current snapshot",
        |s| &s.snapshot_revision,
    ),
    ("leases_timed", "leases whose time runs", |s| &s.leases),
    (
        "guard_active",
        "1 while the mass-expiry guard holds removals back",
        |s| &s.guard,
    ),
    ("guarded_leases", "leases that the guard holds back", |s| {
        &s.guarded_leases
    }),
    (
        "disk_full",
        "1 while writes are refused because the disk is full",
        |s| &s.disk_full,
    ),
];

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        use prometheus_client::encoding::NoLabelSet;
        let lost = [(
            "log_lines_dropped",
            "log lines dropped because nobody took them",
            self.lines.dropped(),
        )];
        let counters = COUNTERS
            .iter()
            .map(|(name, help, of)| (*name, *help, of(&self.stats).get()));
        for (name, help, value) in counters.chain(lost) {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        for (name, help, of) in GAUGES {
            let value = i64::try_from(of(&self.stats).get()).unwrap_or(i64::MAX);
            encoder
                .encode_descriptor(name, help, None, MetricType::Gauge)?
                .encode_gauge(&value)?;
        }
        Ok(())
    }
}
