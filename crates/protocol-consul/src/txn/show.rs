//! What an operation did, as the client is told.

use super::verb::Verb;
use crate::error::{Failure, say};
use crate::kv::{SPACE, of_key, pair};
use crate::read::{Flavour, Shown};
use portolan_catalog::{CheckKey, Done, NodeName, OpDone, Refusal, State};
use serde_json::{Value, json};

/// How one operation's result is shown, and what its refusal is called.
pub(super) enum Show {
    Kv {
        verb: Verb,
        key: String,
        index: u64,
        session: String,
    },
    Node {
        name: String,
    },
    Service {
        node: String,
        id: String,
    },
    Check {
        node: String,
        id: String,
    },
}

impl Show {
    /// The entries of `Results` for one operation.
    pub(super) fn render(&self, done: &OpDone, shown: Shown<'_>) -> Result<Vec<Value>, Failure> {
        let value =
            |kind: &str, row: Result<Value, serde_json::Error>| -> Result<Vec<Value>, Failure> {
                Ok(vec![
                    json!({kind: row.map_err(|error| Failure::server(error.to_string()))?}),
                ])
            };
        if self.reads_key().is_some_and(|key| !shown.sees(of_key(key))) {
            return Ok(Vec::new());
        }
        match (self, done) {
            (Self::Kv { .. }, OpDone::Put { key, after, .. }) => {
                value("KV", serde_json::to_value(pair(key, after, false)))
            }
            (Self::Kv { verb, key, .. }, OpDone::Held(Some(record))) => {
                let with_value = matches!(verb, Verb::Get | Verb::GetOrEmpty);
                value(
                    "KV",
                    serde_json::to_value(pair(key.as_bytes(), record, with_value)),
                )
            }
            (
                Self::Kv {
                    verb: Verb::GetOrEmpty,
                    key,
                    ..
                },
                OpDone::Held(None),
            ) => Ok(vec![json!({"KV": {
                "LockIndex": 0, "Key": key, "Flags": 0, "Value": null, "CreateIndex": 0, "ModifyIndex": 0,
            }})]),
            (
                Self::Kv {
                    verb: Verb::GetTree,
                    ..
                },
                OpDone::Read(read),
            ) => {
                let mut rows = Vec::with_capacity(read.rows.len());
                for (key, record) in &read.rows {
                    if !shown.sees(of_key(key)) {
                        continue;
                    }
                    rows.extend(value("KV", serde_json::to_value(pair(key, record, true)))?);
                }
                Ok(rows)
            }
            (Self::Kv { .. }, _) => Ok(Vec::new()),
            (Self::Node { name, .. }, _) => match shown.node(&NodeName::new(name)) {
                Some(node) if !matches!(done, OpDone::Command(Done::Deregistered(_))) => {
                    value("Node", serde_json::to_value(node))
                }
                _ => Ok(Vec::new()),
            },
            (Self::Service { node, id, .. }, _) => match shown.row(&NodeName::new(node), id) {
                Some(row) if !shown.sees_service(row) => Ok(Vec::new()),
                Some(row) => value(
                    "Service",
                    serde_json::to_value(shown.service(row, Flavour::Catalog)),
                ),
                None => Ok(Vec::new()),
            },
            (Self::Check { node, id, .. }, _) => {
                let Some(check) = shown.state.check(&CheckKey::new(&NodeName::new(node), id))
                else {
                    return Ok(Vec::new());
                };
                let instance = check
                    .instance
                    .as_ref()
                    .and_then(|key| shown.state.instance(key))
                    .map(|row| &**row);
                let seen = match instance {
                    Some(row) => shown.sees_service(row),
                    None => shown.sees_node(&NodeName::new(node)),
                };
                if !seen {
                    return Ok(Vec::new());
                }
                let row = serde_json::to_value(shown.check(check, node, instance));
                value(
                    "Check",
                    row.map(|mut row| {
                        // Elsewhere no tags are an empty list.
                        if row["ServiceTags"] == json!([]) {
                            row["ServiceTags"] = Value::Null;
                        }
                        row
                    }),
                )
            }
        }
    }

    /// The one key whose value is shown.
    fn reads_key(&self) -> Option<&[u8]> {
        match self {
            Self::Kv {
                verb: Verb::Get | Verb::GetOrEmpty,
                key,
                ..
            } => Some(key.as_bytes()),
            _ => None,
        }
    }

    /// What a refusal of the operation is called.
    pub(super) fn what(&self, refusal: &Refusal, state: &State) -> String {
        let stale = matches!(
            refusal,
            Refusal::Changed(_) | Refusal::Exists | Refusal::NoKey | Refusal::BadVersion
        );
        match self {
            Self::Kv {
                verb,
                key,
                index,
                session,
            } => match (verb, refusal) {
                (_, Refusal::NoSession(_)) => format!("invalid session {session:?}"),
                (Verb::Get, _) => format!("key {key:?} doesn't exist"),
                (Verb::CheckNotExists, _) => format!("key {key:?} exists"),
                (Verb::CheckIndex, Refusal::NoKey) => {
                    format!("failed to check index, key {key:?} doesn't exist")
                }
                (Verb::CheckIndex, Refusal::Changed(current)) => {
                    format!(
                        "failed index check for key {key:?}, current modify index {current} != {index}"
                    )
                }
                (Verb::CheckSession, Refusal::NoKey) => {
                    format!("failed to check session, key {key:?} doesn't exist")
                }
                (Verb::CheckSession, _) => {
                    let holder = state
                        .record(SPACE, key.as_bytes())
                        .and_then(|record| record.holder());
                    let holder = holder.map(|holder| holder.to_string()).unwrap_or_default();
                    format!(
                        "failed session check for key {key:?}, current session {holder:?} != {session:?}"
                    )
                }
                (Verb::Lock, _) => format!("failed to lock key {key:?}, lock is already held"),
                (Verb::Unlock, _) => {
                    format!(
                        "failed to unlock key {key:?}, lock isn't held, or is held by another session"
                    )
                }
                (Verb::DeleteCas, _) if stale => {
                    format!("failed to delete key {key:?}, index is stale")
                }
                _ if stale => format!("failed to set key {key:?}, index is stale"),
                _ => say(refusal),
            },
            Self::Node { name, .. } if stale => {
                format!("failed to set node {name:?}, index is stale")
            }
            Self::Service { node, id, .. } if stale => {
                format!("failed to set service {id:?} on node {node:?}, index is stale")
            }
            Self::Check { node, id, .. } if stale => {
                format!("failed to set check {id:?} on node {node:?}, index is stale")
            }
            Self::Node { .. } | Self::Service { .. } | Self::Check { .. } => say(refusal),
        }
    }
}
