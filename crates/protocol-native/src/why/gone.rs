//! What became of rows that are not there any more, from the change history.

use std::collections::BTreeSet;

use portolan_catalog::{Batch, Change, EndpointKey, Instance, InstanceKey, LeaseId, Via, Why};

use super::Look;
use super::facts::{Found, Rank};
use crate::as_of::{clock, span};
use crate::render::{lease_kind, sentence, through};
use crate::which;

/// Rows that are told of at most.
const MOST: usize = 20;

/// The last thing that happened to each row of the service that is gone, newest first.
pub(super) fn causes(look: &Look<'_>) -> Vec<Found> {
    let mut seen: BTreeSet<InstanceKey> = BTreeSet::new();
    let mut found = Vec::new();
    for batch in &look.recorded.batches {
        for change in &batch.changes {
            let Change::Instance {
                before: Some(before),
                after,
            } = change
            else {
                continue;
            };
            if before.service != look.asked.service || !about(look, before) {
                continue;
            }
            let left = match after {
                None => true,
                Some(after) => after.service != before.service || moved_away(look, before, after),
            };
            if !left || found.len() == MOST || !seen.insert(before.key.clone()) {
                continue;
            }
            let back = look
                .state
                .instance(&before.key)
                .is_some_and(|row| row.service == before.service && about(look, row));
            if !back {
                found.push(of_row(look, batch, before, after.as_deref()));
            }
        }
    }
    found
}

fn about(look: &Look<'_>, row: &Instance) -> bool {
    look.asked
        .instance
        .as_deref()
        .is_none_or(|text| which::means(text, row))
}

/// Somebody asks for an address that the instance had before.
fn moved_away(look: &Look<'_>, before: &Instance, after: &Instance) -> bool {
    look.asked.instance.is_some() && before.endpoint != after.endpoint && !about(look, after)
}

fn of_row(look: &Look<'_>, batch: &Batch, row: &Instance, after: Option<&Instance>) -> Found {
    let name = Look::name(row);
    let found = match after {
        Some(after) if after.service != row.service => {
            let text = format!(
                "{name} was registered again as service \"{}\" {}",
                after.service,
                through(&batch.cause)
            );
            Found::new(Rank::Gone, "moved", text).with("service", after.service.to_string())
        }
        Some(after) => {
            let to = after.endpoint.host.with_port(after.endpoint.port());
            let text = format!(
                "{name} was registered again at {to} {}",
                through(&batch.cause)
            );
            Found::new(Rank::Gone, "moved", text).with("address", to)
        }
        None => removed(look, batch, row, &name),
    };
    let found = found
        .of(row)
        .by(batch)
        .with("registered_through", row.key.origin.to_string());
    let twin = look
        .state
        .endpoint(&EndpointKey::of(row))
        .map(|endpoint| endpoint.primary().key.clone());
    match twin.filter(|twin| *twin != row.key) {
        Some(twin) => replaced(found, batch, row, &twin),
        None => found,
    }
}

/// The address lives on by another registration: what was asked for is not missing but shown as that.
fn replaced(found: Found, batch: &Batch, row: &Instance, twin: &InstanceKey) -> Found {
    let gone = found.into_reason();
    let text = format!(
        "{} is still served, by {twin}, which is at the same address; the registration {} itself went at {}: {}",
        row.endpoint.host.with_port(row.endpoint.port()),
        row.key,
        clock(batch.at),
        gone.text,
    );
    let mut replaced = Found::new(Rank::Twin, "replaced_by_twin", text)
        .of(row)
        .by(batch)
        .with("twin", twin.to_string())
        .with("after", gone.kind);
    for (name, value) in gone.detail {
        replaced = replaced.with(&name, value);
    }
    replaced
}

fn removed(look: &Look<'_>, batch: &Batch, row: &Instance, name: &str) -> Found {
    let gone = |kind, text| Found::new(Rank::Gone, kind, text);
    match &batch.cause.why {
        Why::Silence { since } => silent(batch, row, name, since.0),
        Why::Disconnected => gone(
            "disconnected",
            format!("{name} went with its client's connection"),
        ),
        Why::Reaped { check } => {
            let text = format!(
                "{name} was removed because check {:?} was critical for longer than its definition allows",
                check.id()
            );
            gone("reaped", text).with("check", check.id())
        }
        Why::Call => called(look, batch, row, name),
        Why::Probe | Why::Guard | Why::Mirror | Why::Layout | Why::Housekeeping | Why::Start => {
            gone(
                "deregistered",
                format!("{name} was removed {}", sentence(&batch.cause)),
            )
        }
    }
}

fn silent(batch: &Batch, row: &Instance, name: &str, since: u64) -> Found {
    let ms = batch.at.0.saturating_sub(since);
    let last = clock(portolan_catalog::Timestamp(since));
    let node_went = batch.changes.iter().any(|change| {
        matches!(change, Change::Node { before: Some(node), after: None } if node.name == row.node)
    });
    if node_went {
        let text = format!(
            "{name} went with its node {}, which was not heard for {} (last at {last})",
            row.node,
            span(ms)
        );
        return Found::new(Rank::Gone, "node_down", text)
            .with("node", row.node.as_str())
            .with("silent_ms", ms);
    }
    let lease = lease_of(batch, row);
    let whose = match &lease {
        Some(LeaseId::Etcd(id)) => format!("its etcd lease {id:x}"),
        Some(id) => format!("its {} lease", lease_kind(id)),
        None => "its lease".to_owned(),
    };
    let text = format!(
        "{name} went because nobody renewed {whose} for {}; the last renewal came at {last}",
        span(ms)
    );
    let found = Found::new(Rank::Gone, "lease_expired", text)
        .with("silent_ms", ms)
        .with("last_renewal_ms", since);
    match &lease {
        Some(id) => found.with("lease", lease_kind(id)),
        None => found,
    }
}

/// What kept the row alive: its own lease, or that of the record it was recognised in, which went in the same revision.
fn lease_of(batch: &Batch, row: &Instance) -> Option<LeaseId> {
    let of_record = || {
        batch.changes.iter().find_map(|change| match change {
            Change::Record {
                key,
                before: Some(record),
                ..
            } if **key == *row.key.id.as_bytes() => record.lease.clone(),
            _ => None,
        })
    };
    row.lease.clone().or_else(of_record)
}

/// A client did it: the registrant itself, or somebody through another protocol.
fn called(look: &Look<'_>, batch: &Batch, row: &Instance, name: &str) -> Found {
    let cause = &batch.cause;
    let node_went = batch.changes.iter().any(|change| {
        matches!(change, Change::Node { before: Some(node), after: None } if node.name == row.node)
    });
    let how = if node_went {
        format!("with its node {}", row.node)
    } else if row.via == Via::Record && cause.protocol == row.key.origin {
        "with its record, which was deleted or whose lease was revoked".to_owned()
    } else {
        String::new()
    };
    let other = if cause.protocol == row.key.origin {
        String::new()
    } else {
        format!(
            ", not through {}, which it was registered through",
            row.key.origin
        )
    };
    let how = if how.is_empty() {
        how
    } else {
        format!(" {how}")
    };
    let ago = span(look.now.0.saturating_sub(batch.at.0));
    let text = format!(
        "{name} was deregistered{how} {}{other}, {ago} ago",
        through(cause)
    );
    Found::new(Rank::Gone, "deregistered", text)
}
