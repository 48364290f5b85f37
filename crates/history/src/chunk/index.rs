//! A chunk's index: for every key the revisions at which it changed, sorted by key and revision.
//!
//! ```text
//! entry    bytes shared with the key before · length · rest of the key · length of the postings · postings
//! posting  revision, less the one before · number of the change, less the one before, times two, plus one if there was a row before
//! ```

use portolan_catalog::Revision;

use super::directory::IndexBlock;
use super::format::{Bytes, Wrong, put_frame, put_number};

/// A block of the index is closed when it has grown this long.
const BLOCK: usize = 4 << 10;
/// Postings of one entry; a key that changed more often has several.
const POSTINGS: usize = 128;

/// One change of a row, as the index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Posting {
    pub(crate) revision: Revision,
    /// The change's number in the chunk.
    pub(crate) change: u32,
    /// Whether there was a row before.
    pub(crate) had: bool,
}

/// Keys and postings on their way into a file.
#[derive(Default)]
pub(super) struct Entries {
    keys: Vec<u8>,
    all: Vec<Entry>,
}

#[derive(Clone, Copy)]
struct Entry {
    start: u32,
    end: u32,
    posting: Posting,
}

impl Entries {
    pub(super) fn push(&mut self, key: &[u8], posting: Posting) {
        let start = self.keys.len() as u32;
        self.keys.extend_from_slice(key);
        self.all.push(Entry {
            start,
            end: self.keys.len() as u32,
            posting,
        });
    }

    /// As [`Entries::push`], for a key that several postings have.
    pub(super) fn push_all(&mut self, key: &[u8], postings: impl Iterator<Item = Posting>) {
        let start = self.keys.len() as u32;
        self.keys.extend_from_slice(key);
        let end = self.keys.len() as u32;
        self.all.extend(postings.map(|posting| Entry {
            start,
            end,
            posting,
        }));
    }

    fn key(&self, entry: &Entry) -> &[u8] {
        &self.keys[entry.start as usize..entry.end as usize]
    }

    pub(super) fn sort(&mut self) {
        let mut all = std::mem::take(&mut self.all);
        // A stable sort makes use of what is in order already: when chunks are merged, each of them.
        all.sort_by(|a, b| {
            let order = |entry: &Entry| (entry.posting.revision, entry.posting.change);
            let keys = match a.start == b.start {
                true => std::cmp::Ordering::Equal,
                false => self.key(a).cmp(self.key(b)),
            };
            keys.then(order(a).cmp(&order(b)))
        });
        self.all = all;
    }

    /// The postings of each key. Sorted before.
    pub(super) fn groups(&self) -> impl Iterator<Item = (&[u8], impl Iterator<Item = Posting>)> {
        self.all
            .chunk_by(|a, b| a.start == b.start || self.key(a) == self.key(b))
            .map(|group| (self.key(&group[0]), group.iter().map(|entry| entry.posting)))
    }

    /// Gives each block's bytes, as a frame, to `emit`, which answers where they are.
    pub(super) fn write<E>(
        &self,
        mut emit: impl FnMut(&[u8]) -> Result<u64, E>,
    ) -> Result<Vec<IndexBlock>, E> {
        let mut blocks = Vec::new();
        let mut block = Vec::new();
        let mut first: Option<(Box<[u8]>, Revision)> = None;
        let mut before: Vec<u8> = Vec::new();
        let mut frame = Vec::new();
        let mut close = |block: &mut Vec<u8>, first: &mut Option<(Box<[u8]>, Revision)>| {
            let Some((key, revision)) = first.take() else {
                return Ok(());
            };
            frame.clear();
            put_frame(block, &mut frame);
            block.clear();
            let offset = emit(&frame)?;
            blocks.push(IndexBlock {
                offset,
                length: frame.len() as u32,
                revision,
                key,
            });
            Ok(())
        };
        let mut postings = Vec::new();
        for (key, group) in self.groups() {
            let group: Vec<Posting> = group.collect();
            for part in group.chunks(POSTINGS) {
                if block.len() >= BLOCK {
                    close(&mut block, &mut first)?;
                    before.clear();
                }
                if first.is_none() {
                    first = Some((key.into(), part[0].revision));
                }
                let shared = before.iter().zip(key).take_while(|(a, b)| a == b).count();
                put_number(shared as u64, &mut block);
                put_number((key.len() - shared) as u64, &mut block);
                block.extend_from_slice(&key[shared..]);
                before.truncate(shared);
                before.extend_from_slice(&key[shared..]);
                postings.clear();
                let (mut revision, mut change) = (0, 0);
                for posting in part {
                    put_number(posting.revision.0 - revision, &mut postings);
                    let number = u64::from(posting.change);
                    put_number(
                        (number - change) << 1 | u64::from(posting.had),
                        &mut postings,
                    );
                    (revision, change) = (posting.revision.0, number);
                }
                put_number(postings.len() as u64, &mut block);
                block.extend_from_slice(&postings);
            }
        }
        close(&mut block, &mut first)?;
        Ok(blocks)
    }
}

/// Reads the entries of one block in order. `each` says whether to go on.
pub(super) fn read_block(
    bytes: &[u8],
    mut each: impl FnMut(&[u8], Postings<'_>) -> Result<bool, Wrong>,
) -> Result<bool, Wrong> {
    let mut from = Bytes(bytes);
    let mut key = Vec::new();
    while !from.0.is_empty() {
        let shared = usize::try_from(from.number()?).unwrap_or(usize::MAX);
        if shared > key.len() {
            return Err("a key of the index is bad".into());
        }
        key.truncate(shared);
        let rest = from.number()?;
        key.extend_from_slice(from.take(rest)?);
        let length = from.number()?;
        let postings = Postings {
            from: Bytes(from.take(length)?),
            revision: 0,
            change: 0,
        };
        if !each(&key, postings)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The postings of one entry, in order.
pub(super) struct Postings<'a> {
    from: Bytes<'a>,
    revision: u64,
    change: u64,
}

impl Postings<'_> {
    pub(super) fn next(&mut self) -> Result<Option<Posting>, Wrong> {
        if self.from.0.is_empty() {
            return Ok(None);
        }
        self.revision = self.revision.saturating_add(self.from.number()?);
        let packed = self.from.number()?;
        self.change = self.change.saturating_add(packed >> 1);
        Ok(Some(Posting {
            revision: Revision(self.revision),
            change: u32::try_from(self.change).map_err(|_| "a change's number is too great")?,
            had: packed & 1 == 1,
        }))
    }
}
