//! A chunk: the batches of some revisions in one file, with an index by row. It is written once and never changed.
//!
//! A file stands for itself: the first change of a row in it carries the row before, later ones refer to the one before them. So a
//! chunk can be removed, or written anew, without looking at others.

mod directory;
mod format;
mod index;
mod merge;
mod write;

use std::fmt;
use std::sync::Arc;

use portolan_catalog::stored::history::{self, Before, Head, HeadParts, Parts, fill_before};
use portolan_catalog::stored::index::Span;
use portolan_catalog::{Batch, Change, Floors, Revision, Timestamp};

use crate::files::File;
use directory::{Directory, Share};
use format::{
    Bytes, END, HEADER, MAGIC, TRAILER, VERSION, Wrong, read_exact, read_frame, u32_at, u64_at,
};
use write::CHANGE;

pub(crate) use index::Posting;
pub(crate) use merge::{MergeError, merge};
pub(crate) use write::seal;

/// Batches that are in memory at a time while a file is checked.
const CHECKED_TOGETHER: usize = 256;

/// A part of the history cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("history file \"{file}\" is damaged: {what}; revisions {from} to {through} cannot be read")]
pub struct Damage {
    /// The file.
    pub file: String,
    /// What is wrong.
    pub what: String,
    /// The first revision that it should hold.
    pub from: Revision,
    /// The last.
    pub through: Revision,
}

/// One file of the history.
pub(crate) struct Chunk {
    pub(crate) name: String,
    /// It holds everything after this revision...
    pub(crate) after: Revision,
    /// ...up to this one, but for what was forgotten since.
    pub(crate) through: Revision,
    pub(crate) length: u64,
    file: Arc<dyn File>,
    directory: Result<Directory, Wrong>,
    /// Bytes it takes in memory.
    weight: usize,
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk")
            .field("name", &self.name)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// `history-AFTER-THROUGH`, both as sixteen hexadecimal digits.
pub(crate) fn name(after: Revision, through: Revision) -> String {
    format!("history-{:016x}-{:016x}", after.0, through.0)
}

/// The inverse of [`name`].
pub(crate) fn range(name: &str) -> Option<(Revision, Revision)> {
    let (after, through) = name.strip_prefix("history-")?.split_once('-')?;
    let number = |text: &str| {
        let digits = text.len() == 16;
        u64::from_str_radix(text, 16).ok().filter(|_| digits)
    };
    Some((Revision(number(after)?), Revision(number(through)?)))
}

impl Chunk {
    /// Opens a file; one that cannot be read is a chunk all the same, whose readers get the error.
    pub(crate) fn open(
        name: String,
        (after, through): (Revision, Revision),
        file: Arc<dyn File>,
    ) -> Chunk {
        let directory = read_directory(file.as_ref());
        let weight = directory.as_ref().map_or(0, Directory::weight);
        Chunk {
            weight: size_of::<Chunk>() + name.len() + weight,
            name,
            after,
            through,
            length: file.length().unwrap_or(0),
            file,
            directory,
        }
    }

    pub(crate) fn damage(&self, what: Wrong) -> Damage {
        Damage {
            file: self.name.clone(),
            what,
            from: self.after.next(),
            through: self.through,
        }
    }

    fn directory(&self) -> Result<&Directory, Damage> {
        self.directory
            .as_ref()
            .map_err(|what| self.damage(what.clone()))
    }

    /// What is wrong with all of it, if anything is.
    pub(crate) fn broken(&self) -> Option<Damage> {
        self.directory().err()
    }

    pub(crate) fn batches(&self) -> u64 {
        self.directory.as_ref().map_or(0, |d| d.batches)
    }

    pub(crate) fn changes(&self) -> u64 {
        self.directory.as_ref().map_or(0, |d| d.changes)
    }

    /// Time of the first batch; none if there is none.
    pub(crate) fn first_at(&self) -> Option<Timestamp> {
        self.directory
            .as_ref()
            .ok()
            .filter(|d| d.batches > 0)
            .map(|d| d.first_at)
    }

    /// Time of the last batch; none if there is none.
    pub(crate) fn last_at(&self) -> Option<Timestamp> {
        self.directory
            .as_ref()
            .ok()
            .filter(|d| d.batches > 0)
            .map(|d| d.last_at)
    }

    /// Bytes it takes in memory.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// How many of its changes are below the floors.
    pub(crate) fn dead(&self, floors: &Floors) -> u64 {
        let shares: &[Share] = self.directory.as_ref().map_or(&[], |d| &d.spaces);
        shares
            .iter()
            .zip(floors.spaces)
            .map(|(share, floor)| share.below(floor))
            .sum()
    }

    fn block(&self, directory: &Directory, at: usize) -> Result<Vec<u8>, Damage> {
        let block = directory
            .blocks
            .get(at)
            .ok_or_else(|| self.damage("a block is missing".into()))?;
        read_frame(self.file.as_ref(), block.offset, block.length).map_err(|what| self.damage(what))
    }

    /// Reads items in order from a block on. `each` gets the item's kind and its record, and says whether to go on.
    fn items<E: From<Damage>>(
        &self,
        block: usize,
        mut each: impl FnMut(u64, &[u8]) -> Result<bool, E>,
    ) -> Result<(), E> {
        let directory = self.directory()?;
        for at in block..directory.blocks.len() {
            let bytes = self.block(directory, at)?;
            let mut from = Bytes(&bytes);
            while !from.0.is_empty() {
                let wrong = |what| self.damage(what);
                let head = from.number().map_err(wrong)?;
                let record = from.take(head >> 1).map_err(wrong)?;
                if !each(head & 1, record)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Reads the records of some changes, by ascending number.
    fn changes_at(
        &self,
        numbers: &[u32],
        mut each: impl FnMut(usize, Parts<'_>) -> Result<(), Wrong>,
    ) -> Result<(), Damage> {
        let directory = self.directory()?;
        let mut next = 0;
        while let Some(first) = numbers.get(next) {
            let behind = directory
                .blocks
                .partition_point(|block| block.change <= *first);
            let at = behind.saturating_sub(1);
            let bytes = self.block(directory, at)?;
            let wrong = |what| self.damage(what);
            let mut from = Bytes(&bytes);
            let mut number = directory.blocks[at].change;
            let before = next;
            while !from.0.is_empty() && next < numbers.len() {
                let head = from.number().map_err(wrong)?;
                let record = from.take(head >> 1).map_err(wrong)?;
                if head & 1 != CHANGE {
                    continue;
                }
                while numbers.get(next) == Some(&number) {
                    let parts = Parts::of(record).map_err(|error| wrong(error.to_string()))?;
                    each(next, parts).map_err(wrong)?;
                    next += 1;
                }
                number += 1;
            }
            if next == before {
                return Err(self.damage(format!("change {first} is missing")));
            }
        }
        Ok(())
    }

    /// Makes the earlier side of changes whole whose rows before stand at earlier changes: (change, number of the earlier one).
    fn fill(&self, mut open: Vec<(&mut Change, u32)>) -> Result<(), Damage> {
        open.sort_by_key(|(_, number)| *number);
        let numbers: Vec<u32> = open.iter().map(|(_, number)| *number).collect();
        self.changes_at(&numbers, |at, parts| {
            let left = parts.with_before(Before::Absent);
            let earlier = left.read().map_err(|error| error.to_string())?;
            match fill_before(open[at].0, earlier) {
                true => Ok(()),
                false => Err("a row before is of another table".into()),
            }
        })
    }

    /// The changes that postings stand for, each with the row before; the row after may be left out. In the order of `postings`.
    pub(crate) fn befores(&self, postings: &[Posting]) -> Result<Vec<Change>, Damage> {
        let mut order: Vec<usize> = (0..postings.len()).collect();
        order.sort_by_key(|at| postings[*at].change);
        let numbers: Vec<u32> = order.iter().map(|at| postings[*at].change).collect();
        let mut found: Vec<Option<Change>> = vec![None; postings.len()];
        let mut earlier: Vec<Option<u32>> = vec![None; postings.len()];
        self.changes_at(&numbers, |at, parts| {
            let place = order[at];
            found[place] = Some(parts.read().map_err(|error| error.to_string())?);
            earlier[place] = before_of(numbers[at], &parts)?;
            Ok(())
        })?;
        let mut found: Vec<Change> = found.into_iter().flatten().collect();
        let open = found
            .iter_mut()
            .zip(earlier)
            .filter_map(|(change, earlier)| Some((change, earlier?)))
            .collect();
        self.fill(open)?;
        Ok(found)
    }

    /// Whole batches, those of `wanted` (ascending), or the first `most` after `after` when there is no such list.
    pub(crate) fn read(&self, wanted: Wanted<'_>) -> Result<Vec<Arc<Batch>>, Damage> {
        let directory = self.directory()?;
        let mut heads: Vec<Head> = Vec::new();
        let mut changes: Vec<Vec<Change>> = Vec::new();
        let mut open: Vec<(usize, usize, u32)> = Vec::new();
        let mut next = wanted.first();
        while let Some(revision) = next.take() {
            // The head may be in the block before the first that begins with this revision.
            let behind = directory
                .blocks
                .partition_point(|block| block.revision < revision);
            let start = behind.saturating_sub(1);
            let Some(block) = directory.blocks.get(start) else {
                break;
            };
            let mut number = block.change;
            let mut within = false;
            self.items(start, |kind, record| {
                let wrong = |what: String| self.damage(what);
                if kind != CHANGE {
                    let parts = HeadParts::of(record).map_err(|error| wrong(error.to_string()))?;
                    match wanted.take(parts.revision, heads.len()) {
                        Take::Yes => {
                            let head =
                                history::head(record).map_err(|error| wrong(error.to_string()))?;
                            heads.push(head);
                            changes.push(Vec::new());
                            within = true;
                        }
                        Take::No => within = false,
                        Take::Later(revision) => {
                            within = false;
                            // What is wanted next may be far away.
                            let far = directory
                                .blocks
                                .partition_point(|block| block.revision < revision);
                            let here = directory
                                .blocks
                                .partition_point(|block| block.change <= number);
                            if far > here + 1 {
                                next = Some(revision);
                                return Ok(false);
                            }
                        }
                        Take::Enough => return Ok(false),
                    }
                    return Ok::<_, Damage>(true);
                }
                if let Some(list) = changes.last_mut().filter(|_| within) {
                    let parts = Parts::of(record).map_err(|error| wrong(error.to_string()))?;
                    if let Some(earlier) = before_of(number, &parts).map_err(wrong)? {
                        open.push((heads.len() - 1, list.len(), earlier));
                    }
                    list.push(parts.read().map_err(|error| wrong(error.to_string()))?);
                }
                number += 1;
                Ok(true)
            })?;
        }
        if let Wanted::These(list) = wanted
            && heads.len() < list.len()
        {
            return Err(self.damage(format!("revision {} is missing", list[heads.len()])));
        }
        let mut earlier: Vec<Vec<Option<u32>>> =
            changes.iter().map(|list| vec![None; list.len()]).collect();
        for (batch, change, number) in open {
            earlier[batch][change] = Some(number);
        }
        let open = changes
            .iter_mut()
            .flatten()
            .zip(earlier.into_iter().flatten())
            .filter_map(|(change, earlier)| Some((change, earlier?)))
            .collect();
        self.fill(open)?;
        Ok(heads
            .into_iter()
            .zip(changes)
            .map(|(head, changes)| Arc::new(head.with(changes)))
            .collect())
    }

    /// Gives the index's entries of a span that have a posting after `after`, with those postings; a key that changed often has several
    /// entries. `each` says whether to go on.
    pub(crate) fn scan(
        &self,
        span: &Span,
        after: Revision,
        mut each: impl FnMut(&[u8], &[Posting]) -> bool,
    ) -> Result<(), Damage> {
        let directory = self.directory()?;
        let begins = |block: &directory::IndexBlock| {
            (&*block.key, block.revision) <= (&*span.start, after.next())
        };
        let first = directory.index.partition_point(begins).saturating_sub(1);
        let mut found = Vec::new();
        for block in &directory.index[first..] {
            if span.end.as_deref().is_some_and(|end| &*block.key >= end) {
                break;
            }
            let wrong = |what| self.damage(what);
            let bytes =
                read_frame(self.file.as_ref(), block.offset, block.length).map_err(wrong)?;
            let more = index::read_block(&bytes, |key, mut postings| {
                if span.end.as_deref().is_some_and(|end| key >= end) {
                    return Ok(false);
                }
                if *key < *span.start {
                    return Ok(true);
                }
                found.clear();
                while let Some(posting) = postings.next()? {
                    if posting.revision > after {
                        found.push(posting);
                    }
                }
                Ok(found.is_empty() || each(key, &found))
            });
            if !more.map_err(wrong)? {
                break;
            }
        }
        Ok(())
    }

    /// All of the index.
    fn entries(&self, mut each: impl FnMut(&[u8], &[Posting])) -> Result<(), Damage> {
        let all = Span {
            start: Vec::new(),
            end: None,
        };
        self.scan(&all, Revision(0), |key, postings| {
            each(key, postings);
            true
        })
    }

    /// Reads all of it.
    pub(crate) fn check(&self) -> Result<(), Damage> {
        let mut after = self.after;
        loop {
            let batches = self.read(Wanted::After(after, self.through, CHECKED_TOGETHER))?;
            let Some(last) = batches.iter().map(|batch| batch.revision).max() else {
                break;
            };
            after = last;
        }
        self.entries(|_, _| ())
    }

    /// The last revision whose time is not after `at`.
    pub(crate) fn revision_at(&self, at: Timestamp) -> Result<Option<Revision>, Damage> {
        let directory = self.directory()?;
        let behind = directory.blocks.partition_point(|block| block.at <= at);
        let mut found = None;
        if let Some(start) = behind.checked_sub(1) {
            self.items(start, |kind, record| {
                if kind == CHANGE {
                    return Ok::<_, Damage>(true);
                }
                let head = HeadParts::of(record).map_err(|error| self.damage(error.to_string()))?;
                if head.at <= at {
                    found = Some(head.revision);
                }
                Ok(head.at <= at)
            })?;
            // The batch that a block begins inside of.
            found = found.max(Some(directory.blocks[start].revision));
        }
        Ok(found)
    }
}

/// Which batches to read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted<'a> {
    /// These, ascending.
    These(&'a [Revision]),
    /// At most so many after a revision, up to another.
    After(Revision, Revision, usize),
}

enum Take {
    Yes,
    No,
    Later(Revision),
    Enough,
}

impl Wanted<'_> {
    fn first(&self) -> Option<Revision> {
        match self {
            Wanted::These(list) => list.first().copied(),
            Wanted::After(after, until, most) => {
                (*most > 0 && after < until).then_some(after.next())
            }
        }
    }

    /// Whether to take the batch of a revision, when `taken` were taken.
    fn take(&self, revision: Revision, taken: usize) -> Take {
        match self {
            Wanted::These(list) => match list.get(taken) {
                None => Take::Enough,
                Some(next) if *next == revision => Take::Yes,
                Some(next) if *next > revision => Take::Later(*next),
                Some(_) => Take::Enough,
            },
            Wanted::After(after, until, most) => {
                if taken >= *most || revision > *until {
                    Take::Enough
                } else if revision > *after {
                    Take::Yes
                } else {
                    Take::No
                }
            }
        }
    }
}

fn before_of(number: u32, parts: &Parts<'_>) -> Result<Option<u32>, Wrong> {
    match parts.before {
        Before::Earlier(distance) => u32::try_from(distance)
            .ok()
            .and_then(|distance| number.checked_sub(distance))
            .map(Some)
            .ok_or_else(|| "a change refers to one before the first".into()),
        Before::Absent | Before::Here(_) => Ok(None),
    }
}

fn read_directory(file: &dyn File) -> Result<Directory, Wrong> {
    let length = file.length().map_err(|error| error.to_string())?;
    let end = length
        .checked_sub(TRAILER as u64)
        .filter(|end| *end >= HEADER as u64)
        .ok_or("it is too short")?;
    let mut header = [0; HEADER];
    read_exact(file, 0, &mut header)?;
    if &header[..8] != MAGIC {
        return Err("it does not begin like a file of the history".into());
    }
    let (version, records) = (u32_at(&header, 8), u32_at(&header, 12));
    if version != VERSION || records != u32::from(history::VERSION) {
        return Err(format!(
            "it has format {version}.{records}, which this version does not read"
        ));
    }
    let mut trailer = [0; TRAILER];
    read_exact(file, end, &mut trailer)?;
    if &trailer[16..] != END || crc32c::crc32c(&trailer[..12]) != u32_at(&trailer, 12) {
        return Err("it does not end like a file of the history".into());
    }
    Directory::read(&read_frame(file, u64_at(&trailer, 0), u32_at(&trailer, 8))?)
}
