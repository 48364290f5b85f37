//! What a refused command puts back of that which is not in the change stream.

use std::sync::Arc;

use crate::endpoint::EndpointKey;
use crate::ids::{Keyspace, LeaseId, Revision, Timestamp};
use crate::layout::LayoutState;
use crate::lease::Lease;
use crate::record::Key;
use crate::state::{Floors, Marks, State};

/// What was there before, of that which is not in the change stream.
#[derive(Debug)]
pub(super) struct Undo {
    pub(super) generation: u64,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug)]
pub(super) enum Step {
    Lease(LeaseId, Option<Arc<Lease>>),
    LockDelay((Keyspace, Key), Option<Timestamp>),
    Tombstone((Keyspace, Key), Option<Revision>),
    Layout(Arc<str>, Option<Arc<LayoutState>>),
    Waking(Arc<str>, Option<EndpointKey>),
    Floors(Box<(Floors, Marks)>),
}

impl Undo {
    pub(super) fn new(state: &State) -> Undo {
        Undo {
            generation: state.generation,
            steps: Vec::new(),
        }
    }
}
