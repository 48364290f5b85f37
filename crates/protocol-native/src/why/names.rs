//! Other names under which somebody may look for the same thing.

use portolan_catalog::endpoint::split_host_port;
use portolan_catalog::layout::Form;
use portolan_catalog::{Instance, KeyRange, Keyspace, Protocol, ServiceKey, Via, name};

use super::Look;
use super::facts::{Found, Rank};
use crate::as_of::clock;

/// Records that are looked through at most for one that nobody recognised.
const SCAN: usize = 200_000;

/// Namespaces, spellings, other services, unrecognised records; else that it was never registered. `known`: what was asked for is there.
pub(super) fn causes(look: &Look<'_>, known: bool) -> Vec<Found> {
    let mut found = Vec::new();
    found.extend(spelling(look));
    if known {
        return found;
    }
    let populated = look.state.instances(&look.asked.service).next().is_some();
    if look.asked.instance.is_some() && populated {
        found.extend(other_case(look));
    }
    // Whoever may not see everything is told of nothing else than what was asked for.
    if look.everywhere {
        match look.asked.instance.is_some() && populated {
            true => found.extend(other_service(look)),
            false => found.extend(other_namespaces(look)),
        }
        found.extend(unrecognised(look));
    }
    if !found.iter().any(|cause| cause.rank < Rank::Record) {
        found.push(never(look));
    }
    found
}

/// The service in other namespaces and groups.
fn other_namespaces(look: &Look<'_>) -> Vec<Found> {
    let asked = &look.asked.service;
    let same = look
        .state
        .services()
        .filter(|row| row.key.name() == asked.name() && row.key != *asked);
    same.filter(|row| look.state.instances(&row.key).next().is_some())
        .map(|row| {
            let key = &row.key;
            let flat = name::flat_spelled(key, &row.spelling);
            let text = format!(
                "\"{}\" is registered in {}, and was asked for in {}; protocols without namespaces show it as \"{flat}\"",
                row.spelling, place(key), place(asked),
            );
            Found::new(Rank::Elsewhere, "wrong_namespace", text)
                .revision(row.created)
                .with("namespace", key.namespace())
                .with("group", key.group())
                .with("flat", flat)
        })
        .collect()
}

fn place(key: &ServiceKey) -> String {
    match key.group() {
        portolan_catalog::DEFAULT => format!("namespace \"{}\"", key.namespace()),
        group => format!("namespace \"{}\", group \"{group}\"", key.namespace()),
    }
}

/// The service is there in another spelling, which readers of keys must match.
fn spelling(look: &Look<'_>) -> Option<Found> {
    let service = look.state.service(&look.asked.service)?;
    let asked = &look.asked.spelling;
    let flat = name::flat_spelled(&service.key, &service.spelling);
    let spelled = |spelling: &str| {
        *spelling == **asked || name::flat_spelled(&service.key, spelling) == **asked
    };
    if spelled(&service.spelling)
        || !asked.eq_ignore_ascii_case(&flat) && !asked.eq_ignore_ascii_case(&service.spelling)
    {
        return None;
    }
    let mut text = format!(
        "it is registered as \"{}\" and was asked for as \"{asked}\"; Consul, DNS and Eureka ignore case, keys of etcd do not",
        service.spelling,
    );
    let root = look
        .state
        .layouts()
        .find(|(_, layout)| layout.mode == portolan_catalog::layout::Mode::Awake)
        .map(|(_, layout)| layout.form.root());
    if let Some(root) = root {
        text.push_str(&format!(": read below \"{root}{flat}\""));
    }
    Some(
        Found::new(Rank::Spelling, "name_case", text)
            .revision(service.created)
            .with("spelling", &*service.spelling)
            .with("asked", &**asked),
    )
}

/// The instance is there, its id in another case.
fn other_case(look: &Look<'_>) -> Vec<Found> {
    let Some(asked) = look.asked.instance.as_deref() else {
        return Vec::new();
    };
    let near = |row: &Instance| {
        row.key.local().eq_ignore_ascii_case(asked)
            || row.key.to_string().eq_ignore_ascii_case(asked)
    };
    let rows = look
        .state
        .instances(&look.asked.service)
        .filter(|row| near(row));
    rows.map(|row| {
        let text = format!(
            "the id is \"{}\" and was asked for as \"{asked}\"; ids are told apart by case",
            row.key.local()
        );
        Found::new(Rank::Spelling, "name_case", text)
            .of(row)
            .revision(row.created)
            .with("spelling", row.key.local())
            .with("asked", asked)
    })
    .collect()
}

/// The instance is there, in another service.
fn other_service(look: &Look<'_>) -> Vec<Found> {
    let Some(asked) = look.asked.instance.as_deref() else {
        return Vec::new();
    };
    let means = |row: &Instance| match split_host_port(asked) {
        Some((host, port)) => row.endpoint.host == host && row.endpoint.port() == port,
        None => row.key.local() == asked || *row.key.id == *asked || row.key.to_string() == asked,
    };
    let rows = look
        .state
        .all_instances()
        .filter(|row| row.service != look.asked.service && means(row))
        .take(5);
    rows.map(|row| {
        let text = format!(
            "{} is registered as an instance of service \"{}\"",
            Look::name(row),
            row.service
        );
        Found::new(Rank::Elsewhere, "wrong_service", text)
            .of(row)
            .revision(row.created)
            .with("service", row.service.to_string())
    })
    .collect()
}

/// A record of etcd that names the service but is in no form that a layout knows.
fn unrecognised(look: &Look<'_>) -> Option<Found> {
    let wanted = look
        .asked
        .instance
        .as_deref()
        .unwrap_or(look.asked.service.name());
    let all = KeyRange::all();
    let named = |key: &str| key.split('/').any(|part| part.eq_ignore_ascii_case(wanted));
    let (key, record) = look
        .state
        .range(Keyspace::Etcd, &all)
        .take(SCAN)
        .filter(|(_, record)| !record.recognised.is_some() && record.derived_from.is_none())
        .find(|(key, _)| key.as_text().is_some_and(named))?;
    let layouts: Vec<&str> = look.state.layouts().map(|(name, _)| &**name).collect();
    let mut text = format!(
        "the etcd key \"{}\" names it, but no layout recognises an instance in it; layouts here are {}",
        key.escape_ascii(),
        layouts.join(", "),
    );
    let near = look.state.layouts().find_map(|(name, layout)| {
        let below = key.starts_with(layout.form.root().as_bytes());
        match &layout.form {
            Form::Template(template) if below => Some((name, template)),
            _ => None,
        }
    });
    if let Some((name, template)) = near {
        text.push_str(&format!(
            "; {name} reads keys of the form {}",
            template.pattern().replace("{address}", "HOST:PORT"),
        ));
    }
    Some(
        Found::new(Rank::Record, "unrecognised_record", text)
            .at(record.modified_at)
            .revision(record.modified)
            .with("key", String::from_utf8_lossy(key).into_owned()),
    )
}

fn never(look: &Look<'_>) -> Found {
    let since = look.recorded.since;
    let span = match since {
        Some(at) => format!(
            "nothing of the kind is in the history, which begins at {}",
            clock(at)
        ),
        None => "the history is empty".into(),
    };
    let asked = match &look.asked.instance {
        Some(instance) => format!(
            "instance \"{instance}\" of service \"{}\"",
            look.asked.spelling
        ),
        None => format!("service \"{}\"", look.asked.spelling),
    };
    let near = nearest(look);
    let meant = near
        .as_ref()
        .map(|near| format!("; there is \"{near}\""))
        .unwrap_or_default();
    let found = Found::new(
        Rank::Never,
        "never_registered",
        format!("{asked} was never registered: {span}{meant}"),
    );
    match near {
        Some(near) => found.with("near", near),
        None => found,
    }
}

/// A service, or an instance of the service, that may have been meant.
fn nearest(look: &Look<'_>) -> Option<String> {
    let (wanted, names): (&str, Vec<String>) = match &look.asked.instance {
        Some(instance) if look.state.service(&look.asked.service).is_some() => {
            let rows = look.state.instances(&look.asked.service);
            (
                instance,
                rows.map(|row| row.key.local().to_owned()).collect(),
            )
        }
        _ => {
            let rows = look.state.services().filter(|row| {
                row.spelling.as_ref() != "consul" || look.asked.service.name() == "consul"
            });
            (
                look.asked.service.name(),
                rows.map(|row| row.key.name().to_owned()).collect(),
            )
        }
    };
    let near = names
        .into_iter()
        .map(|name| (distance(wanted, &name), name))
        .min()?;
    (near.0 <= wanted.len().max(near.1.len()) / 3).then_some(near.1)
}

/// Letters to insert, remove or replace.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (
        left.chars().take(64).collect(),
        right.chars().take(64).collect(),
    );
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, from) in left.iter().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, to) in right.iter().enumerate() {
            let replaced = before + usize::from(from != to);
            before = row[j + 1];
            row[j + 1] = replaced.min(before + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

/// Whether a record's owner keeps it visible whatever becomes of its instance.
pub(super) fn is_native_record(row: &Instance) -> bool {
    row.via == Via::Record && matches!(row.key.origin, Protocol::Etcd | Protocol::ZooKeeper)
}
