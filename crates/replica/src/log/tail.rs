//! The end of the newest segment: what a write that was interrupted leaves there, and what only damage can leave.
//!
//! A frame is one write, synced before the next one. So a power loss leaves at most one bad frame, at the end, and of it each sector of
//! 512 bytes either new or as it was before, which is zeros: segments are filled with zeros before they are used. A bad frame without a
//! sector of zeros was therefore written whole, and so perhaps acknowledged, and changed later. (A killed process leaves whole pages.)
//! A file is never shorter than it was made, either. Values may hold zeros, so a frame that looks torn may have been damaged all the
//! same; whoever can prove it otherwise, as the history does, has the last word.

use super::frame::{self, HEADER};

/// Sectors are written whole or not at all.
const SECTOR: usize = 512;

/// What follows the last good frame of the newest segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing.
    Clean,
    /// A frame of which a part was never written. Bytes other than zero end before this place.
    Torn(usize),
    /// Something that looks like a frame, in a segment of an earlier version, where the bytes before are not known.
    Unknown,
    /// A frame that was written whole and is bad now, or less file than there was.
    Damaged(String),
}

/// Looks at what follows the frames that end at `at`. `made` is the length the file was made with, all zeros.
pub(super) fn judge(bytes: &[u8], at: usize, made: Option<u64>) -> Tail {
    if let Some(made) = made.filter(|made| (bytes.len() as u64) < *made) {
        return Tail::Damaged(format!(
            "the file has {} bytes and was made with {made}; its last good frame ends at byte {at}",
            bytes.len()
        ));
    }
    let at = at.min(bytes.len());
    let Some(used) = bytes[at..].iter().rposition(|byte| *byte != 0) else {
        return Tail::Clean;
    };
    let used = at + used + 1;
    let told = frame::looks_like_one(&bytes[at..]).then(|| frame::told_lengths(&bytes[at..]));
    if made.is_none() && told.is_none() {
        // What a used file held before.
        return Tail::Clean;
    }
    let is_zeros = |(from, to): (usize, usize)| bytes[from..to].iter().all(|byte| *byte == 0);
    let end = match told {
        Some(Err(what)) => return Tail::Damaged(format!("the frame at byte {at} {what}")),
        Some(Ok((length, Some(entries)))) if length != entries => {
            // An entry's own length may lie in a sector that was not written.
            return match sectors(at, at + HEADER + entries.min(length)).any(is_zeros) {
                true => Tail::Torn(used),
                false => Tail::Damaged(format!(
                    "the frame at byte {at} has another length than its entries"
                )),
            };
        }
        Some(Ok((length, _))) => at + frame::frame_size(length) as usize,
        None => used,
    };
    if end > bytes.len() {
        return Tail::Damaged(format!(
            "the frame at byte {at} goes on past the end of the file"
        ));
    }
    let end = if made.is_some() { end.max(used) } else { end };
    if sectors(at, end).any(is_zeros) {
        return Tail::Torn(used);
    }
    if made.is_none() {
        return Tail::Unknown;
    }
    Tail::Damaged(format!(
        "the frame at byte {at} is bad though all of it was written, so it was not cut off by a loss of power"
    ))
}

/// The parts of a range that lie in one sector each.
fn sectors(from: usize, to: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut at = from;
    std::iter::from_fn(move || {
        let start = at;
        at = to.min((start / SECTOR + 1) * SECTOR);
        (start < to).then_some((start, at))
    })
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Header, Kind, entry_header, seed};
    use super::*;

    const LENGTH: usize = 16 << 10;
    const AT: usize = 208;

    /// A segment's bytes with one frame of an entry at [`AT`]; gives back where the frame ends.
    fn one(body: &[u8]) -> (Vec<u8>, usize) {
        let mut bytes = vec![0; LENGTH];
        let head = entry_header(1, 3, 9, body.len()).unwrap();
        let header = Header {
            kind: Kind::Entries,
            length: (head.len() + body.len()) as u32,
            count: 1,
            term: 3,
            index: 9,
            committed: 9,
        };
        let frame = header.encode(seed(4), [&head[..], body].into_iter());
        let parts = [&frame[..], &head[..], body].concat();
        bytes[AT..AT + parts.len()].copy_from_slice(&parts);
        (bytes, AT + parts.len())
    }

    fn judged(bytes: &[u8]) -> &'static str {
        match judge(bytes, AT, Some(LENGTH as u64)) {
            Tail::Clean => "clean",
            Tail::Torn(_) => "torn",
            Tail::Unknown => "unknown",
            Tail::Damaged(_) => "damaged",
        }
    }

    #[test]
    fn a_write_of_which_any_sector_is_missing_is_torn() {
        let (bytes, end) = one(&[7; 3000]);
        let parts: Vec<_> = sectors(AT, end).collect();
        assert_eq!(parts.len(), 7);
        for missing in 1..1u32 << parts.len() {
            let mut torn = bytes.clone();
            for (place, (from, to)) in parts.iter().enumerate() {
                if missing & (1 << place) != 0 {
                    torn[*from..*to].fill(0);
                }
            }
            let all = missing == (1 << parts.len()) - 1;
            assert_eq!(
                judged(&torn),
                if all { "clean" } else { "torn" },
                "{missing:b}"
            );
        }
    }

    /// Wherever the frame begins: its header, and those of its entries, may lie in two sectors.
    #[test]
    fn a_torn_write_is_torn_wherever_it_begins() {
        for begin in (64..64 + 512).step_by(8) {
            let bodies = [&[7u8; 33][..], &[7; 700], &[7; 411]];
            let mut payload = Vec::new();
            for (place, body) in bodies.iter().enumerate() {
                payload
                    .extend_from_slice(&entry_header(1, 3, 9 + place as u64, body.len()).unwrap());
                payload.extend_from_slice(body);
            }
            let header = Header {
                kind: Kind::Entries,
                length: payload.len() as u32,
                count: 3,
                term: 3,
                index: 9,
                committed: 9,
            };
            let frame = header.encode(seed(4), std::iter::once(&payload[..]));
            let mut bytes = vec![0; LENGTH];
            let end = begin + frame.len() + payload.len();
            bytes[begin..end].copy_from_slice(&[&frame[..], &payload].concat());
            let parts: Vec<_> = sectors(begin, end).collect();
            for missing in 1..(1u32 << parts.len()) - 1 {
                let mut torn = bytes.clone();
                for (place, (from, to)) in parts.iter().enumerate() {
                    if missing & (1 << place) != 0 {
                        torn[*from..*to].fill(0);
                    }
                }
                let found = judge(&torn, begin, Some(LENGTH as u64));
                assert!(
                    matches!(found, Tail::Torn(_)),
                    "{begin}, {missing:b}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn any_changed_byte_of_a_whole_frame_is_damage() {
        for length in [1, 60, 3000] {
            let (bytes, end) = one(&vec![7; length]);
            for at in AT..end {
                for flip in [1u8, 0x80, 0xff] {
                    let mut changed = bytes.clone();
                    changed[at] ^= flip;
                    assert_eq!(judged(&changed), "damaged", "byte {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn a_file_that_is_shorter_than_it_was_made_is_damaged() {
        let (bytes, end) = one(&[7; 60]);
        let made = Some(LENGTH as u64);
        assert!(matches!(
            judge(&bytes[..LENGTH - 1], end.next_multiple_of(8), made),
            Tail::Damaged(_)
        ));
        assert_eq!(judge(&bytes, end.next_multiple_of(8), made), Tail::Clean);
    }

    #[test]
    fn in_a_used_file_of_an_earlier_version_nothing_is_claimed() {
        let (mut bytes, end) = one(&[7; 60]);
        bytes[end..].fill(0x5a);
        bytes[AT + 50] ^= 1;
        assert_eq!(judge(&bytes, AT, None), Tail::Unknown);
        assert_eq!(judge(&bytes, end.next_multiple_of(8), None), Tail::Clean);
        assert!(matches!(
            judge(&bytes[..end - 9], AT, None),
            Tail::Damaged(_)
        ));
    }
}
