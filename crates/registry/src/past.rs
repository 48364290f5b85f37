//! Earlier states: a read at a revision takes the nearest state that is kept and works the changes in between back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use portolan_catalog::{Keyspace, Revision, State};

/// Revisions between two states that are kept.
const STEP: u64 = 512;
/// States that are kept at most.
const KEPT: usize = 64;

/// There is no state of that revision to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotThen {
    /// It is below the floor, which is given.
    Compacted(Revision),
    /// It has not been reached; the current revision is given.
    Future(Revision),
}

/// Earlier states that were worked out, so that the next reader near them has a shorter way.
#[derive(Debug, Default)]
pub(crate) struct Past(Mutex<BTreeMap<Revision, Arc<State>>>);

impl Past {
    pub(crate) fn at(
        &self,
        now: &Arc<State>,
        space: Option<Keyspace>,
        revision: Revision,
    ) -> Result<Arc<State>, NotThen> {
        let floor = now.history().floor(space);
        if revision > now.revision() {
            return Err(NotThen::Future(now.revision()));
        }
        if revision < floor {
            return Err(NotThen::Compacted(floor));
        }
        if revision == now.revision() {
            return Ok(now.clone());
        }
        let mut state = self.nearest(now, revision);
        // Keep a state every so many revisions on the way, for the next reader.
        while state.revision().0 - revision.0 > STEP {
            state = Arc::new(state.rewound(Revision(state.revision().0 - STEP)));
            self.keep(now, &state);
        }
        Ok(if state.revision() == revision {
            state
        } else {
            Arc::new(state.rewound(revision))
        })
    }

    /// The oldest state kept that is not before `revision`.
    fn nearest(&self, now: &Arc<State>, revision: Revision) -> Arc<State> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.range(revision..)
            .next()
            .map_or(now, |(_, state)| state)
            .clone()
    }

    fn keep(&self, now: &Arc<State>, state: &Arc<State>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let floor = now.history().floor(None);
        kept.retain(|revision, _| *revision >= floor);
        if kept.len() == KEPT {
            kept.pop_first();
        }
        kept.insert(state.revision(), state.clone());
    }
}
