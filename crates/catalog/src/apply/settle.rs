//! What follows from a transaction's explicit changes: health of instances, endpoints, derived records.

use std::collections::BTreeSet;
use std::sync::Arc;

use smallvec::SmallVec;

use super::transaction::Transaction;
use crate::endpoint::EndpointKey;
use crate::evidence::{Evidence, Word, merged};
use crate::health::Health;
use crate::ids::InstanceKey;
use crate::instance::Instance;
use crate::service::EndpointRow;
use crate::state::State;
use crate::work::{Work, count};

impl Transaction<'_> {
    /// Works out everything that is dirty, until nothing is.
    pub(super) fn settle(&mut self) {
        while let Some((key, joined)) = self.dirty.pop_first() {
            self.settle_endpoint(&key, &joined);
        }
    }

    fn settle_endpoint(&mut self, key: &EndpointKey, joined: &BTreeSet<InstanceKey>) {
        count(Work::Settled);
        let before = self.state.tables.endpoints.get(key).cloned();
        let known = before
            .iter()
            .flat_map(|row| row.members.iter().map(|m| &m.key));
        let keys: BTreeSet<InstanceKey> = known.chain(joined).cloned().collect();
        let mut members: Vec<Arc<Instance>> = keys
            .iter()
            .filter_map(|key| self.state.tables.instances.get(key))
            .filter(|row| EndpointKey::of(row) == *key)
            .cloned()
            .collect();
        members.sort_by(|a, b| (a.created, &a.key).cmp(&(b.created, &b.key)));
        let evidence: SmallVec<[Evidence; 2]> =
            members.iter().map(|row| self.state.evidence(row)).collect();
        for (member, evidence) in members.iter_mut().zip(&evidence) {
            let health = merged(std::slice::from_ref(evidence));
            if health != member.health {
                let mut row = (**member).clone();
                (row.health, row.health_since) = (health, self.at);
                (row.modified, row.modified_at) = (self.revision, self.at);
                *member = Arc::new(row);
                self.set_instance_quietly(member.clone());
            }
        }
        let after = (!members.is_empty()).then(|| {
            let unweighted = members.iter().any(|m| m.weight.0 == 0);
            let health = if unweighted {
                Health::Maintenance
            } else {
                merged(&evidence)
            };
            let same = before
                .as_ref()
                .filter(|b| b.health == health && same_rows(&b.members, &members));
            same.cloned().unwrap_or_else(|| {
                Arc::new(EndpointRow {
                    key: key.clone(),
                    members: members.into(),
                    health,
                    created: before.as_ref().map_or(self.revision, |b| b.created),
                    modified: self.revision,
                })
            })
        });
        if before != after {
            self.set_endpoint(before, after.clone());
        }
        self.derive(key, after.as_ref());
    }
}

fn same_rows(a: &[Arc<Instance>], b: &[Arc<Instance>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
}

impl State {
    /// What is known of an instance when its endpoint's health is worked out; also what `why` reads.
    pub fn evidence(&self, row: &Instance) -> Evidence {
        let (mut reported, mut unreported) = (None, None);
        for check in self.checks_of(&row.key) {
            let worst = if check.reported {
                &mut reported
            } else {
                &mut unreported
            };
            *worst = Some(worst.unwrap_or(Health::Passing).max(check.status.health()));
        }
        let node = self
            .node_checks(&row.node)
            .map(|check| check.status.health())
            .max()
            .unwrap_or_default();
        let admin = self
            .node(&row.node)
            .and_then(|node| node.admin.as_ref())
            .map(|admin| admin.status);
        Evidence {
            word: Word::of(row, admin),
            reported,
            unreported,
            node,
            lapsed: row.lapsed,
        }
    }
}
