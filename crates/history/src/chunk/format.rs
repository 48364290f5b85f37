//! The bytes of a chunk, below what they mean: numbers, frames, the directory.
//!
//! ```text
//! magic "PORTHIST" · version u32 · version of the records u32
//! frames: blocks of items, blocks of the index, the directory
//! directory's offset u64 · its length u32 · crc32c of these 12 bytes u32 · "PORTHEND"
//!
//! frame: length before compression u32 · length u32, highest bit: lz4 · crc32c of the bytes u32 · bytes
//! ```

use crate::files::File;

pub(super) const MAGIC: &[u8; 8] = b"PORTHIST";
pub(super) const END: &[u8; 8] = b"PORTHEND";
pub(super) const VERSION: u32 = 1;
pub(super) const HEADER: usize = 16;
pub(super) const TRAILER: usize = 24;
const FRAME: usize = 12;
const COMPRESSED: u32 = 1 << 31;
/// No frame is longer: a damaged length must not ask for all memory.
const LONGEST: u32 = 1 << 30;

/// Why bytes cannot be read.
pub(super) type Wrong = String;

pub(super) fn put_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes bytes apart.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn number(&mut self) -> Result<u64, Wrong> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or("a number is cut short")?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number is too long".into())
    }

    pub(super) fn take(&mut self, count: u64) -> Result<&'a [u8], Wrong> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or("bytes are cut short")?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn small(&mut self) -> Result<u32, Wrong> {
        u32::try_from(self.number()?).map_err(|_| "a number is too great".into())
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|four| four.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|eight| eight.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

/// Appends a frame around `raw`, compressed where that makes it shorter.
pub(super) fn put_frame(raw: &[u8], out: &mut Vec<u8>) {
    let packed = lz4_flex::block::compress(raw);
    let (bytes, flag) = if packed.len() < raw.len() {
        (&*packed, COMPRESSED)
    } else {
        (raw, 0)
    };
    out.extend_from_slice(&(raw.len() as u32).to_le_bytes());
    out.extend_from_slice(&(bytes.len() as u32 | flag).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(bytes).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Fills the buffer.
pub(super) fn read_exact(file: &dyn File, offset: u64, buffer: &mut [u8]) -> Result<(), Wrong> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(offset + done as u64, &mut buffer[done..]) {
            Ok(0) => return Err("it is cut short".into()),
            Ok(count) => done += count,
            Err(error) => return Err(format!("it cannot be read: {error}")),
        }
    }
    Ok(())
}

/// Reads the frame of `length` bytes at `offset`, checks and unpacks it.
pub(super) fn read_frame(file: &dyn File, offset: u64, length: u32) -> Result<Vec<u8>, Wrong> {
    let mut bytes = vec![0; length as usize];
    read_exact(file, offset, &mut bytes)?;
    if bytes.len() < FRAME {
        return Err("a frame is too short".into());
    }
    let raw = u32_at(&bytes, 0);
    let stored = u32_at(&bytes, 4);
    let body = &bytes[FRAME..];
    if body.len() != (stored & !COMPRESSED) as usize || raw > LONGEST {
        return Err("a frame has an impossible length".into());
    }
    if crc32c::crc32c(body) != u32_at(&bytes, 8) {
        return Err("a checksum does not match".into());
    }
    if stored & COMPRESSED == 0 {
        bytes.drain(..FRAME);
        return Ok(bytes);
    }
    lz4_flex::block::decompress(body, raw as usize).map_err(|error| error.to_string())
}
