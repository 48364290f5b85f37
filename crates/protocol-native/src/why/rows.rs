//! What is wrong with the rows that are there.

use std::sync::Arc;

use portolan_catalog::guard::{Held, Removals};
use portolan_catalog::{
    Admin, AdminStatus, Change, Check, Declared, EndpointRow, Health, Instance, LeaseId, Probe,
    Protocol, Status, Then, Why,
};

use super::Look;
use super::facts::{Found, Rank};
use crate::as_of::{clock, span};
use crate::guard::HeldBack;
use crate::render::{admin_status, declared, through};

/// Causes of every row that the question is about, and of the twins it shares its address with.
pub(super) fn causes(look: &Look<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for endpoint in look.state.endpoints(&look.asked.service) {
        if !endpoint.members.iter().any(|row| look.is_about(row)) {
            continue;
        }
        for row in endpoint.members.iter() {
            found.extend(of_row(look, row, endpoint));
        }
        found.extend(shadow(look, endpoint));
    }
    let held = HeldBack::of(look.state);
    found.extend(
        held.each()
            .filter_map(|(removals, held)| guarded(look, removals, held)),
    );
    found
}

fn of_row(look: &Look<'_>, row: &Instance, endpoint: &EndpointRow) -> Vec<Found> {
    let mut found = Vec::new();
    found.extend(administrative(look, row));
    found.extend(said_of_itself(look, row));
    found.extend(node(look, row));
    let unhealthy = row.health != Health::Passing || endpoint.health != Health::Passing;
    if unhealthy {
        let checks = look
            .state
            .checks_of(&row.key)
            .filter(|check| check.status != Status::Passing);
        found.extend(checks.map(|check| failing(look, row, check)));
    }
    if row.lapsed {
        found.push(lapsed(look, row));
    }
    if row.weight.0 == 0 {
        let text = format!(
            "{} has weight 0: only {} still shows it as registered, everybody else as in maintenance",
            Look::name(row),
            row.key.origin
        );
        found.push(
            Found::new(Rank::Weight, "unweighted", text)
                .of(row)
                .at(row.modified_at)
                .revision(row.registered),
        );
    }
    found
}

/// Maintenance and forced states, and who set them.
fn administrative(look: &Look<'_>, row: &Instance) -> Option<Found> {
    let admin = row.admin.as_deref()?;
    let (rank, kind, what) = match admin.status {
        AdminStatus::Up => return None,
        AdminStatus::OutOfService => (Rank::Purpose, "maintenance", "is in maintenance"),
        AdminStatus::Draining => (Rank::Purpose, "maintenance", "is being drained"),
        AdminStatus::Down => (Rank::Declared, "declared_down", "was forced down"),
    };
    let set = look.newest(|batch| {
        batch.changes.iter().find(|change| {
            matches!(change, Change::Instance { before, after: Some(after) }
                if after.key == row.key && after.admin == row.admin && before.as_ref().is_none_or(|before| before.admin != row.admin))
        })
    });
    let who = set.map_or_else(
        || format!("through {}", admin.by),
        |(batch, _)| through(&batch.cause),
    );
    let text = format!("{} {what}, set {who}{}", Look::name(row), reason(admin));
    let found = Found::new(rank, kind, text)
        .of(row)
        .with("status", admin_status(admin.status))
        .with("reason", &*admin.reason);
    Some(match set {
        Some((batch, _)) => found.by(batch),
        None => found
            .at(row.modified_at)
            .with("protocol", admin.by.to_string()),
    })
}

fn reason(admin: &Admin) -> String {
    if admin.reason.is_empty() {
        String::new()
    } else {
        format!(": {:?}", &*admin.reason)
    }
}

fn said_of_itself(look: &Look<'_>, row: &Instance) -> Option<Found> {
    let (rank, kind) = match row.effective_declared() {
        Declared::Up => return None,
        Declared::OutOfService => (Rank::Purpose, "maintenance"),
        Declared::Down | Declared::Starting | Declared::Unknown => {
            (Rank::Declared, "declared_down")
        }
    };
    let said = look.newest(|batch| {
        batch.changes.iter().find(|change| {
            matches!(change, Change::Instance { before, after: Some(after) }
                if after.key == row.key && after.declared == row.declared && before.as_ref().is_none_or(|before| before.declared != row.declared))
        })
    });
    let text = format!(
        "{} says of itself that it is {}, through {}",
        Look::name(row),
        declared(row.declared),
        row.key.origin
    );
    let found = Found::new(rank, kind, text)
        .of(row)
        .with("declared", declared(row.declared));
    Some(match said {
        Some((batch, _)) => found.by(batch),
        None => found
            .at(row.modified_at)
            .revision(row.registered)
            .with("protocol", row.key.origin.to_string()),
    })
}

/// The node's own status and checks.
fn node(look: &Look<'_>, row: &Instance) -> Vec<Found> {
    let mut found = Vec::new();
    let node = look.state.node(&row.node);
    if let Some(admin) = node.and_then(|node| node.admin.as_deref())
        && admin.status != AdminStatus::Up
    {
        let text = format!(
            "node {}, on which {} runs, is in maintenance, set through {}{}",
            row.node,
            Look::name(row),
            admin.by,
            reason(admin)
        );
        let found_it = Found::new(Rank::Purpose, "maintenance", text)
            .of(row)
            .with("node", row.node.as_str())
            .with("protocol", admin.by.to_string())
            .with("reason", &*admin.reason);
        found.push(match node {
            Some(node) => found_it.at(node.modified_at).revision(node.modified),
            None => found_it,
        });
    }
    for check in look
        .state
        .node_checks(&row.node)
        .filter(|check| check.status != Status::Passing)
    {
        let down = check.key.id() == "serfHealth" && check.status == Status::Critical;
        let (rank, kind) = if down {
            (Rank::Node, "node_down")
        } else {
            (Rank::Health, "check_failing")
        };
        let text = if down {
            format!(
                "node {}, on which {} runs, does not answer since {}: {}",
                row.node,
                Look::name(row),
                clock(check.since),
                said(check)
            )
        } else {
            format!(
                "check {:?} of node {}, on which {} runs, is {}: {}",
                check.key.id(),
                row.node,
                Look::name(row),
                check.status.as_str(),
                said(check)
            )
        };
        found.push(about_check(Found::new(rank, kind, text).of(row), check));
    }
    found
}

fn said(check: &Check) -> String {
    let output = check.output.trim();
    match output.char_indices().nth(200) {
        None if output.is_empty() => "it says nothing".into(),
        None => output.to_owned(),
        Some((cut, _)) => format!("{}...", &output[..cut]),
    }
}

fn about_check(found: Found, check: &Check) -> Found {
    found
        .at(check.since)
        .revision(check.modified)
        .with("check", check.key.id())
        .with("check_name", &*check.name)
        .with("node", check.key.node().as_str())
        .with("status", check.status.as_str())
        .with("output", &*check.output)
}

/// A check that is not passing: nobody reported in time, or its result is bad.
fn failing(look: &Look<'_>, row: &Instance, check: &Check) -> Found {
    let ttl = match check.probe {
        Probe::Ttl { ttl_ms } => Some(ttl_ms),
        _ => None,
    };
    let turned = look.newest(|batch| {
        batch.changes.iter().find(|change| {
            matches!(change, Change::Check { before, after: Some(after) }
                if after.key == check.key && after.status == check.status && before.as_ref().is_none_or(|before| before.status != check.status))
        })
    });
    let silence = turned.and_then(|(batch, _)| match batch.cause.why {
        Why::Silence { since } => Some((batch, since)),
        _ => None,
    });
    if let (Some(ttl), Some((batch, since))) = (ttl, silence) {
        let silent = batch.at.0.saturating_sub(since.0);
        let text = format!(
            "nobody reported on check {:?} of {} for {}, which is longer than its TTL of {}; the last report came at {}",
            check.key.id(),
            Look::name(row),
            span(silent),
            span(ttl),
            clock(since),
        );
        return about_check(Found::new(Rank::Health, "ttl_missed", text).of(row), check)
            .by(batch)
            .with("ttl_ms", ttl)
            .with("silent_ms", silent)
            .with("last_report_ms", since.0);
    }
    if let Some(ttl) = ttl.filter(|_| !check.reported || check.output.starts_with("TTL expired")) {
        let text = format!(
            "nobody ever reported on check {:?} of {}, whose TTL is {}",
            check.key.id(),
            Look::name(row),
            span(ttl)
        );
        return about_check(Found::new(Rank::Health, "ttl_missed", text).of(row), check)
            .with("ttl_ms", ttl);
    }
    let kind = if check.probe.kind().is_empty() {
        String::new()
    } else {
        format!("{} ", check.probe.kind())
    };
    let text = if check.reported {
        format!(
            "{kind}check {:?} of {} is {} since {}: {}",
            check.key.id(),
            Look::name(row),
            check.status.as_str(),
            clock(check.since),
            said(check)
        )
    } else {
        format!(
            "{kind}check {:?} of {} has had no result yet and counts as {}",
            check.key.id(),
            Look::name(row),
            check.status.as_str()
        )
    };
    let found = about_check(
        Found::new(Rank::Health, "check_failing", text).of(row),
        check,
    );
    match turned {
        Some((batch, _)) => found.caused(&batch.cause),
        None => found,
    }
}

/// A lease past the first of its stages.
fn lapsed(look: &Look<'_>, row: &Instance) -> Found {
    let turned = look.newest(|batch| {
        batch.changes.iter().find(|change| {
            matches!(change, Change::Instance { before: Some(before), after: Some(after) } if after.key == row.key && after.lapsed && !before.lapsed)
        })
    });
    let since = turned.and_then(|(batch, _)| match batch.cause.why {
        Why::Silence { since } => Some(since),
        _ => None,
    });
    let when = since
        .map(|since| format!(" since {}", clock(since)))
        .unwrap_or_default();
    let text = format!(
        "{} has not renewed its lease{when}; it is unhealthy and will be removed if that goes on",
        Look::name(row)
    );
    let found = Found::new(Rank::Health, "ttl_missed", text).of(row);
    match turned {
        Some((batch, _)) => found.by(batch),
        None => found.at(row.modified_at),
    }
}

/// Rows that some protocol does not show, because it shows another registration of the same address.
fn shadow(look: &Look<'_>, endpoint: &EndpointRow) -> Vec<Found> {
    let members = &endpoint.members;
    let mut found = Vec::new();
    for protocol in Protocol::ALL
        .into_iter()
        .filter(|protocol| endpoint.has(*protocol))
    {
        let rows: Vec<&Arc<Instance>> = endpoint.rows(protocol).collect();
        let hidden = members
            .iter()
            .filter(|row| !rows.iter().any(|shown| shown.key == row.key));
        for row in hidden.filter(|row| look.is_about(row)) {
            let Some(twin) = rows.first() else { continue };
            let text = format!(
                "{protocol} shows its own registration {} of {} instead of {}: both are at one address",
                twin.key,
                endpoint.key.host.with_port(endpoint.key.port),
                row.key,
            );
            found.push(
                Found::new(Rank::Shadow, "replaced_by_twin", text)
                    .of(row)
                    .at(twin.created_at)
                    .revision(twin.created)
                    .with("twin", twin.key.to_string())
                    .with("protocol", protocol.to_string()),
            );
        }
    }
    found
}

/// Instances that would be gone if the guard did not hold that back.
fn guarded(look: &Look<'_>, removals: Removals, held: &Held) -> Option<Found> {
    if !held.report.concerns(&look.asked.service) {
        return None;
    }
    let kept: Vec<(&Arc<Instance>, u64)> = look
        .state
        .instances(&look.asked.service)
        .filter(|row| look.is_about(row))
        .filter_map(|row| {
            let overdue = match removals {
                Removals::Silent => overdue(look, row),
                Removals::Critical => critical_for(look, row),
            };
            Some((row, overdue?))
        })
        .collect();
    let longest = kept.iter().map(|(_, ms)| *ms).max();
    if look.asked.instance.is_some() && longest.is_none() {
        return None;
    }
    let (rank, word, fell) = match removals {
        Removals::Silent => (Rank::Guard, "silent", "fell silent"),
        Removals::Critical => (Rank::Kept, "critical", "were critical"),
    };
    let still = match longest {
        Some(ms) => format!(
            "{} of this service, {word} for up to {}, are still shown",
            kept.len(),
            span(ms)
        ),
        None => "what is shown may be out of date".into(),
    };
    let count = held.report.count;
    let text = format!(
        "the mass-expiry guard holds removals back since {}: {count} instances {fell} at once, which looks like the network and not like them; {still}",
        clock(held.since),
    );
    let keys: Vec<String> = kept.iter().map(|(row, _)| row.key.to_string()).collect();
    let found = Found::new(rank, "guard", text)
        .at(held.since)
        .revision(held.revision)
        .with(word, count)
        .with("instances", keys)
        .with("protocol", "portolan");
    Some(match kept.first() {
        Some((row, _)) if look.asked.instance.is_some() => found.of(row),
        _ => found,
    })
}

/// How long a check of a row has been critical, if that is longer than its definition lets the row stay.
fn critical_for(look: &Look<'_>, row: &Instance) -> Option<u64> {
    look.state
        .checks_of(&row.key)
        .filter(|check| check.status == Status::Critical)
        .filter_map(|check| {
            let long = look.now.0.saturating_sub(check.since.0);
            (long >= check.reap_after_ms?).then_some(long)
        })
        .max()
}

/// How long a row has been silent, if that is longer than its lease allows.
fn overdue(look: &Look<'_>, row: &Instance) -> Option<u64> {
    let id = row.lease.as_ref()?;
    let lease = look.state.lease(id)?;
    let removes = lease
        .terms
        .stages
        .iter()
        .find(|stage| stage.then == Then::Remove)?;
    let renewed = look.registry?.renewed_at(id)?;
    let silent = look.now.0.saturating_sub(renewed.0);
    // The clock that decides looks ten times a second.
    let due = silent + 200 >= removes.after_ms;
    (due && !matches!(id, LeaseId::Check(_))).then_some(silent)
}
