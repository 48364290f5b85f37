//! How far back the past can be read: replicated, so that every member refuses alike.

use crate::ids::{Keyspace, Revision};

/// The oldest revisions that can be read. They move by [`crate::Command::Compact`] alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Floors {
    /// Of everything; 0 when nothing was ever compacted.
    pub all: Revision,
    /// Per keyspace, by its discriminant; what is below the floor of everything counts as that.
    pub spaces: [Revision; Keyspace::COUNT],
    /// Keyspaces that were compacted at revision 0, which leaves their floor where it was.
    pub compacted_at_zero: [bool; Keyspace::COUNT],
}

impl Floors {
    /// The oldest readable revision of a keyspace, or of everything else. 0 when nothing was ever compacted.
    pub fn of(&self, space: Option<Keyspace>) -> Revision {
        space.map_or(self.all, |space| self.all.max(self.spaces[space as usize]))
    }

    /// Whether a keyspace was ever compacted, be it at revision 0.
    pub fn was_compacted(&self, space: Keyspace) -> bool {
        self.of(Some(space)).0 > 0 || self.compacted_at_zero[space as usize]
    }
}
