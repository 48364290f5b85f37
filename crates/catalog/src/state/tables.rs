//! The tables of the change stream and their indexes.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::change::Change;
use crate::check::{Check, Status};
use crate::endpoint::Host;
use crate::ids::{CheckKey, InstanceKey, Keyspace, LeaseId, NodeName, ServiceKey, SessionId};
use crate::instance::{Instance, LookupKind};
use crate::lease::{Attached, Session};
use crate::node::Node;
use crate::record::{Derived, Key, Record};
use crate::service::{EndpointKey, EndpointRow, Namespace, Service};

/// Rows and the indexes over them. Everything here follows from the changes alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tables {
    pub(crate) namespaces: OrdMap<Arc<str>, Arc<Namespace>>,
    pub(crate) services: OrdMap<ServiceKey, Arc<Service>>,
    pub(crate) instances: OrdMap<InstanceKey, Arc<Instance>>,
    pub(crate) endpoints: OrdMap<EndpointKey, Arc<EndpointRow>>,
    pub(crate) nodes: OrdMap<NodeName, Arc<Node>>,
    pub(crate) checks: OrdMap<CheckKey, Arc<Check>>,
    pub(crate) sessions: OrdMap<SessionId, Arc<Session>>,
    pub(crate) records: [OrdMap<Key, Arc<Record>>; Keyspace::COUNT],

    pub(crate) by_label: OrdMap<(Arc<str>, Arc<str>), ServiceKey>,
    pub(crate) by_node: OrdSet<(NodeName, InstanceKey)>,
    pub(crate) by_host: OrdSet<(Host, InstanceKey)>,
    pub(crate) by_lookup: OrdSet<(LookupKind, Arc<str>, InstanceKey)>,
    pub(crate) by_lease: OrdSet<(LeaseId, Attached)>,
    pub(crate) checks_of: OrdSet<(InstanceKey, CheckKey)>,
    pub(crate) node_checks: OrdSet<CheckKey>,
    pub(crate) reapable: OrdSet<CheckKey>,
    pub(crate) sessions_by_check: OrdSet<(CheckKey, SessionId)>,
    pub(crate) derived: OrdMap<Derived, Key>,
}

/// Moves a row in a map: removes it, puts it, or replaces it.
fn set<K: Ord + Clone, V: Clone>(map: &mut OrdMap<K, V>, key: K, row: Option<V>) {
    match row {
        Some(row) => {
            map.insert(key, row);
        }
        None => {
            map.remove(&key);
        }
    }
}

/// Moves an index entry from what the row before said to what the row now says.
fn moved<K: Ord + Clone>(index: &mut OrdSet<K>, before: Option<K>, after: Option<K>) {
    if before == after {
        return;
    }
    if let Some(before) = before {
        index.remove(&before);
    }
    if let Some(after) = after {
        index.insert(after);
    }
}

impl Tables {
    /// Installs the later side of a change. The earlier side is what is there now.
    pub(crate) fn install(&mut self, change: &Change) {
        match change {
            Change::Instance { before, after } => {
                self.set_instance(before.as_ref(), after.as_ref())
            }
            Change::Endpoint { before, after } => {
                if let Some(row) = after.as_ref().or(before.as_ref()) {
                    set(&mut self.endpoints, row.key.clone(), after.clone());
                }
            }
            Change::Service { before, after } => self.set_service(before.as_ref(), after.as_ref()),
            Change::Namespace { before, after } => {
                if let Some(row) = after.as_ref().or(before.as_ref()) {
                    set(&mut self.namespaces, row.name.clone(), after.clone());
                }
            }
            Change::Node { before, after } => {
                if let Some(row) = after.as_ref().or(before.as_ref()) {
                    set(&mut self.nodes, row.name.clone(), after.clone());
                }
            }
            Change::Check { before, after } => self.set_check(before.as_ref(), after.as_ref()),
            Change::Session { before, after } => self.set_session(before.as_ref(), after.as_ref()),
            Change::Record {
                space,
                key,
                before,
                after,
            } => {
                self.set_record(*space, key, before.as_ref(), after.as_ref());
            }
        }
    }

    fn set_instance(&mut self, before: Option<&Arc<Instance>>, after: Option<&Arc<Instance>>) {
        let Some(key) = after.or(before).map(|row| row.key.clone()) else {
            return;
        };
        set(&mut self.instances, key.clone(), after.cloned());
        if before
            .zip(after)
            .is_some_and(|(b, a)| Arc::ptr_eq(&b.facts, &a.facts))
        {
            return;
        }
        moved(
            &mut self.by_node,
            before.map(|r| (r.node.clone(), key.clone())),
            after.map(|r| (r.node.clone(), key.clone())),
        );
        let host = |row: &Arc<Instance>| (row.endpoint.host.clone(), key.clone());
        moved(&mut self.by_host, before.map(host), after.map(host));
        let lease = |row: &Arc<Instance>| {
            row.lease
                .clone()
                .map(|lease| (lease, Attached::Instance(key.clone())))
        };
        moved(
            &mut self.by_lease,
            before.and_then(lease),
            after.and_then(lease),
        );
        let lookups =
            |row: Option<&Arc<Instance>>| row.map(|r| r.lookups.clone()).unwrap_or_default();
        let (old, new) = (lookups(before), lookups(after));
        if old != new {
            for (kind, name) in old.iter() {
                self.by_lookup.remove(&(*kind, name.clone(), key.clone()));
            }
            for (kind, name) in new.iter() {
                self.by_lookup.insert((*kind, name.clone(), key.clone()));
            }
        }
    }

    fn set_service(&mut self, before: Option<&Arc<Service>>, after: Option<&Arc<Service>>) {
        let Some(key) = after.or(before).map(|row| row.key.clone()) else {
            return;
        };
        let label = |row: &Arc<Service>| (Arc::from(row.key.namespace()), row.label.clone());
        if let Some(before) = before {
            self.by_label.remove(&label(before));
        }
        if let Some(after) = after {
            self.by_label.insert(label(after), key.clone());
        }
        set(&mut self.services, key, after.cloned());
    }

    fn set_check(&mut self, before: Option<&Arc<Check>>, after: Option<&Arc<Check>>) {
        let Some(key) = after.or(before).map(|row| row.key.clone()) else {
            return;
        };
        let instance = |row: &Arc<Check>| row.instance.clone().map(|i| (i, key.clone()));
        moved(
            &mut self.checks_of,
            before.and_then(instance),
            after.and_then(instance),
        );
        let of_node = |row: &Arc<Check>| row.instance.is_none().then(|| key.clone());
        moved(
            &mut self.node_checks,
            before.and_then(of_node),
            after.and_then(of_node),
        );
        let due = |row: &Arc<Check>| {
            (row.reap_after_ms.is_some()
                && row.instance.is_some()
                && row.status == Status::Critical)
                .then(|| key.clone())
        };
        moved(
            &mut self.reapable,
            before.and_then(due),
            after.and_then(due),
        );
        set(&mut self.checks, key, after.cloned());
    }

    fn set_session(&mut self, before: Option<&Arc<Session>>, after: Option<&Arc<Session>>) {
        let Some(id) = after.or(before).map(|row| row.id) else {
            return;
        };
        for check in before.into_iter().flat_map(|s| s.checks()) {
            self.sessions_by_check.remove(&(check, id));
        }
        for check in after.into_iter().flat_map(|s| s.checks()) {
            self.sessions_by_check.insert((check, id));
        }
        set(&mut self.sessions, id, after.cloned());
    }

    fn set_record(
        &mut self,
        space: Keyspace,
        key: &Key,
        before: Option<&Arc<Record>>,
        after: Option<&Arc<Record>>,
    ) {
        let lease = |r: &Arc<Record>| {
            r.lease
                .clone()
                .map(|l| (l, Attached::Record(space, key.clone())))
        };
        moved(
            &mut self.by_lease,
            before.and_then(lease),
            after.and_then(lease),
        );
        let lock = |r: &Arc<Record>| {
            r.holder()
                .map(|s| (LeaseId::Session(s), Attached::Lock(space, key.clone())))
        };
        moved(
            &mut self.by_lease,
            before.and_then(lock),
            after.and_then(lock),
        );
        let derived = |r: &Arc<Record>| r.derived_from.as_deref().cloned();
        let (old, new) = (before.and_then(derived), after.and_then(derived));
        if old != new {
            // A record may have moved to another key in the same revision: only its own entry goes.
            if let Some(old) = old.filter(|old| self.derived.get(old) == Some(key)) {
                self.derived.remove(&old);
            }
            if let Some(new) = new {
                self.derived.insert(new, key.clone());
            }
        }
        set(
            &mut self.records[space as usize],
            key.clone(),
            after.cloned(),
        );
    }
}
