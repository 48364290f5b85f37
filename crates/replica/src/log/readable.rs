//! A log as its files say, for whoever looks at a stopped directory: nothing is changed by looking.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::frame::{self, ENTRY_HEADER, HEADER, Header, Kind};
use super::recover::{Bad, LogError, Recovered, read};
use super::segment::{Carried, FILE_HEADER, FileHeader, Position, file_name, parse_name};
use super::{Body, LogEntry};
use crate::disk::{Disk, OpenMode, read_whole};

/// What can be read of a log.
#[derive(Debug, Default)]
pub(crate) struct Readable(Recovered);

/// An entry and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) entry: Arc<LogEntry>,
    /// The segment's file.
    pub(crate) file: String,
    segment: u64,
    /// Where its frame begins.
    offset: u64,
}

impl Readable {
    /// Reads the segments; after an error, [`Readable::entries`] are those before the damage.
    pub(crate) fn read(&mut self, disk: &dyn Disk, node: u64) -> Result<(), LogError> {
        read(disk, node, OpenMode::Read, &mut self.0).map(drop)
    }

    /// The node that the newest segment says it belongs to; 0 if there is none.
    pub(crate) fn owner(disk: &dyn Disk) -> u64 {
        let newest = disk
            .list()
            .ok()
            .and_then(|names| names.into_iter().rfind(|name| parse_name(name).is_some()));
        newest
            .and_then(|name| disk.open(&name, OpenMode::Read).ok())
            .and_then(|file| read_whole(file.as_ref()).ok())
            .and_then(|bytes| FileHeader::decode(&bytes).ok())
            .map_or(0, |header| header.node)
    }

    /// Last purged and last entry; the last entry is the purged one if there is none after it.
    pub(crate) fn ends(&self) -> (Option<Position>, Option<Position>) {
        (self.0.purged, self.0.last())
    }

    /// What stands where reading ended at something bad.
    ///
    /// # Errors
    /// Any error of the system.
    pub(crate) fn hole(&self, disk: &dyn Disk) -> io::Result<Option<Hole>> {
        let Some(bad) = self.0.bad else {
            return Ok(None);
        };
        let file = file_name(bad.segment);
        let segment = read_whole(disk.open(&file, OpenMode::Read)?.as_ref())?;
        let end = bad.until.unwrap_or(segment.len()).min(segment.len());
        let mut bytes = segment.get(bad.at..end).unwrap_or_default().to_vec();
        if bad.until.is_none() {
            let used = bytes.iter().rposition(|byte| *byte != 0);
            bytes.truncate(used.map_or(0, |used| used + 1));
        }
        let first = self.0.next();
        let bodies = bodies(&bytes);
        let after = match bad.until {
            Some(until) => after(disk, bad.segment, &segment, until)?,
            None => None,
        };
        let entries = match after {
            Some((next, _)) => next.saturating_sub(first),
            None => bodies.len() as u64,
        };
        let term = self.0.last().map_or(0, |last| last.term);
        let follows = after.is_none_or(|(next, _)| next >= first);
        let mended = mended(segment, &bad, first..first + entries, term).filter(|_| follows);
        Ok(Some(Hole {
            file,
            at: bad.at,
            bytes,
            first,
            entries,
            bodies,
            later: after.map_or(0, |(next, last)| (last + 1).saturating_sub(next)),
            is_last: bad.until.is_none(),
            mended,
        }))
    }

    /// The entries, in their order.
    pub(crate) fn entries(&self) -> impl DoubleEndedIterator<Item = Logged> {
        self.0.slots.iter().filter_map(|slot| {
            Some(Logged {
                entry: slot.entry.clone()?,
                file: file_name(slot.segment),
                segment: slot.segment,
                offset: slot.offset,
            })
        })
    }
}

/// A segment's bytes with nothing in the place of an entry. Its bytes stay where they are, but the entry's kind now says that it is
/// blank; so no other frame moves. None if the entry is not there.
pub(crate) fn blanked(
    mut segment: Vec<u8>,
    logged: &Logged,
    position: Position,
) -> Option<Vec<u8>> {
    let seed = frame::seed(logged.segment);
    let at = usize::try_from(logged.offset).ok()?;
    let (header, payload, _) = frame::parse(segment.get(at..)?, seed)?;
    let place = frame::entries(payload, header.count)?
        .into_iter()
        .find(|place| (place.term, place.index) == (position.term, position.index))?;
    let kind = at + HEADER + place.body.start - ENTRY_HEADER + frame::KIND_OF_ENTRY;
    let end = at + HEADER + payload.len();
    *segment.get_mut(kind)? = Body::Blank.kind();
    let payload = segment.get(at + HEADER..end)?;
    let header = header.encode(seed, std::iter::once(payload));
    segment.get_mut(at..at + HEADER)?.copy_from_slice(&header);
    Some(segment)
}

/// Bytes of a segment that are no good frame.
#[derive(Debug)]
pub(crate) struct Hole {
    /// The segment's file.
    pub(crate) file: String,
    /// Where it begins.
    pub(crate) at: usize,
    /// What stands there, without the zeros at the end of a file.
    pub(crate) bytes: Vec<u8>,
    /// The first entry in it.
    pub(crate) first: u64,
    /// How many there were; at the end of the log as many as can be told.
    pub(crate) entries: u64,
    /// What may be the entries' content: no checksum vouches for it.
    pub(crate) bodies: Vec<Bytes>,
    /// Good entries after it.
    pub(crate) later: u64,
    /// Whether nothing good comes after it.
    pub(crate) is_last: bool,
    /// The segment's bytes with blank entries in its place, or cut off before it. None if what comes after does not fit.
    pub(crate) mended: Option<Vec<u8>>,
}

/// The contents of batches in what may have been a frame of entries.
fn bodies(bytes: &[u8]) -> Vec<Bytes> {
    if !frame::looks_like_one(bytes) {
        return Vec::new();
    }
    let payload = &bytes[HEADER..];
    frame::walk(payload, frame::u32_at(bytes, 12), frame::u64_at(bytes, 24))
        .into_iter()
        .map(|place| Bytes::copy_from_slice(&payload[place.body]))
        .collect()
}

/// Indexes of the next good entry and the last one, from a place in a segment on.
fn after(
    disk: &dyn Disk,
    mut number: u64,
    segment: &[u8],
    mut from: usize,
) -> io::Result<Option<(u64, u64)>> {
    let mut found: Option<(u64, u64)> = None;
    let mut segment = segment.to_vec();
    loop {
        let seed = frame::seed(number);
        while let Some(at) = frame::find(&segment, from, seed)
            && let Some((header, payload, size)) = frame::parse(&segment[at..], seed)
        {
            match header.kind {
                Kind::Entries if header.count > 0 => {
                    let last = header.index + u64::from(header.count) - 1;
                    let next = found.map_or(header.index, |(next, _)| next);
                    found = Some((next, last));
                }
                Kind::State if found.is_none() => {
                    let last = Carried::decode(payload).and_then(|carried| carried.last);
                    found = last.map(|last| (last.index + 1, last.index));
                }
                _ => {}
            }
            from = at + size;
        }
        number += 1;
        match disk.open(&file_name(number), OpenMode::Read) {
            Ok(file) => segment = read_whole(file.as_ref())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(error),
        }
        from = FILE_HEADER;
    }
}

/// The segment's bytes with blank entries where the bad ones were, so that no other frame moves. Without anything good after them they are
/// cut off. None where the blank ones have no room.
fn mended(
    mut segment: Vec<u8>,
    bad: &Bad,
    entries: std::ops::Range<u64>,
    term: u64,
) -> Option<Vec<u8>> {
    let Some(until) = bad.until else {
        let made = FileHeader::decode(&segment).ok()?.size;
        let made = made.map_or(0, |made| usize::try_from(made).unwrap_or(0));
        let length = segment.len().max(made);
        segment.truncate(bad.at);
        segment.resize(length, 0);
        return Some(segment);
    };
    let count = usize::try_from(entries.end - entries.start).ok()?;
    let room = until.checked_sub(bad.at + HEADER)?;
    let mut payload = Vec::with_capacity(room);
    for (place, index) in entries.clone().enumerate() {
        // The first one takes what room is left.
        let body = match place {
            0 => room.checked_sub(count.checked_mul(ENTRY_HEADER)?)?,
            _ => 0,
        };
        let header = frame::entry_header(Body::Blank.kind(), term, index, body)?;
        payload.extend_from_slice(&header);
        payload.resize(payload.len() + body, 0);
    }
    let kind = if count == 0 {
        Kind::Commit
    } else {
        Kind::Entries
    };
    payload.resize(room, 0);
    let header = Header {
        kind,
        length: u32::try_from(room).ok()?,
        count: u32::try_from(count).ok()?,
        term,
        index: entries.start,
        committed: 0,
    };
    let seed = frame::seed(bad.segment);
    let header = header.encode(seed, std::iter::once(payload.as_slice()));
    if segment.len() < until {
        segment.resize(until, 0);
    }
    segment[bad.at..bad.at + HEADER].copy_from_slice(&header);
    segment[bad.at + HEADER..until].copy_from_slice(&payload);
    Some(segment)
}
