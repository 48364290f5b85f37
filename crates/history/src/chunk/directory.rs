//! What of a chunk is in memory: where its blocks are, and what it holds in numbers.

use portolan_catalog::{Keyspace, Revision, Timestamp};

use super::format::{Bytes, Wrong, put_number};

/// A block of items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) offset: u64,
    pub(super) length: u32,
    /// Number of the first change that begins in this block or later.
    pub(super) change: u32,
    /// Revision of the batch that the first item belongs to.
    pub(super) revision: Revision,
    /// Its time.
    pub(super) at: Timestamp,
}

/// A block of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IndexBlock {
    pub(super) offset: u64,
    pub(super) length: u32,
    /// Revision of its first entry.
    pub(super) revision: Revision,
    /// Key of its first entry.
    pub(super) key: Box<[u8]>,
}

/// Changes of one keyspace in a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    /// How many.
    pub(crate) changes: u64,
    /// Revisions of the first and the last.
    pub(crate) first: Revision,
    pub(crate) last: Revision,
}

impl Share {
    pub(super) fn note(&mut self, revision: Revision) {
        if self.changes == 0 {
            self.first = revision;
        }
        self.changes += 1;
        self.last = revision;
    }

    /// How many of them are below `floor`, taking them for evenly spread.
    pub(crate) fn below(&self, floor: Revision) -> u64 {
        if self.changes == 0 || floor <= self.first {
            return 0;
        }
        let width = self.last.0 - self.first.0 + 1;
        let below = (floor.0 - self.first.0).min(width);
        let share = u128::from(self.changes) * u128::from(below) / u128::from(width);
        u64::try_from(share).unwrap_or(self.changes).max(1)
    }
}

/// A chunk in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) batches: u64,
    pub(crate) changes: u64,
    /// Of the first and the last batch in it; there may be none.
    pub(crate) first: Revision,
    pub(crate) last: Revision,
    pub(crate) first_at: Timestamp,
    pub(crate) last_at: Timestamp,
    pub(crate) spaces: [Share; Keyspace::COUNT],
    pub(super) blocks: Vec<Block>,
    pub(super) index: Vec<IndexBlock>,
}

impl Directory {
    /// Bytes it takes in memory.
    pub(crate) fn weight(&self) -> usize {
        let keys: usize = self.index.iter().map(|block| block.key.len() + 16).sum();
        size_of::<Directory>()
            + self.blocks.len() * size_of::<Block>()
            + self.index.len() * size_of::<IndexBlock>()
            + keys
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        for number in [
            self.batches,
            self.changes,
            self.first.0,
            self.last.0,
            self.first_at.0,
            self.last_at.0,
            self.spaces.len() as u64,
        ] {
            put_number(number, out);
        }
        for share in &self.spaces {
            put_number(share.changes, out);
            put_number(share.first.0, out);
            put_number(share.last.0, out);
        }
        put_number(self.blocks.len() as u64, out);
        for block in &self.blocks {
            put_number(block.offset, out);
            put_number(block.length.into(), out);
            put_number(block.change.into(), out);
            put_number(block.revision.0, out);
            put_number(block.at.0, out);
        }
        put_number(self.index.len() as u64, out);
        for block in &self.index {
            put_number(block.offset, out);
            put_number(block.length.into(), out);
            put_number(block.revision.0, out);
            put_number(block.key.len() as u64, out);
            out.extend_from_slice(&block.key);
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Directory, Wrong> {
        let mut from = Bytes(bytes);
        let mut directory = Directory {
            batches: from.number()?,
            changes: from.number()?,
            first: Revision(from.number()?),
            last: Revision(from.number()?),
            first_at: Timestamp(from.number()?),
            last_at: Timestamp(from.number()?),
            ..Directory::default()
        };
        let spaces = from.number()?;
        for place in 0..spaces {
            let share = Share {
                changes: from.number()?,
                first: Revision(from.number()?),
                last: Revision(from.number()?),
            };
            let place = usize::try_from(place).unwrap_or(usize::MAX);
            *directory
                .spaces
                .get_mut(place)
                .ok_or("it has keyspaces that this version does not know")? = share;
        }
        for _ in 0..from.number()? {
            directory.blocks.push(Block {
                offset: from.number()?,
                length: from.small()?,
                change: from.small()?,
                revision: Revision(from.number()?),
                at: Timestamp(from.number()?),
            });
        }
        for _ in 0..from.number()? {
            let (offset, length) = (from.number()?, from.small()?);
            let revision = Revision(from.number()?);
            let key = from.number()?;
            directory.index.push(IndexBlock {
                offset,
                length,
                revision,
                key: from.take(key)?.into(),
            });
        }
        Ok(directory)
    }
}
