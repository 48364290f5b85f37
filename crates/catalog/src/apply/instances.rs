//! Registering and deregistering instances.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::transaction::Transaction;
use crate::bounds;
use crate::check::Probe;
use crate::command::{Register, Target};
use crate::endpoint::EndpointKey;
use crate::health::Health;
use crate::ids::{InstanceKey, LeaseId, Protocol, Revision, ServiceKey};
use crate::instance::{Admin, Instance, Registration};
use crate::limits;
use crate::outcome::{Done, Outcome, Refusal};
use crate::service::{EndpointRow, Protocols, Service};

impl Transaction<'_> {
    pub(super) fn register(&mut self, register: &Register) -> Outcome {
        self.may_register(register)?;
        let key = &register.facts.key;
        let facts = self.interned(&register.facts);
        self.service_for(&facts);
        let before = self.state.tables.instances.get(key).cloned();
        let admin = match &register.admin {
            Some(admin) => Some(admin.clone()),
            None => before
                .as_ref()
                .map_or_else(|| self.inherited_admin(&facts), |row| row.admin.clone()),
        };
        let same = before
            .as_ref()
            .is_some_and(|row| *row.facts == *facts && row.admin == admin && !row.lapsed);
        if !same {
            let row = Instance {
                facts,
                admin,
                lapsed: false,
                health: before.as_ref().map_or(Health::Passing, |row| row.health),
                created: before.as_ref().map_or(self.revision, |row| row.created),
                modified: self.revision,
                registered: self.revision,
                created_at: before.as_ref().map_or(self.at, |row| row.created_at),
                modified_at: self.at,
                health_since: before.as_ref().map_or(self.at, |row| row.health_since),
            };
            self.set_instance(key, Some(Arc::new(row)));
        }
        if let Some(lease) = before.as_ref().and_then(|row| row.lease.clone())
            && register.facts.lease.as_ref() != Some(&lease)
        {
            self.end_heartbeat(key, &lease);
        }
        if let (Some(lease), Some(terms)) = (&register.facts.lease, &register.terms) {
            self.put_lease(lease, terms);
        }
        if register.replace_checks {
            let stale: Vec<_> = self
                .state
                .checks_of(key)
                .map(|check| check.key.clone())
                .filter(|old| register.checks.iter().all(|new| new.facts.key != *old))
                .collect();
            for check in stale {
                self.remove_check(&check);
            }
        }
        for check in &register.checks {
            self.upsert_check(check);
        }
        self.state
            .tables
            .instances
            .get(key)
            .cloned()
            .map(Done::Registered)
            .ok_or(Refusal::NoInstance)
    }

    /// Everything that can be refused, before anything is changed.
    fn may_register(&self, register: &Register) -> Result<(), Refusal> {
        let facts = &register.facts;
        bounds::check(facts)?;
        if self.state.level >= 3
            && facts.key.origin != Protocol::Portolan
            && self.state.is_own_service(&facts.service)
        {
            return Err(Refusal::OwnService);
        }
        let before = self.state.tables.instances.get(&facts.key);
        expected(register.expect, before.map(|row| row.modified))?;
        if facts.key.origin == Protocol::Consul {
            if facts.node.is_virtual() {
                return Err(Refusal::Reserved(facts.node.as_str().into()));
            }
            if self.state.node(&facts.node).is_none() {
                return Err(Refusal::NoNode(facts.node.as_str().into()));
            }
        }
        if before.is_none_or(|row| row.service != facts.service)
            && self.members(&facts.service) >= i64::from(limits::INSTANCES)
        {
            return Err(Refusal::Limit("instances of a service"));
        }
        if facts.key.origin == Protocol::Nacos
            && let Some(kind) = self.state.service(&facts.service).and_then(|s| s.ephemeral)
            && kind != facts.lease.is_some()
        {
            return Err(Refusal::Kind);
        }
        match &facts.lease {
            // A lease of one's own comes with its terms; any other has to be there.
            Some(lease) if register.terms.is_none() && self.state.lease(lease).is_none() => {
                Err(Refusal::NoLease)
            }
            _ => Ok(()),
        }
    }

    /// The same facts with what other rows hold already, so that it is held once; and the node's address where the
    /// registration takes that.
    fn interned(&self, facts: &Arc<Registration>) -> Arc<Registration> {
        let mut own = (**facts).clone();
        if let Some(node) = self.state.node(&facts.node) {
            own.node = node.name.clone();
            if own.inherits_host {
                own.endpoint.host = node.address.clone();
            }
        }
        if let Some(before) = self.state.tables.instances.get(&own.key) {
            if *before.facts == own {
                return before.facts.clone();
            }
            own.key = before.key.clone();
            own.share(&before.facts);
        }
        if let Some(service) = self.state.service(&facts.service) {
            own.service = service.key.clone();
            if service.spelling == own.spelling {
                own.spelling = service.spelling.clone();
            }
        }
        // Instances of one service tend to have the same tags, metadata and ports.
        if let Some(sibling) = self.state.instances(&facts.service).next() {
            own.share(&sibling.facts);
        }
        Arc::new(own)
    }

    /// A twin that registers later takes over the administrative status of its endpoint.
    fn inherited_admin(&self, facts: &Registration) -> Option<Arc<Admin>> {
        let port = facts.endpoint.port();
        if port == 0 {
            return None;
        }
        let key = EndpointKey {
            service: facts.service.clone(),
            host: facts.endpoint.host.clone(),
            port,
            sole: None,
        };
        self.state
            .endpoint(&key)
            .and_then(|row| row.primary().admin.clone())
    }

    fn service_for(&mut self, facts: &Registration) {
        let ephemeral = (facts.key.origin == Protocol::Nacos).then_some(facts.lease.is_some());
        match self.state.service(&facts.service).cloned() {
            None => self.add_service(
                &facts.service,
                &facts.spelling,
                Protocols::default(),
                ephemeral,
            ),
            Some(row) if row.ephemeral.is_none() && ephemeral.is_some() => {
                let row = Service {
                    ephemeral,
                    modified: self.revision,
                    ..(*row).clone()
                };
                self.set_service(&facts.service, Some(Arc::new(row)));
            }
            Some(_) => {}
        }
    }

    pub(super) fn register_set(
        &mut self,
        lease: &LeaseId,
        service: &ServiceKey,
        set: &[Register],
    ) -> Outcome {
        let kept: BTreeSet<&InstanceKey> = set.iter().map(|new| &new.facts.key).collect();
        let gone: Vec<InstanceKey> = self
            .state
            .instances(service)
            .filter(|row| row.lease.as_ref() == Some(lease) && !kept.contains(&row.key))
            .map(|row| row.key.clone())
            .collect();
        for key in &gone {
            self.remove_instance(key);
        }
        for register in set {
            self.register(register)?;
        }
        Ok(Done::Nothing)
    }

    pub(super) fn deregister(&mut self, target: &Target, expect: Option<Revision>) -> Outcome {
        let keys: Vec<InstanceKey> = match target {
            Target::Instance(key) => {
                let row = self.state.tables.instances.get(key);
                expected(expect, row.map(|row| row.modified))?;
                row.map(|row| row.key.clone()).into_iter().collect()
            }
            Target::Endpoint(key) => {
                let row = self.state.endpoint(key);
                expected(expect, row.map(|row| row.modified))?;
                row.map_or_else(Vec::new, members_of)
            }
        };
        self.may_deregister(&keys)?;
        for key in &keys {
            self.remove_instance(key);
        }
        Ok(if keys.is_empty() {
            Done::Nothing
        } else {
            Done::Deregistered(keys.len())
        })
    }

    /// No client deregisters a server: its node, its service and what is derived from them are there as long as it is.
    pub(super) fn may_deregister(&self, keys: &[InstanceKey]) -> Result<(), Refusal> {
        let own = |key: &InstanceKey| key.origin == Protocol::Portolan;
        if !self.by_server && keys.iter().any(own) {
            return Err(Refusal::OwnService);
        }
        Ok(())
    }

    /// Removes an instance with its checks, its own lease and the record it was recognised in, if it was the last one there.
    pub(super) fn remove_instance(&mut self, key: &InstanceKey) {
        let Some(row) = self.state.tables.instances.get(key).cloned() else {
            return;
        };
        let record = self.state.record_of(&row);
        self.set_instance(key, None);
        let checks: Vec<_> = self
            .state
            .checks_of(key)
            .map(|check| check.key.clone())
            .collect();
        for check in checks {
            self.remove_check(&check);
        }
        if let Some(lease) = &row.lease {
            self.end_heartbeat(key, lease);
        }
        if let Some((space, record)) = record {
            self.leave_record(space, &record);
        }
    }

    /// Ends the lease that belonged to one instance alone; a connection's goes on.
    fn end_heartbeat(&mut self, key: &InstanceKey, lease: &LeaseId) {
        if *lease == LeaseId::Heartbeat(key.clone()) {
            self.drop_lease(lease);
        }
    }

    /// Whether a check waits for reports within a time.
    pub(super) fn ttl_of(probe: &Probe) -> Option<u64> {
        match probe {
            Probe::Ttl { ttl_ms } => Some(*ttl_ms),
            _ => None,
        }
    }
}

/// Keys of an endpoint's members.
pub(super) fn members_of(row: &Arc<EndpointRow>) -> Vec<InstanceKey> {
    row.members.iter().map(|m| m.key.clone()).collect()
}

/// Whether a row is as the proposer saw it. `Revision(0)` stands for "there is none".
pub(super) fn expected(
    expect: Option<Revision>,
    modified: Option<Revision>,
) -> Result<(), Refusal> {
    let modified = modified.unwrap_or_default();
    match expect {
        Some(expect) if expect != modified => Err(Refusal::Changed(modified)),
        _ => Ok(()),
    }
}
