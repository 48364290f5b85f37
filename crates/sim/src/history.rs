//! What clients saw: every operation with its times and its outcome. The checkers judge by it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use portolan_catalog::Batch;
use portolan_registry::Selector;

use crate::protocols::{Place, Spoken};

/// An operation on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyWork {
    /// Puts a value that nobody else puts.
    Put(Bytes),
    /// The same if the key was last put at that revision; 0 for a key that is not there.
    PutIf(Bytes, u64),
    Delete,
    /// A read of the latest.
    Read,
    /// A read of whatever the server had.
    StaleRead,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyDone {
    /// Done, at a revision.
    Written(u64),
    /// The comparison failed, decided in a state of at least that revision.
    NotEqual(u64),
    /// There was nothing to delete.
    Nothing(u64),
    /// A read: the revision of the state, and value and revision of the put.
    Found(u64, Option<(Bytes, u64)>),
    /// It was refused: it has not happened and will not.
    Refused,
    /// Nobody said. It may have happened, or may happen later.
    Unknown,
}

/// One operation of one client.
#[derive(Clone, Debug)]
pub(crate) struct KeyOperation {
    pub(crate) key: String,
    pub(crate) work: KeyWork,
    pub(crate) server: u64,
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    pub(crate) done: KeyDone,
}

/// What became of a lease, as its holder saw it.
#[derive(Clone, Debug)]
pub(crate) enum LeaseEvent {
    /// A grant was acknowledged.
    Granted { asked: u64, ttl_ms: u64 },
    /// The key that hangs on it was acknowledged.
    Attached,
    /// A renewal was acknowledged.
    Renewed { asked: u64 },
    /// The holder was told that there is no such lease.
    Gone {
        asked: u64,
        answered: u64,
        server: u64,
    },
    /// The holder asked for its end.
    Revoked,
    /// The last question of the holder about it was answered or given up.
    Left { at: u64 },
}

/// A lease and the key that hangs on it.
#[derive(Clone, Debug)]
pub(crate) struct LeaseStory {
    pub(crate) key: String,
    pub(crate) events: Vec<LeaseEvent>,
}

/// What a watcher got.
#[derive(Clone, Debug)]
pub(crate) enum Watched {
    /// It asked for everything after this revision.
    From { after: u64 },
    /// It got these, and was told that nothing up to `through` is missing.
    News {
        server: u64,
        batches: Vec<Arc<Batch>>,
        through: u64,
    },
    /// It was told that what follows its position is not kept; the oldest revision it could follow from.
    Cut,
}

/// A watcher.
#[derive(Clone, Debug)]
pub(crate) struct WatchStory {
    pub(crate) selectors: Vec<Selector>,
    pub(crate) events: Vec<Watched>,
}

/// An instance that a client keeps registered through one protocol.
#[derive(Clone, Debug)]
pub(crate) struct InstanceStory {
    pub(crate) place: Place,
    pub(crate) spoken: Spoken,
    /// Whether it was there at last, as far as the client knows.
    pub(crate) there: Option<bool>,
    /// When the client was told that it is there, or that it is not.
    pub(crate) told: Vec<(u64, bool)>,
}

/// An instance that a client keeps registered at an agent, which owns it.
#[derive(Clone, Debug)]
pub(crate) struct OwnedStory {
    pub(crate) agent: u64,
    pub(crate) place: Place,
    /// Whether it was there at last, as far as the client knows.
    pub(crate) there: Option<bool>,
}

/// What every protocol listed at one revision of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) server: u64,
    pub(crate) revision: u64,
    pub(crate) lists: BTreeMap<Spoken, BTreeSet<Place>>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) keys: Vec<KeyOperation>,
    pub(crate) leases: Vec<LeaseStory>,
    pub(crate) watches: Vec<WatchStory>,
    pub(crate) instances: Vec<InstanceStory>,
    pub(crate) listings: Vec<Listing>,
    pub(crate) owned: Vec<OwnedStory>,
    /// Lookups that agents answered.
    pub(crate) looks: u64,
    /// What agents said that must not be.
    pub(crate) wrong_looks: Vec<String>,
    /// Clients that work still.
    pub(crate) working: u64,
    /// The revision that every server was seen to serve after the end of the faults.
    pub(crate) served: Option<u64>,
}
