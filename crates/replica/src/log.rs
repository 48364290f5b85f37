//! The Raft log: segment files, one write and one barrier per append.
//!
//! Invariants
//! - When [`Log::append`] returns, the entries are durable and readable; appends complete in order.
//! - Nothing is ever rewritten: a truncation is a frame, and a segment is given back whole once nothing in it counts.
//! - Entries that are not applied yet are in memory; applied ones leave it beyond a small bound and are read back, checked, when asked
//!   for.
//! - After the first error the log is poisoned; only a restart helps.

pub(crate) mod frame;
mod inner;
mod readable;
mod recover;
mod segment;
mod tail;

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use portolan_environment::mutated;

pub(crate) use readable::{Hole, Logged, Readable, blanked};
pub use recover::LogError;
pub use segment::Position;
pub(crate) use segment::parse_name;

use crate::command_batch::CommandBatch;
use crate::disk::Disk;
use crate::fatal::Fatal;
#[cfg(test)]
use crate::space::Room;
use crate::space::{CONTROL, Space, SpaceOptions};
use crate::stats::Stats;
use frame::{ENTRY_HEADER, Kind};
use inner::{Inner, Segment, Slot};

/// Bytes of applied entries that stay in memory for followers that are close behind.
const KEEP_APPLIED: usize = 4 << 20;
/// Entries of one append are split into frames of at most about this many bytes.
const FRAME_LIMIT: usize = 8 << 20;
/// A single read returns at most about this many bytes of entries, and never nothing.
pub(crate) const READ_LIMIT: usize = 8 << 20;

/// What an entry holds.
#[derive(Clone, Debug)]
pub enum Body {
    /// Nothing: a new leader's first entry.
    Blank,
    /// Commands.
    Batch(CommandBatch),
    /// A membership, encoded by the consensus module.
    Membership(Bytes),
}

/// One entry.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// Term and index.
    pub position: Position,
    /// Content.
    pub body: Body,
}

impl Body {
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Body::Blank => 0,
            Body::Batch(_) => 1,
            Body::Membership(_) => 2,
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Body::Blank => &[],
            Body::Batch(batch) => batch.bytes(),
            Body::Membership(bytes) => bytes,
        }
    }

    /// The bytes to keep or send; shares them where it can.
    pub(crate) fn to_bytes(&self) -> Bytes {
        match self {
            Body::Blank => Bytes::new(),
            Body::Batch(batch) => batch.shared_bytes(),
            Body::Membership(bytes) => bytes.clone(),
        }
    }

    pub(crate) fn decode(kind: u8, bytes: Bytes) -> Option<Self> {
        match kind {
            0 => Some(Body::Blank),
            1 => Some(Body::Batch(CommandBatch::from_bytes(bytes))),
            2 => Some(Body::Membership(bytes)),
            _ => None,
        }
    }
}

/// The log. Shared by openraft's tasks, which all run on one thread, so the lock is never waited for.
#[derive(Debug)]
pub struct Log {
    inner: Mutex<Inner>,
    space: Arc<Space>,
    stats: Arc<Stats>,
}

impl Log {
    /// Opens the log of a directory, or begins one. Cuts a torn last write off; refuses damage.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn open(
        disk: Arc<dyn Disk>,
        fatal: Fatal,
        node: u64,
        options: SpaceOptions,
        stats: Arc<Stats>,
    ) -> Result<Log, LogError> {
        let io = LogError::io(disk.as_ref(), "open the log");
        let space = Space::open(disk.clone(), fatal.clone(), options).map_err(&io)?;
        let recovered = recover::recover(disk.as_ref(), node)?;
        let mut inner = Inner {
            disk: disk.clone(),
            fatal,
            node,
            segments: recovered.segments,
            slots: recovered.slots,
            first: recovered.first,
            purged: recovered.purged,
            vote: recovered.vote,
            committed: recovered.committed,
            dropped: recovered.first,
            applied: recovered.first,
            kept: 0,
            written: 0,
            syncs: 0,
            sync_us: 0,
        };
        inner.written = inner.segments.iter().map(|segment| segment.end).sum();
        if inner.segments.is_empty() {
            let size = options.first_segment_bytes.max(2 * CONTROL);
            inner.roll(&space, size).map_err(io)?;
        }
        let log = Log {
            inner: Mutex::new(inner),
            space,
            stats,
        };
        log.lock().report(&log.space, &log.stats);
        Ok(log)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The watch over the disk's space.
    #[must_use]
    pub fn space(&self) -> &Arc<Space> {
        &self.space
    }

    /// Last purged and last entry; the last entry is the purged one if there is none after it.
    #[must_use]
    pub fn ends(&self) -> (Option<Position>, Option<Position>) {
        let inner = self.lock();
        (inner.purged, inner.last())
    }

    /// The vote as it was saved.
    #[must_use]
    pub fn vote(&self) -> Option<Vec<u8>> {
        self.lock().vote.clone()
    }

    /// Saves the vote durably.
    ///
    /// # Errors
    /// Any disk error; the fatal hook has been called.
    pub fn save_vote(&self, vote: &[u8]) -> io::Result<()> {
        self.change("saving the vote", |inner, space| {
            inner.vote = Some(vote.to_vec());
            if mutated("forget-vote") {
                return Ok(());
            }
            inner.write_control(space, Kind::Vote, None, vote)
        })
    }

    /// The last entry known to be committed, at least as old as what [`Log::note_committed`] was told.
    #[must_use]
    pub fn committed(&self) -> Option<Position> {
        let inner = self.lock();
        let index = inner.committed?;
        match inner.purged {
            Some(purged) if purged.index >= index => Some(purged),
            _ => inner.position(index),
        }
    }

    /// Remembers the committed index; it reaches the disk with the next frame, since losing it only costs re-applying.
    pub fn note_committed(&self, index: Option<u64>) {
        self.lock().committed = index;
    }

    /// Writes the committed index alone, at a clean stop.
    ///
    /// # Errors
    /// Any disk error; the fatal hook has been called.
    pub fn flush_committed(&self) -> io::Result<()> {
        self.change("closing the log", |inner, space| {
            inner.write_control(space, Kind::Commit, None, &[])
        })
    }

    /// Appends entries, which must follow the last one. Durable and readable when this returns.
    ///
    /// # Errors
    /// Any disk error; the fatal hook has been called.
    pub fn append(&self, entries: Vec<Arc<LogEntry>>) -> io::Result<()> {
        self.change("writing the log", |inner, space| {
            let mut rest = entries.as_slice();
            while !rest.is_empty() {
                let mut payload = 0;
                let mut count = 0;
                for entry in rest {
                    let size = ENTRY_HEADER + entry.body.bytes().len();
                    if count > 0 && payload + size > FRAME_LIMIT {
                        break;
                    }
                    payload += size;
                    count += 1;
                }
                let (now, later) = rest.split_at(count);
                inner.write_entries(space, now, payload)?;
                rest = later;
            }
            Ok(())
        })
    }

    /// Forgets the entries after `last`; all of them for `None`. Past the end nothing happens.
    ///
    /// # Errors
    /// Any disk error; the fatal hook has been called.
    pub fn truncate_after(&self, last: Option<Position>) -> io::Result<()> {
        self.change("truncating the log", |inner, space| {
            let next = last.map_or(0, |position| position.index + 1);
            if next >= inner.next() || inner.slots.is_empty() {
                return Ok(());
            }
            if !mutated("forget-truncation") {
                inner.write_control(space, Kind::Truncate, last, &[])?;
            }
            inner.cut(next);
            Ok(())
        })
    }

    /// Forgets the entries up to `upto`, which are in a snapshot, and gives back segments that hold nothing else.
    ///
    /// # Errors
    /// Any disk error; the fatal hook has been called.
    pub fn purge(&self, upto: Position) -> io::Result<()> {
        self.change("purging the log", |inner, space| {
            if inner
                .purged
                .is_some_and(|purged| purged.index >= upto.index)
            {
                return Ok(());
            }
            inner.write_control(space, Kind::Purge, Some(upto), &[])?;
            inner.forget(upto);
            let retired = inner.take_unused();
            if !retired.is_empty() {
                space.retire(retired);
            }
            Ok(())
        })
    }

    /// Entries up to this index are in the state machine: their memory may go.
    pub fn applied(&self, index: u64) {
        self.lock().drop_applied(index);
    }

    /// Bytes of entries after `index`.
    #[must_use]
    pub fn bytes_after(&self, index: u64) -> u64 {
        let inner = self.lock();
        let skip = (index + 1).saturating_sub(inner.first);
        inner
            .slots
            .iter()
            .skip(usize::try_from(skip).unwrap_or(usize::MAX))
            .map(|slot| u64::from(slot.bytes))
            .sum()
    }

    /// Drops all applied entries from memory: after a start they hold on to whole segments.
    pub fn release(&self) {
        let mut inner = self.lock();
        let upto = (inner.applied - inner.first) as usize;
        for slot in inner.slots.iter_mut().take(upto) {
            slot.entry = None;
        }
        inner.kept = 0;
        inner.dropped = inner.applied;
    }

    /// The entries in a range of indexes, as many as exist, at most about `limit` bytes but never none.
    ///
    /// # Errors
    /// Any disk error and damaged entries; the fatal hook has been called.
    pub fn read(&self, range: Range<u64>, limit: usize) -> io::Result<Vec<Arc<LogEntry>>> {
        let inner = self.lock();
        inner.fatal.check()?;
        let from = range.start.max(inner.first);
        let to = range.end.min(inner.next());
        let mut found = Vec::new();
        let mut bytes = 0;
        for index in from..to {
            let slot = &inner.slots[(index - inner.first) as usize];
            bytes += slot.bytes as usize;
            if !found.is_empty() && bytes > limit {
                break;
            }
            found.push(match &slot.entry {
                Some(entry) => entry.clone(),
                None => inner
                    .load(slot, index)
                    .map_err(|error| inner.fatal.raise("reading the log", error))?,
            });
        }
        Ok(found)
    }

    /// Whether an entry is in the log, or was and is in the snapshot.
    #[must_use]
    pub fn has(&self, at: Position) -> bool {
        let (purged, _) = self.ends();
        if purged.is_some_and(|purged| at.index <= purged.index) {
            return true;
        }
        // One that cannot be read is reported by the log itself.
        let found = self.read(at.index..at.index + 1, 0).unwrap_or_default();
        found.first().is_some_and(|entry| entry.position == at)
    }

    fn change(
        &self,
        doing: &'static str,
        work: impl FnOnce(&mut Inner, &Space) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut inner = self.lock();
        inner.fatal.check()?;
        let done = work(&mut inner, &self.space).map_err(|error| inner.fatal.raise(doing, error));
        inner.report(&self.space, &self.stats);
        done
    }
}

#[cfg(test)]
mod tests;
