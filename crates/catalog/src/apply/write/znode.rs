//! Znodes: creation below a parent whose row counts its children, and the end of a child.
//!
//! A key is `parent \0 name`, so that the children of one parent are contiguous; the root's is empty.

use std::sync::Arc;

use super::Transaction;
use crate::command::Put;
use crate::ids::Keyspace;
use crate::outcome::{OpDone, Refusal};
use crate::record::{Extension, Key, Record, Znode, ZnodeKind};

/// The key of the znode at `path` (`/a/b`): its parent's path, a zero byte, its name.
pub(super) fn key_of(path: &str) -> Key {
    match path.trim_end_matches('/').rsplit_once('/') {
        Some((parent, name)) => Key::from(format!("{parent}\0{name}").as_str()),
        None => Key::from(""),
    }
}

fn parent_of(key: &Key) -> Option<Key> {
    let text = key.as_text()?;
    text.split_once('\0').map(|(parent, _)| key_of(parent))
}

impl Transaction<'_> {
    pub(super) fn create_znode(&mut self, put: &Put) -> Result<OpDone, Refusal> {
        let kind = put.create.unwrap_or_default();
        let parent_key = parent_of(&put.key).ok_or(Refusal::Exists)?;
        let parent = self.state.record(Keyspace::Znodes, &parent_key).cloned();
        let mut node = match (&parent, parent_key.is_empty()) {
            (Some(record), _) => znode(record),
            (None, true) => Znode::default(),
            (None, false) => return Err(Refusal::NoKey),
        };
        if node.kind == ZnodeKind::Ephemeral {
            return Err(Refusal::EphemeralParent);
        }
        self.may_put(put, None)?;
        let key = if put.sequential {
            Key::from(
                format!(
                    "{}{:010}",
                    put.key.as_text().unwrap_or_default(),
                    node.creates
                )
                .as_str(),
            )
        } else {
            put.key.clone()
        };
        let before = self.state.record(Keyspace::Znodes, &key).cloned();
        if before
            .as_ref()
            .is_some_and(|record| record.derived_from.is_none())
        {
            return Err(Refusal::Exists);
        }
        let extension = match put.extension.clone() {
            Some(Extension::Znode(given)) => Extension::Znode(Arc::new(Znode {
                kind,
                ..(*given).clone()
            })),
            _ => Extension::Znode(Arc::new(Znode {
                kind,
                ..Znode::default()
            })),
        };
        let after = Arc::new(Record {
            value: put.value.clone(),
            version: 1,
            flags: 0,
            lease: put.lease.clone(),
            lock: None,
            recognised: put.recognised.is_some(),
            derived_from: None,
            extension,
            created: self.revision,
            modified: self.revision,
            created_at: self.at,
            modified_at: self.at,
        });
        self.set_record(Keyspace::Znodes, &key, Some(after.clone()));
        node.creates += 1;
        node.children += i64::from(before.is_none());
        node.children_modified = self.revision;
        self.set_parent(&parent_key, parent, node);
        if let Some(facts) = &put.recognised {
            self.register(&crate::command::Register::new((**facts).clone()))?;
        }
        Ok(OpDone::Put { key, before, after })
    }

    /// A znode with children stays.
    pub(super) fn znode_may_go(record: &Record) -> Result<(), Refusal> {
        if znode(record).children > 0 {
            Err(Refusal::NotEmpty)
        } else {
            Ok(())
        }
    }

    pub(super) fn child_gone(&mut self, key: &Key) {
        let Some(parent_key) = parent_of(key) else {
            return;
        };
        let Some(parent) = self.state.record(Keyspace::Znodes, &parent_key).cloned() else {
            return;
        };
        let mut node = znode(&parent);
        node.children -= 1;
        node.children_modified = self.revision;
        self.set_parent(&parent_key, Some(parent), node);
    }

    /// Counters are part of the parent's row and do not touch its own modification.
    fn set_parent(&mut self, key: &Key, parent: Option<Arc<Record>>, node: Znode) {
        let extension = Extension::Znode(Arc::new(node));
        let record = match parent {
            Some(record) => Record {
                extension,
                ..(*record).clone()
            },
            None => Record {
                value: Some(bytes::Bytes::new()),
                version: 1,
                flags: 0,
                lease: None,
                lock: None,
                recognised: false,
                derived_from: None,
                extension,
                created: crate::Revision(0),
                modified: crate::Revision(0),
                created_at: crate::Timestamp(0),
                modified_at: crate::Timestamp(0),
            },
        };
        self.set_record(Keyspace::Znodes, key, Some(Arc::new(record)));
    }
}

fn znode(record: &Record) -> Znode {
    match &record.extension {
        Extension::Znode(node) => (**node).clone(),
        Extension::None | Extension::Nacos(_) => Znode::default(),
    }
}
