//! Batches as the files of the history hold them: a head and its changes, each a record of its own, so that one change can be read
//! without the others.
//!
//! ```text
//! head    revision · number of changes · time · cause · services
//! change  table u8 · sides u8 · [distance] · [keyspace · key] · [length · row before] · [row after]
//! ```
//!
//! The row before is left out where the same row changed earlier in the same file: there stands how many changes ago instead. So a
//! file holds each version of a row once.

use std::sync::Arc;

use super::codec::{Damaged, Reader, Stored, Writer};
use crate::change::{Batch, Change};
use crate::entry::Cause;
use crate::ids::{Keyspace, Revision, ServiceKey, Timestamp};
use crate::record::Key;

/// Version of the records described here; a file says which it holds.
pub const VERSION: u8 = 1;

const BEFORE: u8 = 1;
const AFTER: u8 = 2;
const EARLIER: u8 = 4;
const RECORD: u8 = 7;

/// Everything of a batch but its changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The revision.
    pub revision: Revision,
    /// How many changes follow.
    pub changes: u64,
    /// When.
    pub at: Timestamp,
    /// Who and why.
    pub cause: Arc<Cause>,
    /// As in [`Batch::services`].
    pub services: Box<[ServiceKey]>,
}

impl Head {
    /// The batch with its changes.
    #[must_use]
    pub fn with(self, changes: Vec<Change>) -> Batch {
        Batch {
            revision: self.revision,
            at: self.at,
            cause: self.cause,
            changes: changes.into_boxed_slice(),
            services: self.services,
        }
    }
}

/// Appends a batch's head; `changes` may be fewer than it has.
pub fn put_head(batch: &Batch, changes: u64, out: &mut Vec<u8>) {
    let mut w = Writer::over(std::mem::take(out));
    batch.revision.put(&mut w);
    w.number(changes);
    batch.at.put(&mut w);
    batch.cause.put(&mut w);
    batch.services.put(&mut w);
    *out = w.into_bytes();
}

/// Reads a head.
///
/// # Errors
/// When the bytes are not one.
pub fn head(bytes: &[u8]) -> Result<Head, Damaged> {
    let mut r = Reader::new(bytes);
    Ok(Head {
        revision: Stored::get(&mut r)?,
        changes: Stored::get(&mut r)?,
        at: Stored::get(&mut r)?,
        cause: Stored::get(&mut r)?,
        services: Stored::get(&mut r)?,
    })
}

/// A head's record, taken apart without reading cause and services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadParts<'a> {
    /// The revision.
    pub revision: Revision,
    /// How many changes follow.
    pub changes: u64,
    /// When.
    pub at: Timestamp,
    rest: &'a [u8],
}

impl<'a> HeadParts<'a> {
    /// Takes a record apart.
    ///
    /// # Errors
    /// When the bytes are not a head's record.
    pub fn of(bytes: &'a [u8]) -> Result<HeadParts<'a>, Damaged> {
        let mut r = Reader::new(bytes);
        Ok(HeadParts {
            revision: Stored::get(&mut r)?,
            changes: Stored::get(&mut r)?,
            at: Stored::get(&mut r)?,
            rest: r.rest,
        })
    }

    /// The same head over another number of changes.
    #[must_use]
    pub fn with_changes(self, changes: u64) -> HeadParts<'a> {
        HeadParts { changes, ..self }
    }

    /// Appends the record.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut w = Writer::over(std::mem::take(out));
        self.revision.put(&mut w);
        w.number(self.changes);
        self.at.put(&mut w);
        *out = w.into_bytes();
        out.extend_from_slice(self.rest);
    }
}

/// What was before, in a change's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before<B> {
    /// There was no row.
    Absent,
    /// The row.
    Here(B),
    /// The row is what the change this many changes earlier in the same file made it.
    Earlier(u64),
}

/// A change's record, taken apart without reading its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    table: u8,
    identity: &'a [u8],
    /// What was before.
    pub before: Before<&'a [u8]>,
    /// The row after, if there is one.
    pub after: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    /// Takes a record apart.
    ///
    /// # Errors
    /// When the bytes are not a change's record.
    pub fn of(bytes: &'a [u8]) -> Result<Parts<'a>, Damaged> {
        let mut r = Reader::new(bytes);
        let table = r.byte()?;
        let sides = r.byte()?;
        let distance = match sides & EARLIER {
            0 => None,
            _ => Some(r.number()?),
        };
        let start = r.rest;
        if table == RECORD {
            Keyspace::get(&mut r)?;
            r.slice()?;
        }
        let identity = &start[..start.len() - r.rest.len()];
        let before = match (distance, sides & BEFORE) {
            (Some(distance), _) => Before::Earlier(distance),
            (None, 0) => Before::Absent,
            (None, _) => Before::Here(r.slice()?),
        };
        let after = (sides & AFTER != 0).then_some(r.rest);
        Ok(Parts {
            table,
            identity,
            before,
            after,
        })
    }

    /// The same change, what was before told otherwise.
    #[must_use]
    pub fn with_before(self, before: Before<&'a [u8]>) -> Parts<'a> {
        Parts { before, ..self }
    }

    /// Appends the record.
    pub fn put(&self, out: &mut Vec<u8>) {
        let (sides, distance, before) = match self.before {
            Before::Absent => (0, None, None),
            Before::Here(row) => (BEFORE, None, Some(row)),
            Before::Earlier(distance) => (EARLIER, Some(distance), None),
        };
        let sides = sides | if self.after.is_some() { AFTER } else { 0 };
        let mut w = Writer::over(std::mem::take(out));
        w.byte(self.table);
        w.byte(sides);
        if let Some(distance) = distance {
            w.number(distance);
        }
        *out = w.into_bytes();
        out.extend_from_slice(self.identity);
        if let Some(row) = before {
            let mut w = Writer::over(std::mem::take(out));
            w.slice(row);
            *out = w.into_bytes();
        }
        out.extend_from_slice(self.after.unwrap_or_default());
    }

    /// The change; where what was before stands elsewhere, it has none, and [`fill_before`] gives it one.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn read(&self) -> Result<Change, Damaged> {
        let before = match self.before {
            Before::Here(row) => Some(row),
            Before::Absent | Before::Earlier(_) => None,
        };
        read_change(self.table, self.identity, before, self.after)
    }
}

fn row<T: Stored + Send + Sync + 'static>(bytes: Option<&[u8]>) -> Result<Option<Arc<T>>, Damaged> {
    bytes
        .map(|bytes| T::get(&mut Reader::new(bytes)).map(Arc::new))
        .transpose()
}

fn sides<T: Stored + Send + Sync + 'static>(
    table: u8,
    identity: Option<(Keyspace, &Key)>,
    before: Option<&Arc<T>>,
    after: Option<&Arc<T>>,
    distance: Option<u64>,
    out: &mut Vec<u8>,
) {
    let mut w = Writer::over(std::mem::take(out));
    w.byte(table);
    let earlier = distance.filter(|_| before.is_some());
    let flag = match (before, earlier) {
        (None, _) => 0,
        (Some(_), None) => BEFORE,
        (Some(_), Some(_)) => EARLIER,
    };
    w.byte(flag | if after.is_some() { AFTER } else { 0 });
    if let Some(distance) = earlier {
        w.number(distance);
    }
    if let Some((space, key)) = identity {
        space.put(&mut w);
        key.put(&mut w);
    }
    if let Some(before) = before.filter(|_| earlier.is_none()) {
        let mut row = Writer::over(Vec::new());
        (**before).put(&mut row);
        w.slice(row.bytes());
    }
    if let Some(after) = after {
        (**after).put(&mut w);
    }
    *out = w.into_bytes();
}

macro_rules! tables {
    ($(
        $variant:ident($row:ty) in $table:ident, $field:ident;
        key $key:ty, |$it:ident| $own:expr;
        stored $stored:literal, snapshot $snapshot:literal;
    )*) => {
        fn read_change(
            table: u8,
            identity: &[u8],
            before: Option<&[u8]>,
            after: Option<&[u8]>,
        ) -> Result<Change, Damaged> {
            Ok(match table {
                $( $stored => Change::$variant {
                    before: row(before)?,
                    after: row(after)?,
                }, )*
                RECORD => {
                    let mut r = Reader::new(identity);
                    Change::Record {
                        space: Stored::get(&mut r)?,
                        key: Key::get(&mut r)?,
                        before: row(before)?,
                        after: row(after)?,
                    }
                }
                table => return Err(Reader::new(&[]).unknown("table", u64::from(table))),
            })
        }

        /// Appends a change's record. `distance` tells how many changes ago the same row changed in the same file, if it did.
        pub fn put_change(change: &Change, distance: Option<u64>, out: &mut Vec<u8>) {
            match change {
                $( Change::$variant { before, after } => {
                    sides($stored, None, before.as_ref(), after.as_ref(), distance, out);
                } )*
                Change::Record { space, key, before, after } => {
                    let identity = Some((*space, key));
                    sides(RECORD, identity, before.as_ref(), after.as_ref(), distance, out);
                }
            }
        }

        /// Makes what `earlier` left behind what was before `later`; false when they are not of one table.
        #[must_use]
        pub fn fill_before(later: &mut Change, earlier: Change) -> bool {
            match (later, earlier) {
                $( (Change::$variant { before, .. }, Change::$variant { after, .. }) => *before = after, )*
                (Change::Record { before, .. }, Change::Record { after, .. }) => *before = after,
                _ => return false,
            }
            true
        }
    };
}

for_each_table!(tables);
