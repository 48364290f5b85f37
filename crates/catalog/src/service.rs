//! Services and namespaces: what instances belong to.

use std::sync::Arc;

use crate::endpoint::{EndpointKey, Host};
use crate::health::Health;
use crate::ids::{Protocol, Revision, ServiceKey, Timestamp};
use crate::instance::{Instance, Meta};

/// A set of protocols, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protocols(pub u16);

impl Protocols {
    /// Adds one.
    pub fn with(self, protocol: Protocol) -> Protocols {
        Protocols(self.0 | 1 << protocol as u16)
    }

    /// Takes one away.
    pub fn without(self, protocol: Protocol) -> Protocols {
        Protocols(self.0 & !(1 << protocol as u16))
    }

    /// Whether it is in.
    pub fn contains(self, protocol: Protocol) -> bool {
        self.0 & 1 << protocol as u16 != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Settings of a service, declared through a protocol that has them (Nacos service create, Kubernetes Service).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceSettings {
    /// Nacos' protection threshold in thousandths; applied in Nacos' view only.
    pub protect_threshold: u32,
    /// Nacos' selector, as sent.
    pub selector: Arc<str>,
    /// Balancing hint, free text.
    pub balancing: Arc<str>,
    /// Metadata of the service.
    pub meta: Meta,
    /// Virtual addresses.
    pub addresses: Arc<[Host]>,
}

/// A service: a name that instances gather under. Lives on briefly without instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Identity, folded.
    pub key: ServiceKey,
    /// The name as first registered.
    pub spelling: Arc<str>,
    /// DNS label, unique in the namespace, allocated once.
    pub label: Arc<str>,
    /// Protocols that declared it; such a service stays without instances.
    pub declared_by: Protocols,
    /// Nacos: whether its instances are ephemeral, fixed by the first Nacos registration.
    pub ephemeral: Option<bool>,
    /// Settings.
    pub settings: Arc<ServiceSettings>,
    /// Revision of its first registration.
    pub created: Revision,
    /// Revision of the last change of this row (not of its members).
    pub modified: Revision,
}

/// What moves with the members of a service, kept apart from its row so that a registration does not rewrite the row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceMarks {
    /// Instances registered.
    pub members: u32,
    /// Last revision that changed a member, one of its checks, its node, or removed a member. Consul's index of the service.
    pub changed: Revision,
    /// When that was.
    pub changed_at: Timestamp,
    /// Since when it has no members.
    pub empty_since: Option<Timestamp>,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Folded name.
    pub name: Arc<str>,
    /// The name as first written.
    pub spelling: Arc<str>,
    /// Title, for people.
    pub title: Arc<str>,
    /// Description, for people.
    pub description: Arc<str>,
    /// Protocols that declared it.
    pub declared_by: Protocols,
    /// Revision of its declaration.
    pub created: Revision,
    /// Revision of its last change.
    pub modified: Revision,
}

impl EndpointKey {
    /// The endpoint `instance` belongs to.
    pub fn of(instance: &Instance) -> EndpointKey {
        let port = instance.endpoint.port();
        EndpointKey {
            service: instance.service.clone(),
            host: instance.endpoint.host.clone(),
            port,
            sole: (port == 0).then(|| instance.key.clone()),
        }
    }
}

/// An endpoint: one or more twins, that is instances of one service with the same host and main port. Computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointRow {
    /// Identity.
    pub key: EndpointKey,
    /// The rows, oldest first (then by key); never empty. The first is the primary.
    pub members: Arc<[Arc<Instance>]>,
    /// Health merged over the members.
    pub health: Health,
    /// Revision of its appearance.
    pub created: Revision,
    /// Revision of its last change.
    pub modified: Revision,
}

impl EndpointRow {
    /// The row that stands for the endpoint where it is shown once: the oldest.
    pub fn primary(&self) -> &Arc<Instance> {
        &self.members[0]
    }

    /// Whether a member's origin is `protocol`.
    pub fn has(&self, protocol: Protocol) -> bool {
        self.members.iter().any(|m| m.key.origin == protocol)
    }

    /// The rows `protocol` shows: its own if it has any, else the primary. See also [`EndpointRow::shown_to`].
    pub fn rows(&self, protocol: Protocol) -> impl Iterator<Item = &Arc<Instance>> {
        self.shown_to(move |member| member.key.origin == protocol)
    }

    /// The rows that a reader shows who calls `own` its own: all of those if there are any, and beside them the primary
    /// (or the oldest foreign row) while none of them speaks for the endpoint yet: all critical, yet the endpoint serves.
    /// Without own rows the primary alone.
    pub fn shown_to<'a>(
        &'a self,
        own: impl Fn(&Instance) -> bool + 'a,
    ) -> impl Iterator<Item = &'a Arc<Instance>> {
        let any = self.members.iter().any(|m| own(m));
        let speaks = self.members.iter().any(|m| own(m) && m.health.serves());
        let beside = any && !speaks && self.health.serves();
        let foreign = self.members.iter().find(|m| !own(m)).filter(|_| beside);
        let primary = (!any).then(|| self.primary());
        self.members
            .iter()
            .filter(move |m| own(m))
            .chain(foreign)
            .chain(primary)
    }
}
