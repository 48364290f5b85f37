//! Collects the changes of one revision, in the order of their first appearance: one per row, except that a client's put and its
//! delete of one etcd key or znode stay two changes, because watchers there see both.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::change::{Change, RowKey};
use crate::ids::Keyspace;
use crate::record::Record;

/// Beyond this many changes rows are found by an index instead of by looking through them.
const SMALL: usize = 12;

#[derive(Debug)]
pub(super) struct Recorder {
    /// The feature level: a client's put and its delete of one etcd key stay apart from 2 on, of a znode from 3 on.
    level: u8,
    changes: Vec<Change>,
    /// The last change of each row, once there are many.
    index: BTreeMap<RowKey, usize>,
}

impl Recorder {
    /// Nothing recorded yet, at a feature level.
    pub(super) fn at(level: u8) -> Recorder {
        Recorder {
            level,
            changes: Vec::new(),
            index: BTreeMap::new(),
        }
    }

    /// Adds a change of a row, or extends the last one that is there.
    pub(super) fn note(&mut self, change: Change) {
        match self.find(&change) {
            Some(at) if !stays_apart(self.level, &self.changes[at], &change) => {
                self.changes[at].merge(change);
            }
            _ => {
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
            .rposition(|c| c.row().as_ref() == Some(&row))
    }

    /// Whether nothing was recorded.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
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

/// Whether a later change of the same row is a change of its own: in etcd's keyspace or the tree a client's record that is put and then deleted, or
/// deleted and then put, within one transaction. Derived records come and go as a consequence and are joined.
fn stays_apart(level: u8, earlier: &Change, later: &Change) -> bool {
    let (
        Change::Record {
            space,
            after: between,
            ..
        },
        Change::Record { after, .. },
    ) = (earlier, later)
    else {
        return false;
    };
    let from = match space {
        Keyspace::Etcd => 2,
        Keyspace::Znodes => 3,
        _ => return false,
    };
    if level < from {
        return false;
    }
    let own = |record: &Option<Arc<Record>>| {
        record
            .as_ref()
            .is_none_or(|record| record.derived_from.is_none())
    };
    between.is_some() != after.is_some() && own(between) && own(after)
}
