//! What the state machine applies, shown through the registry.

use std::sync::Arc;

use bytes::Bytes;
use portolan_catalog::{Batch, LeaseId, State};
use portolan_registry::{Mark, Publisher};
use tokio::time::Instant;

use crate::consensus::Publish;

/// Publishes through the registry's backend and keeps the deadlines true.
pub(super) struct Published(pub(super) Publisher);

impl Publish for Published {
    fn publish(&mut self, state: &State, changes: Vec<Arc<Batch>>, leases: Vec<LeaseId>) {
        self.0.publish(state.clone(), &changes);
        let now = Instant::now();
        for lease in &leases {
            self.0.deadlines().update(state, lease, now);
        }
    }

    fn earlier(&mut self, batches: Vec<Arc<Batch>>) {
        let history = self.0.history();
        for batch in &batches {
            history.begin(batch.revision);
            history.push(batch);
        }
        if history.is_heavy()
            && let Err(error) = history.work(|| history.is_heavy())
        {
            // It stays in memory, and the worker tries again.
            tracing::warn!(%error, "the history of an earlier version cannot be written yet");
        }
    }

    fn replace(&mut self, state: &State) {
        self.0.replace(state.clone());
        self.0.deadlines().reset(state, Instant::now());
    }

    fn applied(&mut self, entries: Vec<(Mark, Bytes)>, index: u64, state: &State) {
        self.0.entries().push(entries, index, state);
    }

    fn begun(&mut self, cluster: u64, index: u64, state: &State) {
        self.0.entries().begin(cluster, index, state);
    }

    fn voters(&mut self, voters: usize) {
        self.0.set_voters(voters);
    }
}
