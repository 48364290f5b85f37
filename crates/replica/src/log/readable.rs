//! A log as its files say, for whoever looks at a stopped directory: nothing is changed by looking.

use std::sync::Arc;

use super::frame::{self, ENTRY_HEADER, HEADER};
use super::recover::{LogError, Recovered, read};
use super::segment::{FileHeader, Position, file_name, parse_name};
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
