//! Reads: what protocols ask of a snapshot.

use std::sync::Arc;

use super::State;
use crate::check::Check;
use crate::endpoint::{EndpointKey, Host};
use crate::ids::{
    CheckKey, InstanceKey, Keyspace, LeaseId, NodeName, Protocol, Revision, ServiceKey, SessionId,
    Timestamp,
};
use crate::instance::{Instance, LookupKind, Via};
use crate::layout::LayoutState;
use crate::lease::{Attached, Lease, Session};
use crate::node::{Node, NodeFacts};
use crate::record::{Key, KeyRange, Recognised, Record};
use crate::service::{EndpointRow, Namespace, Service, ServiceMarks};

/// Services.
impl State {
    /// A service's row.
    pub fn service(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.tables.services.get(key)
    }

    /// All services, by key; also those that are empty for the moment.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.tables.services.values()
    }

    /// The services of a namespace, by key.
    pub fn services_in(&self, namespace: &str) -> impl Iterator<Item = &Arc<Service>> {
        let first = ServiceKey::first_in(namespace);
        let namespace = namespace.to_ascii_lowercase();
        self.tables
            .services
            .from(&first)
            .take_while(move |row| row.key.namespace() == namespace)
    }

    /// What moves with a service's members; zeros for a service that does not exist.
    pub fn service_marks(&self, key: &ServiceKey) -> ServiceMarks {
        self.service_marks.get(key).copied().unwrap_or_default()
    }

    /// The index Consul gives for questions about one service: its `changed`, or for an unknown one the revision at
    /// which a service was last forgotten, at least 1.
    pub fn service_index(&self, key: &ServiceKey) -> Revision {
        let changed = self.service_marks.get(key).map(|marks| marks.changed);
        changed
            .unwrap_or(self.marks.services_gone)
            .max(self.restored)
            .max(Revision::FIRST)
    }

    /// Services without members, which the leader drops after a while unless they are declared.
    pub fn empty_services(&self) -> impl Iterator<Item = (&ServiceKey, ServiceMarks)> {
        self.empty.iter().map(|key| (key, self.service_marks(key)))
    }

    /// The service with a DNS label in a namespace.
    pub fn service_by_label(&self, namespace: &str, label: &str) -> Option<&ServiceKey> {
        self.tables
            .by_label
            .get(&(Arc::from(namespace), Arc::from(label)))
    }

    /// Endpoints of a service, by host and port: each one or more twin instances.
    pub fn endpoints(
        &self,
        service: &ServiceKey,
    ) -> impl Iterator<Item = &Arc<EndpointRow>> + use<'_> {
        let first = EndpointKey {
            service: service.clone(),
            host: Host::Ip([0, 0, 0, 0].into()),
            port: 0,
            sole: None,
        };
        let service = service.clone();
        self.tables
            .endpoints
            .from(&first)
            .take_while(move |row| row.key.service == service)
    }

    /// One endpoint.
    pub fn endpoint(&self, key: &EndpointKey) -> Option<&Arc<EndpointRow>> {
        self.tables.endpoints.get(key)
    }

    /// All endpoints of all services.
    pub fn all_endpoints(&self) -> impl Iterator<Item = &Arc<EndpointRow>> {
        self.tables.endpoints.values()
    }

    /// All instances of a service, endpoint by endpoint.
    pub fn instances(
        &self,
        service: &ServiceKey,
    ) -> impl Iterator<Item = &Arc<Instance>> + use<'_> {
        self.endpoints(service).flat_map(|row| row.members.iter())
    }

    /// Whether a service is the one of this cluster's servers, which only they join.
    pub fn is_own_service(&self, service: &ServiceKey) -> bool {
        self.instances(service)
            .next()
            .is_some_and(|row| row.key.origin == Protocol::Portolan)
    }

    /// A namespace.
    pub fn namespace(&self, name: &str) -> Option<&Arc<Namespace>> {
        self.tables.namespaces.get(name)
    }

    /// All declared namespaces.
    pub fn namespaces(&self) -> impl Iterator<Item = &Arc<Namespace>> {
        self.tables.namespaces.values()
    }
}

/// Instances, nodes, checks.
impl State {
    /// One instance.
    pub fn instance(&self, key: &InstanceKey) -> Option<&Arc<Instance>> {
        self.tables.instances.get(key)
    }

    /// All instances, by key.
    pub fn all_instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.tables.instances.values()
    }

    /// How many instances there are.
    pub fn instance_count(&self) -> usize {
        self.tables.instances.len()
    }

    /// The endpoint an instance belongs to.
    pub fn endpoint_of(&self, instance: &Instance) -> Option<&Arc<EndpointRow>> {
        self.tables.endpoints.get(&EndpointKey::of(instance))
    }

    /// Instances on a node, real or virtual, by key.
    pub fn instances_on(&self, node: &NodeName) -> impl Iterator<Item = &Arc<Instance>> + use<'_> {
        let on = self.tables.by_node.with(node);
        on.filter_map(|facts| self.tables.instances.get(&facts.key))
    }

    /// Services with instances on a node that has a row, by key.
    pub fn services_on(&self, node: &NodeName) -> impl Iterator<Item = ServiceKey> + use<'_> {
        let node = node.clone();
        let first = (node.clone(), ServiceKey::first_in(""));
        self.tables
            .services_on
            .range(first..)
            .take_while(move |((on, _), _)| *on == node)
            .map(|((_, service), _)| service.clone())
    }

    /// Eureka's instances with this id, whatever their application, by application.
    pub fn eureka_instances<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a Arc<Instance>> {
        self.tables
            .by_local_id
            .with(id)
            .filter_map(|facts| self.tables.instances.get(&facts.key))
    }

    /// Instances at a host.
    pub fn instances_at(&self, host: &Host) -> impl Iterator<Item = &Arc<Instance>> + use<'_> {
        let at = self.tables.by_host.with(host);
        at.filter_map(|facts| self.tables.instances.get(&facts.key))
    }

    /// Instances with a further name of their protocol; `name` is folded.
    pub fn lookup(
        &self,
        kind: LookupKind,
        name: &str,
    ) -> impl Iterator<Item = &Arc<Instance>> + use<'_> {
        let name: Arc<str> = name.into();
        let first = (
            kind,
            name.clone(),
            InstanceKey::new(crate::Protocol::Consul, ""),
        );
        self.tables
            .by_lookup
            .range(first..)
            .take_while(move |(k, n, _)| *k == kind && *n == name)
            .filter_map(|(_, _, key)| self.tables.instances.get(key))
    }

    /// A node's row; virtual nodes have none.
    pub fn node(&self, name: &NodeName) -> Option<&Arc<Node>> {
        self.tables.nodes.get(name)
    }

    /// Another node that has the id of these facts already, when the node of their name does not.
    pub(crate) fn node_with_id(&self, facts: &NodeFacts) -> Option<Arc<Node>> {
        let has = |node: &Node| node.id == facts.id;
        if facts.id.is_empty() || self.node(&facts.name).is_some_and(|node| has(node)) {
            return None;
        }
        self.nodes().find(|node| has(node)).cloned()
    }

    /// All nodes that have a row, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.tables.nodes.values()
    }

    /// Names of the virtual nodes that instances are on, ascending, each once.
    pub fn virtual_nodes(&self) -> impl Iterator<Item = &NodeName> {
        let mut last: Option<&NodeName> = None;
        self.tables
            .by_node
            .iter()
            .map(|facts| &facts.node)
            .filter(move |node| {
                let fresh = last != Some(node) && node.is_virtual();
                last = Some(node);
                fresh
            })
    }

    /// One check.
    pub fn check(&self, key: &CheckKey) -> Option<&Arc<Check>> {
        self.tables.checks.get(key)
    }

    /// All checks, by node and id.
    pub fn checks(&self) -> impl Iterator<Item = &Arc<Check>> {
        self.tables.checks.values()
    }

    /// Checks on a node, its own and those of its instances, by id.
    pub fn checks_on(&self, node: &NodeName) -> impl Iterator<Item = &Arc<Check>> + use<'_> {
        let node = node.clone();
        self.tables
            .checks
            .from(&CheckKey::first_of(&node))
            .take_while(move |c| c.key.node() == node)
    }

    /// A node's own checks, by id.
    pub fn node_checks(&self, node: &NodeName) -> impl Iterator<Item = &Arc<Check>> + use<'_> {
        let node = node.clone();
        self.tables
            .node_checks
            .range(CheckKey::first_of(&node)..)
            .take_while(move |key| key.node() == node)
            .filter_map(|key| self.tables.checks.get(key))
    }

    /// An instance's checks, by id.
    pub fn checks_of(&self, instance: &InstanceKey) -> impl Iterator<Item = &Arc<Check>> + use<'_> {
        let first = (instance.clone(), CheckKey::new(&NodeName::new(""), ""));
        let instance = instance.clone();
        self.tables
            .checks_of
            .range(first..)
            .take_while(move |(key, _)| *key == instance)
            .filter_map(|(_, key)| self.tables.checks.get(key))
    }

    /// Checks that are critical and whose definition says that their instance goes after a while.
    pub fn reapable(&self) -> impl Iterator<Item = &Arc<Check>> {
        self.tables
            .reapable
            .iter()
            .filter_map(|key| self.tables.checks.get(key))
    }
}

/// Leases, sessions, records, layouts.
impl State {
    /// A lease.
    pub fn lease(&self, id: &LeaseId) -> Option<&Arc<Lease>> {
        self.leases.get(id)
    }

    /// All leases, by kind and id.
    pub fn leases(&self) -> impl Iterator<Item = &Arc<Lease>> {
        self.leases.values()
    }

    /// What a lease keeps alive, records first in key order.
    pub fn attached<'a>(&'a self, lease: &'a LeaseId) -> impl Iterator<Item = Attached> + 'a {
        let id = match lease {
            LeaseId::Etcd(id) => Some(*id),
            _ => None,
        };
        let keys = id.map(|id| {
            let first = (id, Key::from(&[][..]));
            let keys = self.tables.etcd_leased.range(first..);
            keys.take_while(move |(of, _)| *of == id)
                .map(|(_, key)| Attached::Record(Keyspace::Etcd, key.clone()))
        });
        let first = Attached::Record(Keyspace::Etcd, Key::from(&[][..]));
        let others = self
            .tables
            .by_lease
            .range((lease.clone(), first)..)
            .take_while(move |(of, _)| of == lease)
            .map(|(_, attached)| attached.clone());
        let own = match lease {
            LeaseId::Heartbeat(key) => self.instance(key),
            _ => None,
        };
        let own = own.filter(|row| row.lease.as_ref() == Some(lease));
        let instances = self.tables.leased.with(&Some(lease.clone()));
        let instances = own
            .map(|row| row.key.clone())
            .into_iter()
            .chain(instances.map(|facts| facts.key.clone()));
        keys.into_iter()
            .flatten()
            .chain(others)
            .chain(instances.map(Attached::Instance))
    }

    /// A Consul session.
    pub fn session(&self, id: &SessionId) -> Option<&Arc<Session>> {
        self.tables.sessions.get(id)
    }

    /// The sessions of a node, by id.
    pub fn sessions_on(&self, node: &NodeName) -> impl Iterator<Item = SessionId> + use<'_> {
        let node = node.clone();
        self.tables
            .sessions_on
            .range((node.clone(), SessionId([0; 16]))..)
            .take_while(move |(on, _)| *on == node)
            .map(|(_, id)| *id)
    }

    /// All sessions.
    pub fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.tables.sessions.values()
    }

    /// Until when nobody can lock a key, if it has a lock delay.
    pub fn lock_delay(&self, space: Keyspace, key: &Key) -> Option<Timestamp> {
        self.lock_delays.get(&(space, key.clone())).copied()
    }

    /// A record.
    pub fn record(&self, space: Keyspace, key: &[u8]) -> Option<&Arc<Record>> {
        self.tables.records[space as usize].get(key)
    }

    /// A znode: a record, or one of those that are there from the beginning.
    pub fn znode(&self, key: &[u8]) -> Option<Arc<Record>> {
        let stored = self.record(Keyspace::Znodes, key).cloned();
        stored.or_else(|| crate::tree::first(key))
    }

    /// Znodes that go by themselves: containers, and those with a time to live.
    pub fn passing_znodes(&self) -> impl Iterator<Item = (&Key, &Arc<Record>)> {
        let keys = self.tables.passing.iter();
        keys.filter_map(|key| Some((key, self.record(Keyspace::Znodes, key)?)))
    }

    /// The records of a range, in key order.
    pub fn range<'a>(
        &'a self,
        space: Keyspace,
        range: &'a KeyRange,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Record>)> {
        self.tables.records[space as usize].range(range.bounds())
    }

    /// The record an instance was recognised in.
    pub fn record_of(&self, instance: &Instance) -> Option<(Keyspace, Key)> {
        match self.tables.recognised.get(&instance.key) {
            Some(place) => Some(place.clone()).filter(|_| instance.via == Via::Record),
            None => instance.own_record().filter(|(space, key)| {
                self.record(*space, key)
                    .is_some_and(|record| record.recognised == Recognised::One)
            }),
        }
    }

    /// How many records a range has, at the cost of finding its ends.
    pub fn count(&self, space: Keyspace, range: &KeyRange) -> usize {
        self.tables.records[space as usize]
            .sum(range.bounds())
            .count
    }

    /// How many records a keyspace holds.
    pub fn record_count(&self, space: Keyspace) -> usize {
        self.tables.records[space as usize].len()
    }

    /// Consul's index of a set of keys: the largest modification or removal among them, at least 1.
    pub fn records_index(&self, space: Keyspace, range: &KeyRange) -> Revision {
        let live = self.tables.records[space as usize]
            .sum(range.bounds())
            .newest;
        let gone = self.tombstones.newest(space, range);
        let swept = self.marks.swept[space as usize];
        live.max(gone)
            .max(swept)
            .max(self.restored)
            .max(Revision::FIRST)
    }

    /// All layouts, by name.
    pub fn layouts(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<LayoutState>)> {
        self.layouts.iter()
    }

    /// Layouts that somebody began to wake and that need further [`crate::Command::Wake`]s.
    pub fn waking(&self) -> impl Iterator<Item = &Arc<str>> {
        self.waking.keys()
    }

    /// The layout that reading or watching `range` wakes: the first one that is asleep and whose records the range asks for.
    pub fn sleeping_layout(&self, space: Keyspace, range: &KeyRange) -> Option<&Arc<str>> {
        self.layouts
            .iter()
            .find(|(_, l)| {
                l.mode == crate::layout::Mode::Asleep
                    && l.form.keyspace() == space
                    && l.form.used_by(range)
            })
            .map(|(name, _)| name)
    }
}
