//! Znodes: creation below a parent whose row counts its children, and the end of a child.
//!
//! For the form of keys see [`Key::znode`].

use std::sync::Arc;

use super::Transaction;
use super::recognised::recognised;
use crate::command::Put;
use crate::ids::{InstanceKey, Keyspace};
use crate::instance::Registration;
use crate::outcome::{OpDone, Refusal};
use crate::record::{Extension, Key, Recognised, Record, Znode, ZnodeKind};
use crate::tree;

impl Transaction<'_> {
    pub(super) fn create_znode(&mut self, put: &Put) -> Result<OpDone, Refusal> {
        let kind = put.create.unwrap_or_default();
        let parent_key = put.key.znode_parent().ok_or(Refusal::Exists)?;
        let parent = self.state.znode(&parent_key).ok_or(Refusal::NoKey)?;
        let mut node = znode(&parent);
        self.may_put(put, None)?;
        let key = if put.sequential {
            // ZooKeeper counts in 32 bits, and goes on with negative numbers.
            let (name, number) = (put.key.as_text().unwrap_or_default(), node.creates as i32);
            Key::from(format!("{name}{number:010}").as_str())
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
        if node.kind == ZnodeKind::Ephemeral {
            return Err(Refusal::EphemeralParent);
        }
        let own = if put.sequential {
            numbered(put, &key)
        } else {
            put.recognised.clone()
        };
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
            recognised: recognised(put.space, &key, &own),
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
        self.set_parent(&parent_key, Some(parent), node);
        let put = Put {
            recognised: own,
            ..put.clone()
        };
        self.recognise(&put, &key, after.value.as_ref(), Recognised::None)?;
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

    /// A derived record took a place below `key`'s parent, which is made if it is not there, as every client of a tree makes the
    /// path to what it registers.
    pub(super) fn child_derived(&mut self, key: &Key) {
        let Some(parent_key) = key.znode_parent() else {
            return;
        };
        let parent = self.state.record(Keyspace::Znodes, &parent_key).cloned();
        let mut node = parent.as_deref().map(znode).unwrap_or_default();
        if parent.is_none() && self.state.level >= 3 && !tree::is_first(&parent_key) {
            // What was made on the way goes with the last of what it was made for.
            node.kind = ZnodeKind::Container;
        }
        node.creates += 1;
        node.children += 1;
        node.children_modified = self.revision;
        let is_new = parent.is_none() && !parent_key.is_empty();
        let parent = parent.or_else(|| {
            is_new.then(|| {
                Arc::new(Record {
                    created: self.revision,
                    modified: self.revision,
                    created_at: self.at,
                    modified_at: self.at,
                    ..Record::empty()
                })
            })
        });
        self.set_parent(&parent_key, parent, node);
        if is_new {
            self.child_derived(&parent_key);
        }
    }

    pub(super) fn child_gone(&mut self, key: &Key) {
        let Some(parent_key) = key.znode_parent() else {
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
                extension,
                ..Record::empty()
            },
        };
        self.set_record(Keyspace::Znodes, key, Some(Arc::new(record)));
    }
}

fn znode(record: &Record) -> Znode {
    record.znode()
}

/// What was recognised in a node whose number was not known then: its key is known now.
fn numbered(put: &Put, key: &Key) -> Vec<Arc<Registration>> {
    let own = key
        .as_text()
        .map(|text| InstanceKey::record(put.space, text));
    let Some(own) = own else { return Vec::new() };
    let facts = put.recognised.iter().take(1);
    facts
        .map(|facts| {
            Arc::new(Registration {
                key: own.clone(),
                ..(**facts).clone()
            })
        })
        .collect()
}
