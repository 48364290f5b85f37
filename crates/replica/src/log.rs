//! The Raft log: segment files, one write and one barrier per append.
//!
//! Invariants
//! - When [`Log::append`] returns, the entries are durable and readable; appends complete in order.
//! - Nothing is ever rewritten: a truncation is a record, and a segment is given back whole once nothing in it counts.
//! - Entries that are not applied yet are in memory; applied ones leave it beyond a small bound and are read back, checked, when asked
//!   for.
//! - After the first error the log is poisoned; only a restart helps.

pub(crate) mod frame;
mod recover;
mod segment;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

pub use recover::LogError;
pub use segment::Position;

use crate::batch::Batch;
use crate::disk::{Disk, DiskFile, read_exact_at};
use crate::fatal::Fatal;
#[cfg(test)]
use crate::full::Room;
use crate::full::{CONTROL, Space, SpaceOptions};
use crate::stats::Stats;
use frame::{ENTRY_HEADER, HEADER, Header, Kind, frame_size};
use segment::{Carried, FILE_HEADER, FileHeader, file_name};

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
    Batch(Batch),
    /// A membership, encoded by the consensus module.
    Membership(Bytes),
}

/// One entry.
#[derive(Clone, Debug)]
pub struct Record {
    /// Term and index.
    pub position: Position,
    /// Content.
    pub body: Body,
}

impl Body {
    fn kind(&self) -> u8 {
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

    fn decode(kind: u8, bytes: Bytes) -> Option<Self> {
        match kind {
            0 => Some(Body::Blank),
            1 => Some(Body::Batch(Batch::from_bytes(bytes))),
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

#[derive(Debug)]
struct Inner {
    disk: Arc<dyn Disk>,
    fatal: Fatal,
    node: u64,
    segments: VecDeque<Segment>,
    slots: VecDeque<Slot>,
    /// Index of the first slot.
    first: u64,
    purged: Option<Position>,
    vote: Option<Vec<u8>>,
    /// Index of the last entry known to be committed, and what of it has reached the disk.
    committed: Option<u64>,
    /// Applied entries that are still in memory: from `dropped` to `applied`, together `kept` bytes.
    dropped: u64,
    applied: u64,
    kept: usize,
    written: u64,
    syncs: u64,
    sync_us: u64,
}

/// A file; the last one is written to.
#[derive(Debug)]
struct Segment {
    number: u64,
    file: Arc<dyn DiskFile>,
    size: u64,
    /// Where the next frame goes, or where the last one ended.
    end: u64,
}

/// Where an entry is.
#[derive(Debug)]
struct Slot {
    term: u64,
    segment: u64,
    offset: u64,
    bytes: u32,
    record: Option<Arc<Record>>,
}

impl Log {
    /// Opens the log of a directory, or begins one. Cuts a torn tail; refuses any other damage.
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
    pub fn append(&self, records: Vec<Arc<Record>>) -> io::Result<()> {
        self.change("writing the log", |inner, space| {
            let mut rest = records.as_slice();
            while !rest.is_empty() {
                let mut payload = 0;
                let mut count = 0;
                for record in rest {
                    let size = ENTRY_HEADER + record.body.bytes().len();
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
            inner.write_control(space, Kind::Truncate, last, &[])?;
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

    /// Drops all applied entries from memory: after a start they hold on to whole segments.
    pub fn release(&self) {
        let mut inner = self.lock();
        let upto = (inner.applied - inner.first) as usize;
        for slot in inner.slots.iter_mut().take(upto) {
            slot.record = None;
        }
        inner.kept = 0;
        inner.dropped = inner.applied;
    }

    /// The entries in a range of indexes, as many as exist, at most about `limit` bytes but never none.
    ///
    /// # Errors
    /// Any disk error and damaged records; the fatal hook has been called.
    pub fn read(&self, range: Range<u64>, limit: usize) -> io::Result<Vec<Arc<Record>>> {
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
            found.push(match &slot.record {
                Some(record) => record.clone(),
                None => inner
                    .load(slot, index)
                    .map_err(|error| inner.fatal.raise("reading the log", error))?,
            });
        }
        Ok(found)
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

impl Inner {
    fn next(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    fn last(&self) -> Option<Position> {
        match self.slots.back() {
            Some(slot) => Some(Position {
                term: slot.term,
                index: self.next() - 1,
            }),
            None => self.purged,
        }
    }

    fn position(&self, index: u64) -> Option<Position> {
        let place = usize::try_from(index.checked_sub(self.first)?).ok()?;
        let term = self.slots.get(place)?.term;
        Some(Position { term, index })
    }

    fn report(&self, space: &Space, stats: &Stats) {
        let Some(active) = self.segments.back() else {
            return;
        };
        space.set_room(active.size.saturating_sub(active.end));
        let total: u64 = self.segments.iter().map(|segment| segment.end).sum();
        stats.log_written.set(self.written);
        stats.log_syncs.set(self.syncs);
        stats.log_sync_us.set(self.sync_us);
        stats.disk_full.set(u64::from(space.full()));
        stats.log_bytes.set(total);
        stats.log_segments.set(self.segments.len() as u64);
        stats.log_entries.set(self.slots.len() as u64);
    }

    fn write_entries(
        &mut self,
        space: &Space,
        records: &[Arc<Record>],
        payload: usize,
    ) -> io::Result<()> {
        let Some(head) = records.first() else {
            return Ok(());
        };
        if self.slots.is_empty() && self.purged.is_none() {
            self.first = head.position.index;
            self.dropped = self.first;
            self.applied = self.first;
        }
        if head.position.index != self.next() {
            return Err(io::Error::other(format!(
                "entry {} does not follow entry {}",
                head.position.index,
                self.next()
            )));
        }
        let mut headers = Vec::with_capacity(records.len());
        for record in records {
            let Position { term, index } = record.position;
            let bytes = record.body.bytes().len();
            headers.push(
                frame::entry_header(record.body.kind(), term, index, bytes)
                    .ok_or_else(|| io::Error::other("entry longer than 4 GiB"))?,
            );
        }
        let parts: Vec<&[u8]> = headers
            .iter()
            .zip(records)
            .flat_map(|(header, record)| [header.as_slice(), record.body.bytes()])
            .collect();
        let header = Header {
            kind: Kind::Entries,
            length: u32::try_from(payload).map_err(|_| io::Error::other("frame too long"))?,
            count: records.len() as u32,
            term: head.position.term,
            index: head.position.index,
            committed: self.committed.map_or(0, |index| index + 1),
        };
        let (segment, offset) = self.write_frame(space, &header, &parts)?;
        for record in records {
            self.slots.push_back(Slot {
                term: record.position.term,
                segment,
                offset,
                bytes: record.body.bytes().len() as u32,
                record: Some(record.clone()),
            });
        }
        Ok(())
    }

    fn write_control(
        &mut self,
        space: &Space,
        kind: Kind,
        position: Option<Position>,
        payload: &[u8],
    ) -> io::Result<()> {
        let header = Header {
            kind,
            length: payload.len() as u32,
            count: u32::from(position.is_some()),
            term: position.map_or(0, |position| position.term),
            index: position.map_or(0, |position| position.index),
            committed: self.committed.map_or(0, |index| index + 1),
        };
        self.write_frame(space, &header, &[payload]).map(|_| ())
    }

    /// One write, one barrier. Returns where the frame is.
    fn write_frame(
        &mut self,
        space: &Space,
        header: &Header,
        payload: &[&[u8]],
    ) -> io::Result<(u64, u64)> {
        let size = frame_size(header.length as usize);
        // Control frames may use the last bytes of a segment, entries leave room for them.
        let need = match header.kind {
            Kind::Entries => size + CONTROL,
            _ => size,
        };
        if self
            .segments
            .back()
            .is_none_or(|active| active.size < active.end + need)
        {
            self.roll(space, need)?;
        }
        let Some(active) = self.segments.back_mut() else {
            return Err(io::Error::other("no segment to write to"));
        };
        let bytes = header.encode(frame::seed(active.number), payload.iter().copied());
        let padding = [0; 8];
        let length = HEADER + header.length as usize;
        let mut parts = Vec::with_capacity(payload.len() + 2);
        parts.push(IoSlice::new(&bytes));
        parts.extend(payload.iter().map(|part| IoSlice::new(part)));
        parts.push(IoSlice::new(&padding[..size as usize - length]));
        let start = tokio::time::Instant::now();
        active.file.write_at(active.end, &mut parts)?;
        active.file.sync_data()?;
        self.sync_us += u64::try_from(start.elapsed().as_micros()).unwrap_or(0);
        self.syncs += 1;
        self.written += size;
        let place = (active.number, active.end);
        active.end += size;
        Ok(place)
    }

    /// Begins the next segment with at least `need` bytes of room.
    fn roll(&mut self, space: &Space, need: u64) -> io::Result<()> {
        let carried = Carried {
            purged: self.purged,
            last: self.last(),
            vote: self.vote.clone(),
        }
        .encode();
        let number = self.segments.back().map_or(1, |active| active.number + 1);
        let previous_end = self.segments.back().map_or(0, |active| active.end);
        let start = FILE_HEADER as u64 + frame_size(carried.len());
        let header = Header {
            kind: Kind::State,
            length: carried.len() as u32,
            count: 0,
            term: 0,
            index: 0,
            committed: self.committed.map_or(0, |index| index + 1),
        };
        let mut head = Vec::with_capacity(start as usize);
        head.extend_from_slice(
            &FileHeader {
                segment: number,
                node: self.node,
                previous_end,
            }
            .encode(),
        );
        head.extend_from_slice(
            &header.encode(frame::seed(number), std::iter::once(carried.as_slice())),
        );
        head.extend_from_slice(&carried);
        head.resize(start as usize, 0);
        let disk = self.disk.clone();
        let (file, size) = space.take(start + need + CONTROL, |file, size, name| {
            file.write_at(0, &mut [IoSlice::new(&head)])?;
            file.sync_data()?;
            disk.rename(name, &file_name(number))?;
            disk.sync_directory()?;
            Ok((file, size))
        })?;
        self.segments.push_back(Segment {
            number,
            file,
            size,
            end: start,
        });
        Ok(())
    }

    /// Drops the slots from index `next` on.
    fn cut(&mut self, next: u64) {
        let keep = usize::try_from(next.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.slots.truncate(keep);
        let end = self.next();
        self.dropped = self.dropped.min(end);
        self.applied = self.applied.min(end);
        if self.committed.is_some_and(|index| index >= end) {
            self.committed = end.checked_sub(1);
        }
    }

    /// Drops the slots up to `upto`.
    fn forget(&mut self, upto: Position) {
        let next = upto.index + 1;
        self.drop_applied(upto.index);
        let count = usize::try_from(next.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let count = count.min(self.slots.len());
        for slot in self.slots.drain(..count) {
            if slot.record.is_some() {
                self.kept = self.kept.saturating_sub(slot.bytes as usize);
            }
        }
        self.first = next;
        self.dropped = self.dropped.max(next);
        self.applied = self.applied.max(next);
        self.purged = Some(upto);
    }

    /// Takes the segments out that hold no entry that counts, but for the active one.
    fn take_unused(&mut self) -> Vec<String> {
        let oldest = self.slots.front().map(|slot| slot.segment);
        let mut unused = Vec::new();
        while self.segments.len() > 1 {
            let Some(segment) = self.segments.front() else {
                break;
            };
            if oldest.is_some_and(|oldest| segment.number >= oldest) {
                break;
            }
            unused.push(file_name(segment.number));
            self.segments.pop_front();
        }
        unused
    }

    fn drop_applied(&mut self, index: u64) {
        let upto = (index + 1).min(self.next());
        while self.applied < upto {
            if let Some(slot) = self.slots.get((self.applied - self.first) as usize)
                && slot.record.is_some()
            {
                self.kept += slot.bytes as usize;
            }
            self.applied += 1;
        }
        while self.kept > KEEP_APPLIED && self.dropped < self.applied {
            if let Some(slot) = self.slots.get_mut((self.dropped - self.first) as usize)
                && slot.record.take().is_some()
            {
                self.kept = self.kept.saturating_sub(slot.bytes as usize);
            }
            self.dropped += 1;
        }
    }

    /// Reads an entry back from its segment and checks it.
    fn load(&self, slot: &Slot, index: u64) -> io::Result<Arc<Record>> {
        let damaged = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "entry {index} in {} at byte {} is damaged",
                    file_name(slot.segment),
                    slot.offset
                ),
            )
        };
        let segment = self
            .segments
            .iter()
            .find(|segment| segment.number == slot.segment)
            .ok_or_else(damaged)?;
        let mut header = [0; HEADER];
        read_exact_at(segment.file.as_ref(), slot.offset, &mut header)?;
        let length = frame::u32_at(&header, 4) as usize;
        if slot.offset + frame_size(length) > segment.end {
            return Err(damaged());
        }
        let mut bytes = vec![0; HEADER + length];
        read_exact_at(segment.file.as_ref(), slot.offset, &mut bytes)?;
        let bytes = Bytes::from(bytes);
        let (header, payload, _) =
            frame::parse(&bytes, frame::seed(slot.segment)).ok_or_else(damaged)?;
        let places = frame::entries(payload, header.count).ok_or_else(damaged)?;
        let place = places
            .into_iter()
            .find(|place| place.index == index && place.term == slot.term)
            .ok_or_else(damaged)?;
        let range = HEADER + place.body.start..HEADER + place.body.end;
        let body = Body::decode(place.kind, bytes.slice(range)).ok_or_else(damaged)?;
        Ok(Arc::new(Record {
            position: Position {
                term: place.term,
                index,
            },
            body,
        }))
    }
}

#[cfg(test)]
mod tests;
