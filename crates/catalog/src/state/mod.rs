//! All replicated facts, as one immutable, structurally shared value.
//!
//! Rows change only through [`Tables::install`], which keeps every index; so an index cannot disagree with its table,
//! changes applied to an older state give the newer one, and applied backwards the older.

mod floors;
mod ranked;
mod reads;
mod records_of;
mod restoring;
mod rows;
mod tables;
mod tombstones;

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::change::{Batch, Change};
use crate::endpoint::EndpointKey;
use crate::ids::{Keyspace, Revision, ServiceKey, Timestamp};
use crate::layout::LayoutState;
use crate::lease::Lease;
use crate::record::Key;
use crate::service::ServiceMarks;

pub use floors::Floors;
pub use records_of::RecordsOf;
pub(crate) use restoring::Restoring;
pub(crate) use rows::Rows;
pub(crate) use tables::Tables;
pub(crate) use tombstones::Tombstones;

/// All replicated facts. Cloning copies a few pointers; a clone is a snapshot.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) revision: Revision,
    pub(crate) last_at: Timestamp,
    pub(crate) level: u8,
    pub(crate) tables: Tables,
    pub(crate) service_marks: OrdMap<ServiceKey, ServiceMarks>,
    /// The services among these that are empty.
    pub(crate) empty: OrdSet<ServiceKey>,
    pub(crate) marks: Marks,
    /// Layouts that are being woken, each with the endpoint to go on from.
    pub(crate) waking: OrdMap<Arc<str>, EndpointKey>,
    pub(crate) leases: Rows<Lease>,
    pub(crate) generation: u64,
    pub(crate) lock_delays: OrdMap<(Keyspace, Key), Timestamp>,
    pub(crate) tombstones: Tombstones,
    pub(crate) layouts: OrdMap<Arc<str>, Arc<LayoutState>>,
    pub(crate) floors: Floors,
    /// The revision at which a state of elsewhere took this one's place; 0 if none did.
    pub(crate) restored: Revision,
    /// The parts of a state that is about to.
    pub(crate) restoring: Option<Restoring>,
}

/// Last revisions at which whole tables changed, for readers of lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Nodes, their checks not included.
    pub nodes: Revision,
    /// Services: rows and what they have as members.
    pub services: Revision,
    /// Instances.
    pub instances: Revision,
    /// Checks.
    pub checks: Revision,
    /// Sessions.
    pub sessions: Revision,
    /// The largest revision at which a service's row was forgotten: the index of services that do not exist.
    pub services_gone: Revision,
    /// Per keyspace, the largest revision of a tombstone already swept.
    pub swept: [Revision; Keyspace::COUNT],
}

impl Default for State {
    fn default() -> State {
        State {
            revision: Revision::FIRST,
            last_at: Timestamp::default(),
            level: 1,
            tables: Tables::default(),
            service_marks: OrdMap::new(),
            empty: OrdSet::new(),
            marks: Marks::default(),
            waking: OrdMap::new(),
            leases: Rows::default(),
            generation: 0,
            lock_delays: OrdMap::new(),
            tombstones: Tombstones::default(),
            layouts: OrdMap::new(),
            floors: Floors::default(),
            restored: Revision(0),
            restoring: None,
        }
    }
}

impl State {
    /// The revision of this state.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The time of the last entry applied. It runs backwards only where a clock that was ahead by more than a minute was set back.
    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// The feature level that every member knows.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// The revision at which a state that was kept elsewhere took this one's place; 0 if none ever did. Rows are as they were there, with
    /// earlier revisions; whoever compares revisions of answers takes none for older than this.
    pub fn restored(&self) -> Revision {
        self.restored
    }

    /// Last revisions at which whole tables changed.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// How far back the past can be read, as all members have agreed.
    pub fn floors(&self) -> &Floors {
        &self.floors
    }

    /// The oldest revision of a keyspace, or of everything else, that members have agreed to keep readable; 0 when nothing
    /// was ever compacted.
    pub fn floor(&self, space: Option<Keyspace>) -> Revision {
        self.floors.of(space)
    }

    /// The state with earlier rows in the place of present ones: of each change the earlier side, whatever is there now.
    ///
    /// Given the first change after `revision` of every row that changed since, this is the state of that revision: rows, not
    /// leases, marks or lock delays, which are always the present ones. Given those of some rows, it is right for these.
    #[must_use]
    pub fn with_earlier<'a>(
        &self,
        changes: impl IntoIterator<Item = &'a Change>,
        revision: Revision,
    ) -> State {
        let mut state = self.clone();
        for change in changes {
            let back = state.tables.back_to_before(change);
            state.tables.install(&back);
        }
        state.revision = revision.min(self.revision);
        state
    }

    /// The state with a later batch's changes installed.
    #[must_use]
    pub fn advanced(&self, batch: &Batch) -> State {
        let mut state = self.clone();
        for change in &batch.changes {
            state.tables.install(change);
        }
        state.revision = batch.revision;
        state
    }

    /// Whether all rows (not leases and marks) are those of `other`.
    pub fn same_rows(&self, other: &State) -> bool {
        self.tables == other.tables
    }
}
