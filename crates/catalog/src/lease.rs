//! Leases: promises to keep something as long as someone renews it.
//!
//! Invariants
//! - A lease's deadline lives on the leader only; the log knows terms, never deadlines.
//! - A lapse is a command. Replicas that have not applied it still see the lease as alive.
//! - Attached records and instances go in the same revision as the lapse that removed them.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::ids::{
    CheckKey, InstanceKey, Keyspace, LeaseId, NodeName, Revision, SessionId, Timestamp,
};
use crate::record::Key;

/// What happens when a stage of a lease is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Attached instances become unhealthy, a TTL check becomes critical.
    Critical,
    /// Attached records and instances are removed, locks released or deleted.
    Remove,
}

/// One stage of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Milliseconds of silence, counted from the last renewal.
    pub after_ms: u64,
    /// What happens then.
    pub then: Then,
}

/// The terms of a lease: its stages in order, and whether the mass-expiry guard protects what is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Ascending by time, never empty.
    pub stages: SmallVec<[Stage; 1]>,
    /// Whether removal may be suspended when very many lapse at once.
    pub guarded: bool,
}

impl Terms {
    /// Removed after `ttl_ms` of silence, strictly (etcd leases, ZooKeeper sessions).
    pub fn strict(ttl_ms: u64) -> Terms {
        Terms {
            stages: [Stage {
                after_ms: ttl_ms,
                then: Then::Remove,
            }]
            .into_iter()
            .collect(),
            guarded: false,
        }
    }

    /// A Consul session with a TTL of `ttl_ms`: removed after twice that time of silence, strictly.
    ///
    /// Consul promises that a session lives for at least its TTL and lets it lapse within two of them; its servers run a timer of two.
    /// Patroni, Vault and Nomad renew once in a TTL, or a little later, and count on the rest. The session's own row keeps the TTL.
    pub fn session(ttl_ms: u64) -> Terms {
        Terms::strict(ttl_ms.saturating_mul(2))
    }

    /// Removed after `ttl_ms` of silence, unless very many fall silent at once (heartbeats of instances).
    pub fn heartbeat(ttl_ms: u64) -> Terms {
        Terms {
            guarded: true,
            ..Terms::strict(ttl_ms)
        }
    }

    /// Unhealthy after the first, removed after the second time of silence (Nacos over HTTP).
    pub fn two_stages(critical_ms: u64, remove_ms: u64) -> Terms {
        let stages = [
            Stage {
                after_ms: critical_ms,
                then: Then::Critical,
            },
            Stage {
                after_ms: remove_ms,
                then: Then::Remove,
            },
        ];
        Terms {
            stages: stages.into_iter().collect(),
            guarded: true,
        }
    }

    /// Critical after `ttl_ms` without report (TTL checks).
    pub fn check(ttl_ms: u64) -> Terms {
        Terms {
            stages: [Stage {
                after_ms: ttl_ms,
                then: Then::Critical,
            }]
            .into_iter()
            .collect(),
            guarded: false,
        }
    }

    /// Milliseconds until the first stage: what a renewal gives.
    pub fn ttl_ms(&self) -> u64 {
        self.stages.first().map_or(0, |s| s.after_ms)
    }
}

/// A lease as the catalog keeps it. What is attached is found by index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Identity.
    pub id: LeaseId,
    /// Its stages.
    pub terms: Terms,
    /// Moves with every grant, so that a late lapse cannot end a lease that was granted again.
    pub generation: u64,
    /// Stages already past; a renewal of such a lease is a command (`Revive`).
    pub stage: u8,
    /// When it was granted.
    pub granted_at: Timestamp,
}

/// Something a lease keeps alive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attached {
    /// A record.
    Record(Keyspace, Key),
    /// A record that is locked by a session.
    Lock(Keyspace, Key),
    /// An instance.
    Instance(InstanceKey),
}

/// What becomes of the keys a Consul session holds when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// They are unlocked.
    #[default]
    Release,
    /// They are deleted.
    Delete,
}

/// A Consul session: a catalog row beside its lease, since creating one is visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Identity.
    pub id: SessionId,
    /// Node it is bound to.
    pub node: NodeName,
    /// A name for people.
    pub name: Arc<str>,
    /// What becomes of its keys.
    pub behaviour: Behaviour,
    /// Milliseconds during which nobody can lock a key this session lost.
    pub lock_delay_ms: u64,
    /// Milliseconds of its TTL; 0 means it has none and lives as long as its node and checks.
    pub ttl_ms: u64,
    /// Node checks that must not be critical.
    pub node_checks: Arc<[Arc<str>]>,
    /// Service checks that must not be critical.
    pub service_checks: Arc<[Arc<str>]>,
    /// Revision of its creation.
    pub created: Revision,
    /// Same as `created`: sessions do not change.
    pub modified: Revision,
}

impl Session {
    /// Keys of all checks the session is bound to.
    pub fn checks(&self) -> impl Iterator<Item = CheckKey> {
        self.node_checks
            .iter()
            .chain(self.service_checks.iter())
            .map(|id| CheckKey::new(&self.node, id))
    }
}
