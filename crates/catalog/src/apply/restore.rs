//! A state of elsewhere takes the place of the present one.
//!
//! Rows, leases and counters are as they were there, with the revisions they had. Three things are this cluster's own: who its servers
//! are; the revision, which goes beyond both, so that no reader ever sees it run backwards; and the level. Nothing earlier can be read or
//! followed any more, and every index of answers is the new revision, so that whoever waits or asks again is told.

use std::sync::Arc;

use super::Applied;
use super::transaction::Transaction;
use crate::command::{NewCheck, Register, RestorePart};
use crate::ids::{InstanceKey, Keyspace, NodeName, Protocol, ServiceKey};
use crate::limits;
use crate::node::Node;
use crate::outcome::{Done, Outcome, Refusal, Settled};
use crate::record::KeyRange;
use crate::servers;
use crate::state::{Restoring, State};
use crate::stored::{Damaged, Restore};

/// The level that brought it.
const LEVEL: u8 = 4;

impl State {
    /// Takes in the next part, and after the last one becomes what they hold.
    pub(super) fn take_part(&mut self, part: &RestorePart) -> Applied {
        let outcome = self.taken(part);
        Applied {
            replaced: outcome.is_ok() && part.last,
            settled: Settled {
                revision: self.revision,
                outcome,
            },
            batch: None,
            leases: Vec::new(),
        }
    }

    fn taken(&mut self, part: &RestorePart) -> Outcome {
        if self.level < LEVEL {
            return Err(Refusal::Limit(limits::LEVEL));
        }
        let mut all = match &self.restoring {
            _ if part.part == 0 => Restoring::begin(part.attempt, self.last_at),
            Some(there)
                if there.attempt == part.attempt && there.parts.len() == part.part as usize =>
            {
                there.clone()
            }
            _ => return Err(Refusal::Stale),
        };
        all.take(part.records.clone());
        if all.length > limits::RESTORED {
            return Err(Refusal::Limit(limits::RESTORED_NAME));
        }
        if part.last {
            *self = self.replaced_by(&all)?;
        } else {
            self.restoring = Some(all);
        }
        Ok(Done::Nothing)
    }

    fn replaced_by(&self, all: &Restoring) -> Result<State, Refusal> {
        let mut state = read(all).map_err(|damaged| {
            if damaged.newer.is_some() {
                Refusal::Limit(limits::LEVEL)
            } else {
                Refusal::BadValue(damaged.to_string().into())
            }
        })?;
        if state.level > self.level {
            return Err(Refusal::Limit(limits::LEVEL));
        }
        state.level = self.level;
        state.last_at = self.last_at;
        state.generation = state.generation.max(self.generation);
        state.restoring = None;
        state.revision = state.revision.max(self.revision);
        let mut transaction = Transaction::new(&mut state);
        transaction.forget_servers(self);
        transaction.keep_servers(self)?;
        transaction.keep_layouts(self)?;
        transaction.settle();
        let finished = transaction.finish();
        let now = state.revision.next();
        state.revision = now;
        state.mark(&crate::change::Batch {
            revision: now,
            at: state.last_at,
            cause: Arc::new(crate::Cause::own(crate::Why::Start)),
            changes: finished.changes.into_boxed_slice(),
            services: finished.services,
        });
        state.restored = now;
        state.floors.all = now;
        let marks = &mut state.marks;
        for mark in [
            &mut marks.nodes,
            &mut marks.services,
            &mut marks.instances,
            &mut marks.checks,
            &mut marks.sessions,
            &mut marks.services_gone,
        ] {
            *mark = now;
        }
        Ok(state)
    }
}

/// The state that the parts hold.
fn read(all: &Restoring) -> Result<State, Damaged> {
    let mut restore = Restore::new();
    for part in &all.parts {
        let mut left = &part[..];
        while let Some((length, rest)) = left.split_first_chunk() {
            let length = u32::from_le_bytes(*length) as usize;
            let Some((record, rest)) = rest.split_at_checked(length) else {
                break;
            };
            restore.record(record)?;
            // A backup of an earlier version holds the history, which is not followed from here on.
            restore.take_batches();
            left = rest;
        }
        if !left.is_empty() {
            return Err(Damaged {
                what: "a record ends too early".to_owned(),
                newer: None,
            });
        }
    }
    restore.finish()
}

/// What the servers of a cluster have registered of themselves.
fn own_services(state: &State) -> Vec<(InstanceKey, NodeName)> {
    state
        .instances(&ServiceKey::plain("consul"))
        .filter(|row| row.key.origin == Protocol::Portolan)
        .map(|row| (row.key.clone(), row.node.clone()))
        .collect()
}

impl Transaction<'_> {
    /// Removes the servers of the cluster that the state comes from. A node of theirs stays as one that somebody registered if there is
    /// anything else on it.
    fn forget_servers(&mut self, present: &State) {
        for (key, node) in own_services(self.state) {
            self.remove_instance(&key);
            if present.node(&node).is_some() {
                continue;
            }
            if self.state.instances_on(&node).next().is_none() {
                // It was there, and nothing of the kind that is refused is left on it.
                let _done = self.drop_node(&node, None);
            } else {
                self.remove_check(&crate::CheckKey::new(&node, "serfHealth"));
            }
        }
        let all = KeyRange::prefix(servers::PREFIX.as_bytes());
        let known: Vec<_> = self
            .state
            .range(Keyspace::Settings, &all)
            .map(|(key, _)| key.clone())
            .collect();
        for key in known {
            self.set_record(Keyspace::Settings, &key, None);
        }
    }

    /// Keeps the present servers: their nodes, services, checks and addresses.
    fn keep_servers(&mut self, present: &State) -> Result<(), Refusal> {
        for (key, name) in own_services(present) {
            let (Some(node), Some(row)) = (present.node(&name), present.instance(&key)) else {
                continue;
            };
            // The id is the running server's: a row of that name takes it, one of another name that had it goes.
            if let Some(other) = self.state.node_with_id(&node.facts)
                && other.name != name
            {
                self.drop_node(&other.name, None)?;
            }
            let before = self.state.node(&name).cloned();
            let kept = Node {
                created: before.map_or(self.revision, |row| row.created),
                modified: self.revision,
                modified_at: self.at,
                ..(**node).clone()
            };
            self.set_node(&name, Some(Arc::new(kept)));
            for check in present.node_checks(&name) {
                self.upsert_check(&NewCheck {
                    facts: check.facts.clone(),
                    status: check.status,
                    output: check.output.clone(),
                    reported: true,
                });
            }
            self.register(&Register {
                facts: row.facts.clone(),
                terms: None,
                checks: Vec::new(),
                replace_checks: false,
                expect: None,
                admin: None,
            })?;
        }
        let all = KeyRange::prefix(servers::PREFIX.as_bytes());
        for (key, record) in present.range(Keyspace::Settings, &all) {
            let mut record = (**record).clone();
            (record.created, record.modified) = (self.revision, self.revision);
            self.set_record(Keyspace::Settings, key, Some(Arc::new(record)));
        }
        Ok(())
    }

    /// Layouts that this cluster is configured with and the state does not know.
    fn keep_layouts(&mut self, present: &State) -> Result<(), Refusal> {
        for (name, layout) in present.layouts() {
            if self.state.layouts().all(|(known, _)| known != name) {
                self.set_layout(name, Some(layout))?;
            }
        }
        Ok(())
    }
}
