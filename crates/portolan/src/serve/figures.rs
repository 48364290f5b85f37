//! The replica's figures and the log's losses, as metrics.

use std::fmt;
use std::sync::Arc;

use portolan_listener::Metrics;
use portolan_registry::Registry;
use portolan_replica::{Figure, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::logging::Lines;
use crate::config::Config;

/// Shows them in the server's metrics.
pub(crate) fn publish(
    metrics: &Metrics,
    config: &Config,
    registry: &Registry,
    stats: &Arc<Stats>,
    lines: &Lines,
) {
    metrics.register_collector(Figures {
        stats: stats.clone(),
        registry: registry.clone(),
        lines: lines.clone(),
    });
    metrics.register_collector(Bounds {
        queue: config.storage.queue,
        queue_wait: config.storage.queue_wait.as_secs_f64(),
        decision_timeout: config.storage.decision_timeout.as_secs_f64(),
        lines_queued: config.log.queue,
        age_ms: config.retention.age_ms,
        changes: config.retention.changes,
        disk_bytes: config.retention.disk_bytes,
        memory_bytes: config.retention.memory_bytes,
        request_bytes: config.etcd.request_bytes,
        quota_bytes: config.etcd.quota_bytes,
        nacos: config.nacos.clone(),
        kubernetes: config.kubernetes.clone(),
        xds: config.xds.clone(),
        probes: config.checks.probes,
        registry: registry.clone(),
        lines: lines.clone(),
    });
}

struct Figures {
    stats: Arc<Stats>,
    registry: Registry,
    lines: Lines,
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

type Row = (&'static str, &'static str, fn(&Stats) -> &Figure);

/// What only grows.
const COUNTERS: [Row; 11] = [
    ("log_entries", "entries written to the log", |s| {
        &s.log_entries
    }),
    ("log_written_bytes", "bytes written to the log", |s| {
        &s.log_written
    }),
    ("log_syncs", "times the disk was waited for", |s| {
        &s.log_syncs
    }),
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
const GAUGES: [Row; 12] = [
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
        "1 while the mass-expiry guard holds removals of silent instances back",
        |s| &s.guard,
    ),
    ("guarded_leases", "leases that the guard holds back", |s| {
        &s.guarded_leases
    }),
    (
        "guarded_checks",
        "instances that the guard keeps although a check was critical for long enough to remove them",
        |s| &s.guarded_checks,
    ),
    (
        "leader_lost",
        "1 while no leader has been heard of for longer than an election takes",
        |s| &s.leader_lost,
    ),
    (
        "disk_full",
        "1 while writes are refused because the disk is full",
        |s| &s.disk_full,
    ),
];

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let lost = [
            (
                "log_lines_dropped",
                "log lines dropped because nobody took them",
                self.lines.dropped(),
            ),
            (
                "proposals_refused_busy",
                "proposals refused because too many waited",
                self.registry.refused_busy(),
            ),
            (
                "proposals_undecided",
                "proposals that were not decided in time",
                self.registry.undecided(),
            ),
        ];
        let counters = COUNTERS
            .iter()
            .map(|(name, help, of)| (*name, *help, of(&self.stats).get()));
        for (name, help, value) in counters.chain(lost) {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        let waited = self.stats.log_sync_us.get() as f64 / 1e6;
        encoder
            .encode_descriptor(
                "log_sync_seconds",
                "time the disk was waited for",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, _, u64>(&waited, None)?;
        for (name, help, of) in GAUGES {
            encoder
                .encode_descriptor(name, help, None, MetricType::Gauge)?
                .encode_gauge(&signed(of(&self.stats).get()))?;
        }
        encoder
            .encode_descriptor("build_info", "1, with the version", None, MetricType::Gauge)?
            .encode_family(&[("version", crate::version())])?
            .encode_gauge(&1_i64)
    }
}

/// Bounds of the whole server, beside those of its ports and of the catalog.
struct Bounds {
    queue: usize,
    queue_wait: f64,
    decision_timeout: f64,
    lines_queued: usize,
    age_ms: u64,
    changes: u64,
    disk_bytes: u64,
    memory_bytes: u64,
    request_bytes: usize,
    quota_bytes: u64,
    nacos: portolan_protocol_nacos::Settings,
    kubernetes: portolan_protocol_kubernetes::Settings,
    xds: portolan_protocol_xds::Settings,
    probes: usize,
    registry: Registry,
    lines: Lines,
}

impl fmt::Debug for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bounds")
    }
}

impl Bounds {
    /// Name as the configuration has it, bound, and what is used now where that can be seen.
    fn rows(&self) -> [(&'static str, f64, Option<f64>); 22] {
        let history = self.registry.history_figures();
        let oldest = self.registry.history().oldest().map(|at| at.0);
        let age_ms = oldest.map_or(0, |oldest| self.registry.now().0.saturating_sub(oldest));
        [
            (
                "storage_queue",
                self.queue as f64,
                Some(self.registry.waiting() as f64),
            ),
            ("storage_queue_wait_seconds", self.queue_wait, None),
            (
                "storage_decision_timeout_seconds",
                self.decision_timeout,
                None,
            ),
            (
                "log_queue",
                self.lines_queued as f64,
                Some(self.lines.waiting() as f64),
            ),
            (
                "history_age_seconds",
                self.age_ms as f64 / 1e3,
                Some(age_ms as f64 / 1e3),
            ),
            (
                "history_changes",
                self.changes as f64,
                Some(history.changes as f64),
            ),
            (
                "history_bytes",
                self.disk_bytes as f64,
                Some(history.disk_bytes as f64),
            ),
            (
                "history_memory_bytes",
                self.memory_bytes as f64,
                Some(history.memory_bytes as f64),
            ),
            ("etcd_request_bytes", self.request_bytes as f64, None),
            // What is used of it is in `storage_log_bytes` and `storage_snapshot_bytes`.
            ("etcd_quota_backend_bytes", self.quota_bytes as f64, None),
            ("nacos_content_bytes", self.nacos.content_bytes as f64, None),
            (
                "nacos_push_timeout_seconds",
                self.nacos.push_timeout.as_secs_f64(),
                None,
            ),
            (
                "nacos_idle_timeout_seconds",
                self.nacos.idle_timeout.as_secs_f64(),
                None,
            ),
            // What is used of it is `nacos_connections`, and of the next what is largest of `nacos_subscriptions`.
            ("nacos_connections", self.nacos.connections as f64, None),
            ("nacos_watched", self.nacos.watched as f64, None),
            ("nacos_udp_clients", self.nacos.udp_clients as f64, None),
            (
                "kubernetes_object_bytes",
                self.kubernetes.object_bytes as f64,
                None,
            ),
            // What is used of it is `kubernetes_watches`.
            ("kubernetes_watches", self.kubernetes.watches as f64, None),
            // What is used of it is `xds_streams`, and of the next what is largest of `xds_names`.
            ("xds_streams", self.xds.streams as f64, None),
            ("xds_names", self.xds.names as f64, None),
            ("xds_request_bytes", self.xds.request_bytes as f64, None),
            // What is used of it is `checks_running`.
            ("check_probes", self.probes as f64, None),
        ]
    }
}

impl Collector for Bounds {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let rows = self.rows();
        let mut bounds = encoder.encode_descriptor(
            "server_limit",
            "bounds of the whole server, by the configuration's key",
            None,
            MetricType::Gauge,
        )?;
        for (name, bound, _) in rows {
            bounds
                .encode_family(&[("limit", name)])?
                .encode_gauge(&bound)?;
        }
        let mut used = encoder.encode_descriptor(
            "server_limit_used",
            "what is used of them",
            None,
            MetricType::Gauge,
        )?;
        for (name, _, value) in rows {
            if let Some(value) = value {
                used.encode_family(&[("limit", name)])?
                    .encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
