//! What commands and rows are made of: identities, and the facts of instances, nodes, checks, leases, records and layouts.

use bytes::Bytes;

use super::codec::{Damaged, Reader, Stored, Writer, octets};
use super::sharing::{CHECK_KEY, NODE_NAME, SERVICE_KEY};
use crate::acl::{Acl, AclEntry, Identity};
use crate::check::{CheckFacts, Probe, ProbeTls, Status, Thresholds};
use crate::endpoint::{Endpoint, EndpointKey, Host, Port, Transport};
use crate::ids::{
    CheckKey, InstanceKey, Keyspace, LeaseId, NodeName, Protocol, Revision, ServiceKey, SessionId,
    Timestamp,
};
use crate::instance::{
    Admin, AdminStatus, Declared, Locality, LookupKind, Meta, Registration, Via, Weight,
};
use crate::layout::{Dialect, Form, LayoutState, Mode, Template};
use crate::lease::{Behaviour, Session, Stage, Terms, Then};
use crate::node::NodeFacts;
use crate::record::{Extension, Key, KeyRange, NacosConfig, Znode, ZnodeKind};
use crate::service::ServiceSettings;

stored_enum!(Protocol {
    0 => Consul, 1 => Dns, 2 => Etcd, 3 => ZooKeeper, 4 => Eureka, 5 => Nacos, 6 => Kubernetes, 7 => Xds, 8 => Native, 9 => Mirror,
    10 => Portolan,
});
stored_enum!(Keyspace {
    0 => Etcd, 1 => ConsulKv, 2 => ConsulObjects, 3 => Znodes, 4 => NacosConfig, 5 => NacosConfigHistory, 6 => Kubernetes,
    7 => Settings,
});
stored_enum!(LeaseId {
    0 => Etcd(id), 1 => ZooKeeper(id), 2 => Session(id), 3 => Heartbeat(key), 4 => Check(key), 5 => Connection(id), 6 => Agent(node),
});
stored_struct!(InstanceKey { origin, id });

macro_rules! stored_newtype {
    ($($type:ident),*) => {$(
        impl Stored for $type {
            fn put(&self, w: &mut Writer) {
                self.0.put(w);
            }

            fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
                Stored::get(r).map($type)
            }
        }
    )*};
}

stored_newtype!(Revision, Timestamp, Weight);

impl Stored for SessionId {
    fn put(&self, w: &mut Writer) {
        for byte in self.0 {
            w.byte(byte);
        }
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        octets(r).map(SessionId)
    }
}

impl Stored for NodeName {
    fn put(&self, w: &mut Writer) {
        w.slice(self.as_str().as_bytes());
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        r.shared_key(NODE_NAME, |r| r.text().map(NodeName::new))
    }
}

impl Stored for ServiceKey {
    fn put(&self, w: &mut Writer) {
        for part in [self.namespace(), self.group(), self.name()] {
            w.slice(part.as_bytes());
        }
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        r.shared_key(SERVICE_KEY, |r| {
            Ok(ServiceKey::new(r.text()?, r.text()?, r.text()?))
        })
    }
}

impl Stored for CheckKey {
    fn put(&self, w: &mut Writer) {
        self.node().put(w);
        w.slice(self.id().as_bytes());
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        r.shared_key(CHECK_KEY, |r| {
            Ok(CheckKey::new(&NodeName::get(r)?, r.text()?))
        })
    }
}

impl Stored for Key {
    fn put(&self, w: &mut Writer) {
        w.slice(self);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        r.slice().map(Key::from)
    }
}

stored_struct!(Identity { scheme, id });
stored_struct!(AclEntry {
    permissions,
    scheme,
    id
});

/// As a byte string, which is what it was before it was read here: empty means open to all.
impl Stored for Acl {
    fn put(&self, w: &mut Writer) {
        let mut inner = Writer::default();
        for entry in self.entries() {
            entry.put(&mut inner);
        }
        w.slice(&inner.into_bytes());
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        let mut inner = Reader::new(r.slice()?);
        let mut entries = Vec::new();
        while !inner.is_empty() {
            entries.push(AclEntry::get(&mut inner)?);
        }
        Ok(Acl::new(entries))
    }
}

stored_enum!(KeyRange { 0 => One(key), 1 => Between(start, end), 2 => From(start) });

impl Stored for Meta {
    fn put(&self, w: &mut Writer) {
        w.number(self.len() as u64);
        for (key, value) in self.iter() {
            w.slice(key.as_bytes());
            w.slice(value.as_bytes());
        }
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        r.shared_list(|r| {
            let count = r.count()?;
            (0..count).map(|_| Ok((r.text()?, r.text()?))).collect()
        })
    }
}

stored_struct!(Registration {
    key,
    service,
    spelling,
    endpoint,
    inherits_host,
    node,
    tags,
    meta,
    weight,
    warning_weight,
    locality,
    cluster,
    declared,
    via,
    lookups,
    claim,
    lease,
    extension,
});
stored_struct!(Endpoint { host, ports });
stored_enum!(Host { 0 => Ip(ip), 1 => Name(name) });
stored_struct!(Port {
    name,
    number,
    secure,
    transport
}, plain: true);
stored_enum!(Transport { 0 => Tcp, 1 => Udp });
stored_struct!(Locality { region, zone });
stored_enum!(Declared { 0 => Up, 1 => Down, 2 => Starting, 3 => OutOfService, 4 => Unknown });
stored_enum!(Via { 0 => Agent, 1 => Catalog, 2 => Connection, 3 => Record, 4 => Object });
stored_enum!(LookupKind { 0 => Vip, 1 => SecureVip, 2 => Connect });
stored_struct!(Admin { status, reason, by });
stored_enum!(AdminStatus { 0 => Up, 1 => OutOfService, 2 => Draining, 3 => Down });
stored_struct!(EndpointKey {
    service,
    host,
    port,
    sole
});
stored_struct!(ServiceSettings {
    protect_threshold,
    selector,
    balancing,
    meta,
    addresses
});

stored_struct!(NodeFacts {
    name,
    spelling,
    id,
    address,
    tagged_addresses,
    meta,
    locality,
    lease
});

/// By hand, because `output_bytes` came later: where it is needed it stands in front of the extension, behind a zero. Extensions are empty or
/// JSON and begin with no zero, so what earlier versions wrote is read as it was.
impl Stored for CheckFacts {
    fn put(&self, w: &mut Writer) {
        let CheckFacts {
            key,
            instance,
            name,
            notes,
            probe,
            interval_ms,
            timeout_ms,
            thresholds,
            reap_after_ms,
            owner,
            output_bytes,
            extension,
        } = self;
        key.put(w);
        instance.put(w);
        name.put(w);
        notes.put(w);
        probe.put(w);
        interval_ms.put(w);
        timeout_ms.put(w);
        thresholds.put(w);
        reap_after_ms.put(w);
        owner.put(w);
        if *output_bytes == 0 && !extension.starts_with(&[0]) {
            extension.put(w);
        } else {
            let size = output_bytes.to_le_bytes();
            Bytes::from([&[0][..], &size, extension].concat()).put(w);
        }
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        let mut facts = CheckFacts {
            key: Stored::get(r)?,
            instance: Stored::get(r)?,
            name: Stored::get(r)?,
            notes: Stored::get(r)?,
            probe: Stored::get(r)?,
            interval_ms: Stored::get(r)?,
            timeout_ms: Stored::get(r)?,
            thresholds: Stored::get(r)?,
            reap_after_ms: Stored::get(r)?,
            owner: Stored::get(r)?,
            output_bytes: 0,
            extension: Stored::get(r)?,
        };
        if let Some((&[0, a, b, c, d], rest)) = facts.extension.split_first_chunk::<5>() {
            facts.output_bytes = u32::from_le_bytes([a, b, c, d]);
            facts.extension = Bytes::copy_from_slice(rest);
        }
        Ok(facts)
    }
}

stored_struct!(Thresholds {
    success_before_passing,
    failures_before_warning,
    failures_before_critical
});
stored_enum!(Status { 0 => Passing, 1 => Warning, 2 => Critical });
stored_enum!(Probe {
    0 => None,
    1 => Ttl { ttl_ms },
    2 => Http { url, method, headers, body, disable_redirects, tls },
    3 => Tcp { target, tls },
    4 => Udp { target },
    5 => Grpc { target, tls },
    6 => H2Ping { target, tls },
    7 => Script { args },
    8 => Docker { container, shell, args },
    9 => Alias { node, service },
    10 => OsService { name },
});
stored_struct!(ProbeTls {
    server_name,
    skip_verify
});

stored_struct!(Terms { stages, guarded });
stored_struct!(Stage { after_ms, then });
stored_enum!(Then { 0 => Critical, 1 => Remove });
stored_struct!(Session {
    id,
    node,
    name,
    behaviour,
    lock_delay_ms,
    ttl_ms,
    node_checks,
    service_checks,
    created,
    modified,
});
stored_enum!(Behaviour { 0 => Release, 1 => Delete });

stored_enum!(Extension { 0 => None, 1 => Znode(znode), 2 => Nacos(config) });
stored_struct!(Znode {
    kind,
    acl,
    acl_version,
    creates,
    children,
    children_modified
});
stored_enum!(ZnodeKind { 0 => Persistent, 1 => Ephemeral, 2 => Container, 3 => Ttl(ms) });
stored_struct!(NacosConfig {
    md5,
    kind,
    app,
    tags
});

stored_struct!(LayoutState { form, mode, level });
stored_enum!(Mode { 0 => Off, 1 => Asleep, 2 => Awake });
stored_enum!(Form {
    0 => Kitex, 1 => Kratos, 2 => GoZero { key }, 3 => GrpcNaming { target }, 4 => Template(template), 5 => Curator { root, dialect },
    6 => Dubbo { root },
});
stored_enum!(Dialect { 0 => Open, 1 => Plain, 2 => Spring, 3 => Dubbo });

impl Stored for Template {
    fn put(&self, w: &mut Writer) {
        w.slice(self.pattern().as_bytes());
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        let pattern = r.text()?;
        Template::parse(pattern).map_err(|_| r.damaged("a template that cannot be read"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an earlier version wrote for the same facts, which knew no `output_bytes`.
    fn earlier(facts: &CheckFacts) -> Vec<u8> {
        let mut w = Writer::default();
        facts.key.put(&mut w);
        facts.instance.put(&mut w);
        facts.name.put(&mut w);
        facts.notes.put(&mut w);
        facts.probe.put(&mut w);
        facts.interval_ms.put(&mut w);
        facts.timeout_ms.put(&mut w);
        facts.thresholds.put(&mut w);
        facts.reap_after_ms.put(&mut w);
        facts.owner.put(&mut w);
        facts.extension.put(&mut w);
        w.into_bytes()
    }

    #[test]
    fn checks_of_earlier_versions_are_read_as_they_were() {
        for extension in [
            &b""[..],
            b"{\"Type\":\"ttl\"}",
            b"\0",
            b"\0abc",
            b"\0abcdefg",
        ] {
            for output_bytes in [0, 1, 4095, u32::MAX] {
                let mut facts = CheckFacts::new(CheckKey::new(&NodeName::new("n"), "c"), "c");
                facts.extension = Bytes::from_static(extension);
                facts.output_bytes = output_bytes;
                let mut w = Writer::default();
                facts.put(&mut w);
                let bytes = w.into_bytes();
                let read = CheckFacts::get(&mut Reader::new(&bytes)).unwrap();
                assert_eq!(read, facts);
                if output_bytes == 0 && !extension.starts_with(b"\0") {
                    assert_eq!(bytes, earlier(&facts));
                }
            }
        }
    }
}
