//! The cluster port: opened first, before it is known which cluster this server belongs to.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use portolan_catalog::stored::LEVEL;
use portolan_cluster::founding::{self, Found, Keep};
use portolan_cluster::frame::{Hello, Role};
use portolan_cluster::members::Server;
use portolan_cluster::tls::Tls;
use portolan_cluster::transport::{self, Tcp};
use portolan_environment::{NoPeers, Transport};
use portolan_replica::disk::{Disk, MemoryDisk, RealDisk};
use portolan_replica::promise::PromiseFile;
use portolan_replica::{Cluster, Directory, Membership, Options, identity, place};
use tokio::net::TcpListener;

use crate::config::{ClusterConfig, ClusterListen, Config};

/// The open port, and who this server is there.
pub(crate) struct ClusterPort {
    tcp: Option<Tcp>,
    address: Option<SocketAddr>,
    own: Server,
    /// The ids of a directory that has an owner.
    known: Option<u64>,
    cluster: u64,
    disk: Arc<dyn Disk>,
    /// Why it is not where others look for it, which is no matter while there are no others.
    displaced: Option<String>,
}

impl ClusterPort {
    /// Opens it, and says where it is.
    pub(crate) async fn open(config: &Config, name: &str) -> Result<ClusterPort> {
        let disk: Arc<dyn Disk> = match config.in_memory {
            true => Arc::new(MemoryDisk::new()),
            false => Arc::new(RealDisk::open(&config.data_dir).with_context(|| {
                format!(
                    "cannot open data directory \"{}\"",
                    config.data_dir.display()
                )
            })?),
        };
        let known = identity::read(disk.as_ref())?;
        let promise = PromiseFile::new(disk.clone())
            .load()
            .context("cannot read the file \"promise\" of the data directory")?;
        let (node, cluster) = match (&known, &promise) {
            (Some(known), _) => (known.node_id, known.cluster_id),
            (None, Some(promise)) => (promise.own.node, 0),
            (None, None) => (super::fresh_number().max(1), 0),
        };
        let has_others = match (&known, &promise) {
            (Some(known), _) if known.joins => Some(format!(
                "data directory \"{}\" is that of a member of a cluster",
                config.data_dir.display()
            )),
            (_, Some(_)) => Some(format!(
                "data directory \"{}\" has promised itself to a cluster",
                config.data_dir.display()
            )),
            _ => config.cluster.seeks(),
        };
        let (listener, displaced) = listen(&config.cluster, has_others).await?;
        let address = match &listener {
            Some(listener) => Some(
                listener
                    .local_addr()
                    .context("the cluster port has no address")?,
            ),
            None => None,
        };
        let own = Server {
            node,
            name: name.to_owned(),
            address: address.map_or_else(String::new, |at| reachable(config, at).to_string()),
            level: LEVEL,
        };
        let tcp = match listener {
            None => None,
            Some(listener) => {
                let tcp = Tcp::new(transport::Options {
                    hello: Hello {
                        role: Role::Server,
                        level: u32::from(LEVEL),
                        cluster,
                        node,
                        name: name.to_owned(),
                        datacenter: config.datacenter.clone(),
                    },
                    tls: certificates(config)?,
                    connections: config.cluster.connections,
                    follows: None,
                });
                tcp.listen(listener);
                Some(tcp)
            }
        };
        if let Some(address) = address {
            let mut out = std::io::stdout().lock();
            // A closed stdout is no reason to stop serving.
            let _written = writeln!(out, "listening cluster {address}").and_then(|()| out.flush());
        }
        Ok(ClusterPort {
            tcp,
            address,
            own,
            known: known.map(|known| known.node_id),
            cluster,
            disk,
            displaced,
        })
    }

    /// Where the replica keeps its files.
    pub(crate) fn directory(&self, config: &Config) -> Directory {
        match config.in_memory {
            true => Directory::Disk(self.disk.clone()),
            false => Directory::Path(config.data_dir.clone()),
        }
    }

    /// The transport, where there is a port.
    pub(crate) fn tcp(&self) -> Option<&Tcp> {
        self.tcp.as_ref()
    }

    /// Where the port is, as it is announced.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Has `options` start in the cluster this server belongs to. Finds one first, where the directory is empty and others were named; that
    /// takes as long as it takes.
    pub(crate) async fn prepare(&mut self, config: &Config, options: &mut Options) -> Result<()> {
        let transport: Arc<dyn Transport> = match &self.tcp {
            Some(tcp) => Arc::new(tcp.clone()),
            None => Arc::new(NoPeers),
        };
        let promise = PromiseFile::new(self.disk.clone());
        let promised = promise.load().context("cannot read the file \"promise\"")?;
        let seeks = config.cluster.seeks_others() || promised.is_some();
        if self.known.is_none() && seeks {
            let found = founding::find(founding::Options {
                own: self.own.clone(),
                version: crate::version().to_owned(),
                expect: config.cluster.expect,
                join: config.cluster.join.clone(),
                transport: transport.clone(),
                keep: Arc::new(promise),
            });
            self.settle(options, found.await.context("cannot keep a promise")?);
        } else if let Some(promise) = promised {
            // A founder that was stopped between the first line of its directory and the first entry of its log.
            let founded = promise.founder == self.own.node && promise.cluster == self.cluster;
            self.settle(
                options,
                Found {
                    cluster: self.cluster,
                    own: self.own.clone(),
                    founders: if founded { promise.servers } else { Vec::new() },
                },
            );
        } else if self.known.is_none() {
            let mut ids = [self.own.node, super::fresh_number().max(1)].into_iter();
            self.cluster = ids.clone().next_back().unwrap_or(1);
            options.random = Box::new(move || ids.next().unwrap_or_else(super::fresh_number));
        }
        if let Some(tcp) = &self.tcp
            && tcp.cluster() != self.cluster
        {
            tcp.adopt(self.cluster);
        }
        options.transport = transport;
        options.member = Membership {
            address: self.own.address.clone(),
            join: config.cluster.join.clone(),
            dead_after: config.cluster.dead_after,
            rejoin: config.cluster.rejoin,
            displaced: self.displaced.clone(),
        };
        Ok(())
    }

    fn settle(&mut self, options: &mut Options, found: Found) {
        tracing::info!(
            cluster = format!("{:016x}", found.cluster),
            founders = found.founders.len(),
            "the cluster is found"
        );
        self.cluster = found.cluster;
        self.own.node = found.own.node;
        let member = |server: &Server| (server.node, place(&server.address, &server.name));
        options.cluster = Some(Cluster {
            cluster_id: found.cluster,
            node_id: found.own.node,
            members: found.founders.iter().map(member).collect(),
        });
    }

    /// The replica has begun: the promise is kept, and no longer needed.
    pub(crate) fn begun(&self) -> Result<()> {
        PromiseFile::new(self.disk.clone())
            .save(None)
            .context("cannot remove the file \"promise\"")
    }
}

/// Opens the port. Where another process has the customary one, a server that is alone takes any free one, and why it did is given back;
/// one that others know, or that looks for others, must be where it was asked to be.
async fn listen(
    config: &ClusterConfig,
    has_others: Option<String>,
) -> Result<(Option<TcpListener>, Option<String>)> {
    let Some(address) = config.listen.address() else {
        return Ok((None, None));
    };
    let error = match transport::bind(address).await {
        Ok(listener) => return Ok((Some(listener), None)),
        Err(error) => error,
    };
    let chooses = "--cluster-listen chooses another";
    let customary = matches!(config.listen, ClusterListen::Customary(_));
    match error.kind() {
        ErrorKind::AddrInUse if customary && has_others.is_none() => {
            let free = SocketAddr::new(address.ip(), 0);
            let listener = transport::bind(free)
                .await
                .with_context(|| format!("cannot open the cluster port {free}"))?;
            let port = listener.local_addr().map_or(0, |address| address.port());
            tracing::info!(
                %address,
                port,
                "another process has the cluster port; a free one is used, --cluster-listen chooses"
            );
            let why = format!("another process has the cluster port {address}");
            Ok((Some(listener), Some(why)))
        }
        ErrorKind::AddrInUse => {
            let asked =
                has_others.unwrap_or_else(|| format!("--cluster-listen {address} is given"));
            Err(anyhow!(
                "another process has the cluster port {address}, and {asked}, so that no other port will do: stop that process, or {chooses}"
            ))
        }
        ErrorKind::AddrNotAvailable => Err(anyhow!(
            "cannot open the cluster port {address}: this machine has no such address; {chooses}, or off"
        )),
        _ => Err(anyhow!(
            "cannot open the cluster port {address}: {error}; {chooses}, or off"
        )),
    }
}

/// Where others reach a port that listens at `at`.
fn reachable(config: &Config, at: SocketAddr) -> SocketAddr {
    let listens: IpAddr = at.ip();
    let ip = match config.advertise {
        Some(advertised) => advertised,
        None if listens.is_unspecified() => super::ports::advertised(config),
        None => listens,
    };
    SocketAddr::new(ip, at.port())
}

/// The certificates with which the servers of this datacenter are reached, where there are any.
pub(crate) fn certificates(config: &Config) -> Result<Option<Tls>> {
    certificates_for(config, &config.datacenter)
}

/// The same for the servers of any datacenter, whose names are in their certificates.
pub(crate) fn certificates_for(config: &Config, datacenter: &str) -> Result<Option<Tls>> {
    let files = &config.cluster;
    let (Some(authority), Some(certificate), Some(key)) =
        (&files.authority, &files.certificate, &files.key)
    else {
        return Ok(None);
    };
    let read =
        |path: &String| std::fs::read(path).with_context(|| format!("cannot read file \"{path}\""));
    let tls = Tls::new(
        &read(authority)?,
        &read(certificate)?,
        &read(key)?,
        datacenter,
    );
    tls.map(Some)
        .map_err(|error| anyhow!("the cluster port's certificates: {error}"))
}
