//! Collects the changes of one revision: at most one per row, in the order of their first appearance.

use std::collections::BTreeMap;

use crate::change::{Change, RowKey};
use crate::state::State;

/// Beyond this many changes rows are found by an index instead of by looking through them.
const SMALL: usize = 12;

#[derive(Debug, Default)]
pub(super) struct Recorder {
    changes: Vec<Change>,
    index: BTreeMap<RowKey, usize>,
}

impl Recorder {
    /// Adds a change of a row, or extends the one that is there.
    pub(super) fn note(&mut self, change: Change) {
        match self.find(&change) {
            Some(at) => self.changes[at].merge(change),
            None => {
                if self.changes.len() == SMALL {
                    self.index = self
                        .changes
                        .iter()
                        .enumerate()
                        .filter_map(|(i, c)| Some((c.row()?, i)))
                        .collect();
                }
                if self.changes.len() >= SMALL
                    && let Some(row) = change.row()
                {
                    self.index.insert(row, self.changes.len());
                }
                self.changes.push(change);
            }
        }
    }

    fn find(&self, change: &Change) -> Option<usize> {
        if self.changes.is_empty() {
            return None;
        }
        let row = change.row()?;
        if self.changes.len() > SMALL || !self.index.is_empty() {
            return self.index.get(&row).copied();
        }
        self.changes
            .iter()
            .position(|c| c.row().as_ref() == Some(&row))
    }

    /// Whether nothing was recorded.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The state without what was recorded so far.
    pub(super) fn undone(&self, state: &State) -> State {
        let mut state = state.clone();
        for change in self.changes.iter().rev() {
            state.tables.install(&change.reversed());
        }
        state
    }

    /// What was recorded so far.
    pub(super) fn changes(&self) -> impl DoubleEndedIterator<Item = &Change> {
        self.changes.iter()
    }

    /// The changes; those that came to nothing are left out.
    pub(super) fn finish(self) -> Vec<Change> {
        self.changes.into_iter().filter(Change::differs).collect()
    }
}
