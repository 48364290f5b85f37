//! Leases and sessions: grant, revoke, lapse, and what they take with them.

use std::sync::Arc;

use super::transaction::Transaction;
use crate::check::Status;
use crate::ids::{CheckKey, InstanceKey, Keyspace, LeaseId, SessionId};
use crate::instance::Instance;
use crate::lease::{Attached, Behaviour, Lease, Session, Terms, Then};
use crate::limits;
use crate::outcome::{Done, Outcome, Refusal};
use crate::record::{Key, Lock, Record};

impl Transaction<'_> {
    pub(super) fn grant(
        &mut self,
        id: &LeaseId,
        terms: Option<&Terms>,
        session: Option<&Session>,
    ) -> Outcome {
        let taken = match id {
            LeaseId::Session(session) => self.state.session(session).is_some(),
            id => self.state.lease(id).is_some(),
        };
        if taken {
            return Err(Refusal::LeaseExists);
        }
        if self.state.leases.len() >= limits::LEASES {
            return Err(Refusal::Limit("leases"));
        }
        if let Some(session) = session {
            self.may_bind(session)?;
            let row = Session {
                created: self.revision,
                modified: self.revision,
                ..session.clone()
            };
            self.set_session(&session.id, Some(Arc::new(row)));
        }
        if let Some(terms) = terms {
            self.put_lease(id, terms);
        }
        Ok(Done::Granted {
            lease: id.clone(),
            generation: self.state.generation,
        })
    }

    fn may_bind(&self, session: &Session) -> Result<(), Refusal> {
        if self.state.node(&session.node).is_none() {
            return Err(Refusal::NoNode(session.node.as_str().into()));
        }
        for key in session.checks() {
            match self.state.check(&key) {
                None => return Err(Refusal::NoCheck(key)),
                Some(check) if check.status == Status::Critical => {
                    return Err(Refusal::CheckCritical(key));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Grants a lease, or grants it anew: it has its full time again.
    pub(super) fn put_lease(&mut self, id: &LeaseId, terms: &Terms) {
        self.state.generation += 1;
        let lease = Lease {
            id: id.clone(),
            terms: terms.clone(),
            generation: self.state.generation,
            stage: 0,
            granted_at: self.at,
        };
        self.put_lease_row(id, Some(Arc::new(lease)));
    }

    /// Other terms for a lease that is there.
    pub(super) fn retime(&mut self, id: &LeaseId, terms: &Terms) -> Outcome {
        if self.state.lease(id).is_none() {
            return Err(Refusal::NoLease);
        }
        self.put_lease(id, terms);
        Ok(Done::Nothing)
    }

    pub(super) fn drop_lease(&mut self, id: &LeaseId) {
        if self.state.lease(id).is_some() {
            self.put_lease_row(id, None);
        }
    }

    pub(super) fn revoke(&mut self, id: &LeaseId) -> Outcome {
        let known = match id {
            LeaseId::Session(session) => self.state.session(session).is_some(),
            id => self.state.lease(id).is_some(),
        };
        if !known {
            return Err(Refusal::NoLease);
        }
        self.end(id);
        Ok(Done::Nothing)
    }

    pub(super) fn lapse(&mut self, id: &LeaseId, stage: u8, generation: u64) -> Outcome {
        let lease = self.state.lease(id).cloned().ok_or(Refusal::Stale)?;
        if lease.generation != generation || lease.stage != stage {
            return Err(Refusal::Stale);
        }
        match lease.terms.stages.get(usize::from(stage)).map(|s| s.then) {
            None => return Err(Refusal::Stale),
            Some(Then::Remove) => self.end(id),
            Some(Then::Critical) => {
                let past = Lease {
                    stage: stage + 1,
                    ..(*lease).clone()
                };
                self.put_lease_row(id, Some(Arc::new(past)));
                self.fall_silent(id);
            }
        }
        Ok(Done::Nothing)
    }

    fn fall_silent(&mut self, id: &LeaseId) {
        match id {
            LeaseId::Check(key) => {
                if let Some(row) = self.state.check(key).cloned() {
                    let output = match (&*row.output, row.reported) {
                        ("", _) | (_, false) => "TTL expired".to_owned(),
                        (old, true) => {
                            format!("TTL expired (last output before timeout follows): {old}")
                        }
                    };
                    self.reported(&row, Status::Critical, output.into());
                }
            }
            LeaseId::Agent(node) => {
                let key = CheckKey::new(node, "serfHealth");
                if let Some(row) = self.state.check(&key).cloned() {
                    self.reported(
                        &row,
                        Status::Critical,
                        "Agent not live or unreachable".into(),
                    );
                }
            }
            id => self.set_lapsed(id, true),
        }
    }

    pub(super) fn revive(&mut self, id: &LeaseId) -> Outcome {
        let lease = self.state.lease(id).cloned().ok_or(Refusal::NoLease)?;
        self.put_lease(id, &lease.terms);
        match id {
            LeaseId::Agent(node) => {
                let key = CheckKey::new(node, "serfHealth");
                if let Some(row) = self.state.check(&key).cloned() {
                    self.reported(&row, Status::Passing, "Agent alive and reachable".into());
                }
            }
            id => self.set_lapsed(id, false),
        }
        Ok(Done::Nothing)
    }

    fn set_lapsed(&mut self, id: &LeaseId, lapsed: bool) {
        for key in self.attached_instances(id) {
            let Some(row) = self
                .state
                .instance(&key)
                .filter(|row| row.lapsed != lapsed)
                .cloned()
            else {
                continue;
            };
            let row = Instance {
                lapsed,
                modified: self.revision,
                modified_at: self.at,
                ..(*row).clone()
            };
            self.set_instance(&key, Some(Arc::new(row)));
        }
    }

    fn attached_instances(&self, id: &LeaseId) -> Vec<InstanceKey> {
        let instance = |attached: Attached| match attached {
            Attached::Instance(key) => Some(key),
            Attached::Record(..) | Attached::Lock(..) => None,
        };
        self.state.attached(id).filter_map(instance).collect()
    }

    /// Ends a lease with everything attached to it.
    fn end(&mut self, id: &LeaseId) {
        match id {
            LeaseId::Session(session) => self.end_session(session),
            LeaseId::Agent(node) => {
                let _known = self.drop_node(node, None);
            }
            id => self.end_attached(id),
        }
        self.drop_lease(id);
    }

    fn end_attached(&mut self, id: &LeaseId) {
        let attached: Vec<Attached> = self.state.attached(id).collect();
        for attached in attached {
            match attached {
                Attached::Record(space, key) => {
                    self.remove_record(space, &key);
                }
                Attached::Instance(key) => self.remove_instance(&key),
                Attached::Lock(space, key) => self.unlock(space, &key),
            }
        }
    }

    /// Ends a session: its keys are released or deleted, and nobody can lock them for a while.
    pub(super) fn end_session(&mut self, id: &SessionId) {
        let Some(session) = self.state.session(id).cloned() else {
            return;
        };
        let lease = LeaseId::Session(*id);
        let attached: Vec<Attached> = self.state.attached(&lease).collect();
        for attached in attached {
            match attached {
                Attached::Lock(space, key) => {
                    if session.behaviour == Behaviour::Delete {
                        self.remove_record(space, &key);
                    } else {
                        self.unlock(space, &key);
                    }
                    let delay = session.lock_delay_ms.min(limits::LOCK_DELAY_MS);
                    if delay > 0 {
                        let until = self.at.plus_ms(delay);
                        self.put_lock_delay((space, key), Some(until));
                    }
                }
                Attached::Record(space, key) => {
                    self.remove_record(space, &key);
                }
                Attached::Instance(key) => self.remove_instance(&key),
            }
        }
        self.set_session(id, None);
        self.drop_lease(&lease);
    }

    fn unlock(&mut self, space: Keyspace, key: &Key) {
        let Some(record) = self.state.record(space, key).cloned() else {
            return;
        };
        let index = record.lock.as_ref().map_or(0, |lock| lock.index);
        let record = Record {
            lock: Some(Arc::new(Lock {
                session: None,
                index,
            })),
            modified: self.revision,
            modified_at: self.at,
            ..(*record).clone()
        };
        self.set_record(space, key, Some(Arc::new(record)));
    }
}
