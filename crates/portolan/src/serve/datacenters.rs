//! The other datacenters: each is followed over a way of its own, and answered from by the protocols that know datacenters.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use portolan_agent::{Elsewhere, Followed, Joined};
use portolan_catalog::stored::LEVEL;
use portolan_cluster::Tcp;
use portolan_cluster::frame::{Hello, Role};
use portolan_cluster::transport;
use portolan_listener::Metrics;
use portolan_registry::{Datacenter, Datacenters};
use portolan_replica::disk::{Disk, MemoryDisk, RealDisk};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::cluster::certificates_for;
use super::{die, wall_clock};
use crate::config::Config;

/// What is followed.
pub(crate) struct Followers {
    pub(crate) known: Datacenters,
    ways: Vec<Tcp>,
    tasks: Vec<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Followers {
    /// Begins to follow every datacenter of the configuration. Nobody waits for their servers.
    pub(crate) fn begin(config: &Config, name: &str, node: u64) -> Result<Followers> {
        let (mut known, mut ways, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
        for (datacenter, addresses) in config.cluster.datacenters() {
            let tcp = Tcp::new(transport::Options {
                hello: Hello {
                    role: Role::Datacenter,
                    level: u32::from(LEVEL),
                    cluster: 0,
                    node: node.max(1),
                    name: name.to_owned(),
                    datacenter: config.datacenter.clone(),
                },
                tls: certificates_for(config, &datacenter)?,
                connections: 1,
                follows: Some(datacenter.clone()),
            });
            let disk: Arc<dyn Disk> = match config.in_memory {
                true => Arc::new(MemoryDisk::new()),
                false => {
                    let place = config.data_dir.join(format!("datacenter-{datacenter}"));
                    let disk = RealDisk::open(&place)
                        .with_context(|| format!("cannot open directory \"{}\"", place.display()));
                    Arc::new(disk?)
                }
            };
            let one = Arc::new(Datacenter::new(&datacenter));
            // Its servers do not mind which cluster this one belongs to.
            let servers = Joined::new(Arc::new(tcp.clone()), Box::new(|_| {}), addresses);
            let elsewhere = Elsewhere {
                datacenter: one.clone(),
                disk,
                servers: Arc::new(servers),
                wall: Arc::new(wall_clock),
                limits: portolan_registry::Limits {
                    queue: config.storage.queue.max(1),
                    queue_wait: config.storage.queue_wait,
                    decision: config.storage.decision_timeout,
                },
                history_bytes: HISTORY_BYTES.min(config.retention.memory_bytes),
                copy_every: COPY_EVERY,
            };
            let (stop, stopped) = oneshot::channel();
            tasks.push((stop, tokio::spawn(follow(elsewhere, stopped))));
            ways.push(tcp);
            known.push(one);
        }
        Ok(Followers {
            known: Datacenters::new(known),
            ways,
            tasks,
        })
    }

    /// Shows how each stands in the metrics.
    pub(crate) fn publish(&self, metrics: &Metrics) {
        if !self.tasks.is_empty() {
            metrics.register_collector(Figures(self.known.clone()));
        }
    }

    /// Ends, and keeps what there is.
    pub(crate) async fn finish(self) {
        for (stop, task) in self.tasks {
            drop(stop);
            // A panic was told when it came.
            let _ended = task.await;
        }
        for way in self.ways {
            way.close();
        }
    }
}

/// Bytes of history of one datacenter in memory: as far as watches of it resume.
const HISTORY_BYTES: u64 = 4 << 20;
/// How often a copy is written, beside when its servers are lost.
const COPY_EVERY: Duration = Duration::from_secs(300);

async fn follow(elsewhere: Elsewhere, mut stopped: oneshot::Receiver<()>) {
    let name = elsewhere.datacenter.name().clone();
    let mut followed = tokio::select! {
        biased;
        _ = &mut stopped => return,
        followed = Followed::begin(elsewhere) => followed,
    };
    tokio::select! {
        biased;
        _ = &mut stopped => {}
        panicked = followed.ended() => {
            let how = if panicked { "panicked" } else { "ended" };
            die(format!("fatal: a task that follows datacenter {name} {how}"));
        }
    }
    followed.finish().await;
}

struct Figures(Datacenters);

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

type Row = (&'static str, &'static str, fn(&Datacenter) -> Option<f64>);

const GAUGES: [Row; 4] = [
    (
        "datacenter_connected",
        "whether servers of the datacenter with a leader were heard of lately",
        |one| {
            let age = one.copy().and_then(|copy| copy.last_contact());
            let lately = age.is_some_and(|age| age <= portolan_registry::Member::ALIVE);
            Some(f64::from(u8::from(lately)))
        },
    ),
    (
        "datacenter_copy_age_seconds",
        "how long ago the copy of the datacenter was known to be all there is",
        |one| Some(one.copy()?.last_contact()?.as_secs_f64()),
    ),
    (
        "datacenter_copy_revision",
        "the revision of the copy of the datacenter",
        |one| Some(one.copy()?.snapshot().revision().0 as f64),
    ),
    (
        "datacenter_round_trip_seconds",
        "how long a question to the servers of the datacenter takes",
        |one| Some(one.round_trip()?.as_secs_f64()),
    ),
];

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for (name, help, value) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for one in self.0.iter() {
                if let Some(value) = value(one) {
                    let label = [("datacenter", one.name().to_string())];
                    let encoder = family.encode_family(&label)?;
                    ConstGauge::new(value).encode(encoder)?;
                }
            }
        }
        Ok(())
    }
}
