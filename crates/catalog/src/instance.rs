//! Instances: running copies of services, as registered and as the catalog sees them.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use crate::endpoint::{Endpoint, Host};
use crate::health::Health;
use crate::ids::{
    InstanceKey, Keyspace, LeaseId, NodeName, Protocol, Revision, ServiceKey, Timestamp,
};
use crate::record::Key;

/// Ordered key-value pairs, sorted by key, shared when cloned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta(Arc<[(Arc<str>, Arc<str>)]>);

impl Meta {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    /// All pairs, by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (&**k, &**v))
    }

    /// How many pairs.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A copy with `key` set to `value`.
    pub fn with(&self, key: &str, value: &str) -> Meta {
        self.iter()
            .filter(|(k, _)| *k != key)
            .chain([(key, value)])
            .collect()
    }
}

impl<K: Into<Arc<str>>, V: Into<Arc<str>>> FromIterator<(K, V)> for Meta {
    /// Of equal keys the last one counts.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Meta {
        let sorted: std::collections::BTreeMap<Arc<str>, Arc<str>> = pairs
            .into_iter()
            .map(|(k, v)| (k.into(), v.into()))
            .collect();
        if sorted.is_empty() {
            Meta::default()
        } else {
            Meta(sorted.into_iter().collect())
        }
    }
}

/// A share of the traffic in thousandths of an ordinary share; 1000 is ordinary, 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(pub u32);

impl Default for Weight {
    fn default() -> Weight {
        Weight::ORDINARY
    }
}

impl Weight {
    /// What an instance has that says nothing.
    pub const ORDINARY: Weight = Weight(1000);

    /// From a number of which `ordinary` is one ordinary share (Consul 1, Kitex 10, Dubbo 100).
    pub fn from_units(value: u64, ordinary: u32) -> Weight {
        Weight(u32::try_from(value.saturating_mul(u64::from(1000 / ordinary))).unwrap_or(u32::MAX))
    }

    /// To a number of which `ordinary` is one ordinary share: rounded half up, at least `least`.
    pub fn to_units(self, ordinary: u32, least: u32) -> u32 {
        let step = u64::from(1000 / ordinary);
        u32::try_from((u64::from(self.0) + step / 2) / step)
            .unwrap_or(u32::MAX)
            .max(least)
    }
}

/// Where a node or an instance is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locality {
    /// Region, empty when unknown.
    pub region: Arc<str>,
    /// Zone, empty when unknown.
    pub zone: Arc<str>,
}

/// What the instance says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Declared {
    /// Ready for traffic.
    #[default]
    Up,
    /// Not working.
    Down,
    /// Not ready yet.
    Starting,
    /// Taken out by its owner.
    OutOfService,
    /// Eureka's UNKNOWN.
    Unknown,
}

/// By which road a registration came, within its protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// Through an agent that owns it (Consul `/v1/agent`).
    #[default]
    Agent,
    /// Written to the catalog, without owner (Consul `/v1/catalog/register`).
    Catalog,
    /// By a connection, and gone with it.
    Connection,
    /// Recognised in a record by a layout.
    Record,
    /// Made from an object (Kubernetes).
    Object,
}

/// An administrative status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminStatus {
    /// Forced up: overrides what the instance declares, not its checks.
    Up,
    /// Maintenance.
    OutOfService,
    /// Maintenance that finishes what is open.
    Draining,
    /// Forced down.
    Down,
}

/// An operator's word about an instance or a node, from whichever protocol; the last writer wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The status.
    pub status: AdminStatus,
    /// The reason given, may be empty.
    pub reason: Arc<str>,
    /// The protocol it came through.
    pub by: Protocol,
}

/// A further name an instance's own protocol finds it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LookupKind {
    /// Eureka's `vipAddress`.
    Vip,
    /// Eureka's `secureVipAddress`.
    SecureVip,
    /// The service a Consul connect proxy stands before, or a connect-native service itself.
    Connect,
}

/// The facts of a registration: what a client said, and nothing the catalog computed.
///
/// Two registrations with equal facts are the same: re-registering is not a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Identity.
    pub key: InstanceKey,
    /// The service it belongs to. A field, not part of the identity.
    pub service: ServiceKey,
    /// The service's name as this registrant wrote it.
    pub spelling: Arc<str>,
    /// Host and ports.
    pub endpoint: Endpoint,
    /// The host is the node's address now, and again when the node's changes (Consul's empty `Address`).
    pub inherits_host: bool,
    /// The node, possibly a virtual one ([`crate::endpoint::virtual_node`]).
    pub node: NodeName,
    /// Tags in the order given.
    pub tags: Arc<[Arc<str>]>,
    /// Metadata.
    pub meta: Meta,
    /// Weight while passing.
    pub weight: Weight,
    /// Weight while warning.
    pub warning_weight: Weight,
    /// Region and zone, if known.
    pub locality: Option<Arc<Locality>>,
    /// Nacos' cluster, empty elsewhere.
    pub cluster: Arc<str>,
    /// What the instance says of itself.
    pub declared: Declared,
    /// By which road it came.
    pub via: Via,
    /// Further names: (kind, folded name).
    pub lookups: Arc<[(LookupKind, Arc<str>)]>,
    /// The registrant's own timestamp, which orders late registrations (Eureka's lastDirtyTimestamp, milliseconds).
    pub claim: u64,
    /// What keeps it alive, if anything does.
    pub lease: Option<LeaseId>,
    /// What the origin sent and the model has no field for; opaque, canonical.
    pub extension: Bytes,
}

impl Registration {
    /// A registration with everything at its default, on the virtual node of its host.
    pub fn new(key: InstanceKey, service: ServiceKey, endpoint: Endpoint) -> Registration {
        Registration {
            spelling: service.name().into(),
            node: crate::endpoint::virtual_node(&endpoint.host),
            key,
            service,
            endpoint,
            inherits_host: false,
            tags: Arc::default(),
            meta: Meta::default(),
            weight: Weight::ORDINARY,
            warning_weight: Weight::ORDINARY,
            locality: None,
            cluster: Arc::default(),
            declared: Declared::Up,
            via: Via::Agent,
            lookups: Arc::default(),
            claim: 0,
            lease: None,
            extension: Bytes::new(),
        }
    }
}

impl Registration {
    /// Takes over from `other` what is equal, so that equal values are held once.
    pub(crate) fn share(&mut self, other: &Registration) {
        fn equal<T: Clone + PartialEq>(mine: &mut T, other: &T) {
            if *mine == *other {
                mine.clone_from(other);
            }
        }
        equal(&mut self.tags, &other.tags);
        equal(&mut self.meta, &other.meta);
        equal(&mut self.endpoint.ports, &other.endpoint.ports);
        equal(&mut self.locality, &other.locality);
        equal(&mut self.cluster, &other.cluster);
        equal(&mut self.lookups, &other.lookups);
        equal(&mut self.extension, &other.extension);
    }
}

/// An instance as the catalog keeps it: the facts of its registration and what was computed from everything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// What was registered.
    pub facts: Arc<Registration>,
    /// Administrative status, shared by all twins.
    pub admin: Option<Arc<Admin>>,
    /// The lease is past its first of two stages: unhealthy, not yet removed.
    pub lapsed: bool,
    /// This row's own health (not merged with twins): what its own protocol shows.
    pub health: Health,
    /// Revision of the first registration.
    pub created: Revision,
    /// Revision of the last change of this row, health included. Links to the row's previous change in the history.
    pub modified: Revision,
    /// Revision of the last registration that changed the facts, or of the last admin status.
    pub registered: Revision,
    /// Time of the first registration.
    pub created_at: Timestamp,
    /// Time of the last change of this row.
    pub modified_at: Timestamp,
    /// Since when `health` is what it is.
    pub health_since: Timestamp,
}

impl Deref for Instance {
    type Target = Registration;

    fn deref(&self) -> &Registration {
        &self.facts
    }
}

impl Instance {
    /// What the instance says of itself, unless an operator forced it up.
    pub fn effective_declared(&self) -> Declared {
        match self.admin.as_deref() {
            Some(Admin {
                status: AdminStatus::Up,
                ..
            }) => Declared::Up,
            _ => self.declared,
        }
    }

    /// The record this instance was recognised in, when it is the only one there; see [`crate::State::record_of`].
    pub(crate) fn own_record(&self) -> Option<(Keyspace, Key)> {
        let (space, key) = self.key.as_record().filter(|_| self.via == Via::Record)?;
        let key = match space {
            Keyspace::Znodes => Key::znode(key),
            _ => Key::from(key),
        };
        Some((space, key))
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.endpoint.host
    }
}
