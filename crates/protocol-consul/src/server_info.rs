//! Who this server says it is: plain values from the configuration.

use portolan_access::AccessControl;
use portolan_catalog::NodeName;
use portolan_registry::{Datacenters, SnapshotFiles};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// The Consul version whose behaviour is answered with; clients parse it as a semantic version.
pub const CONSUL_VERSION: &str = "1.22.0";

/// What the HTTP interface tells about its own server.
#[derive(Debug, Clone)]
pub struct ServerInfo {
    /// This server's datacenter, `dc1` by default.
    pub datacenter: Arc<str>,
    /// The other ones, which are answered for from copies; none by default.
    pub datacenters: Datacenters,
    /// The name of this server's node, as written.
    pub node_name: Arc<str>,
    /// The node's UUID.
    pub node_id: Arc<str>,
    /// The address other machines reach this server at; never unspecified.
    pub advertise: IpAddr,
    /// Ports as shown in `/agent/self` and members; 0 for what is off.
    pub ports: Ports,
    /// Portolan's own version, shown as the revision of the build.
    pub build: Arc<str>,
    /// When the build was made, RFC 3339.
    pub build_date: Arc<str>,
    /// The level of the log, as Consul spells it: `INFO`.
    pub log_level: Arc<str>,
    /// Whether checks of definition files may run programs. Default false.
    pub local_scripts: bool,
    /// What `agent/reload` does; nothing by default.
    pub reload: Reload,
    /// What writes and reads snapshots; none where nothing stands behind that could.
    pub snapshots: Option<Snapshots>,
    /// Access control; none when it is off, the default.
    pub access: Option<AccessControl>,
    /// Certificates for services, and who may call whom.
    pub connect: Connect,
}

/// What Consul calls Connect.
#[derive(Debug, Clone)]
pub struct Connect {
    /// Whether certificates are given out. Default true.
    pub enabled: bool,
    /// The UUID in the trust domain of the first root; a random one if none, the default.
    pub cluster_id: Option<String>,
    /// How long certificates of services are valid until that is configured by a call. Default 72 hours.
    pub leaf_ttl: Duration,
    /// Whether a call that no intention is about is allowed; as access control has it if none, the default.
    pub intentions_allow: Option<bool>,
}

impl Default for Connect {
    fn default() -> Self {
        Self {
            enabled: true,
            cluster_id: None,
            leaf_ttl: Duration::from_secs(72 * 3600),
            intentions_allow: None,
        }
    }
}

/// What stands behind `/v1/snapshot`.
#[derive(Clone, Debug)]
pub struct Snapshots {
    /// Writes and reads the state inside the archive.
    pub files: Arc<dyn SnapshotFiles>,
    /// The servers' term, for the archive's id.
    pub term: Term,
}

/// Tells the present term.
#[derive(Clone)]
pub struct Term(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Term {
    /// Asks `term` each time.
    pub fn new(term: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(term))
    }

    pub(crate) fn now(&self) -> u64 {
        (self.0)()
    }
}

impl std::fmt::Debug for Term {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Term")
    }
}

/// What a reload comes to: nothing, or why everything is left as it was.
type Reloaded = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Reads the definition files again. Given from outside: a protocol opens no file.
#[derive(Clone)]
pub struct Reload(Arc<dyn Fn() -> Reloaded + Send + Sync>);

impl Reload {
    /// Calls `reload` for each request, one after another or at a time.
    pub fn new<F>(reload: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(reload())))
    }

    pub(crate) async fn run(&self) -> Result<(), String> {
        (self.0)().await
    }
}

impl Default for Reload {
    fn default() -> Self {
        Self::new(|| async { Ok(()) })
    }
}

impl std::fmt::Debug for Reload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reload")
    }
}

/// Ports that answers mention. They are shown, not opened, here.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// This HTTP interface.
    pub http: u16,
    /// DNS.
    pub dns: u16,
    /// xDS over gRPC.
    pub grpc: u16,
    /// Where servers talk to each other; clients only compare it.
    pub server: u16,
    /// Gossip on the local network; clients only compare it.
    pub serf_lan: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            http: 8500,
            dns: 8600,
            grpc: 8502,
            server: 8300,
            serf_lan: 8301,
        }
    }
}

impl Default for ServerInfo {
    fn default() -> Self {
        Self {
            datacenter: "dc1".into(),
            datacenters: Datacenters::default(),
            node_name: "portolan".into(),
            node_id: "00000000-0000-0000-0000-000000000000".into(),
            advertise: IpAddr::from([127, 0, 0, 1]),
            ports: Ports::default(),
            build: env!("CARGO_PKG_VERSION").into(),
            build_date: "2026-01-01T00:00:00Z".into(),
            log_level: "INFO".into(),
            local_scripts: false,
            reload: Reload::default(),
            snapshots: None,
            access: None,
            connect: Connect::default(),
        }
    }
}

impl ServerInfo {
    /// The folded name of this server's node.
    pub(crate) fn node(&self) -> NodeName {
        NodeName::new(&self.node_name)
    }

    /// `ip:port` of the server port, as raft answers show it.
    pub(crate) fn server_address(&self) -> String {
        std::net::SocketAddr::new(self.advertise, self.ports.server).to_string()
    }
}
