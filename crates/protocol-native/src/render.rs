//! Rows of the catalog as bodies of this protocol.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portolan_api as api;
use portolan_catalog::{
    Admin, AdminStatus, Cause, Check, Declared, EndpointRow, Health, Instance, InstanceKey, Key,
    Keyspace, LeaseId, Record, Service, ServiceKey, State, Transport, Why, name,
};
use portolan_registry::Registry;

use crate::as_of::{clock, print};

/// A state, and the registry where the state is the present one: only then are there times of leases.
#[derive(Clone, Copy)]
pub(crate) struct Sight<'a> {
    pub(crate) state: &'a State,
    pub(crate) registry: Option<&'a Registry>,
}

impl Sight<'_> {
    pub(crate) fn service(&self, row: &Service) -> api::Service {
        let mut counts = [0; 4];
        let mut instances = 0;
        let mut tags: Vec<String> = Vec::new();
        for endpoint in self.state.endpoints(&row.key) {
            counts[endpoint.health as usize] += 1;
            for member in endpoint.members.iter() {
                instances += 1;
                for tag in member.tags.iter() {
                    if !tags.iter().any(|known| **known == **tag) {
                        tags.push(tag.to_string());
                    }
                }
            }
        }
        api::Service {
            name: row.spelling.to_string(),
            namespace: row.key.namespace().to_owned(),
            group: row.key.group().to_owned(),
            flat: name::flat_spelled(&row.key, &row.spelling),
            label: row.label.to_string(),
            instances,
            passing: counts[Health::Passing as usize],
            warning: counts[Health::Warning as usize],
            critical: counts[Health::Critical as usize],
            maintenance: counts[Health::Maintenance as usize],
            tags,
        }
    }

    pub(crate) fn endpoint(&self, row: &EndpointRow) -> api::Endpoint {
        api::Endpoint {
            host: row.key.host.to_string(),
            port: row.key.port,
            health: row.health.as_str().to_owned(),
            members: row
                .members
                .iter()
                .map(|member| self.instance(member))
                .collect(),
        }
    }

    pub(crate) fn instance(&self, row: &Instance) -> api::Instance {
        let locality = row.locality.as_deref();
        api::Instance {
            id: row.key.to_string(),
            origin: row.key.origin.to_string(),
            service: row.spelling.to_string(),
            namespace: row.service.namespace().to_owned(),
            group: row.service.group().to_owned(),
            host: row.endpoint.host.to_string(),
            port: row.endpoint.port(),
            ports: row.endpoint.ports.iter().skip(1).map(port).collect(),
            node: row.node.to_string(),
            health: row.health.as_str().to_owned(),
            health_since: print(row.health_since),
            declared: declared(row.declared).to_owned(),
            admin: row.admin.as_deref().map(admin),
            tags: row.tags.iter().map(ToString::to_string).collect(),
            meta: row
                .meta
                .iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            weight: f64::from(row.weight.0) / 1000.0,
            region: locality.map(|l| l.region.to_string()).unwrap_or_default(),
            zone: locality.map(|l| l.zone.to_string()).unwrap_or_default(),
            lease: self.lease_of(row),
            checks: self
                .state
                .checks_of(&row.key)
                .map(|row| check(row))
                .collect(),
            created: row.created.0,
            modified: row.modified.0,
            created_at: print(row.created_at),
            modified_at: print(row.modified_at),
        }
    }

    /// An instance that was recognised in a record lives as long as that does.
    fn lease_of(&self, row: &Instance) -> Option<api::Lease> {
        let of_record = || {
            let (space, key) = self.state.record_of(row)?;
            self.state.record(space, &key)?.lease.clone()
        };
        let id = row.lease.clone().or_else(of_record)?;
        Some(self.lease(&id))
    }

    fn lease(&self, id: &LeaseId) -> api::Lease {
        let remaining = self.registry.and_then(|registry| registry.remaining(id));
        api::Lease {
            kind: lease_kind(id).to_owned(),
            ttl_ms: self.state.lease(id).map_or(0, |lease| lease.terms.ttl_ms()),
            remaining_ms: remaining.and_then(|left| u64::try_from(left.as_millis()).ok()),
            renewed_at: self
                .registry
                .and_then(|registry| registry.renewed_at(id))
                .map(print),
        }
    }
}

/// The kind of a lease.
pub(crate) fn lease_kind(id: &LeaseId) -> &'static str {
    match id {
        LeaseId::Etcd(_) => "etcd",
        LeaseId::ZooKeeper(_) => "zookeeper",
        LeaseId::Session(_) => "session",
        LeaseId::Heartbeat(_) => "heartbeat",
        LeaseId::Check(_) => "check",
        LeaseId::Connection(_) => "connection",
        LeaseId::Agent(_) => "agent",
    }
}

fn port(port: &portolan_catalog::Port) -> api::Port {
    api::Port {
        name: port.name.to_string(),
        number: port.number,
        secure: port.secure,
        udp: port.transport == Transport::Udp,
    }
}

/// What an instance says of itself.
pub(crate) fn declared(declared: Declared) -> &'static str {
    match declared {
        Declared::Up => "up",
        Declared::Down => "down",
        Declared::Starting => "starting",
        Declared::OutOfService => "out_of_service",
        Declared::Unknown => "unknown",
    }
}

/// An administrative status.
pub(crate) fn admin_status(status: AdminStatus) -> &'static str {
    match status {
        AdminStatus::Up => "up",
        AdminStatus::OutOfService => "out_of_service",
        AdminStatus::Draining => "draining",
        AdminStatus::Down => "down",
    }
}

fn admin(admin: &Admin) -> api::Admin {
    api::Admin {
        status: admin_status(admin.status).to_owned(),
        reason: admin.reason.to_string(),
        by: admin.by.to_string(),
    }
}

/// A check.
pub(crate) fn check(row: &Check) -> api::Check {
    api::Check {
        node: row.key.node().to_string(),
        id: row.key.id().to_owned(),
        name: row.name.to_string(),
        kind: row.probe.kind().to_owned(),
        status: row.status.as_str().to_owned(),
        reported: row.reported,
        since: print(row.since),
        output: row.output.to_string(),
    }
}

/// A record, with its value where `with_value`.
pub(crate) fn entry(space: Keyspace, key: &Key, row: &Record, with_value: bool) -> api::KvEntry {
    let bytes = row.value.as_deref().unwrap_or_default();
    let text = key.as_text();
    let value = std::str::from_utf8(bytes).ok();
    let some = |wanted: bool, text: String| wanted.then_some(text);
    api::KvEntry {
        key: String::from_utf8_lossy(key).into_owned(),
        key_base64: some(text.is_none(), STANDARD.encode(&**key)),
        value: value
            .filter(|_| with_value && row.value.is_some())
            .map(str::to_owned),
        value_base64: some(with_value && value.is_none(), STANDARD.encode(bytes)),
        size: bytes.len(),
        version: row.version,
        flags: row.flags,
        derived_by: row
            .derived_from
            .as_ref()
            .map(|derived| derived.layout.to_string()),
        instance: row
            .recognised
            .keys(space, key)
            .first()
            .map(InstanceKey::to_string),
        leased: row.lease.is_some(),
        locked_by: row.holder().map(|session| session.to_string()),
        created: row.created.0,
        modified: row.modified.0,
        modified_at: print(row.modified_at),
    }
}

/// Who caused something and why.
pub(crate) fn cause(cause: &Cause) -> api::Cause {
    let why = match &cause.why {
        Why::Call => "call",
        Why::Silence { .. } => "silence",
        Why::Probe => "probe",
        Why::Reaped { .. } => "reaped",
        Why::Guard => "guard",
        Why::Disconnected => "disconnected",
        Why::Mirror => "mirror",
        Why::Layout => "layout",
        Why::Housekeeping => "housekeeping",
        Why::Start => "start",
    };
    api::Cause {
        protocol: cause.protocol.to_string(),
        peer: cause.peer.map(|peer| peer.to_string()),
        principal: cause.principal.as_deref().map(str::to_owned),
        why: why.to_owned(),
        text: sentence(cause),
    }
}

/// A cause as a part of a sentence: "through eureka by 10.0.0.1:5000".
pub(crate) fn sentence(cause: &Cause) -> String {
    match &cause.why {
        Why::Call => through(cause),
        Why::Silence { since } => format!("nobody renewed its lease since {}", clock(*since)),
        Why::Probe => "by a probe's result".into(),
        Why::Reaped { check } => format!("check {:?} was critical for too long", check.id()),
        Why::Guard => "by the mass-expiry guard".into(),
        Why::Disconnected => "its client's connection was closed".into(),
        Why::Mirror => "by a mirror of another registry".into(),
        Why::Layout => "by a layout".into(),
        Why::Housekeeping => "by housekeeping".into(),
        Why::Start => "by the server's start".into(),
    }
}

/// "through eureka by 10.0.0.1:5000".
pub(crate) fn through(cause: &Cause) -> String {
    let who = match (&cause.principal, cause.peer) {
        (Some(principal), Some(peer)) => format!(" by {principal} at {peer}"),
        (Some(principal), None) => format!(" by {principal}"),
        (None, Some(peer)) => format!(" by {peer}"),
        (None, None) => String::new(),
    };
    format!("through {}{who}", cause.protocol)
}

/// The key a request means: the flat name, or the three parts.
pub(crate) fn service_key(text: &str, namespace: Option<&str>, group: Option<&str>) -> ServiceKey {
    match (namespace, group) {
        (None, None) => name::read_flat(text),
        (namespace, group) => ServiceKey::new(namespace.unwrap_or(""), group.unwrap_or(""), text),
    }
}
