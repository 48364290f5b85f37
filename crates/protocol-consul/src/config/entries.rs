//! Where config entries are kept: as JSON under `config/<kind>/<name>` among the Consul objects.
//!
//! Names are one in any case.

use portolan_catalog::{Key, KeyRange, Keyspace, Record, State};
use serde_json::Value;

pub(crate) const SPACE: Keyspace = Keyspace::ConsulObjects;
/// What the keys of all entries begin with.
pub(crate) const ROOT: &str = "config/";

/// An entry with its revisions.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) value: Value,
    pub(crate) created: u64,
    pub(crate) modified: u64,
}

impl Kept {
    fn of(record: &Record) -> Option<Self> {
        Some(Self {
            value: serde_json::from_slice(&record.bytes()).ok()?,
            created: record.created.0,
            modified: record.modified.0,
        })
    }

    /// As it is shown.
    pub(crate) fn shown(&self) -> Value {
        let mut value = self.value.clone();
        value["CreateIndex"] = self.created.into();
        value["ModifyIndex"] = self.modified.into();
        value
    }
}

/// The key of an entry.
pub(crate) fn key(kind: &str, name: &str) -> Key {
    Key::from(format!("{ROOT}{kind}/{}", name.to_ascii_lowercase()).as_str())
}

/// The keys of all entries of a kind.
pub(crate) fn range(kind: &str) -> KeyRange {
    KeyRange::prefix(format!("{ROOT}{kind}/").as_bytes())
}

/// The entries of a state, with one of them as it would be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entries<'a> {
    state: &'a State,
    changed: Option<(&'a Key, Option<&'a Value>)>,
}

impl<'a> Entries<'a> {
    /// As they are.
    pub(crate) fn of(state: &'a State) -> Self {
        Self {
            state,
            changed: None,
        }
    }

    /// With one put in its place, or taken away.
    pub(super) fn with(state: &'a State, key: &'a Key, value: Option<&'a Value>) -> Self {
        Self {
            state,
            changed: Some((key, value)),
        }
    }

    /// An entry.
    pub(crate) fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let key = key(kind, name);
        match self.changed {
            Some((changed, value)) if *changed == key => value.cloned(),
            _ => kept(self.state, &key).map(|kept| kept.value),
        }
    }

    /// All entries of a kind, by name.
    pub(crate) fn all(&self, kind: &str) -> Vec<Value> {
        let range = range(kind);
        let rows = self
            .state
            .range(SPACE, &range)
            .filter(|(key, _)| self.changed.is_none_or(|(changed, _)| **changed != ***key));
        let mut all: Vec<Value> = rows
            .filter_map(|(_, record)| Kept::of(record))
            .map(|kept| kept.value)
            .collect();
        if let Some((changed, Some(value))) = self.changed
            && value["Kind"] == kind
            && changed.starts_with(ROOT.as_bytes())
        {
            all.push(value.clone());
        }
        all
    }
}

/// An entry of a state.
pub(crate) fn kept(state: &State, key: &Key) -> Option<Kept> {
    Kept::of(state.record(SPACE, key)?)
}

/// All entries of a kind, by name.
pub(crate) fn all(state: &State, kind: &str) -> Vec<Kept> {
    let range = range(kind);
    let rows = state.range(SPACE, &range);
    rows.filter_map(|(_, record)| Kept::of(record)).collect()
}
