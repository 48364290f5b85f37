//! Frames: what one write to a segment consists of.
//!
//! A frame is written by one call and made durable by one barrier, so after a crash it is there whole or not at all, and its checksum
//! says which. All numbers are little endian; frames begin at multiples of eight bytes.
//!
//! ```text
//! 0  magic u16   "PL"            16 term  u64   of the first entry, or of the vote
//! 2  version u8  1               24 index u64   of the first entry, or what the kind says
//! 3  kind u8                     32 committed u64   index + 1 known to be committed, 0 = none
//! 4  length u32  of the payload  40 payload
//! 8  crc32c u32  of everything else in the frame, begun with the segment's number
//! 12 count u32   entries in the payload
//! ```
//!
//! An entry inside the payload: length u32, kind u8, three zero bytes, term u64, index u64, body.

/// The longest payload of a frame that holds no entries.
const LONGEST_CONTROL: usize = crate::space::CONTROL as usize;
/// Length of a frame's header.
pub(crate) const HEADER: usize = 40;
/// Length of an entry's header inside a frame.
pub(crate) const ENTRY_HEADER: usize = 24;
/// Where an entry's header says its kind.
pub(crate) const KIND_OF_ENTRY: usize = 4;
const MAGIC: u16 = u16::from_le_bytes(*b"PL");
const VERSION: u8 = 1;

/// What a frame says. Never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// First frame of every segment: all facts that older segments hold and that are not entries.
    State = 1,
    /// Consecutive entries.
    Entries = 2,
    /// The vote, an opaque payload.
    Vote = 3,
    /// Entries after (term, index) no longer count; `count` 1 = (term, index) is given, 0 = none is left.
    Truncate = 4,
    /// Entries up to (term, index) are in a snapshot.
    Purge = 5,
    /// Only the committed index is news.
    Commit = 6,
    /// The segment whose number is in `index` is durable, and what follows is there: nothing comes after this frame. It does not count as
    /// content: a segment ends before it. A segment that was filled to the last byte has none.
    Next = 7,
}

/// A frame's header without what is implied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) length: u32,
    pub(crate) count: u32,
    pub(crate) term: u64,
    pub(crate) index: u64,
    pub(crate) committed: u64,
}

/// Bytes a frame with this payload takes in the file.
pub(crate) fn frame_size(payload: usize) -> u64 {
    (HEADER + payload).next_multiple_of(8) as u64
}

/// The start value of every checksum in a segment: records of an earlier life of the file never fit.
pub(crate) fn seed(segment: u64) -> u32 {
    crc32c::crc32c(&segment.to_le_bytes())
}

impl Header {
    /// The header's bytes for a payload in parts.
    pub(crate) fn encode<'a>(
        &self,
        seed: u32,
        payload: impl Iterator<Item = &'a [u8]>,
    ) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..2].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[2] = VERSION;
        bytes[3] = self.kind as u8;
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.count.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.term.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.index.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.committed.to_le_bytes());
        let mut sum = header_sum(seed, &bytes);
        for part in payload {
            sum = crc32c::crc32c_append(sum, part);
        }
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
        bytes
    }
}

fn header_sum(seed: u32, bytes: &[u8]) -> u32 {
    let sum = crc32c::crc32c_append(seed, &bytes[..8]);
    crc32c::crc32c_append(sum, &bytes[12..HEADER])
}

/// The frame at the start of `bytes`, if there is a whole and sound one: its header, its payload and its size in the file.
pub(crate) fn parse(bytes: &[u8], seed: u32) -> Option<(Header, &[u8], usize)> {
    if bytes.len() < HEADER || bytes[..2] != MAGIC.to_le_bytes() || bytes[2] != VERSION {
        return None;
    }
    let kind = match bytes[3] {
        1 => Kind::State,
        2 => Kind::Entries,
        3 => Kind::Vote,
        4 => Kind::Truncate,
        5 => Kind::Purge,
        6 => Kind::Commit,
        7 => Kind::Next,
        _ => return None,
    };
    let length = u32_at(bytes, 4);
    let end = HEADER.checked_add(length as usize)?;
    let payload = bytes.get(HEADER..end)?;
    let sum = crc32c::crc32c_append(header_sum(seed, bytes), payload);
    if sum != u32_at(bytes, 8) {
        return None;
    }
    let header = Header {
        kind,
        length,
        count: u32_at(bytes, 12),
        term: u64_at(bytes, 16),
        index: u64_at(bytes, 24),
        committed: u64_at(bytes, 32),
    };
    Some((header, payload, frame_size(length as usize) as usize))
}

/// Whether bytes begin as a frame does.
pub(crate) fn looks_like_one(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER && bytes[..2] == MAGIC.to_le_bytes() && bytes[2] == VERSION
}

/// The lengths of the payload of a bad frame: that in its header, and that of its entries when all of them follow each other.
///
/// # Errors
/// In words, when the length was changed for certain.
pub(crate) fn told_lengths(bytes: &[u8]) -> Result<(usize, Option<usize>), &'static str> {
    let length = u32_at(bytes, 4) as usize;
    if bytes[3] != Kind::Entries as u8 {
        return match length {
            0..=LONGEST_CONTROL => Ok((length, None)),
            _ => Err("has an impossible length"),
        };
    }
    let count = u32_at(bytes, 12);
    let walked = walk(&bytes[HEADER..], count, u64_at(bytes, 24));
    let all = walked.len() == count as usize;
    let end = walked.last().map(|last| last.body.end);
    Ok((length, end.filter(|_| all)))
}

/// The entries of a payload that is not known to be sound: as many as follow each other.
pub(crate) fn walk(payload: &[u8], count: u32, first: u64) -> Vec<EntryPlace> {
    let mut places: Vec<EntryPlace> = Vec::new();
    let mut at = 0;
    while places.len() < count as usize {
        let Some(header) = payload.get(at..at + ENTRY_HEADER) else {
            break;
        };
        let start = at + ENTRY_HEADER;
        let end = start.saturating_add(u32_at(header, 0) as usize);
        let index = u64_at(header, 16);
        if end > payload.len() || Some(index) != first.checked_add(places.len() as u64) {
            break;
        }
        places.push(EntryPlace {
            kind: header[KIND_OF_ENTRY],
            term: u64_at(header, 8),
            index,
            body: start..end,
        });
        at = end;
    }
    places
}

/// Where the next sound frame begins, looking at every place a frame may begin. A tail is only a tail if there is none.
pub(crate) fn find(bytes: &[u8], from: usize, seed: u32) -> Option<usize> {
    let magic = [MAGIC.to_le_bytes()[0], MAGIC.to_le_bytes()[1], VERSION];
    (from.next_multiple_of(8)..bytes.len())
        .step_by(8)
        .find(|place| {
            bytes[*place..].starts_with(&magic) && parse(&bytes[*place..], seed).is_some()
        })
}

/// The header of an entry inside a frame.
pub(crate) fn entry_header(
    kind: u8,
    term: u64,
    index: u64,
    body: usize,
) -> Option<[u8; ENTRY_HEADER]> {
    let mut bytes = [0; ENTRY_HEADER];
    bytes[0..4].copy_from_slice(&u32::try_from(body).ok()?.to_le_bytes());
    bytes[KIND_OF_ENTRY] = kind;
    bytes[8..16].copy_from_slice(&term.to_le_bytes());
    bytes[16..24].copy_from_slice(&index.to_le_bytes());
    Some(bytes)
}

/// One entry of a frame's payload: kind, term, index and the range of its body.
pub(crate) struct EntryPlace {
    pub(crate) kind: u8,
    pub(crate) term: u64,
    pub(crate) index: u64,
    pub(crate) body: std::ops::Range<usize>,
}

/// Takes a payload of entries apart. `None` if it is malformed, which a sound checksum excludes.
pub(crate) fn entries(payload: &[u8], count: u32) -> Option<Vec<EntryPlace>> {
    let mut places = Vec::with_capacity(count as usize);
    let mut at = 0;
    for _ in 0..count {
        let header = payload.get(at..at + ENTRY_HEADER)?;
        let start = at + ENTRY_HEADER;
        let end = start.checked_add(u32_at(header, 0) as usize)?;
        payload.get(start..end)?;
        places.push(EntryPlace {
            kind: header[KIND_OF_ENTRY],
            term: u64_at(header, 8),
            index: u64_at(header, 16),
            body: start..end,
        });
        at = end;
    }
    (at == payload.len()).then_some(places)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
