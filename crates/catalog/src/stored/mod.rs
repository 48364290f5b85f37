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
mod facts;
pub mod history;
pub mod index;
mod rows;
mod shared;
mod sharing;
mod snapshot;

use crate::command::Command;
use crate::entry::Entry;
use crate::layout::Form;
use crate::limits;
use crate::outcome::Refusal;
use codec::{Reader, Stored, Writer};

pub use codec::Damaged;
pub use snapshot::{Restore, snapshot};

/// The newest feature level that this version reads and writes.
///
/// Every entry begins with the level it needs, so that a version that knows less says so instead of taking it for damage. A level is
/// raised by [`Command::RaiseLevel`] when every member knows it; until then nothing of it is proposed, and `apply` does what it always did:
/// the same log gives the same state in every version.
///
/// | level | brings |
/// | --- | --- |
/// | 1 | everything of 0.1.0 |
/// | 2 | raising levels; time that was set back is followed; a server's own registration is not a client's to remove; a put and a delete of one etcd key are two changes; layouts wake in slices |
/// | 3 | operations on the tree of znodes with their ACLs; other terms for a lease that runs; a create and a delete of one znode are two changes; layouts of Curator and Dubbo; nobody joins the servers' own service or puts it into maintenance; a node's id under another name renames the node |
/// | 4 | a state of elsewhere takes the place of the present one |
/// | 5 | an instance of Dubbo's is shown to ZooKeeper's clients as one while nobody's payload was seen, and under its own protocol |
///
/// Whoever changes what bytes mean or what `apply` does takes the next number, keeps the old reader, and asks [`State::level`].
///
/// [`State::level`]: crate::State::level
pub const LEVEL: u8 = 5;

/// The level that a command needs.
#[must_use]
pub fn level_of(command: &Command) -> u8 {
    match command {
        Command::RaiseLevel { level } => *level,
        Command::Tree(_) | Command::Retime { .. } => 3,
        Command::Restore(_) => 4,
        Command::SetLayout {
            state: Some(state), ..
        } => match state.form {
            Form::Curator { .. } | Form::Dubbo { .. } => 3,
            Form::Kitex
            | Form::Kratos
            | Form::GoZero { .. }
            | Form::GrpcNaming { .. }
            | Form::Template(_) => 1,
        },
        _ => 1,
    }
}

/// Appends one entry to a batch. Whoever proposes asks here first, so that nothing is applied that a restart could not read; `agreed` is
/// the level that every member knows.
///
/// # Errors
/// `Limit` when the entry needs a higher level, is nested deeper or is longer than what is read again; the batch is then as it was.
pub fn encode_entry(entry: &Entry, agreed: u8, batch: &mut Vec<u8>) -> Result<(), Refusal> {
    let level = level_of(&entry.command);
    if level > agreed {
        return Err(Refusal::Limit(limits::LEVEL));
    }
    let before = batch.len();
    let mut writer = Writer::over(std::mem::take(batch));
    writer.byte(level);
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
    match decode_readable(batch) {
        (entries, None) => Ok(entries),
        (_, Some(damaged)) => Err(damaged),
    }
}

/// The entries of a batch as far as they can be read, and why not further.
pub fn decode_readable(batch: &[u8]) -> (Vec<Entry>, Option<Damaged>) {
    let mut reader = Reader::new(batch);
    let mut entries = Vec::new();
    while !reader.is_empty() {
        match decode_entry(&mut reader) {
            Ok(entry) => entries.push(entry),
            Err(damaged) => return (entries, Some(damaged)),
        }
    }
    (entries, None)
}

fn decode_entry(reader: &mut Reader<'_>) -> Result<Entry, Damaged> {
    match reader.byte()? {
        1..=LEVEL => Entry::get(reader),
        0 => Err(reader.unknown("feature level", 0)),
        level => Err(Damaged::newer(level)),
    }
}
