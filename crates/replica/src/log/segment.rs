//! Segment files: `log-` and sixteen hex digits.
//!
//! The first 64 bytes are the file's header; frames follow. A file gets its name only after header and first frame are durable, so a
//! named segment with a bad header is damage, never a crash.
//!
//! ```text
//! 0  magic "PORTOLAN"     16 segment u64         32 end u64   where the previous segment ended
//! 8  version u32  1       24 node u64            40 size u64  of the whole file, which was all zeros when the segment began;
//! 12 crc32c u32  of the other bytes                           0 = an earlier version began it, perhaps in a used file
//!                                                48 zeros
//! ```
//!
//! The payload of the first frame, kind `State`: purged term and index, last term and index before this segment (each pair preceded
//! by a u64 that is 1 when present), then the vote's bytes.

use super::frame::{u32_at, u64_at};

/// Length of the file header.
pub(crate) const FILE_HEADER: usize = 64;
const MAGIC: &[u8; 8] = b"PORTOLAN";
const VERSION: u32 = 1;

/// Term and index of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The leader's term.
    pub term: u64,
    /// Place in the log, from zero.
    pub index: u64,
}

/// The file header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) segment: u64,
    pub(crate) node: u64,
    pub(crate) previous_end: u64,
    /// Bytes of the file, which was all zeros; none where that is not known.
    pub(crate) size: Option<u64>,
}

/// What the `State` frame carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) purged: Option<Position>,
    pub(crate) last: Option<Position>,
    pub(crate) vote: Option<Vec<u8>>,
}

pub(crate) fn file_name(segment: u64) -> String {
    format!("log-{segment:016x}")
}

pub(crate) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log-")?;
    if digits.len() != 16 {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

impl FileHeader {
    pub(crate) fn encode(&self) -> [u8; FILE_HEADER] {
        let mut bytes = [0; FILE_HEADER];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.segment.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.node.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.previous_end.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.size.unwrap_or(0).to_le_bytes());
        let sum = Self::sum(&bytes);
        bytes[12..16].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn sum(bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..FILE_HEADER])
    }

    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() < FILE_HEADER || &bytes[..8] != MAGIC {
            return Err("it does not begin like a log segment".to_owned());
        }
        if Self::sum(bytes) != u32_at(bytes, 12) {
            return Err("the checksum of its header does not match".to_owned());
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(format!(
                "it has format {version} and this version reads format {VERSION}"
            ));
        }
        Ok(FileHeader {
            segment: u64_at(bytes, 16),
            node: u64_at(bytes, 24),
            previous_end: u64_at(bytes, 32),
            size: Some(u64_at(bytes, 40)).filter(|size| *size > 0),
        })
    }
}

impl Carried {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        for position in [self.purged, self.last] {
            let (present, position) = match position {
                Some(position) => (1, position),
                None => (0, Position { term: 0, index: 0 }),
            };
            for number in [present, position.term, position.index] {
                bytes.extend_from_slice(&u64::to_le_bytes(number));
            }
        }
        if let Some(vote) = &self.vote {
            bytes.extend_from_slice(vote);
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < 48 {
            return None;
        }
        let position = |at: usize| {
            (u64_at(bytes, at) == 1).then(|| Position {
                term: u64_at(bytes, at + 8),
                index: u64_at(bytes, at + 16),
            })
        };
        Some(Carried {
            purged: position(0),
            last: position(24),
            vote: (bytes.len() > 48).then(|| bytes[48..].to_vec()),
        })
    }
}
