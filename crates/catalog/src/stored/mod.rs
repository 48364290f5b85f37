//! What logs, snapshots and peers hold: the catalog's types as versioned bytes.
//!
//! Promises
//! - Bytes written by one version are read by the next: every record begins with its version, variants have explicit numbers that are
//!   never reused, and a new field means a new version with a reader for the old one beside it.
//! - Reading never panics and never allocates more than a small multiple of what it was given: bytes come from a disk.
//! - Equal values give equal bytes, but for the sharing of rows in a snapshot.
//! - What is written can be read: writer and reader share their bounds, and [`encode_entry`] refuses what is beyond them.
//!
//! The encoding is that of the postcard format: little endian base-128 numbers, zigzag for signed ones, lengths before what they
//! count, one byte for a variant. It is written here by hand, directly from and into the model's types: a twin struct for each type would copy
//! each command twice, and a new field of the model must not compile before somebody decided what old bytes mean.
//!
//! Start with [`encode_entry`] and [`decode_entries`] for the log, [`snapshot()`] and [`Restore`] for snapshots.

#[macro_use]
mod codec;
mod command;
mod rows;
mod shared;
mod sharing;
mod snapshot;

use crate::entry::Entry;
use crate::limits;
use crate::outcome::Refusal;
use codec::{Reader, Stored, Writer};

pub use codec::Damaged;
pub use snapshot::{Restore, snapshot};

/// Version of an entry's record.
const ENTRY: u8 = 1;

/// Appends one entry to a batch. Whoever proposes asks here first, so that nothing is applied that a restart could not read.
///
/// # Errors
/// `Limit` when the entry is nested deeper or is longer than what is read again; the batch is then as it was.
pub fn encode_entry(entry: &Entry, batch: &mut Vec<u8>) -> Result<(), Refusal> {
    let before = batch.len();
    let mut writer = Writer::over(std::mem::take(batch));
    writer.byte(ENTRY);
    entry.put(&mut writer);
    let too_deep = writer.too_deep;
    *batch = writer.into_bytes();
    let refused = if too_deep {
        limits::NESTING
    } else if batch.len() - before > limits::COMMAND {
        limits::LENGTH
    } else {
        return Ok(());
    };
    batch.truncate(before);
    Err(Refusal::Limit(refused))
}

/// The entries of a batch.
///
/// # Errors
/// When the bytes are not those of a batch this version can read.
pub fn decode_entries(batch: &[u8]) -> Result<Vec<Entry>, Damaged> {
    let mut reader = Reader::new(batch);
    let mut entries = Vec::new();
    while !reader.is_empty() {
        match reader.byte()? {
            ENTRY => entries.push(Entry::get(&mut reader)?),
            version => return Err(reader.unknown("entry version", u64::from(version))),
        }
    }
    Ok(entries)
}
