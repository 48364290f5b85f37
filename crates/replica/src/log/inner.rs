//! The log behind its lock: where entries are, and the writing of frames.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use portolan_environment::mutated;

use super::frame::{self, HEADER, Header, Kind, frame_size};
use super::segment::{Carried, FILE_HEADER, FileHeader, Position, file_name};
use super::{Body, KEEP_APPLIED, LogEntry};
use crate::disk::{Disk, DiskFile, read_exact_at};
use crate::fatal::Fatal;
use crate::space::{CONTROL, Space};
use crate::stats::Stats;

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) fatal: Fatal,
    pub(super) node: u64,
    pub(super) segments: VecDeque<Segment>,
    pub(super) slots: VecDeque<Slot>,
    /// Index of the first slot.
    pub(super) first: u64,
    pub(super) purged: Option<Position>,
    pub(super) vote: Option<Vec<u8>>,
    /// Index of the last entry known to be committed, and what of it has reached the disk.
    pub(super) committed: Option<u64>,
    /// Applied entries that are still in memory: from `dropped` to `applied`, together `kept` bytes.
    pub(super) dropped: u64,
    pub(super) applied: u64,
    pub(super) kept: usize,
    pub(super) written: u64,
    pub(super) syncs: u64,
    pub(super) sync_us: u64,
}

/// A file; the last one is written to.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) size: u64,
    /// Where the next frame goes, or where the last one ended.
    pub(super) end: u64,
}

/// Where an entry is.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) term: u64,
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) bytes: u32,
    pub(super) entry: Option<Arc<LogEntry>>,
}

impl Segment {
    /// Says that another one follows, if there is room for it: without that its loss would look like an end.
    fn note_next(&self, number: u64) -> io::Result<()> {
        if self.size < self.end + HEADER as u64 {
            return Ok(());
        }
        let header = Header {
            kind: Kind::Next,
            length: 0,
            count: 0,
            term: 0,
            index: number,
            committed: 0,
        };
        let bytes = header.encode(frame::seed(self.number), std::iter::empty());
        self.file.write_at(self.end, &mut [IoSlice::new(&bytes)])?;
        self.file.sync_data()
    }
}

impl Inner {
    pub(super) fn next(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    pub(super) fn last(&self) -> Option<Position> {
        match self.slots.back() {
            Some(slot) => Some(Position {
                term: slot.term,
                index: self.next() - 1,
            }),
            None => self.purged,
        }
    }

    pub(super) fn position(&self, index: u64) -> Option<Position> {
        let place = usize::try_from(index.checked_sub(self.first)?).ok()?;
        let term = self.slots.get(place)?.term;
        Some(Position { term, index })
    }

    pub(super) fn report(&self, space: &Space, stats: &Stats) {
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

    pub(super) fn write_entries(
        &mut self,
        space: &Space,
        entries: &[Arc<LogEntry>],
        payload: usize,
    ) -> io::Result<()> {
        let Some(head) = entries.first() else {
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
        let mut headers = Vec::with_capacity(entries.len());
        for entry in entries {
            let Position { term, index } = entry.position;
            let bytes = entry.body.bytes().len();
            headers.push(
                frame::entry_header(entry.body.kind(), term, index, bytes)
                    .ok_or_else(|| io::Error::other("entry longer than 4 GiB"))?,
            );
        }
        let parts: Vec<&[u8]> = headers
            .iter()
            .zip(entries)
            .flat_map(|(header, entry)| [header.as_slice(), entry.body.bytes()])
            .collect();
        let header = Header {
            kind: Kind::Entries,
            length: u32::try_from(payload).map_err(|_| io::Error::other("frame too long"))?,
            count: entries.len() as u32,
            term: head.position.term,
            index: head.position.index,
            committed: self.committed.map_or(0, |index| index + 1),
        };
        let (segment, offset) = self.write_frame(space, &header, &parts)?;
        for entry in entries {
            self.slots.push_back(Slot {
                term: entry.position.term,
                segment,
                offset,
                bytes: entry.body.bytes().len() as u32,
                entry: Some(entry.clone()),
            });
        }
        Ok(())
    }

    pub(super) fn write_control(
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
        if !mutated("acknowledge-before-sync") {
            active.file.sync_data()?;
        }
        self.sync_us += u64::try_from(start.elapsed().as_micros()).unwrap_or(0);
        self.syncs += 1;
        self.written += size;
        let place = (active.number, active.end);
        active.end += size;
        Ok(place)
    }

    /// Begins the next segment with at least `need` bytes of room.
    pub(super) fn roll(&mut self, space: &Space, need: u64) -> io::Result<()> {
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
        let node = self.node;
        let mut head = vec![0; FILE_HEADER];
        head.extend_from_slice(
            &header.encode(frame::seed(number), std::iter::once(carried.as_slice())),
        );
        head.extend_from_slice(&carried);
        head.resize(start as usize, 0);
        let disk = self.disk.clone();
        let (file, size) = space.take(start + need + CONTROL, |file, size, name| {
            let header = FileHeader {
                segment: number,
                node,
                previous_end,
                size: Some(size),
            };
            head[..FILE_HEADER].copy_from_slice(&header.encode());
            file.write_at(0, &mut [IoSlice::new(&head)])?;
            file.sync_data()?;
            disk.rename(name, &file_name(number))?;
            disk.sync_directory()?;
            Ok((file, size))
        })?;
        if let Some(previous) = self.segments.back() {
            previous.note_next(number)?;
        }
        self.segments.push_back(Segment {
            number,
            file,
            size,
            end: start,
        });
        Ok(())
    }

    /// Drops the slots from index `next` on.
    pub(super) fn cut(&mut self, next: u64) {
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
    pub(super) fn forget(&mut self, upto: Position) {
        let next = upto.index + 1;
        self.drop_applied(upto.index);
        let count = usize::try_from(next.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let count = count.min(self.slots.len());
        for slot in self.slots.drain(..count) {
            if slot.entry.is_some() {
                self.kept = self.kept.saturating_sub(slot.bytes as usize);
            }
        }
        self.first = next;
        self.dropped = self.dropped.max(next);
        self.applied = self.applied.max(next);
        self.purged = Some(upto);
    }

    /// Takes the segments out that hold no entry that counts, but for the active one.
    pub(super) fn take_unused(&mut self) -> Vec<String> {
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

    pub(super) fn drop_applied(&mut self, index: u64) {
        let upto = (index + 1).min(self.next());
        while self.applied < upto {
            if let Some(slot) = self.slots.get((self.applied - self.first) as usize)
                && slot.entry.is_some()
            {
                self.kept += slot.bytes as usize;
            }
            self.applied += 1;
        }
        while self.kept > KEEP_APPLIED && self.dropped < self.applied {
            if let Some(slot) = self.slots.get_mut((self.dropped - self.first) as usize)
                && slot.entry.take().is_some()
            {
                self.kept = self.kept.saturating_sub(slot.bytes as usize);
            }
            self.dropped += 1;
        }
    }

    /// Reads an entry back from its segment and checks it.
    pub(super) fn load(&self, slot: &Slot, index: u64) -> io::Result<Arc<LogEntry>> {
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
        Ok(Arc::new(LogEntry {
            position: Position {
                term: place.term,
                index,
            },
            body,
        }))
    }
}
