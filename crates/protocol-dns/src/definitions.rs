//! Definitions of prepared queries: read from the catalog, found by name, templates filled in.
//!
//! The Consul API keeps them as JSON among the Consul objects, under `query/<id>`. Here they are only read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use portolan_catalog::{KeyRange, Keyspace, Revision, State};
use regex::Regex;
use serde::Deserialize;

use crate::names::is_below;
use crate::wire::Rcode;

/// Where definitions are, before their id.
const DEFINITIONS: &str = "query/";

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Definition {
    name: String,
    template: Template,
    pub(crate) service: Selection,
    #[serde(rename = "DNS")]
    pub(crate) dns: Dns,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Template {
    #[serde(rename = "Type")]
    kind: String,
    regexp: String,
    remove_empty_tags: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Selection {
    pub(crate) service: String,
    pub(crate) only_passing: bool,
    #[serde(rename = "IgnoreCheckIDs")]
    pub(crate) ignore_check_ids: Option<Vec<String>>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) node_meta: Option<BTreeMap<String, String>>,
    pub(crate) service_meta: Option<BTreeMap<String, String>>,
    pub(crate) connect: bool,
    pub(crate) failover: Failover,
}

/// Where a query goes on when nothing is found.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Failover {
    nearest_n: u32,
    datacenters: Option<Vec<String>>,
    targets: Option<Vec<Target>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Target {
    datacenter: String,
}

impl Failover {
    /// How many of the nearest datacenters, and which further ones by name.
    pub(crate) fn places(&self) -> (usize, Vec<&str>) {
        let targets = self.targets.iter().flatten();
        let named = self.datacenters.iter().flatten();
        let named = named.chain(targets.map(|target| &target.datacenter));
        (self.nearest_n as usize, named.map(|name| &**name).collect())
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Dns {
    #[serde(rename = "TTL")]
    pub(crate) ttl: String,
}

/// All definitions, parsed when first asked for and again when one has changed: names that no definition has, and those of templates,
/// are looked for among all of them.
#[derive(Debug, Default)]
pub(crate) struct Definitions {
    made: Mutex<Option<(Stamp, Arc<[Definition]>)>>,
}

/// How many there are and when the youngest was written: together they differ after every change.
type Stamp = (usize, Revision);

impl Definitions {
    fn all(&self, state: &State) -> Arc<[Definition]> {
        let range = KeyRange::prefix(DEFINITIONS.as_bytes());
        let records = || state.range(Keyspace::ConsulObjects, &range);
        let stamp = records().fold((0, Revision(0)), |(count, youngest), (_, record)| {
            (count + 1, youngest.max(record.modified))
        });
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((at, all)) if *at == stamp => Arc::clone(all),
            Some(_) | None => {
                let parsed = records().filter_map(|(_, record)| Definition::read(&record.bytes()));
                let all: Arc<[Definition]> = parsed.collect();
                *made = Some((stamp, Arc::clone(&all)));
                all
            }
        }
    }

    /// The definition a name means, and whether it is its own: an id, a name, else the template with the longest prefix, filled in.
    /// Without one, the code to say so: a name that only has names below it exists.
    pub(crate) fn find(&self, state: &State, name: &str) -> Result<(Definition, bool), Rcode> {
        let key = format!("{DEFINITIONS}{name}");
        if let Some(record) = state.record(Keyspace::ConsulObjects, key.as_bytes()) {
            let definition = Definition::read(&record.bytes()).ok_or(Rcode::NxDomain)?;
            return Ok((definition, true));
        }
        let all = self.all(state);
        let named = || all.iter().filter(|one| one.template.kind.is_empty());
        if let Some(own) = named().find(|one| one.name.eq_ignore_ascii_case(name)) {
            return Ok((own.clone(), true));
        }
        let begins = |one: &&Definition| {
            let start = name.get(..one.name.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(&one.name))
        };
        let templates = all.iter().filter(|one| !one.template.kind.is_empty());
        // The last of the longest in reverse order is the first of them.
        let longest = templates
            .filter(begins)
            .rev()
            .max_by_key(|one| one.name.len());
        match longest {
            Some(template) => Ok((template.clone().filled(name), false)),
            None if named().any(|one| is_below(&one.name, name)) => Err(Rcode::NoError),
            None => Err(Rcode::NxDomain),
        }
    }
}

impl Definition {
    fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

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

#[cfg(test)]
mod tests {
    use super::*;

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
