//! Prepared queries by name: `NAME.query.consul` answers what the definition selects.
//!
//! Definitions are kept by the Consul API as JSON among the Consul objects, under `query/<id>`. Here they are only read, and only the
//! fields that choose instances; `Near`, `Failover` and `Peer` need other datacenters and are passed over.

use std::collections::BTreeMap;

use portolan_catalog::{Health, Instance, KeyRange, Keyspace, LookupKind, NodeName, State, Status};
use regex::Regex;
use serde::Deserialize;

use crate::depends::Depends;
use crate::names::Zone;
use crate::read::{Found, Row, find_service, instances, rows};
use crate::settings::Settings;
use crate::template::nothing;
use crate::wire::Rcode;

/// Where definitions are, before their id.
const DEFINITIONS: &str = "query/";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Definition {
    name: String,
    template: Template,
    service: Selection,
    #[serde(rename = "DNS")]
    dns: Dns,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Template {
    #[serde(rename = "Type")]
    kind: String,
    regexp: String,
    remove_empty_tags: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Selection {
    service: String,
    only_passing: bool,
    #[serde(rename = "IgnoreCheckIDs")]
    ignore_check_ids: Option<Vec<String>>,
    tags: Option<Vec<String>>,
    node_meta: Option<BTreeMap<String, String>>,
    service_meta: Option<BTreeMap<String, String>>,
    connect: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Dns {
    #[serde(rename = "TTL")]
    ttl: String,
}

/// Works out the answer to a question about a prepared query.
pub(crate) fn resolve(
    state: &State,
    settings: &Settings,
    zone: Zone,
    name: &str,
    qtype: u16,
) -> Found {
    let depends = Depends::Query(name.into());
    let (definition, exact) = match find(state, name) {
        Some(found) => found,
        None => {
            return Found {
                template: nothing(Rcode::NxDomain),
                depends,
                keep: false,
            };
        }
    };
    let service = &definition.service;
    let key = match find_service(state, &service.service.to_ascii_lowercase()) {
        Ok((key, _)) | Err(key) => key,
    };
    let chosen: Vec<Row<'_>> = if service.connect {
        let connected = state.lookup(LookupKind::Connect, &service.service.to_ascii_lowercase());
        connected
            .map(|instance| Row {
                instance,
                health: instance.health,
            })
            .filter(|row| service.takes(state, row))
            .collect()
    } else {
        rows(state.endpoints(&key).map(|row| &**row))
            .filter(|row| service.takes(state, row))
            .collect()
    };
    let ttl = seconds(&definition.dns.ttl)
        .unwrap_or_else(|| settings.service_ttl(&service.service.to_ascii_lowercase()));
    let template = if chosen.is_empty() {
        nothing(Rcode::NxDomain)
    } else {
        instances(state, settings, zone, &chosen, qtype, ttl)
    };
    Found {
        template,
        depends,
        // A template answers any name that begins like it.
        keep: exact,
    }
}

/// The definition a name means, and whether it is its own: an id, a name, else the template with the longest prefix, filled in.
fn find(state: &State, name: &str) -> Option<(Definition, bool)> {
    if let Some(record) = state.record(
        Keyspace::ConsulObjects,
        format!("{DEFINITIONS}{name}").as_bytes(),
    ) {
        return Some((serde_json::from_slice(&record.bytes()).ok()?, true));
    }
    let range = KeyRange::prefix(DEFINITIONS.as_bytes());
    let mut best: Option<Definition> = None;
    for (_, record) in state.range(Keyspace::ConsulObjects, &range) {
        let Ok(definition) = serde_json::from_slice::<Definition>(&record.bytes()) else {
            continue;
        };
        if definition.template.kind.is_empty() {
            if !definition.name.is_empty() && definition.name.eq_ignore_ascii_case(name) {
                return Some((definition, true));
            }
            continue;
        }
        let start = name.get(..definition.name.len());
        let longer = best
            .as_ref()
            .is_none_or(|best| best.name.len() < definition.name.len());
        if longer && start.is_some_and(|start| start.eq_ignore_ascii_case(&definition.name)) {
            best = Some(definition);
        }
    }
    best.map(|definition| (definition.filled(name), false))
}

impl Definition {
    /// A template with its `${...}` replaced for the name that was asked.
    fn filled(mut self, name: &str) -> Self {
        let captures: Vec<String> = match Regex::new(&self.template.regexp) {
            Ok(regexp) if !self.template.regexp.is_empty() => regexp
                .captures(name)
                .map(|found| {
                    found
                        .iter()
                        .map(|part| part.map_or("", |part| part.as_str()).to_owned())
                        .collect()
                })
                .unwrap_or_default(),
            _ => Vec::new(),
        };
        let prefix = self.name.clone();
        let fill = |text: &str| fill(text, name, &prefix, &captures);
        let service = &mut self.service;
        service.service = fill(&service.service);
        for tag in service.tags.iter_mut().flatten() {
            *tag = fill(tag);
        }
        if self.template.remove_empty_tags
            && let Some(tags) = &mut service.tags
        {
            tags.retain(|tag| !tag.is_empty());
        }
        for value in [&mut service.node_meta, &mut service.service_meta]
            .into_iter()
            .flatten()
            .flat_map(|meta| meta.values_mut())
        {
            *value = fill(value);
        }
        self
    }
}

/// Replaces `${name.full}`, `${name.prefix}`, `${name.suffix}` and `${match(N)}`; anything else in braces becomes nothing.
fn fill(text: &str, full: &str, prefix: &str, captures: &[String]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((expression, after)) = after.split_once('}') else {
            break;
        };
        out.push_str(before);
        out.push_str(match expression.trim() {
            "name.full" => full,
            "name.prefix" => prefix,
            "name.suffix" => full.get(prefix.len()..).unwrap_or_default(),
            other => {
                let number = other
                    .strip_prefix("match(")
                    .and_then(|text| text.strip_suffix(')'));
                let number = number.and_then(|text| text.trim().parse::<usize>().ok());
                number
                    .and_then(|at| captures.get(at))
                    .map_or("", String::as_str)
            }
        });
        rest = after;
    }
    out + rest
}

impl Selection {
    fn takes(&self, state: &State, row: &Row<'_>) -> bool {
        let instance = row.instance;
        let health = match self.ignore_check_ids.as_deref() {
            None | Some([]) => row.health,
            Some(ignored) => health_without(state, row, ignored),
        };
        let healthy = if self.only_passing {
            health == Health::Passing
        } else {
            health.serves()
        };
        let tagged = self.tags.iter().flatten().all(|tag| {
            let (wanted, tag) = match tag.strip_prefix('!') {
                Some(tag) => (false, tag),
                None => (true, tag.as_str()),
            };
            instance
                .tags
                .iter()
                .any(|own| own.eq_ignore_ascii_case(tag))
                == wanted
        });
        let service_meta = self
            .service_meta
            .iter()
            .flatten()
            .all(|(key, value)| instance.meta.get(key) == Some(value));
        let node_meta = self.node_meta.iter().flatten().all(|(key, value)| {
            let node = state.node(&instance.node);
            node.is_some_and(|node| node.meta.get(key) == Some(value))
        });
        healthy && tagged && service_meta && node_meta
    }
}

/// A row's health as if the ignored checks were not there. What is not a check (maintenance, a lapsed lease) is not ignored.
fn health_without(state: &State, row: &Row<'_>, ignored: &[String]) -> Health {
    let instance: &Instance = row.instance;
    let node: &NodeName = &instance.node;
    let checks = state
        .checks_of(&instance.key)
        .chain(state.node_checks(node));
    let (without, with): (Vec<_>, Vec<_>) =
        checks.partition(|check| ignored.iter().any(|id| id == check.key.id()));
    if row.health == Health::Maintenance || without.is_empty() {
        return row.health;
    }
    let worst = with
        .iter()
        .map(|check| check.status)
        .max_by_key(|status| match status {
            Status::Passing => 0,
            Status::Warning => 1,
            Status::Critical => 2,
        });
    match worst {
        _ if instance.lapsed => row.health,
        Some(Status::Critical) => Health::Critical,
        Some(Status::Warning) => Health::Warning,
        Some(Status::Passing) | None => Health::Passing,
    }
}

/// Whole seconds of a duration as Consul writes it: `10s`, `1m30s`, `500ms`.
fn seconds(text: &str) -> Option<u32> {
    let mut total_ms = 0.0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest.get(..digits)?.parse().ok()?;
        let unit = rest.get(digits..)?;
        let end = unit
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(unit.len());
        total_ms += number
            * match unit.get(..end)? {
                "ms" => 1.0,
                "s" => 1_000.0,
                "m" => 60_000.0,
                "h" => 3_600_000.0,
                _ => return None,
            };
        rest = unit.get(end..)?;
    }
    Some((total_ms / 1_000.0) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("10s", Some(10)),
            ("1m30s", Some(90)),
            ("1500ms", Some(1)),
            ("", None),
            ("ten", None),
            ("1x", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }

    #[test]
    fn templates_are_filled() {
        let definition: Definition = serde_json::from_str(
            r#"{"Name":"geo-","Template":{"Type":"name_prefix_match","Regexp":"^geo-(.*?)-([^-]+)$","RemoveEmptyTags":true},
                "Service":{"Service":"${match(1)}","Tags":["${match(2)}","${match(9)}","x-${name.suffix}","${open"]}}"#,
        )
        .expect("a definition");
        let filled = definition.filled("geo-db-primary");
        assert_eq!(filled.service.service, "db");
        assert_eq!(
            filled.service.tags.expect("tags"),
            ["primary", "x-db-primary", "${open"]
        );
    }
}
