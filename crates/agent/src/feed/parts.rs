//! A whole state in parts, as a server hands it out and an agent puts it together.

use std::io;

use bytes::Bytes;
use portolan_catalog::State;
use portolan_catalog::stored::{self, Restore};

/// A part is closed when its records have grown this long, before they are compressed.
const PART_BYTES: usize = 1 << 20;
/// No part is longer: the bound of one record, and what was there when it was added.
const LONGEST_PART: usize = 64 << 20;

/// The parts of a state, compressed. Takes a while: about a second for a million rows.
pub(crate) fn parts(state: &State) -> Vec<Bytes> {
    let mut parts = Vec::new();
    let mut open = Vec::with_capacity(PART_BYTES + (128 << 10));
    let close = |open: &mut Vec<u8>, parts: &mut Vec<Bytes>| {
        if !open.is_empty() {
            parts.push(lz4_flex::block::compress_prepend_size(open).into());
            open.clear();
        }
    };
    let done: Result<(), std::convert::Infallible> = stored::snapshot(state, |record| {
        // Records are bounded far below four GiB by what a row may be long.
        let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
        open.extend_from_slice(&length.to_le_bytes());
        open.extend_from_slice(record);
        if open.len() >= PART_BYTES {
            close(&mut open, &mut parts);
        }
        Ok(())
    });
    match done {
        Ok(()) => {}
        Err(never) => match never {},
    }
    close(&mut open, &mut parts);
    parts
}

/// Puts a state together.
#[derive(Debug, Default)]
pub(crate) struct Assembly(Restore);

impl Assembly {
    /// Takes the next part.
    ///
    /// # Errors
    /// When it is none, or one of a version that knows more.
    pub(crate) fn part(&mut self, bytes: &[u8]) -> io::Result<()> {
        let damaged = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let (length, rest) = lz4_flex::block::uncompressed_size(bytes)
            .map_err(|error| damaged(error.to_string()))?;
        if length > LONGEST_PART {
            return Err(damaged(format!("a part of {length} bytes is too long")));
        }
        let records = lz4_flex::block::decompress(rest, length)
            .map_err(|error| damaged(error.to_string()))?;
        let mut left = &records[..];
        while let Some((head, rest)) = left.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*head) as usize;
            let Some((record, after)) = rest.split_at_checked(length) else {
                return Err(damaged("a record ends too early".to_owned()));
            };
            self.0
                .record(record)
                .map_err(|error| damaged(error.to_string()))?;
            left = after;
        }
        match left {
            [] => Ok(()),
            _ => Err(damaged("a part ends too early".to_owned())),
        }
    }

    /// The state, when all parts were taken.
    ///
    /// # Errors
    /// When something is missing.
    pub(crate) fn finish(self) -> io::Result<State> {
        let state = self.0.finish();
        state.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
    }
}
