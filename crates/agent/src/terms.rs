//! What an agent's node has in the catalog beside its facts: its lease, and the check that the lease decides about.

use portolan_catalog::{Stage, Terms, Then};

/// The node check that Consul's clients read for whether a node is alive.
pub(crate) const SERF_HEALTH: &str = "serfHealth";
pub(crate) const SERF_NAME: &str = "Serf Health Status";
pub(crate) const SERF_PASSING: &str = "Agent alive and reachable";

/// Silence after which the node counts as failed.
const FAILED_MS: u64 = 10_000;
/// Silence after which it is removed.
const REMOVED_MS: u64 = 72 * 3600 * 1000;

/// The terms of an agent's node.
#[must_use]
pub fn terms() -> Terms {
    let stage = |after_ms, then| Stage { after_ms, then };
    Terms {
        stages: [
            stage(FAILED_MS, Then::Critical),
            stage(REMOVED_MS, Then::Remove),
        ]
        .into_iter()
        .collect(),
        guarded: true,
    }
}
