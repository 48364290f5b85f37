//! Identities: one small type per id, cheap to clone, ordered, never a bare `u64` or `String`.

use std::fmt;
use std::sync::Arc;

/// Place in the one history. An empty catalog is at 1; each command that changed something adds one; nothing else does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision of an empty catalog.
    pub const FIRST: Revision = Revision(1);

    /// The revision after this one.
    pub fn next(self) -> Revision {
        Revision(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Milliseconds since the Unix epoch, as the leader's clock said when it took a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This time plus `ms` milliseconds.
    pub fn plus_ms(self, ms: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }
}

/// The protocols Portolan speaks, as the origin of a row and as the way a command came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Consul's HTTP API.
    Consul,
    /// DNS; reads only.
    Dns,
    /// etcd v3.
    Etcd,
    /// ZooKeeper.
    ZooKeeper,
    /// Netflix Eureka.
    Eureka,
    /// Nacos.
    Nacos,
    /// The Kubernetes API.
    Kubernetes,
    /// Envoy's discovery protocol; reads only.
    Xds,
    /// Portolan's own protocol: command line, console, SDK.
    Native,
    /// A reader of another registry.
    Mirror,
    /// Portolan itself: the server's own node and service, leases that ran out, retention.
    Portolan,
}

impl Protocol {
    /// Every protocol, in the order of their discriminants.
    pub const ALL: [Protocol; 11] = [
        Protocol::Consul,
        Protocol::Dns,
        Protocol::Etcd,
        Protocol::ZooKeeper,
        Protocol::Eureka,
        Protocol::Nacos,
        Protocol::Kubernetes,
        Protocol::Xds,
        Protocol::Native,
        Protocol::Mirror,
        Protocol::Portolan,
    ];

    /// The name used on the command line, in metrics and in foreign ids (`eureka:WEB/h1:web:8080`).
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Consul => "consul",
            Protocol::Dns => "dns",
            Protocol::Etcd => "etcd",
            Protocol::ZooKeeper => "zookeeper",
            Protocol::Eureka => "eureka",
            Protocol::Nacos => "nacos",
            Protocol::Kubernetes => "kubernetes",
            Protocol::Xds => "xds",
            Protocol::Native => "native",
            Protocol::Mirror => "mirror",
            Protocol::Portolan => "portolan",
        }
    }

    /// The inverse of [`Protocol::as_str`].
    pub fn parse(name: &str) -> Option<Protocol> {
        Protocol::ALL.into_iter().find(|p| p.as_str() == name)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Lower-cases ASCII letters and leaves everything else alone.
pub fn fold(name: &str) -> Arc<str> {
    name.to_ascii_lowercase().into()
}

/// A node's name, folded to lower case ASCII; the spelling is in the node's row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(Arc<str>);

impl NodeName {
    /// Folds `name`.
    pub fn new(name: &str) -> NodeName {
        NodeName(fold(name))
    }

    /// The folded name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the stand-in node of an instance whose protocol has no nodes (`10-0-0-1.virtual`): it has no row.
    pub fn is_virtual(&self) -> bool {
        self.0.ends_with(".virtual")
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Identity of a service: namespace, group and name, all folded. One string inside, so that it clones and compares cheaply.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey(Arc<str>);

/// The namespace and the group that are implied when none is given.
pub const DEFAULT: &str = "default";

impl ServiceKey {
    /// Folds and joins the three parts. Empty namespace or group mean [`DEFAULT`]. A zero byte, which no name can hold,
    /// becomes U+FFFD: the parts never run into one another.
    pub fn new(namespace: &str, group: &str, name: &str) -> ServiceKey {
        let [namespace, group] =
            [namespace, group].map(|part| if part.is_empty() { DEFAULT } else { part });
        let mut joined = String::with_capacity(namespace.len() + group.len() + name.len() + 2);
        for (part, separator) in [(namespace, "\0"), (group, "\0"), (name, "")] {
            match part.contains('\0') {
                true => joined.push_str(&part.replace('\0', "\u{fffd}")),
                false => joined.push_str(part),
            }
            joined.push_str(separator);
        }
        joined.make_ascii_lowercase();
        ServiceKey(joined.into())
    }

    /// A service in the default namespace and group.
    pub fn plain(name: &str) -> ServiceKey {
        ServiceKey::new(DEFAULT, DEFAULT, name)
    }

    /// The three parts, a zero byte between them.
    pub(crate) fn as_joined(&self) -> &str {
        &self.0
    }

    /// What stands before every service of a namespace.
    pub(crate) fn first_in(namespace: &str) -> ServiceKey {
        ServiceKey(format!("{}\0", namespace.to_ascii_lowercase()).into())
    }

    fn parts(&self) -> [&str; 3] {
        let mut parts = self.0.splitn(3, '\0');
        [(); 3].map(|()| parts.next().unwrap_or_default())
    }

    /// Folded namespace.
    pub fn namespace(&self) -> &str {
        self.parts()[0]
    }

    /// Folded group.
    pub fn group(&self) -> &str {
        self.parts()[1]
    }

    /// Folded name.
    pub fn name(&self) -> &str {
        self.parts()[2]
    }
}

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ServiceKey({}/{}/{})",
            self.namespace(),
            self.group(),
            self.name()
        )
    }
}

/// Identity of an instance: the protocol it was registered through and its own id there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceKey {
    /// The protocol the registration came in through.
    pub origin: Protocol,
    /// The id within that protocol; see the constructors.
    pub id: Arc<str>,
}

impl InstanceKey {
    /// An instance under an id of any form, taken as it is.
    pub fn new(origin: Protocol, id: impl Into<Arc<str>>) -> InstanceKey {
        InstanceKey {
            origin,
            id: id.into(),
        }
    }

    /// A Consul service: `node/service id`.
    pub fn consul(node: &NodeName, service_id: &str) -> InstanceKey {
        InstanceKey::new(Protocol::Consul, format!("{node}/{service_id}"))
    }

    /// A Eureka instance: `APP/instance id`, the application folded to upper case.
    pub fn eureka(app: &str, instance_id: &str) -> InstanceKey {
        InstanceKey::new(
            Protocol::Eureka,
            format!("{}/{instance_id}", app.to_ascii_uppercase()),
        )
    }

    /// The instance a layout recognised in the record under `key`.
    ///
    /// Its origin is the protocol whose instances are records; a keyspace whose protocol has instances of another kind (Consul's KV
    /// store) gives native ones, with the keyspace before the key.
    pub fn record(space: Keyspace, key: &str) -> InstanceKey {
        match space {
            Keyspace::Etcd | Keyspace::Kubernetes => InstanceKey::new(space.protocol(), key),
            // A znode is known to people by its path.
            Keyspace::Znodes => InstanceKey::new(space.protocol(), key.replacen('\0', "/", 1)),
            Keyspace::ConsulKv
            | Keyspace::ConsulObjects
            | Keyspace::NacosConfig
            | Keyspace::NacosConfigHistory
            | Keyspace::Settings => {
                InstanceKey::new(Protocol::Native, format!("{}/{key}", space.as_str()))
            }
        }
    }

    /// The inverse of [`InstanceKey::record`], of a key that is one; of a znode its path.
    pub fn as_record(&self) -> Option<(Keyspace, &str)> {
        match self.origin {
            Protocol::Etcd => Some((Keyspace::Etcd, &self.id)),
            Protocol::ZooKeeper => Some((Keyspace::Znodes, &self.id)),
            Protocol::Kubernetes => Some((Keyspace::Kubernetes, &self.id)),
            Protocol::Native => {
                let (space, key) = self.id.split_once('/')?;
                let space = Keyspace::parse(space)?;
                (InstanceKey::record(space, key) == *self).then_some((space, key))
            }
            _ => None,
        }
    }

    /// What follows the first `/` of the id: Consul's service id, Eureka's instance id; the whole id when there is none.
    pub fn local(&self) -> &str {
        self.id
            .split_once('/')
            .map_or(&*self.id, |(_, local)| local)
    }

    /// The inverse of `Display`.
    pub fn parse(text: &str) -> Option<InstanceKey> {
        let (origin, id) = text.split_once(':')?;
        Some(InstanceKey::new(Protocol::parse(origin)?, id))
    }
}

impl fmt::Display for InstanceKey {
    /// `origin:id`, the id under which protocols with row ids show foreign instances.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.origin, self.id)
    }
}

impl fmt::Debug for InstanceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Identity of a health check: the node it lives on and its id there (case-sensitive).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckKey(Arc<str>);

impl CheckKey {
    /// The check `id` of `node`.
    pub fn new(node: &NodeName, id: &str) -> CheckKey {
        CheckKey(format!("{node}\0{id}").into())
    }

    /// The node.
    pub fn node(&self) -> NodeName {
        NodeName(self.0.split_once('\0').map_or("", |(node, _)| node).into())
    }

    /// Node and id, a zero byte between them.
    pub(crate) fn as_joined(&self) -> &str {
        &self.0
    }

    /// The id on the node.
    pub fn id(&self) -> &str {
        self.0.split_once('\0').map_or(&*self.0, |(_, id)| id)
    }

    pub(crate) fn first_of(node: &NodeName) -> CheckKey {
        CheckKey::new(node, "")
    }
}

impl fmt::Debug for CheckKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckKey({}/{})", self.node(), self.id())
    }
}

/// A Consul session's UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

impl SessionId {
    /// Reads the 36 character form.
    pub fn parse(text: &str) -> Option<SessionId> {
        let hex: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
        if hex.len() != 32 || text.len() != 36 {
            return None;
        }
        let mut id = [0; 16];
        for (byte, pair) in id.iter_mut().zip(hex.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(SessionId(id))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// Identity of a lease. One enum for all kinds, so that their id spaces cannot meet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeaseId {
    /// An etcd lease.
    Etcd(i64),
    /// A ZooKeeper session.
    ZooKeeper(i64),
    /// A Consul session; there is a [`crate::Session`] row beside it.
    Session(SessionId),
    /// The heartbeat of one instance (Eureka, Nacos over HTTP, native).
    Heartbeat(InstanceKey),
    /// A TTL check.
    Check(CheckKey),
    /// A client's connection (Nacos gRPC).
    Connection(u64),
    /// An agent's node.
    Agent(NodeName),
}

/// Whose raw keys and values a record belongs to. Keyspaces never mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Keyspace {
    /// etcd keys.
    Etcd,
    /// Consul's KV store.
    ConsulKv,
    /// Prepared queries (`query/<id>`), config entries, events, the CA root: Consul objects other than KV.
    ConsulObjects,
    /// ZooKeeper's tree.
    Znodes,
    /// Nacos configurations.
    NacosConfig,
    /// Nacos' history of configurations.
    NacosConfigHistory,
    /// Kubernetes objects as their clients wrote them.
    Kubernetes,
    /// Portolan's own replicated settings.
    Settings,
}

impl Keyspace {
    /// How many there are.
    pub const COUNT: usize = 8;

    /// All of them, in the order of their discriminants.
    pub const ALL: [Keyspace; Keyspace::COUNT] = [
        Keyspace::Etcd,
        Keyspace::ConsulKv,
        Keyspace::ConsulObjects,
        Keyspace::Znodes,
        Keyspace::NacosConfig,
        Keyspace::NacosConfigHistory,
        Keyspace::Kubernetes,
        Keyspace::Settings,
    ];

    /// The inverse of [`Keyspace::as_str`].
    pub fn parse(name: &str) -> Option<Keyspace> {
        Keyspace::ALL
            .into_iter()
            .find(|space| space.as_str() == name)
    }

    /// The protocol that writes this keyspace.
    pub fn protocol(self) -> Protocol {
        match self {
            Keyspace::Etcd => Protocol::Etcd,
            Keyspace::ConsulKv | Keyspace::ConsulObjects => Protocol::Consul,
            Keyspace::Znodes => Protocol::ZooKeeper,
            Keyspace::NacosConfig | Keyspace::NacosConfigHistory => Protocol::Nacos,
            Keyspace::Kubernetes => Protocol::Kubernetes,
            Keyspace::Settings => Protocol::Portolan,
        }
    }

    /// Whether a record holds secrets, which nobody is shown but by the protocol it belongs to: tokens, queries that carry some, and the keys
    /// of an authority and of certificates.
    pub fn hides(self, key: &[u8]) -> bool {
        match self {
            Keyspace::Settings => [&b"access/"[..], b"etcd/auth/", b"nacos/auth/"]
                .iter()
                .any(|root| key.starts_with(root)),
            Keyspace::ConsulObjects => {
                let secret: [&[u8]; 3] = [b"query/", b"connect-ca/", b"config/inline-certificate/"];
                secret.iter().any(|prefix| key.starts_with(prefix))
            }
            Keyspace::Etcd
            | Keyspace::ConsulKv
            | Keyspace::Znodes
            | Keyspace::NacosConfig
            | Keyspace::NacosConfigHistory
            | Keyspace::Kubernetes => false,
        }
    }

    /// The name used in metrics and by the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Keyspace::Etcd => "etcd",
            Keyspace::ConsulKv => "consul-kv",
            Keyspace::ConsulObjects => "consul-objects",
            Keyspace::Znodes => "znodes",
            Keyspace::NacosConfig => "nacos-config",
            Keyspace::NacosConfigHistory => "nacos-config-history",
            Keyspace::Kubernetes => "kubernetes",
            Keyspace::Settings => "settings",
        }
    }
}
