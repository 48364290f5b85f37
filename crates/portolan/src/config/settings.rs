//! Everything that can be set, with its defaults.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use portolan_history::Retention;
use portolan_listener::Limits;

use super::access::AccessConfig;
use super::checks::Checks;
use super::cluster::ClusterConfig;
use super::layouts::Layouts;
use super::listen::Listen;
use super::log::Log;
use super::tls::TlsConfig;

/// Everything that can be set.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) data_dir: PathBuf,
    /// Nothing is kept on the disk.
    pub(crate) in_memory: bool,
    /// Files and folders with definitions beside other settings, as Consul has them.
    pub(crate) definition_places: Vec<PathBuf>,
    /// What is open to other machines because somebody said so.
    pub(crate) consents: Vec<String>,
    pub(crate) node_name: Option<String>,
    pub(crate) node_id: Option<String>,
    pub(crate) node_meta: BTreeMap<String, String>,
    pub(crate) definitions_dirs: Vec<String>,
    pub(crate) enable_local_script_checks: bool,
    pub(crate) datacenter: String,
    pub(crate) advertise: Option<IpAddr>,
    pub(crate) listen: Listen,
    pub(crate) insecure_listen: bool,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) cluster: ClusterConfig,
    pub(crate) access: AccessConfig,
    pub(crate) connect: portolan_protocol_consul::Connect,
    pub(crate) tls: TlsConfig,
    pub(crate) layouts: Layouts,
    pub(crate) worker_threads: usize,
    pub(crate) log: Log,
    pub(crate) limits: Limits,
    pub(crate) retention: Retention,
    pub(crate) guard: Guard,
    pub(crate) checks: Checks,
    pub(crate) storage: Storage,
    pub(crate) etcd: Etcd,
    pub(crate) zookeeper: ZooKeeper,
    pub(crate) nacos: portolan_protocol_nacos::Settings,
    pub(crate) eureka: portolan_protocol_eureka::Settings,
    pub(crate) kubernetes: portolan_protocol_kubernetes::Settings,
    pub(crate) xds: portolan_protocol_xds::Settings,
    pub(crate) gateway: portolan_gateway::Settings,
    pub(crate) dns: portolan_protocol_dns::Options,
}

/// Numbers of the mass-expiry guard; shares in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Guard {
    pub(crate) share: u64,
    pub(crate) least: usize,
    pub(crate) service_share: u64,
    pub(crate) service_least: usize,
}

/// Sizes of the log and its snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Storage {
    pub(crate) segment_bytes: u64,
    pub(crate) reserve_bytes: u64,
    pub(crate) snapshot_bytes: u64,
    /// Proposals that wait at most.
    pub(crate) queue: usize,
    /// How long one waits for a place in a full queue.
    pub(crate) queue_wait: Duration,
    /// How long one waits for its decision.
    pub(crate) decision_timeout: Duration,
}

/// etcd's own limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Etcd {
    pub(crate) request_bytes: usize,
    pub(crate) quota_bytes: u64,
    pub(crate) progress_interval: Duration,
    pub(crate) token_ttl: Duration,
    pub(crate) password_cost: u32,
}

/// ZooKeeper's own limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ZooKeeper {
    pub(crate) connections_per_address: usize,
    pub(crate) frame_bytes: usize,
    pub(crate) words: Vec<String>,
}

impl Default for ZooKeeper {
    fn default() -> Self {
        let settings = portolan_protocol_zookeeper::Settings::default();
        ZooKeeper {
            connections_per_address: settings.connections_per_address,
            frame_bytes: settings.frame_bytes,
            words: settings.words,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data_dir: "./portolan-data".into(),
            in_memory: false,
            definition_places: Vec::new(),
            consents: Vec::new(),
            node_name: None,
            node_id: None,
            node_meta: BTreeMap::new(),
            definitions_dirs: Vec::new(),
            enable_local_script_checks: false,
            datacenter: "dc1".into(),
            advertise: None,
            listen: Listen::default(),
            insecure_listen: false,
            allowed_hosts: Vec::new(),
            cluster: ClusterConfig::default(),
            access: AccessConfig::default(),
            connect: portolan_protocol_consul::Connect::default(),
            tls: TlsConfig::default(),
            layouts: Layouts::default(),
            worker_threads: 0,
            log: Log::default(),
            limits: Limits::default(),
            retention: Retention::default(),
            guard: Guard {
                share: 150,
                least: 10,
                service_share: 500,
                service_least: 5,
            },
            checks: Checks::default(),
            storage: Storage {
                segment_bytes: 64 << 20,
                reserve_bytes: 64 << 20,
                snapshot_bytes: 64 << 20,
                queue: 16 << 10,
                queue_wait: Duration::from_secs(1),
                decision_timeout: Duration::from_secs(7),
            },
            etcd: Etcd {
                quota_bytes: 2 << 30,
                request_bytes: 3 << 19,
                progress_interval: Duration::from_secs(600),
                token_ttl: Duration::from_secs(300),
                password_cost: 10,
            },
            zookeeper: ZooKeeper::default(),
            nacos: portolan_protocol_nacos::Settings::default(),
            eureka: portolan_protocol_eureka::Settings::default(),
            kubernetes: portolan_protocol_kubernetes::Settings::default(),
            xds: portolan_protocol_xds::Settings::default(),
            gateway: portolan_gateway::Settings::default(),
            dns: portolan_protocol_dns::Options::default(),
        }
    }
}
