//! `portolan serve --agent`: the same protocols over what the servers have.

use std::fmt;
use std::sync::Arc;

use anyhow::Result;
use portolan_agent::{Agent, Joined, Options};
use portolan_catalog::stored::LEVEL;
use portolan_cluster::Tcp;
use portolan_cluster::frame::{Hello, Role};
use portolan_cluster::transport;
use portolan_listener::Metrics;
use portolan_registry::Registry;
use portolan_replica::Directory;
use portolan_replica::disk::{MemoryDisk, RealDisk};
use portolan_replica::identity;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::behind::{Behind, WeakBehind};
use super::bootstrap::Own;
use super::cluster::certificates;
use super::{die, in_full, ports, wall_clock};
use crate::config::Config;

/// Joins the servers, or goes on with what is on the disk.
pub(crate) async fn start(config: &Config, name: &str) -> Result<(Behind, Registry, Own)> {
    let mut own = Own {
        name: name.to_owned(),
        id: config.node_id.clone().unwrap_or_default().into(),
        address: ports::advertised(config),
        meta: config.node_meta.clone(),
    };
    let known = match RealDisk::open(&config.data_dir) {
        Ok(disk) if !config.in_memory => identity::read(&disk)?,
        // Whatever is wrong is said when the directory is opened for good.
        Ok(_) | Err(_) => None,
    };
    let tcp = Tcp::new(transport::Options {
        hello: Hello {
            role: Role::Agent,
            level: u32::from(LEVEL),
            cluster: 0,
            node: known.map_or_else(|| super::fresh_number().max(1), |known| known.node_id),
            name: name.to_owned(),
            datacenter: config.datacenter.clone(),
        },
        tls: certificates(config)?,
        connections: 1,
        follows: None,
    });
    let adopting = tcp.clone();
    let adopt = Box::new(move |cluster| {
        if adopting.cluster() != cluster {
            adopting.adopt(cluster);
        }
    });
    let joined = Joined::new(Arc::new(tcp.clone()), adopt, config.cluster.join.clone());
    let directory = match config.in_memory {
        true => Directory::Disk(Arc::new(MemoryDisk::new())),
        false => Directory::Path(config.data_dir.clone()),
    };
    let mut options = Options::new(
        directory,
        own.node(),
        Arc::new(joined),
        Arc::new(wall_clock),
    );
    options.limits = portolan_registry::Limits {
        queue: config.storage.queue.max(1),
        queue_wait: config.storage.queue_wait,
        decision: config.storage.decision_timeout,
    };
    options.history_bytes = options.history_bytes.min(config.retention.memory_bytes);
    options.fatal = Box::new(|why| die(format!("fatal: {why}")));
    let (agent, registry) = Agent::start(options).await.map_err(in_full)?;
    own.id = agent.node_id();
    Ok((Behind::Agent(Arc::new(agent), tcp), registry, own))
}

/// Shows how the agent stands in the metrics.
pub(crate) fn publish(metrics: &Metrics, behind: &Behind) {
    if let Behind::Agent(..) = behind {
        metrics.register_collector(AgentFigures(behind.downgrade()));
    }
}

struct AgentFigures(WeakBehind);

impl fmt::Debug for AgentFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgentFigures")
    }
}

impl Collector for AgentFigures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let WeakBehind::Agent(agent) = &self.0 else {
            return Ok(());
        };
        let Some(agent) = agent.upgrade() else {
            return Ok(());
        };
        let status = agent.status();
        let age = status.age.age.map_or(f64::NAN, |age| age.as_secs_f64());
        let rows: [(&str, &str, f64); 4] = [
            (
                "agent_known_leader",
                "whether servers with a leader can be reached",
                f64::from(u8::from(status.age.known_leader)),
            ),
            (
                "agent_copy_age_seconds",
                "how long ago the copy was known to be all there is",
                age,
            ),
            (
                "agent_applied_index",
                "the last entry of the servers' log that is in the copy",
                status.index as f64,
            ),
            (
                "agent_offers",
                "commands that the servers have to be told so that they have what is owned here",
                status.offers as f64,
            ),
        ];
        for (name, help, value) in rows {
            encoder
                .encode_descriptor(name, help, None, MetricType::Gauge)?
                .encode_gauge(&value)?;
        }
        Ok(())
    }
}
