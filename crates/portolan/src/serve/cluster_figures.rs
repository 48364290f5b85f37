//! The cluster as metrics: its servers, how this one hears of the leader, and the traffic of the cluster port.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use portolan_cluster::{Tcp, Traffic};
use portolan_listener::Metrics;
use portolan_registry::Registry;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Shows them in the server's metrics.
pub(crate) fn publish(
    metrics: &Metrics,
    registry: &Registry,
    tcp: Option<&Tcp>,
    connections: usize,
) {
    metrics.register_collector(ClusterFigures {
        registry: registry.clone(),
        tcp: tcp.cloned(),
        connections,
    });
}

struct ClusterFigures {
    registry: Registry,
    tcp: Option<Tcp>,
    connections: usize,
}

impl fmt::Debug for ClusterFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterFigures")
    }
}

type Row = (&'static str, &'static str, fn(&Traffic) -> &AtomicU64);

const COUNTERS: [Row; 4] = [
    ("cluster_sent_bytes", "bytes sent to other servers", |t| {
        &t.sent_bytes
    }),
    (
        "cluster_received_bytes",
        "bytes received from other servers and agents",
        |t| &t.received_bytes,
    ),
    (
        "cluster_requests",
        "requests of other servers and agents",
        |t| &t.requests,
    ),
    (
        "cluster_refused",
        "connections to the cluster port that were refused",
        |t| &t.refused,
    ),
];

impl Collector for ClusterFigures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let members = self.registry.members();
        let count = |wanted: fn(&portolan_registry::Member) -> bool| {
            i64::try_from(members.iter().filter(|member| wanted(member)).count()).unwrap_or(0)
        };
        let mut gauges = vec![
            ("cluster_servers", "servers of the cluster", count(|_| true)),
            (
                "cluster_voters",
                "servers with a vote",
                count(|member| member.voter),
            ),
            (
                "cluster_servers_alive",
                "servers that were heard of lately",
                count(portolan_registry::Member::alive),
            ),
        ];
        if let Some(tcp) = &self.tcp {
            let traffic = tcp.traffic();
            for (name, help, of) in COUNTERS {
                let value = of(traffic).load(Ordering::Relaxed);
                encoder
                    .encode_descriptor(name, help, None, MetricType::Counter)?
                    .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            }
            let open = |of: &AtomicU64| i64::try_from(of.load(Ordering::Relaxed)).unwrap_or(0);
            gauges.push((
                "cluster_connections_out",
                "connections to other servers",
                open(&traffic.outgoing),
            ));
            gauges.push((
                "cluster_connections_in",
                "connections of other servers and agents",
                open(&traffic.incoming),
            ));
            gauges.push((
                "cluster_connections_limit",
                "connections of other servers and agents that are allowed",
                i64::try_from(self.connections).unwrap_or(i64::MAX),
            ));
        }
        for (name, help, value) in gauges {
            encoder
                .encode_descriptor(name, help, None, MetricType::Gauge)?
                .encode_gauge(&value)?;
        }
        // Without a leader it grows from the last word of one; where none was ever heard, it says nothing.
        if let Some(age) = self.registry.last_contact() {
            encoder
                .encode_descriptor(
                    "leader_contact_seconds",
                    "time since the leader was heard of: how old a stale read may be",
                    None,
                    MetricType::Gauge,
                )?
                .encode_gauge(&age.as_secs_f64())?;
        }
        Ok(())
    }
}
