//! A whole state as a sequence of records. Its history is not in it; what an earlier version wrote has it, and is read.
//!
//! Rows that several tables share are written once: the first mention carries the row, later ones its number. So a snapshot is
//! about as large as the state in memory, and the restored state shares its rows again.

use std::sync::Arc;

use super::LEVEL;
use super::codec::{Damaged, Reader, Stored, Writer};
use super::shared::Shared;
use crate::change::{Batch, Change};
use crate::endpoint::EndpointKey;
use crate::ids::{Keyspace, Revision, ServiceKey, Timestamp};
use crate::layout::LayoutState;
use crate::lease::Lease;
use crate::record::{Key, Record};
use crate::service::ServiceMarks;
use crate::state::{Marks, Restoring, State, Tables};

/// Version of every record of a snapshot.
const VERSION: u8 = 1;
/// A record is closed when it has grown this long.
const RECORD: usize = 64 << 10;

/// Kinds of records beside those of the tables in the list, which have 1 to 7. Never renumber.
mod kind {
    pub(super) const HEAD: u8 = 0;
    pub(super) const RECORDS: u8 = 8;
    pub(super) const SERVICE_MARKS: u8 = 9;
    pub(super) const LEASES: u8 = 10;
    pub(super) const LOCK_DELAYS: u8 = 11;
    pub(super) const TOMBSTONES: u8 = 12;
    pub(super) const LAYOUTS: u8 = 13;
    /// The history, which only earlier versions wrote.
    pub(super) const BATCHES: u8 = 14;
    /// Keyspaces that were compacted at revision 0. A snapshot without them has no such record.
    pub(super) const COMPACTED_AT_ZERO: u8 = 15;
    /// Layouts that are being woken.
    pub(super) const WAKING: u8 = 16;
    /// Comes right after the head, from level 2 on.
    pub(super) const LEVEL: u8 = 17;
    /// The revision at which a state of elsewhere was restored.
    pub(super) const RESTORED: u8 = 100;
    /// Parts of a state that is being restored.
    pub(super) const RESTORING: u8 = 101;
    pub(super) const END: u8 = 255;
}

struct Head {
    revision: Revision,
    last_at: Timestamp,
    generation: u64,
    marks: Marks,
    floors: [Revision; Keyspace::COUNT],
    floor: Revision,
}

stored_struct!(Head {
    revision,
    last_at,
    generation,
    marks,
    floors,
    floor
});

/// Gives `emit` the records of a snapshot one after the other, each at most a little longer than 64 KiB but for very long rows.
///
/// # Errors
/// Only what `emit` answers.
pub fn snapshot<E>(state: &State, emit: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let mut sheets = Sheets {
        writer: Writer::sharing(),
        emit,
    };
    let head = Head {
        revision: state.revision,
        last_at: state.last_at,
        generation: state.generation,
        marks: state.marks.clone(),
        floors: state.floors.spaces,
        floor: state.floors.all,
    };
    sheets.write(kind::HEAD, std::iter::once(&head), Stored::put)?;
    if state.level > 1 {
        sheets.write(kind::LEVEL, std::iter::once(&state.level), Stored::put)?;
    }
    let tables = &state.tables;
    write_tables(&mut sheets, tables)?;
    for (space, records) in Keyspace::ALL.into_iter().zip(&tables.records) {
        sheets.write(kind::RECORDS, records.iter(), |(key, record), w| {
            space.put(w);
            key.put(w);
            record.put(w);
        })?;
    }
    sheets.write(kind::SERVICE_MARKS, state.service_marks.iter(), pair)?;
    sheets.write(kind::LEASES, state.leases.values(), Stored::put)?;
    sheets.write(kind::LOCK_DELAYS, state.lock_delays.iter(), pair)?;
    sheets.write(
        kind::TOMBSTONES,
        state.tombstones.iter(),
        |(space, key, revision), w| {
            space.put(w);
            key.put(w);
            revision.put(w);
        },
    )?;
    sheets.write(kind::LAYOUTS, state.layouts.iter(), pair)?;
    sheets.write(kind::WAKING, state.waking.iter(), pair)?;
    let at_zero = Keyspace::ALL
        .into_iter()
        .filter(|space| state.floors.compacted_at_zero[*space as usize]);
    sheets.write(kind::COMPACTED_AT_ZERO, at_zero, |space, w| space.put(w))?;
    if state.restored > Revision(0) {
        sheets.write(
            kind::RESTORED,
            std::iter::once(&state.restored),
            Stored::put,
        )?;
    }
    if let Some(restoring) = &state.restoring {
        sheets.write(kind::RESTORING, restoring.parts.iter(), |part, w| {
            restoring.attempt.put(w);
            restoring.began.put(w);
            part.put(w);
        })?;
    }
    sheets.open(kind::END);
    sheets.close()
}

fn pair<A: Stored, B: Stored>((a, b): (&A, &B), w: &mut Writer) {
    a.put(w);
    b.put(w);
}

struct Sheets<F> {
    writer: Writer,
    emit: F,
}

impl<E, F: FnMut(&[u8]) -> Result<(), E>> Sheets<F> {
    fn open(&mut self, kind: u8) {
        self.writer.byte(VERSION);
        self.writer.byte(kind);
    }

    fn close(&mut self) -> Result<(), E> {
        (self.emit)(self.writer.bytes())?;
        self.writer.clear();
        Ok(())
    }

    fn write<T>(
        &mut self,
        kind: u8,
        items: impl Iterator<Item = T>,
        put: impl Fn(T, &mut Writer),
    ) -> Result<(), E> {
        for item in items {
            if self.writer.bytes().is_empty() {
                self.open(kind);
            }
            put(item, &mut self.writer);
            if self.writer.bytes().len() >= RECORD {
                self.close()?;
            }
        }
        if self.writer.bytes().is_empty() {
            Ok(())
        } else {
            self.close()
        }
    }
}

macro_rules! table_records {
    ($(
        $variant:ident($row:ty) in $table:ident, $field:ident;
        key $key:ty, |$it:ident| $own:expr;
        stored $stored:literal, snapshot $snapshot:literal;
    )*) => {
        $(
            const _: () = assert!(
                $snapshot > kind::HEAD && $snapshot < kind::RECORDS || $snapshot > kind::LEVEL && $snapshot < kind::RESTORED,
                "the number of another kind of records"
            );
        )*

        fn write_tables<E, F: FnMut(&[u8]) -> Result<(), E>>(
            sheets: &mut Sheets<F>,
            tables: &Tables,
        ) -> Result<(), E> {
            $( sheets.write($snapshot, tables.$field.values(), Stored::put)?; )*
            Ok(())
        }

        /// The next row, as the change that brings it; `None` when no table has that kind of records.
        fn read_row(kind: u8, r: &mut Reader<'_>) -> Result<Option<Change>, Damaged> {
            Ok(Some(match kind {
                $( $snapshot => Change::$variant {
                    before: None,
                    after: Some(Stored::get(r)?),
                }, )*
                _ => return Ok(None),
            }))
        }
    };
}

for_each_table!(table_records);

/// Builds a state from the records of a snapshot.
#[derive(Default)]
pub struct Restore {
    state: State,
    batches: Vec<Arc<Batch>>,
    shared: Shared,
    begun: bool,
    ended: bool,
}

impl std::fmt::Debug for Restore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Restore")
            .field("rows", &self.shared.len())
            .finish_non_exhaustive()
    }
}

impl Restore {
    /// Nothing read yet.
    #[must_use]
    pub fn new() -> Restore {
        Restore::default()
    }

    /// Takes in the next record.
    ///
    /// # Errors
    /// When it is not one this version can read. The restored state is then of no use.
    pub fn record(&mut self, bytes: &[u8]) -> Result<(), Damaged> {
        let mut r = Reader::sharing(bytes, &mut self.shared);
        let version = r.byte()?;
        if version != VERSION {
            return Err(r.unknown("snapshot record version", u64::from(version)));
        }
        let kind = r.byte()?;
        if self.ended || self.begun != (kind != kind::HEAD) {
            return Err(r.damaged("record out of order"));
        }
        if kind == kind::END {
            self.ended = true;
        }
        while !r.is_empty() {
            if kind == kind::BATCHES {
                let mut batch = Batch::get(&mut r)?;
                // One client's calls in a row have equal causes, which need not each take memory.
                if let Some(last) = self.batches.last()
                    && last.cause == batch.cause
                {
                    batch.cause = last.cause.clone();
                }
                self.batches.push(Arc::new(batch));
            } else {
                self.state.take_in(kind, &mut r)?;
            }
            self.begun = true;
        }
        Ok(())
    }

    /// The batches read since the last call, oldest first: the history in a snapshot of an earlier version.
    pub fn take_batches(&mut self) -> Vec<Arc<Batch>> {
        std::mem::take(&mut self.batches)
    }

    /// The state, when the last record was read.
    ///
    /// # Errors
    /// When the snapshot is not complete.
    pub fn finish(self) -> Result<State, Damaged> {
        if !self.ended {
            return Err(Damaged {
                what: "the snapshot ends too early".to_owned(),
                newer: None,
            });
        }
        Ok(self.state)
    }
}

impl State {
    fn take_in(&mut self, kind: u8, r: &mut Reader<'_>) -> Result<(), Damaged> {
        let change = match kind {
            kind::HEAD => {
                let head = Head::get(r)?;
                self.revision = head.revision;
                self.last_at = head.last_at;
                self.generation = head.generation;
                self.marks = head.marks;
                self.floors.spaces = head.floors;
                self.floors.all = head.floor;
                return Ok(());
            }
            kind::LEVEL => {
                self.level = r.byte()?;
                if self.level > LEVEL {
                    return Err(Damaged::newer(self.level));
                }
                return Ok(());
            }
            kind::RECORDS => Change::Record {
                space: Keyspace::get(r)?,
                key: Key::get(r)?,
                before: None,
                after: Some(Arc::<Record>::get(r)?),
            },
            kind::SERVICE_MARKS => {
                let (service, marks) = (ServiceKey::get(r)?, ServiceMarks::get(r)?);
                if marks.empty_since.is_some() {
                    self.empty.insert(service.clone());
                }
                self.service_marks.insert(service, marks);
                return Ok(());
            }
            kind::LEASES => {
                self.leases.put(Arc::<Lease>::get(r)?);
                return Ok(());
            }
            kind::LOCK_DELAYS => {
                self.lock_delays.insert(Stored::get(r)?, Timestamp::get(r)?);
                return Ok(());
            }
            kind::TOMBSTONES => {
                let (space, key) = Stored::get(r)?;
                self.tombstones.put(space, &key, Some(Revision::get(r)?));
                return Ok(());
            }
            kind::LAYOUTS => {
                self.layouts
                    .insert(Stored::get(r)?, Arc::<LayoutState>::get(r)?);
                return Ok(());
            }
            kind::WAKING => {
                self.waking.insert(Stored::get(r)?, EndpointKey::get(r)?);
                return Ok(());
            }
            kind::COMPACTED_AT_ZERO => {
                self.floors.compacted_at_zero[Keyspace::get(r)? as usize] = true;
                return Ok(());
            }
            kind::RESTORED => {
                self.restored = Revision::get(r)?;
                return Ok(());
            }
            kind::RESTORING => {
                let (attempt, began) = (Stored::get(r)?, Timestamp::get(r)?);
                let restoring = self
                    .restoring
                    .get_or_insert_with(|| Restoring::begin(attempt, began));
                restoring.take(Stored::get(r)?);
                return Ok(());
            }
            kind => {
                read_row(kind, r)?.ok_or_else(|| r.unknown("snapshot record", u64::from(kind)))?
            }
        };
        self.tables.install(&change);
        Ok(())
    }
}
