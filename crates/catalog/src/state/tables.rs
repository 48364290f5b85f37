//! The tables of the change stream and their indexes.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::ranked::Ranked;
use super::rows::{AtHost, Index, LocalIds, OnNode, Row, Rows, UnderLease};
use crate::change::Change;
use crate::check::{Check, Status};
use crate::ids::{CheckKey, InstanceKey, Keyspace, LeaseId, NodeName, ServiceKey, SessionId};
use crate::instance::{Instance, LookupKind, Registration};
use crate::lease::{Attached, Session};
use crate::node::Node;
use crate::record::{Derived, Key, Recognised, Record};
use crate::service::{EndpointRow, Namespace, Service};

/// Rows and the indexes over them. Everything here follows from the changes alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tables {
    pub(crate) namespaces: Rows<Namespace>,
    pub(crate) services: Rows<Service>,
    pub(crate) instances: Rows<Instance>,
    pub(crate) endpoints: Rows<EndpointRow>,
    pub(crate) nodes: Rows<Node>,
    pub(crate) checks: Rows<Check>,
    pub(crate) sessions: Rows<Session>,
    pub(crate) records: [Ranked<Arc<Record>>; Keyspace::COUNT],

    pub(crate) by_label: OrdMap<(Arc<str>, Arc<str>), ServiceKey>,
    pub(crate) by_node: Index<OnNode>,
    pub(crate) by_host: Index<AtHost>,
    /// The services with instances on a node that has a row, with how many; virtual nodes have one or a few instances.
    pub(crate) services_on: OrdMap<(NodeName, ServiceKey), u32>,
    /// Eureka's instances by the part of their id that is not the application.
    pub(crate) by_local_id: LocalIds,
    pub(crate) by_lookup: OrdSet<(LookupKind, Arc<str>, InstanceKey)>,
    /// etcd keys under etcd leases: of all that leases keep alive the most by far.
    pub(crate) etcd_leased: OrdSet<(i64, Key)>,
    pub(crate) leased: Index<UnderLease>,
    /// Whatever else leases keep alive.
    pub(crate) by_lease: OrdSet<(LeaseId, Attached)>,
    pub(crate) checks_of: OrdSet<(InstanceKey, CheckKey)>,
    pub(crate) node_checks: OrdSet<CheckKey>,
    pub(crate) reapable: OrdSet<CheckKey>,
    pub(crate) sessions_by_check: OrdSet<(CheckKey, SessionId)>,
    pub(crate) sessions_on: OrdSet<(NodeName, SessionId)>,
    pub(crate) derived: OrdMap<Derived, Key>,
    /// Znodes that go by themselves: containers, and those with a time to live.
    pub(crate) passing: OrdSet<Key>,
    /// Records of instances whose key does not say it: those of records with several.
    pub(crate) recognised: OrdMap<InstanceKey, (Keyspace, Key)>,
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

/// What follows from a change of a row beside its table: the indexes over it.
trait Indexed: Row + Sized {
    /// Moves index entries from the row before to the row now; called before the table itself is changed.
    fn index(tables: &mut Tables, before: Option<&Arc<Self>>, after: Option<&Arc<Self>>);
}

macro_rules! install {
    ($(
        $variant:ident($row:ty) in $table:ident, $field:ident;
        key $key:ty, |$it:ident| $own:expr;
        stored $stored:literal, snapshot $snapshot:literal;
    )*) => {
        impl Tables {
            /// Installs the later side of a change. The earlier side is what is there now.
            pub(crate) fn install(&mut self, change: &Change) {
                match change {
                    $( Change::$variant { before, after } => {
                        let (before, after) = (before.as_ref(), after.as_ref());
                        <$row>::index(self, before, after);
                        self.$field.set(before, after);
                    } )*
                    Change::Record { space, key, before, after } => {
                        self.set_record(*space, key, before.as_ref(), after.as_ref());
                    }
                }
            }

            /// The change that leads from what a row is now to the earlier side of `change`.
            pub(super) fn back_to_before(&self, change: &Change) -> Change {
                match change {
                    $( Change::$variant { before, after } => Change::$variant {
                        before: before
                            .as_ref()
                            .or(after.as_ref())
                            .and_then(|$it| self.$field.get(&$own).cloned()),
                        after: before.clone(),
                    }, )*
                    Change::Record { space, key, before, after: _ } => Change::Record {
                        space: *space,
                        key: key.clone(),
                        before: self.records[*space as usize].get(&**key).cloned(),
                        after: before.clone(),
                    },
                }
            }
        }
    };
}

for_each_table!(install);

impl Indexed for Namespace {
    fn index(_: &mut Tables, _: Option<&Arc<Self>>, _: Option<&Arc<Self>>) {}
}

impl Indexed for EndpointRow {
    fn index(_: &mut Tables, _: Option<&Arc<Self>>, _: Option<&Arc<Self>>) {}
}

impl Indexed for Node {
    fn index(_: &mut Tables, _: Option<&Arc<Self>>, _: Option<&Arc<Self>>) {}
}

impl Indexed for Instance {
    fn index(tables: &mut Tables, before: Option<&Arc<Self>>, after: Option<&Arc<Self>>) {
        let Some(key) = after.or(before).map(|row| row.key.clone()) else {
            return;
        };
        if before
            .zip(after)
            .is_some_and(|(b, a)| Arc::ptr_eq(&b.facts, &a.facts))
        {
            return;
        }
        let (old, new) = (before.map(|row| &row.facts), after.map(|row| &row.facts));
        tables.by_node.moved(old, new);
        tables.by_host.moved(old, new);
        tables.by_local_id.moved(old, new);
        let place = |facts: Option<&Arc<Registration>>| {
            let real = facts.filter(|facts| !facts.node.is_virtual());
            real.map(|facts| (facts.node.clone(), facts.service.clone()))
        };
        let (left, joined) = (place(old), place(new));
        if left != joined {
            if let Some(left) = left {
                match tables.services_on.get(&left).copied().unwrap_or_default() {
                    0 | 1 => tables.services_on.remove(&left),
                    more => tables.services_on.insert(left, more - 1),
                };
            }
            if let Some(joined) = joined {
                *tables.services_on.entry(joined).or_default() += 1;
            }
        }
        tables.leased.moved_leased(old, new);
        let lookups =
            |row: Option<&Arc<Instance>>| row.map(|r| r.lookups.clone()).unwrap_or_default();
        let (old, new) = (lookups(before), lookups(after));
        if old != new {
            for (kind, name) in old.iter() {
                tables.by_lookup.remove(&(*kind, name.clone(), key.clone()));
            }
            for (kind, name) in new.iter() {
                tables.by_lookup.insert((*kind, name.clone(), key.clone()));
            }
        }
    }
}

impl Indexed for Service {
    fn index(tables: &mut Tables, before: Option<&Arc<Self>>, after: Option<&Arc<Self>>) {
        let Some(key) = after.or(before).map(|row| row.key.clone()) else {
            return;
        };
        let label = |row: &Arc<Service>| (Arc::from(row.key.namespace()), row.label.clone());
        // Earlier rows are installed in any order: a label may belong to another service by now.
        if let Some(old) = before.map(label)
            && tables.by_label.get(&old) == Some(&key)
        {
            tables.by_label.remove(&old);
        }
        if let Some(after) = after {
            tables.by_label.insert(label(after), key);
        }
    }
}

impl Indexed for Check {
    fn index(tables: &mut Tables, before: Option<&Arc<Self>>, after: Option<&Arc<Self>>) {
        let Some(key) = after.or(before).map(|row| row.key.clone()) else {
            return;
        };
        let instance = |row: &Arc<Check>| row.instance.clone().map(|i| (i, key.clone()));
        moved(
            &mut tables.checks_of,
            before.and_then(instance),
            after.and_then(instance),
        );
        let of_node = |row: &Arc<Check>| row.instance.is_none().then(|| key.clone());
        moved(
            &mut tables.node_checks,
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
            &mut tables.reapable,
            before.and_then(due),
            after.and_then(due),
        );
    }
}

impl Indexed for Session {
    fn index(tables: &mut Tables, before: Option<&Arc<Self>>, after: Option<&Arc<Self>>) {
        let Some(id) = after.or(before).map(|row| row.id) else {
            return;
        };
        let on = |row: &Arc<Session>| (row.node.clone(), id);
        moved(&mut tables.sessions_on, before.map(on), after.map(on));
        for check in before.into_iter().flat_map(|s| s.checks()) {
            tables.sessions_by_check.remove(&(check, id));
        }
        for check in after.into_iter().flat_map(|s| s.checks()) {
            tables.sessions_by_check.insert((check, id));
        }
    }
}

impl Tables {
    fn set_record(
        &mut self,
        space: Keyspace,
        key: &Key,
        before: Option<&Arc<Record>>,
        after: Option<&Arc<Record>>,
    ) {
        fn of_etcd(record: &Record) -> Option<i64> {
            match record.lease {
                Some(LeaseId::Etcd(id)) => Some(id),
                _ => None,
            }
        }
        let etcd = |r: &Arc<Record>| {
            let id = of_etcd(r).filter(|_| space == Keyspace::Etcd)?;
            Some((id, key.clone()))
        };
        moved(
            &mut self.etcd_leased,
            before.and_then(etcd),
            after.and_then(etcd),
        );
        let lease = |r: &Arc<Record>| {
            let other = space != Keyspace::Etcd || of_etcd(r).is_none();
            let lease = r.lease.clone().filter(|_| other)?;
            Some((lease, Attached::Record(space, key.clone())))
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
        let passing = |r: &Arc<Record>| r.passes().then(|| key.clone());
        moved(
            &mut self.passing,
            before.and_then(passing),
            after.and_then(passing),
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
        self.index_recognised(space, key, before, after);
        let records = &mut self.records[space as usize];
        match after {
            Some(after) => records.insert(key.clone(), after.clone()),
            None => records.remove(key),
        };
    }

    fn index_recognised(
        &mut self,
        space: Keyspace,
        key: &Key,
        before: Option<&Arc<Record>>,
        after: Option<&Arc<Record>>,
    ) {
        fn many(record: Option<&Arc<Record>>) -> &[InstanceKey] {
            match record.map(|record| &record.recognised) {
                Some(Recognised::Many(keys)) => keys,
                Some(Recognised::None | Recognised::One) | None => &[],
            }
        }
        let (old, new) = (many(before), many(after));
        if std::ptr::eq(old, new) {
            return;
        }
        for instance in old {
            // It may have moved to another record in the same revision: only this record's entry goes.
            let here = self.recognised.get(instance);
            if here.is_some_and(|(s, k)| *s == space && k == key) {
                self.recognised.remove(instance);
            }
        }
        for instance in new {
            self.recognised
                .insert(instance.clone(), (space, key.clone()));
        }
    }
}
