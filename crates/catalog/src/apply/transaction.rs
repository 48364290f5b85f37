//! The transaction of one command: rows are changed through it alone, so that every change is recorded and everything
//! that follows from it is worked out once at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::recorder::Recorder;
use super::undo::Undo;
use crate::change::Change;
use crate::check::{Check, Status};
use crate::endpoint::EndpointKey;
use crate::ids::{
    CheckKey, InstanceKey, Keyspace, LeaseId, NodeName, Revision, ServiceKey, SessionId, Timestamp,
};
use crate::instance::Instance;
use crate::lease::Session;
use crate::node::Node;
use crate::record::{Key, Record};
use crate::service::{EndpointRow, Namespace, Service};
use crate::state::State;

#[derive(Debug)]
pub(super) struct Transaction<'a> {
    pub(super) state: &'a mut State,
    /// The revision this transaction makes if it changes anything.
    pub(super) revision: Revision,
    pub(super) at: Timestamp,
    /// The command is a server's own, not a client's.
    pub(super) by_server: bool,
    pub(super) recorder: Recorder,
    /// Endpoints to be worked out again, with the instances that may have joined them.
    pub(super) dirty: BTreeMap<EndpointKey, BTreeSet<InstanceKey>>,
    /// Services whose readers may see a difference.
    pub(super) touched: BTreeSet<ServiceKey>,
    pub(super) leases: Vec<LeaseId>,
    /// Instances that joined services or left them, less those that left or joined.
    members: BTreeMap<ServiceKey, i64>,
    /// What to put back of that which is not in the change stream, should the command be refused.
    pub(super) undo: Undo,
}

/// What a transaction leaves behind.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) changes: Vec<Change>,
    pub(super) services: Box<[ServiceKey]>,
    pub(super) leases: Vec<LeaseId>,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(state: &'a mut State) -> Transaction<'a> {
        Transaction {
            revision: state.revision.next(),
            at: state.last_at,
            undo: Undo::new(state),
            by_server: true,
            recorder: Recorder::at(state.level),
            state,
            dirty: BTreeMap::new(),
            touched: BTreeSet::new(),
            leases: Vec::new(),
            members: BTreeMap::new(),
        }
    }

    /// Nothing was done.
    pub(super) fn clear(&mut self) {
        self.recorder = Recorder::at(self.state.level);
        self.dirty.clear();
        self.touched.clear();
        self.leases.clear();
        self.members.clear();
    }

    pub(super) fn finish(self) -> Finished {
        Finished {
            changes: self.recorder.finish(),
            services: self.touched.into_iter().collect(),
            leases: self.leases,
        }
    }

    fn record(&mut self, change: Change) {
        self.state.tables.install(&change);
        self.recorder.note(change);
    }

    /// Instances of a service, as this transaction has left it.
    pub(super) fn members(&self, service: &ServiceKey) -> i64 {
        i64::from(self.state.service_marks(service).members)
            + self.members.get(service).copied().unwrap_or_default()
    }

    pub(super) fn set_instance(&mut self, key: &InstanceKey, after: Option<Arc<Instance>>) {
        let before = self.state.tables.instances.get(key).cloned();
        let service = |row: &Option<Arc<Instance>>| row.as_ref().map(|row| row.service.clone());
        let (left, joined) = (service(&before), service(&after));
        if left != joined {
            for (service, step) in [(left, -1), (joined, 1)] {
                if let Some(service) = service {
                    *self.members.entry(service).or_default() += step;
                }
            }
        }
        for row in before.iter().chain(after.iter()) {
            self.dirty
                .entry(EndpointKey::of(row))
                .or_default()
                .insert(key.clone());
            self.touched.insert(row.service.clone());
        }
        self.record(Change::Instance { before, after });
    }

    /// Replaces an instance's computed fields: no endpoint needs to be worked out again for it.
    pub(super) fn set_instance_quietly(&mut self, after: Arc<Instance>) {
        let before = self.state.tables.instances.get(&after.key).cloned();
        self.record(Change::Instance {
            before,
            after: Some(after),
        });
    }

    pub(super) fn set_endpoint(
        &mut self,
        before: Option<Arc<EndpointRow>>,
        after: Option<Arc<EndpointRow>>,
    ) {
        self.record(Change::Endpoint { before, after });
    }

    pub(super) fn set_service(&mut self, key: &ServiceKey, after: Option<Arc<Service>>) {
        let before = self.state.tables.services.get(key).cloned();
        self.touched.insert(key.clone());
        self.record(Change::Service { before, after });
    }

    pub(super) fn set_namespace(&mut self, name: &Arc<str>, after: Option<Arc<Namespace>>) {
        let before = self.state.tables.namespaces.get(name).cloned();
        self.record(Change::Namespace { before, after });
    }

    /// Puts or removes a node; its services' readers see a difference. Its instances are worked out again where their health may
    /// follow from it.
    pub(super) fn set_node(&mut self, name: &NodeName, after: Option<Arc<Node>>) {
        let before = self.state.tables.nodes.get(name).cloned();
        let status = |row: &Option<Arc<Node>>| {
            let admin = row.as_ref().and_then(|row| row.admin.as_ref());
            admin.map(|admin| admin.status)
        };
        let matters = status(&before) != status(&after);
        self.record(Change::Node { before, after });
        self.node_touched(name, matters);
    }

    fn node_touched(&mut self, name: &NodeName, matters: bool) {
        self.touched.extend(self.state.services_on(name));
        if matters {
            let on: Vec<Arc<Instance>> = self.state.instances_on(name).cloned().collect();
            for row in on {
                self.again(&row);
            }
        }
    }

    /// The instance's endpoint is to be worked out again.
    fn again(&mut self, row: &Instance) {
        self.dirty
            .entry(EndpointKey::of(row))
            .or_default()
            .insert(row.key.clone());
    }

    /// Puts or removes a check. Sessions bound to it end when it is critical or gone.
    pub(super) fn set_check(&mut self, key: &CheckKey, after: Option<Arc<Check>>) {
        let before = self.state.tables.checks.get(key).cloned();
        let failed = after.as_ref().is_none_or(|c| c.status == Status::Critical);
        let owners: Vec<InstanceKey> = before
            .iter()
            .chain(after.iter())
            .filter_map(|row| row.instance.clone())
            .collect();
        let of_node = before
            .iter()
            .chain(after.iter())
            .any(|row| row.instance.is_none());
        // Output and words about a check are for its readers; health follows from these alone.
        let evidence = |row: &Option<Arc<Check>>| {
            let row = row.as_ref()?;
            Some((row.status, row.reported, row.instance.clone()))
        };
        let matters = evidence(&before) != evidence(&after);
        self.record(Change::Check { before, after });
        for owner in owners {
            if let Some(row) = self.state.tables.instances.get(&owner).cloned() {
                self.touched.insert(row.service.clone());
                if matters {
                    self.again(&row);
                }
            }
        }
        if of_node {
            self.node_touched(&key.node(), matters);
        }
        if failed {
            let first = (key.clone(), SessionId([0; 16]));
            let bound: Vec<SessionId> = self
                .state
                .tables
                .sessions_by_check
                .range(first..)
                .take_while(|(c, _)| c == key)
                .map(|(_, s)| *s)
                .collect();
            for session in bound {
                self.end_session(&session);
            }
        }
    }

    pub(super) fn set_session(&mut self, id: &SessionId, after: Option<Arc<Session>>) {
        let before = self.state.tables.sessions.get(id).cloned();
        self.record(Change::Session { before, after });
    }

    /// Puts or removes a record as it is; see `put_record` and `remove_record` for what goes with it.
    pub(super) fn set_record(&mut self, space: Keyspace, key: &Key, after: Option<Arc<Record>>) {
        let before = self.state.tables.records[space as usize].get(key).cloned();
        if before.is_none() && after.is_none() {
            return;
        }
        if after.is_none() && space == Keyspace::ConsulKv {
            self.put_tombstone((space, key.clone()), Some(self.revision));
        }
        self.record(Change::Record {
            space,
            key: key.clone(),
            before,
            after,
        });
    }
}
