//! Several chunks as one, without what is below its keyspace's floor. Rows are copied as they are, not read.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use portolan_catalog::stored::history::{Before, HeadParts, Parts};
use portolan_catalog::stored::index::{is_row, record_of};
use portolan_catalog::{Floors, Keyspace, Revision};

use super::format::Wrong;
use super::index::{Entries, Posting};
use super::write::{CHANGE, Writer, earlier, forgotten};
use super::{Chunk, Damage};

/// Why chunks could not be merged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MergeError {
    /// One of them cannot be read.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// The new one cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What becomes of the changes of all chunks together, by their number.
struct Plan {
    /// The number each has in the new chunk; none for those that are forgotten.
    place: Vec<Option<u32>>,
    /// For each that stays, the row's change before it, by its number in the old chunks.
    before: Vec<Option<u32>>,
    /// Keyspaces of changes of records.
    spaces: Vec<Option<Keyspace>>,
    entries: Entries,
}

fn plan(chunks: &[Arc<Chunk>], floors: &Floors) -> Result<Plan, Damage> {
    let mut all = Entries::default();
    let mut first = 0;
    for chunk in chunks {
        chunk.entries(|key, postings| {
            all.push_all(
                key,
                postings.iter().map(|posting| Posting {
                    change: posting.change + first,
                    ..*posting
                }),
            );
        })?;
        first += chunk.changes() as u32;
    }
    all.sort();
    let before = earlier(&all, first);
    let mut kept = vec![true; first as usize];
    let mut spaces = vec![None; first as usize];
    let mut revisions = vec![Revision(0); first as usize];
    for (key, postings) in all.groups().filter(|(key, _)| is_row(key)) {
        let space = record_of(key).map(|(space, _)| space);
        for posting in postings {
            let place = posting.change as usize;
            if place < kept.len() {
                kept[place] = !forgotten(key, posting.revision, floors);
                spaces[place] = space;
                revisions[place] = posting.revision;
            }
        }
    }
    let mut next = 0;
    let place: Vec<Option<u32>> = kept
        .iter()
        .map(|kept| {
            let place = kept.then_some(next);
            next += u32::from(*kept);
            place
        })
        .collect();
    let mut entries = Entries::default();
    let mut moved = Vec::new();
    for (key, postings) in all.groups() {
        moved.clear();
        moved.extend(postings.filter_map(|posting| {
            // An entry for a whole batch stands at its first change, which may be forgotten while others stay.
            let same = |at: &usize| revisions.get(*at) == Some(&posting.revision);
            let mut changes = (posting.change as usize..).take_while(same);
            let change = match is_row(key) {
                true => changes.next().and_then(|at| place[at]),
                false => changes.find_map(|at| place[at]),
            }?;
            Some(Posting { change, ..posting })
        }));
        if !moved.is_empty() {
            entries.push_all(key, moved.iter().copied());
        }
    }
    entries.sort();
    Ok(Plan {
        place,
        before,
        spaces,
        entries,
    })
}

/// Writes the chunks, which follow each other, as one.
pub(crate) fn merge(
    chunks: &[Arc<Chunk>],
    floors: &Floors,
    out: &mut dyn Write,
) -> Result<(), MergeError> {
    let plan = plan(chunks, floors)?;
    // Rows that changes below a floor left, and that a change above it needs.
    let mut wanted: BTreeMap<u32, Option<Vec<u8>>> = BTreeMap::new();
    for (place, before) in plan.place.iter().zip(&plan.before) {
        if let (Some(_), Some(before)) = (place, before)
            && plan.place[*before as usize].is_none()
        {
            wanted.insert(*before, None);
        }
    }
    let mut writer = Writer::new(out)?;
    let mut first = 0_u32;
    for chunk in chunks {
        let numbers = first..first + chunk.changes() as u32;
        first = numbers.end;
        let live = plan.place[numbers.start as usize..numbers.end as usize]
            .iter()
            .any(Option::is_some);
        if live || wanted.range(numbers.clone()).next().is_some() {
            copy(chunk, numbers.start, &plan, &mut wanted, &mut writer)?;
        }
    }
    Ok(writer.finish(&plan.entries)?)
}

fn copy(
    chunk: &Chunk,
    first: u32,
    plan: &Plan,
    wanted: &mut BTreeMap<u32, Option<Vec<u8>>>,
    writer: &mut Writer<'_>,
) -> Result<(), MergeError> {
    let damaged = |what: Wrong| MergeError::Damage(chunk.damage(what));
    let mut number = first;
    // A batch's head, and the number of its first change.
    let mut head: Option<(Vec<u8>, u32)> = None;
    let mut record = Vec::new();
    chunk.items(0, |kind, bytes| {
        if kind != CHANGE {
            head = Some((bytes.to_vec(), number));
            return Ok(true);
        }
        let place = plan.place.get(number as usize).copied().flatten();
        let parts = Parts::of(bytes).map_err(|error| damaged(error.to_string()))?;
        if let Some(row) = wanted.get_mut(&number) {
            *row = parts.after.map(<[u8]>::to_vec);
        }
        if let Some(place) = place {
            if let Some((bytes, first)) = head.take() {
                let parts = HeadParts::of(&bytes).map_err(|error| damaged(error.to_string()))?;
                let changes = plan.place.iter().skip(first as usize);
                let changes = changes.take(usize::try_from(parts.changes).unwrap_or(usize::MAX));
                let parts =
                    parts.with_changes(changes.filter(|place| place.is_some()).count() as u64);
                record.clear();
                parts.put(&mut record);
                writer.head(parts.revision, parts.at, &record)?;
            }
            let earlier = plan.before[number as usize];
            let before = match (parts.before, earlier) {
                (Before::Absent, _) => Before::Absent,
                // What is forgotten lies below everything that is kept, so nothing is missing between the two.
                (_, Some(earlier)) if plan.place[earlier as usize].is_some() => {
                    let earlier = plan.place[earlier as usize].unwrap_or(place);
                    Before::Earlier(u64::from(place - earlier))
                }
                (Before::Here(row), _) => Before::Here(row),
                (Before::Earlier(_), earlier) => {
                    let row = earlier.and_then(|earlier| wanted.get(&earlier)?.as_deref());
                    Before::Here(row.ok_or_else(|| damaged("a row before is missing".into()))?)
                }
            };
            record.clear();
            parts.with_before(before).put(&mut record);
            writer.change(plan.spaces[number as usize], &record)?;
        }
        number += 1;
        Ok(true)
    })
}
