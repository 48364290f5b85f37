//! Prepared queries by name: `NAME.query.consul` answers what the definition selects.
//!
//! Of a definition the fields that choose instances are read, and where to go on when there are none. `Near` and `Peer` are passed over: no
//! times between nodes are measured, and there are no peers.

use portolan_catalog::{Health, Instance, LookupKind, NodeName, State, Status};

use crate::builder::nothing;
use crate::definitions::{Definition, Definitions, Selection};
use crate::dependency::Dependency;
use crate::found::{Found, Question, Reader};
use crate::services::{Row, find_service, instances, rows};
use crate::wire::Rcode;

/// Works out the answer to a question about a prepared query.
pub(crate) fn resolve(
    reader: &Reader<'_>,
    question: Question<'_>,
    definitions: &Definitions,
    name: &str,
) -> Found {
    let state = reader.state;
    let dependency = Dependency::Query(name.into());
    let (definition, exact) = match definitions.find(state, name) {
        Ok(found) => found,
        Err(absent) => {
            return Found {
                template: nothing(absent),
                dependency,
                keep: false,
            };
        }
    };
    let found = selected(reader, question, &definition, name, exact);
    if let Some(found) = found {
        return found;
    }
    // The definition is ours, whoever has the instances.
    let (nearest, named) = definition.service.failover.places();
    for datacenter in reader.elsewhere.in_order(nearest, &named) {
        let there = reader
            .elsewhere
            .at(&datacenter, |state, settings, indexes| {
                let there = Reader {
                    state,
                    settings,
                    indexes,
                    ..*reader
                };
                selected(&there, question, &definition, name, false)
                    .unwrap_or_else(|| Found::passing(nothing(Rcode::NxDomain)))
            });
        if let Some(found) = there.filter(|found| !found.template.is_empty()) {
            return Found {
                dependency,
                ..found
            };
        }
    }
    Found {
        template: nothing(Rcode::NxDomain),
        dependency,
        // Another datacenter may have some at any time.
        keep: exact && nearest == 0 && named.is_empty(),
    }
}

/// What a definition selects in one datacenter; none where that is nothing.
fn selected(
    reader: &Reader<'_>,
    question: Question<'_>,
    definition: &Definition,
    name: &str,
    exact: bool,
) -> Option<Found> {
    let (state, settings) = (reader.state, reader.settings);
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
    if chosen.is_empty() {
        return None;
    }
    Some(Found {
        // What else it is made from does not matter: it is good for one revision.
        template: instances(reader, question, &chosen, ttl).0,
        dependency: Dependency::Query(name.into()),
        // A template answers any name that begins like it.
        keep: exact,
    })
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
}
