//! The change log: every batch of the retention, by revision, with its cause.

use std::sync::Arc;

use imbl::Vector;

use crate::change::{Batch, Change};
use crate::entry::Cause;
use crate::ids::{Keyspace, Revision, Timestamp};
use crate::outcome::Compacted;

/// Batches whose causes are looked through for an equal one.
const RECENT: usize = 8;

/// How much history is kept; whichever bound is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Milliseconds; one hour by default.
    pub age_ms: u64,
    /// Changes; 1,000,000 by default.
    pub changes: u64,
    /// Bytes held by the changes, estimated; 256 MiB by default.
    pub bytes: u64,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention {
            age_ms: 3_600_000,
            changes: 1_000_000,
            bytes: 256 << 20,
        }
    }
}

/// The change log. Shared like everything else in the state: cloning it copies a pointer.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub(crate) batches: Vector<Arc<Batch>>,
    pub(crate) changes: u64,
    pub(crate) bytes: u64,
    /// Per keyspace, the oldest revision that can be read; at least the floor of everything.
    pub(crate) floors: [Revision; Keyspace::COUNT],
    /// Keyspaces that were compacted at revision 0, which moves no floor and is accepted once.
    pub(crate) compacted_at_zero: [bool; Keyspace::COUNT],
    /// The oldest revision that can be read or followed from at all; 0 when nothing was ever cut.
    pub(crate) floor: Revision,
}

impl History {
    /// The oldest readable revision of a keyspace, or of everything else. 0 when nothing was ever compacted.
    pub fn floor(&self, space: Option<Keyspace>) -> Revision {
        space.map_or(self.floor, |space| {
            self.floor.max(self.floors[space as usize])
        })
    }

    /// Whether a keyspace was ever compacted; also at revision 0, which leaves its floor at 0.
    pub fn was_compacted(&self, space: Keyspace) -> bool {
        self.compacted_at_zero[space as usize] || self.floor(Some(space)).0 > 0
    }

    /// Batches in the log.
    pub fn len(&self) -> usize {
        self.batches.len()
    }

    /// Whether the log is empty.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Changes in the log.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Bytes the log holds, estimated.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Every batch, newest first.
    pub fn iter_back(&self) -> impl Iterator<Item = &Arc<Batch>> {
        self.batches.iter().rev()
    }

    /// Every batch, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Batch>> {
        self.batches.iter()
    }

    /// The batch of one revision, if that is still kept.
    pub fn batch(&self, revision: Revision) -> Option<&Arc<Batch>> {
        let batch = self.batches.get(self.position(revision)?)?;
        (batch.revision == revision).then_some(batch)
    }

    /// The batches with revisions above `after`, oldest first.
    ///
    /// # Errors
    /// When the log no longer reaches back to the revision after `after`.
    pub fn after(
        &self,
        space: Option<Keyspace>,
        after: Revision,
    ) -> Result<impl Iterator<Item = &Arc<Batch>>, Compacted> {
        let floor = self.floor(space);
        if after.next() < floor {
            return Err(Compacted { floor, space });
        }
        let first = self.position(after.next()).unwrap_or(usize::MAX);
        Ok((first..self.batches.len()).filter_map(|i| self.batches.get(i)))
    }

    /// The newest batch whose time is not after `at`: the answer to "what was it then".
    pub fn revision_at(&self, at: Timestamp) -> Option<Revision> {
        let later = self.partition(|batch| batch.at <= at);
        later
            .checked_sub(1)
            .and_then(|i| self.batches.get(i))
            .map(|batch| batch.revision)
    }

    /// The oldest revision that retention keeps, given replicated time now: everything below may be compacted.
    pub fn bound(&self, retention: Retention, now: Timestamp) -> Revision {
        let oldest = now.0.saturating_sub(retention.age_ms);
        let mut cut = self.partition(|batch| batch.at.0 < oldest);
        let (mut changes, mut bytes) = (self.changes, self.bytes);
        for (i, batch) in self.batches.iter().enumerate() {
            if changes <= retention.changes && bytes <= retention.bytes {
                break;
            }
            changes -= batch.changes.len() as u64;
            bytes = bytes.saturating_sub(weight(batch));
            cut = cut.max(i + 1);
        }
        self.batches
            .get(cut)
            .or(self.batches.back())
            .map_or(self.floor, |batch| batch.revision)
    }

    /// The cause as one of the last batches holds it already: a client's calls follow one another.
    pub(crate) fn shared_cause(&self, cause: &Arc<Cause>) -> Arc<Cause> {
        let last = self.batches.len().saturating_sub(RECENT)..self.batches.len();
        let recent = last
            .filter_map(|i| self.batches.get(i))
            .find(|batch| batch.cause == *cause);
        recent.map_or(cause, |batch| &batch.cause).clone()
    }

    pub(crate) fn push(&mut self, batch: Arc<Batch>) {
        self.changes += batch.changes.len() as u64;
        self.bytes += weight(&batch);
        self.batches.push_back(batch);
    }

    /// Cuts everything below `floor`; the batch of the floor itself stays, since a watch may start there.
    pub(crate) fn cut(&mut self, floor: Revision) {
        self.floor = self.floor.max(floor);
        while let Some(batch) = self.batches.front().filter(|batch| batch.revision < floor) {
            self.changes -= batch.changes.len() as u64;
            self.bytes = self.bytes.saturating_sub(weight(batch));
            self.batches.pop_front();
        }
    }

    fn position(&self, revision: Revision) -> Option<usize> {
        let first = self.batches.front()?.revision;
        usize::try_from(revision.0.saturating_sub(first.0)).ok()
    }

    fn partition(&self, before: impl Fn(&Batch) -> bool) -> usize {
        let (mut low, mut high) = (0, self.batches.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.batches.get(middle).is_some_and(|batch| before(batch)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// Bytes a batch keeps from being freed, estimated: rows that a later change replaced live on in the log alone.
fn weight(batch: &Batch) -> u64 {
    let change = |change: &Change| match change {
        Change::Record {
            key, before, after, ..
        } => {
            let value = |r: &Arc<crate::record::Record>| r.value.as_ref().map_or(0, |v| v.len());
            96 + key.len()
                + 200
                + before
                    .as_ref()
                    .map_or(0, value)
                    .max(after.as_ref().map_or(0, value))
        }
        Change::Instance { .. } => 700,
        Change::Check { .. } => 300,
        Change::Endpoint { .. } => 250,
        Change::Service { .. }
        | Change::Namespace { .. }
        | Change::Node { .. }
        | Change::Session { .. } => 400,
    };
    160 + batch.changes.iter().map(|c| change(c) as u64).sum::<u64>()
}
