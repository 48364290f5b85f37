//! What is not in the change stream: leases, lock delays, tombstones, layouts, floors. All of it is changed here, so that a refused
//! command can be undone: rows by the changes recorded so far, the rest by what it was before.

use std::sync::Arc;

use super::transaction::Transaction;
use super::undo::Step;
use crate::endpoint::EndpointKey;
use crate::ids::{Keyspace, LeaseId, Revision, Timestamp};
use crate::layout::LayoutState;
use crate::lease::Lease;
use crate::record::Key;
use crate::state::State;

impl Transaction<'_> {
    /// Puts a lease, or removes it; the lease clock hears of it.
    pub(super) fn put_lease_row(&mut self, id: &LeaseId, after: Option<Arc<Lease>>) {
        let before = self.state.leases.get(id).cloned();
        self.state.put_lease(id, after);
        self.undo.steps.push(Step::Lease(id.clone(), before));
        self.leases.push(id.clone());
    }

    pub(super) fn put_lock_delay(&mut self, key: (Keyspace, Key), until: Option<Timestamp>) {
        let before = put(&mut self.state.lock_delays, key.clone(), until);
        self.undo.steps.push(Step::LockDelay(key, before));
    }

    pub(super) fn put_tombstone(&mut self, key: (Keyspace, Key), revision: Option<Revision>) {
        let before = self.state.tombstones.put(key.0, &key.1, revision);
        self.undo.steps.push(Step::Tombstone(key, before));
    }

    pub(super) fn put_layout(&mut self, name: &Arc<str>, after: Option<Arc<LayoutState>>) {
        let before = put(&mut self.state.layouts, name.clone(), after);
        self.undo.steps.push(Step::Layout(name.clone(), before));
    }

    pub(super) fn put_waking(&mut self, name: &Arc<str>, next: Option<EndpointKey>) {
        let before = put(&mut self.state.waking, name.clone(), next);
        self.undo.steps.push(Step::Waking(name.clone(), before));
    }

    /// Before the floors of the history and what goes with them move.
    pub(super) fn keep_floors(&mut self) {
        let kept = (self.state.floors.clone(), self.state.marks.clone());
        self.undo.steps.push(Step::Floors(Box::new(kept)));
    }

    /// Puts everything back that this transaction changed.
    pub(super) fn undo(&mut self) {
        for change in self.recorder.changes().rev() {
            self.state.tables.install(&change.reversed());
        }
        for step in self.undo.steps.drain(..).rev() {
            match step {
                Step::Lease(id, before) => self.state.put_lease(&id, before),
                Step::LockDelay(key, before) => {
                    put(&mut self.state.lock_delays, key, before);
                }
                Step::Tombstone((space, key), before) => {
                    self.state.tombstones.put(space, &key, before);
                }
                Step::Layout(name, before) => {
                    put(&mut self.state.layouts, name, before);
                }
                Step::Waking(name, before) => {
                    put(&mut self.state.waking, name, before);
                }
                Step::Floors(kept) => (self.state.floors, self.state.marks) = *kept,
            }
        }
        self.state.generation = self.undo.generation;
        self.clear();
    }
}

/// Puts or removes an entry; what was there before.
fn put<K: Ord + Clone, V: Clone>(
    map: &mut imbl::OrdMap<K, V>,
    key: K,
    value: Option<V>,
) -> Option<V> {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    }
}

impl State {
    fn put_lease(&mut self, id: &LeaseId, after: Option<Arc<Lease>>) {
        match after {
            Some(lease) => self.leases.put(lease),
            None => {
                self.leases.remove(id);
            }
        }
    }
}
