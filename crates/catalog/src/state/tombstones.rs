//! Tombstones: when keys were removed, for as long as a reader's index of a range has to take them into account.

use imbl::OrdSet;

use super::ranked::Ranked;
use crate::ids::{Keyspace, Revision};
use crate::record::{Key, KeyRange};

/// The keys that were removed, with the revisions that removed them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tombstones {
    by_key: [Ranked<Revision>; Keyspace::COUNT],
    by_revision: OrdSet<(Revision, Keyspace, Key)>,
}

impl Tombstones {
    /// Puts a tombstone or takes it away; what was there before.
    pub(crate) fn put(
        &mut self,
        space: Keyspace,
        key: &Key,
        revision: Option<Revision>,
    ) -> Option<Revision> {
        let keys = &mut self.by_key[space as usize];
        let before = match revision {
            Some(revision) => keys.insert(key.clone(), revision),
            None => keys.remove(key),
        };
        if let Some(before) = before {
            self.by_revision.remove(&(before, space, key.clone()));
        }
        if let Some(revision) = revision {
            self.by_revision.insert((revision, space, key.clone()));
        }
        before
    }

    /// The largest revision of a removal in a range; 0 when there is none.
    pub(crate) fn newest(&self, space: Keyspace, range: &KeyRange) -> Revision {
        self.by_key[space as usize].sum(range.bounds()).newest
    }

    /// Those below `floor`, oldest first.
    pub(crate) fn below(
        &self,
        floor: Revision,
    ) -> impl Iterator<Item = &(Revision, Keyspace, Key)> {
        self.by_revision
            .iter()
            .take_while(move |(revision, _, _)| *revision < floor)
    }

    /// All of them, by keyspace and key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Keyspace, &Key, Revision)> {
        Keyspace::ALL.into_iter().flat_map(|space| {
            let keys = self.by_key[space as usize].iter();
            keys.map(move |(key, revision)| (space, key, *revision))
        })
    }
}
