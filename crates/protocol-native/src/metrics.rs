//! The catalog's own figures, read from the state when somebody asks.

use std::fmt;

use portolan_catalog::{Keyspace, Revision, limits};
use portolan_listener::Metrics;
use portolan_registry::Registry;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

/// Shows them among the server's metrics.
pub(crate) fn publish(metrics: &Metrics, registry: &Registry) {
    metrics.register_collector(Figures(registry.clone()));
}

#[derive(Debug)]
struct Figures(Registry);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let state = self.0.snapshot();
        let history = self.0.history_figures();
        let leases = state.leases().count();
        let largest = state
            .services()
            .map(|service| state.service_marks(&service.key).members)
            .max()
            .unwrap_or(0);
        let rows: [(&str, &str, u64); 16] = [
            ("revision", "revision of the catalog", state.revision().0),
            ("services", "services", state.services().count() as u64),
            ("instances", "instances", state.instance_count() as u64),
            (
                "endpoints",
                "endpoints: instances of one service at one address count once",
                state.all_endpoints().count() as u64,
            ),
            (
                "nodes",
                "nodes that have a row",
                state.nodes().count() as u64,
            ),
            ("checks", "health checks", state.checks().count() as u64),
            ("leases", "leases", leases as u64),
            (
                "leases_running",
                "leases whose time runs on this server",
                self.0.running_leases() as u64,
            ),
            (
                "feeds",
                "feeds open: watches, blocking queries, caches that follow",
                self.0.feeds(),
            ),
            (
                "history_revisions",
                "revisions that can still be read",
                history.batches,
            ),
            ("history_changes", "changes kept", history.changes),
            (
                "history_memory_bytes",
                "bytes of memory that the history takes: the newest changes, and where older ones are",
                history.memory_bytes,
            ),
            (
                "history_disk_bytes",
                "bytes of the history's files",
                history.disk_bytes,
            ),
            ("history_files", "files of the history", history.files),
            (
                "history_files_damaged",
                "files of the history that turned out to be damaged",
                history.damaged,
            ),
            (
                "history_floor",
                "oldest revision that can be read; records may begin later, see history_floor_records",
                self.0.floor(None).max(Revision::FIRST).0,
            ),
        ];
        for (name, help, value) in rows {
            encoder
                .encode_descriptor(name, help, None, MetricType::Gauge)?
                .encode_gauge(&signed(value))?;
        }
        let mut records = encoder.encode_descriptor(
            "records",
            "records, by keyspace",
            None,
            MetricType::Gauge,
        )?;
        for space in Keyspace::ALL {
            let count = signed(state.record_count(space) as u64);
            records
                .encode_family(&[("keyspace", space.as_str())])?
                .encode_gauge(&count)?;
        }
        let mut floors = encoder.encode_descriptor(
            "history_floor_records",
            "oldest revision at which records can be read, by keyspace; compaction moves it",
            None,
            MetricType::Gauge,
        )?;
        for space in Keyspace::ALL {
            let floor = self.0.floor(Some(space)).max(Revision::FIRST);
            floors
                .encode_family(&[("keyspace", space.as_str())])?
                .encode_gauge(&signed(floor.0))?;
        }
        let bounds = [
            ("leases", limits::LEASES as u64, leases as u64),
            (
                "instances_of_a_service",
                u64::from(limits::INSTANCES),
                u64::from(largest),
            ),
        ];
        let mut most = encoder.encode_descriptor(
            "catalog_limit",
            "bounds of the catalog",
            None,
            MetricType::Gauge,
        )?;
        for (name, bound, _) in bounds {
            most.encode_family(&[("limit", name)])?
                .encode_gauge(&signed(bound))?;
        }
        let mut used = encoder.encode_descriptor(
            "catalog_limit_used",
            "what is used of them",
            None,
            MetricType::Gauge,
        )?;
        for (name, _, value) in bounds {
            used.encode_family(&[("limit", name)])?
                .encode_gauge(&signed(value))?;
        }
        Ok(())
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
