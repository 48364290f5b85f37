//! Reading a log back after a stop of any kind.
//!
//! What a crash can leave is one bad frame at the very end: each frame was synced before the next one was written. `tail` tells it from
//! damage. Only what looks torn is cut off; anything else that does not fit may have been acknowledged and refuses to start.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::frame::{self, HEADER, Kind};
use super::segment::{Carried, FILE_HEADER, FileHeader, Position, file_name, parse_name};
use super::tail::{Tail, judge};
use super::{Body, LogEntry, Segment, Slot};
use crate::disk::{Disk, OpenMode, read_whole};

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Acknowledged entries are damaged or missing.
    #[error(
        "log segment \"{file}\" in data directory \"{place}\" is damaged: {what}; acknowledged entries would be lost, so the node does \
         not start: `portolan doctor {place}` says what is lost and what can be done; a copy of the directory has it, or a file for `portolan snapshot restore`"
    )]
    Damaged {
        /// The data directory.
        place: String,
        /// The file.
        file: String,
        /// What does not fit, and where.
        what: String,
    },
    /// The system refused.
    #[error("cannot {doing} in data directory \"{place}\"")]
    Io {
        /// The data directory.
        place: String,
        /// What was tried.
        doing: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl LogError {
    pub(super) fn io(
        disk: &dyn Disk,
        doing: &'static str,
    ) -> impl Fn(io::Error) -> LogError + use<> {
        let place = disk.place();
        move |source| LogError::Io {
            place: place.clone(),
            doing,
            source,
        }
    }
}

/// What the files say.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    pub(super) segments: VecDeque<Segment>,
    pub(super) slots: VecDeque<Slot>,
    pub(super) first: u64,
    pub(super) purged: Option<Position>,
    pub(super) vote: Option<Vec<u8>>,
    pub(super) committed: Option<u64>,
    started: bool,
    /// Last entry before the first segment that is still there.
    before: Option<Position>,
    /// The bytes of a last write that was torn, in the newest segment.
    torn: Option<Range<usize>>,
    /// Where reading ended at something bad.
    pub(super) bad: Option<Bad>,
}

/// The bytes of a segment that are no good frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    pub(crate) segment: u64,
    pub(crate) at: usize,
    /// Where the next good frame begins, or the segment should end. None if everything after is bad or gone.
    pub(crate) until: Option<usize>,
}

pub(super) fn recover(disk: &dyn Disk, node: u64) -> Result<Recovered, LogError> {
    let io = LogError::io(disk, "read the log");
    let mut found = Recovered::default();
    let before = read(disk, node, OpenMode::Write, &mut found)?;
    if let Some(last) = found.segments.back() {
        if let Some(torn) = found.torn.clone() {
            // The next loss of power must find zeros here again.
            let zeros = vec![0; torn.len()];
            last.file
                .write_at(torn.start as u64, &mut [IoSlice::new(&zeros)])
                .map_err(&io)?;
        }
        // What survived a kill may still be in the page cache only; from here on it counts as durable.
        last.file.sync_data().map_err(&io)?;
    }
    for number in before {
        disk.remove(&file_name(number)).map_err(&io)?;
    }
    disk.sync_directory().map_err(&io)?;
    Ok(found)
}

/// Reads what the files say, as far as they are sound, and changes nothing. Gives back the numbers of segments that no longer count.
pub(super) fn read(
    disk: &dyn Disk,
    node: u64,
    mode: OpenMode,
    found: &mut Recovered,
) -> Result<Vec<u64>, LogError> {
    let io = LogError::io(disk, "read the log");
    let mut numbers: Vec<u64> = disk
        .list()
        .map_err(&io)?
        .iter()
        .filter_map(|name| parse_name(name))
        .collect();
    numbers.sort_unstable();
    // Given-back segments may have returned in a crash; what counts is contiguous up to the last.
    let mut start = numbers.len().saturating_sub(1);
    while start > 0 && numbers[start - 1] + 1 == numbers[start] {
        start -= 1;
    }
    for (place, number) in numbers.iter().enumerate().skip(start) {
        let last = place + 1 == numbers.len();
        let file = disk.open(&file_name(*number), mode).map_err(&io)?;
        let bytes = Bytes::from(read_whole(file.as_ref()).map_err(&io)?);
        let size = bytes.len() as u64;
        let end = found
            .read_segment(&bytes, *number, node, last)
            .map_err(|what| LogError::Damaged {
                place: disk.place(),
                file: file_name(found.bad.map_or(*number, |bad| bad.segment)),
                what,
            })?;
        found.segments.push_back(Segment {
            number: *number,
            file,
            size,
            end,
        });
    }
    found.finish().map_err(|what| LogError::Damaged {
        place: disk.place(),
        file: found
            .segments
            .front()
            .map_or_else(String::new, |segment| file_name(segment.number)),
        what,
    })?;
    numbers.truncate(start);
    Ok(numbers)
}

impl Recovered {
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

    /// Takes in one segment; returns where its last good frame ends.
    fn read_segment(
        &mut self,
        bytes: &Bytes,
        number: u64,
        node: u64,
        last: bool,
    ) -> Result<u64, String> {
        let header = FileHeader::decode(bytes)?;
        if header.segment != number {
            return Err(format!("it calls itself {}", file_name(header.segment)));
        }
        if header.node != node {
            return Err(format!(
                "it was written by node {:016x}, this is node {node:016x}",
                header.node
            ));
        }
        if let Some(previous) = self.segments.back()
            && previous.end != header.previous_end
        {
            if previous.end < header.previous_end {
                self.bad = Some(Bad {
                    segment: previous.number,
                    at: usize::try_from(previous.end).unwrap_or(usize::MAX),
                    until: usize::try_from(header.previous_end).ok(),
                });
            }
            return Err(format!(
                "{} ends at byte {} but should end at byte {}",
                file_name(previous.number),
                previous.end,
                header.previous_end
            ));
        }
        let seed = frame::seed(number);
        let mut at = FILE_HEADER;
        let mut followed = false;
        while let Some((frame, payload, size)) =
            bytes.get(at..).and_then(|rest| frame::parse(rest, seed))
        {
            if frame.kind == Kind::Next {
                followed = true;
                break;
            }
            let is_first = at == FILE_HEADER;
            if is_first != (frame.kind == Kind::State) {
                return Err(format!("the frame at byte {at} is out of place"));
            }
            self.take_in(&frame, payload, bytes, number, at)
                .map_err(|what| format!("the frame at byte {at} {what}"))?;
            at += size;
        }
        if at == FILE_HEADER {
            return Err(format!("the first frame at byte {at} is bad"));
        }
        if followed {
            if last {
                return Err(format!(
                    "{} was begun after it and is missing",
                    file_name(number + 1)
                ));
            }
            return Ok(at as u64);
        }
        // The padding of the last frame may be cut off with the file.
        let end = at.min(bytes.len());
        let bad = |until| Bad {
            segment: number,
            at: end,
            until,
        };
        if let Some(sound) = frame::find(bytes, end, seed) {
            self.bad = Some(bad(Some(sound)));
            return Err(format!(
                "the frame at byte {at} is bad and the one at byte {sound} after it is good"
            ));
        }
        if last && let Err(what) = self.end(bytes, number, end, header.size) {
            self.bad = Some(bad(None));
            return Err(what);
        }
        Ok(at as u64)
    }

    /// Looks at what follows the last good frame of all.
    fn end(
        &mut self,
        bytes: &[u8],
        number: u64,
        at: usize,
        made: Option<u64>,
    ) -> Result<(), String> {
        let segment = file_name(number);
        match judge(bytes, at, made) {
            Tail::Clean => {}
            Tail::Torn(until) => {
                // Only zeros may follow, in a file of zeros; in a used one it does not matter.
                self.torn = made.map(|_| at..until);
                tracing::warn!(
                    segment,
                    at,
                    "cut a torn last write off the log: a sector of it was never written, as when the power fails"
                );
            }
            Tail::Unknown => tracing::warn!(
                segment,
                at,
                "cut a bad last write off the log: an earlier version began this segment, and whether the write was acknowledged and damaged \
                 later cannot be told in it"
            ),
            Tail::Damaged(what) => return Err(what),
        }
        Ok(())
    }

    fn take_in(
        &mut self,
        frame: &frame::Header,
        payload: &[u8],
        bytes: &Bytes,
        number: u64,
        at: usize,
    ) -> Result<(), String> {
        let position = Position {
            term: frame.term,
            index: frame.index,
        };
        self.committed = self.committed.max(frame.committed.checked_sub(1));
        match frame.kind {
            Kind::State => {
                let carried = Carried::decode(payload).ok_or("is malformed")?;
                if self.started {
                    if carried.last != self.last() {
                        return Err("does not follow the previous segment".to_owned());
                    }
                } else {
                    self.started = true;
                    self.purged = carried.purged;
                    self.first = carried.last.map_or(0, |last| last.index + 1);
                    self.before = carried.last;
                }
                self.vote = carried.vote.or(self.vote.take());
            }
            Kind::Vote => self.vote = Some(payload.to_vec()),
            Kind::Truncate => {
                let next = if frame.count == 1 { frame.index + 1 } else { 0 };
                let keep = usize::try_from(next.saturating_sub(self.first)).unwrap_or(usize::MAX);
                self.slots.truncate(keep);
            }
            Kind::Purge => {
                self.purged = Some(position);
                let next = frame.index + 1;
                if next >= self.next() {
                    self.slots.clear();
                    self.first = next;
                }
            }
            // The last is no content and never gets here.
            Kind::Commit | Kind::Next => {}
            Kind::Entries => {
                let places = frame::entries(payload, frame.count).ok_or("is malformed")?;
                for place in places {
                    if self.slots.is_empty() && self.purged.is_none() && self.before.is_none() {
                        self.first = place.index;
                    }
                    if place.index != self.next() {
                        return Err(format!(
                            "holds entry {} where entry {} should follow",
                            place.index,
                            self.next()
                        ));
                    }
                    let start = at + HEADER;
                    let body = bytes.slice(start + place.body.start..start + place.body.end);
                    let length = body.len() as u32;
                    let body = Body::decode(place.kind, body).ok_or("holds an unknown entry")?;
                    let position = Position {
                        term: place.term,
                        index: place.index,
                    };
                    self.slots.push_back(Slot {
                        term: place.term,
                        segment: number,
                        offset: at as u64,
                        bytes: length,
                        entry: Some(Arc::new(LogEntry { position, body })),
                    });
                }
            }
        }
        Ok(())
    }

    /// Drops what is purged and checks that nothing is missing at the front.
    fn finish(&mut self) -> Result<(), String> {
        let Some(before) = self.before else {
            self.drop_purged();
            return Ok(());
        };
        if self.purged.is_none_or(|purged| purged.index < before.index) {
            return Err(format!(
                "it begins after entry {} but older segments are missing",
                before.index
            ));
        }
        self.drop_purged();
        Ok(())
    }

    fn drop_purged(&mut self) {
        if let Some(purged) = self.purged {
            while self.first <= purged.index && self.slots.pop_front().is_some() {
                self.first += 1;
            }
            self.first = self.first.max(purged.index + 1);
        }
        self.committed = match (self.committed, self.last()) {
            (Some(committed), Some(last)) => Some(committed.min(last.index)),
            _ => None,
        };
    }
}
