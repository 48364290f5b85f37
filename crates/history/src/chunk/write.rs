//! Writing a chunk: items into blocks, then the index, then the directory.

use std::io::{self, Write};
use std::sync::Arc;

use portolan_catalog::stored::history::{put_change, put_head};
use portolan_catalog::stored::index::{is_row, keys, record_of};
use portolan_catalog::{Batch, Change, Floors, Keyspace, Revision, Timestamp};

use super::directory::{Block, Directory};
use super::format::{END, MAGIC, VERSION, put_frame, put_number};
use super::index::{Entries, Posting};

/// A block is closed when it has grown this long: a row is found by reading one.
const BLOCK: usize = 16 << 10;

/// Kinds of items.
pub(super) const HEAD: u64 = 0;
pub(super) const CHANGE: u64 = 1;

/// Whether a change of the row under `key` at `revision` is to be forgotten.
pub(super) fn forgotten(key: &[u8], revision: Revision, floors: &Floors) -> bool {
    record_of(key).is_some_and(|(space, _)| revision < floors.spaces[space as usize])
}

/// Puts a chunk's bytes together.
pub(super) struct Writer<'a> {
    out: &'a mut dyn Write,
    offset: u64,
    block: Vec<u8>,
    frame: Vec<u8>,
    open: Option<Block>,
    directory: Directory,
    revision: Revision,
    at: Timestamp,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> io::Result<Writer<'a>> {
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&VERSION.to_le_bytes());
        let records = u32::from(portolan_catalog::stored::history::VERSION);
        header.extend_from_slice(&records.to_le_bytes());
        out.write_all(&header)?;
        Ok(Writer {
            out,
            offset: header.len() as u64,
            block: Vec::new(),
            frame: Vec::new(),
            open: None,
            directory: Directory::default(),
            revision: Revision(0),
            at: Timestamp(0),
        })
    }

    /// Begins a batch.
    pub(super) fn head(
        &mut self,
        revision: Revision,
        at: Timestamp,
        record: &[u8],
    ) -> io::Result<()> {
        (self.revision, self.at) = (revision, at);
        if self.directory.batches == 0 {
            (self.directory.first, self.directory.first_at) = (revision, at);
        }
        (self.directory.last, self.directory.last_at) = (revision, at);
        self.directory.batches += 1;
        self.item(HEAD, record)
    }

    /// The next change of the batch begun last.
    pub(super) fn change(&mut self, space: Option<Keyspace>, record: &[u8]) -> io::Result<()> {
        if let Some(space) = space {
            self.directory.spaces[space as usize].note(self.revision);
        }
        self.item(CHANGE, record)?;
        self.directory.changes += 1;
        Ok(())
    }

    /// Number of the next change.
    pub(super) fn next_change(&self) -> u64 {
        self.directory.changes
    }

    fn item(&mut self, kind: u64, record: &[u8]) -> io::Result<()> {
        if self.block.len() >= BLOCK {
            self.close()?;
        }
        if self.open.is_none() {
            self.open = Some(Block {
                offset: self.offset,
                length: 0,
                change: self.directory.changes as u32,
                revision: self.revision,
                at: self.at,
            });
        }
        put_number((record.len() as u64) << 1 | kind, &mut self.block);
        self.block.extend_from_slice(record);
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        let Some(block) = self.open.take() else {
            return Ok(());
        };
        let raw = std::mem::take(&mut self.block);
        let (offset, length) = self.frame(&raw)?;
        self.block = raw;
        self.block.clear();
        self.directory.blocks.push(Block {
            offset,
            length,
            ..block
        });
        Ok(())
    }

    /// Writes a frame; gives back where it is and how long.
    fn frame(&mut self, raw: &[u8]) -> io::Result<(u64, u32)> {
        self.frame.clear();
        put_frame(raw, &mut self.frame);
        self.out.write_all(&self.frame)?;
        let offset = self.offset;
        self.offset += self.frame.len() as u64;
        Ok((offset, self.frame.len() as u32))
    }

    /// Writes index and directory. `entries` are sorted.
    pub(super) fn finish(mut self, entries: &Entries) -> io::Result<()> {
        self.close()?;
        let (out, offset) = (&mut self.out, &mut self.offset);
        self.directory.index = entries.write(|frame| {
            out.write_all(frame)?;
            let at = *offset;
            *offset += frame.len() as u64;
            Ok::<_, io::Error>(at)
        })?;
        let mut raw = Vec::new();
        self.directory.put(&mut raw);
        let (offset, length) = self.frame(&raw)?;
        let mut trailer = offset.to_le_bytes().to_vec();
        trailer.extend_from_slice(&length.to_le_bytes());
        trailer.extend_from_slice(&crc32c::crc32c(&trailer).to_le_bytes());
        trailer.extend_from_slice(END);
        self.out.write_all(&trailer)
    }
}

/// Writes batches as a chunk, without what is below its keyspace's floor.
pub(crate) fn seal(batches: &[Arc<Batch>], floors: &Floors, out: &mut dyn Write) -> io::Result<()> {
    let mut entries = Entries::default();
    let mut number = 0_u32;
    // Per batch, the number of its first change, and how many are kept.
    let mut kept = Vec::with_capacity(batches.len());
    let mut places: Vec<Option<u32>> = Vec::new();
    for batch in batches {
        let first = number;
        places.clear();
        places.extend(batch.changes.iter().map(|change| {
            let keep = !forgets(change, batch.revision, floors);
            let place = keep.then_some(number);
            number += u32::from(keep);
            place
        }));
        kept.push(number - first);
        if number == first {
            continue;
        }
        keys(batch, |key, change| {
            let place = match change {
                Some(change) => places[change],
                None => Some(first),
            };
            if let Some(place) = place {
                let had = change.is_some_and(|change| batch.changes[change].presence().0);
                entries.push(
                    key,
                    Posting {
                        revision: batch.revision,
                        change: place,
                        had,
                    },
                );
            }
        });
    }
    entries.sort();
    let earlier = earlier(&entries, number);
    let mut writer = Writer::new(out)?;
    let mut record = Vec::new();
    for (batch, kept) in batches.iter().zip(kept) {
        if kept == 0 {
            continue;
        }
        record.clear();
        put_head(batch, kept.into(), &mut record);
        writer.head(batch.revision, batch.at, &record)?;
        for change in &batch.changes {
            if forgets(change, batch.revision, floors) {
                continue;
            }
            let number = writer.next_change();
            let distance = earlier[number as usize].map(|earlier| number - u64::from(earlier));
            record.clear();
            put_change(change, distance, &mut record);
            let space = match change {
                Change::Record { space, .. } => Some(*space),
                _ => None,
            };
            writer.change(space, &record)?;
        }
    }
    writer.finish(&entries)
}

fn forgets(change: &Change, revision: Revision, floors: &Floors) -> bool {
    match change {
        Change::Record { space, .. } => revision < floors.spaces[*space as usize],
        _ => false,
    }
}

/// Per change, the number of the row's change before it.
pub(super) fn earlier(entries: &Entries, changes: u32) -> Vec<Option<u32>> {
    let mut earlier = vec![None; changes as usize];
    for (_, postings) in entries.groups().filter(|(key, _)| is_row(key)) {
        let mut last = None;
        for posting in postings {
            if let Some(place) = earlier.get_mut(posting.change as usize) {
                *place = last;
            }
            last = Some(posting.change);
        }
    }
    earlier
}
