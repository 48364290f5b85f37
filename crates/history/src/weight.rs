//! What a batch in memory costs, as the process would show it: allocations with their headers, rounded as the allocator does.
//!
//! Rows that the present state holds as well are counted too: they become the history's own with the next change of the row.

use std::sync::Arc;

use portolan_catalog::{Batch, Cause, Change, Instance, Record, Registration, Revision};

/// Bytes that an allocation of this many takes: the allocator has classes an eighth apart, and keeps some pages half full.
fn allocation(bytes: usize) -> usize {
    bytes.next_multiple_of(16) + bytes / 8
}

fn shared<T>() -> usize {
    allocation(16 + size_of::<T>())
}

fn text(text: &str) -> usize {
    if text.is_empty() {
        0
    } else {
        allocation(16 + text.len())
    }
}

fn facts(facts: &Registration) -> usize {
    let tags: usize = facts.tags.iter().map(|tag| 16 + text(tag)).sum();
    let meta: usize = facts.meta.iter().map(|(k, v)| 32 + text(k) + text(v)).sum();
    shared::<Registration>()
        + text(&facts.key.id)
        + text(&facts.spelling)
        + tags
        + meta
        + facts.endpoint.ports.len() * 40
        + facts.extension.len()
        + 160
}

fn instance(row: &Instance, before: Option<&Arc<Instance>>) -> usize {
    let same = before.is_some_and(|before| Arc::ptr_eq(&before.facts, &row.facts));
    shared::<Instance>() + if same { 0 } else { facts(&row.facts) }
}

fn record(row: &Record) -> usize {
    let value = row
        .value
        .as_ref()
        .map_or(0, |value| allocation(value.len()) + 40);
    let rare = usize::from(row.lock.is_some()) * 48
        + usize::from(row.derived_from.is_some()) * 240
        + usize::from(row.lease.is_some()) * 32;
    shared::<Record>() + value + rare
}

/// Bytes of the rows of one change. What was before counts where the change that made it is not in memory any more.
fn change(change: &Change, oldest: Revision) -> usize {
    macro_rules! rows {
        ($before:ident, $after:ident, |$row:ident| $bytes:expr) => {{
            let old = $before.as_ref().filter(|row| row.modified < oldest);
            old.iter()
                .copied()
                .chain($after.as_ref())
                .map(|$row| $bytes)
                .sum::<usize>()
        }};
    }
    match change {
        Change::Instance { before, after } => {
            let old = before.as_ref().filter(|row| row.modified < oldest);
            old.map_or(0, |row| instance(row, None))
                + after
                    .as_ref()
                    .map_or(0, |row| instance(row, before.as_ref()))
        }
        Change::Endpoint { before, after } => rows!(before, after, |row| {
            shared::<portolan_catalog::EndpointRow>() + allocation(16 + 8 * row.members.len())
        }),
        Change::Service { before, after } => rows!(before, after, |row| {
            shared::<portolan_catalog::Service>() + 2 * text(&row.spelling)
        }),
        Change::Namespace { before, after } => rows!(before, after, |row| {
            shared::<portolan_catalog::Namespace>() + text(&row.title) + text(&row.description)
        }),
        Change::Node { before, after } => rows!(before, after, |_row| {
            shared::<portolan_catalog::Node>() + shared::<portolan_catalog::NodeFacts>() + 200
        }),
        Change::Check { before, after } => rows!(before, after, |row| {
            shared::<portolan_catalog::Check>() + allocation(row.output.len()) + 40
        }),
        Change::Session { before, after } => rows!(before, after, |_row| {
            shared::<portolan_catalog::Session>() + 200
        }),
        Change::Record {
            key, before, after, ..
        } => {
            // The key is the table's own while the record is there.
            allocation(16 + key.len()) + rows!(before, after, |row| record(row))
        }
    }
}

/// Bytes a batch holds. `last` is the cause of the batch before; `oldest` the first revision in memory.
pub(crate) fn weight(batch: &Batch, last: Option<&Arc<Cause>>, oldest: Revision) -> usize {
    let cause = match last {
        Some(last) if Arc::ptr_eq(last, &batch.cause) => 0,
        _ => shared::<Cause>(),
    };
    shared::<Batch>()
        + cause
        + allocation(size_of_val(&*batch.changes))
        + allocation(size_of_val(&*batch.services))
        + batch
            .changes
            .iter()
            .map(|c| change(c, oldest))
            .sum::<usize>()
}
