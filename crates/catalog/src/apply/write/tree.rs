//! Operations on the tree of znodes: ZooKeeper's order of checks, with the ACL of each node that is touched.

use std::sync::Arc;

use super::Transaction;
use super::expect::met;
use crate::acl::{Acl, Identity, Permission};
use crate::command::{Op, TreeWrite};
use crate::ids::{Keyspace, LeaseId};
use crate::limits;
use crate::outcome::{OpDone, Refusal, Written};
use crate::record::{Extension, Key, KeyRange, Record, Znode};
use crate::tree;

impl Transaction<'_> {
    /// Does all of it, or nothing.
    pub(in crate::apply) fn tree(&mut self, write: &TreeWrite) -> Result<Written, Refusal> {
        if write.ops.len() > limits::TREE_OPS {
            return Err(Refusal::Limit("operations in one write"));
        }
        let over = |id: i64| self.state.lease(&LeaseId::ZooKeeper(id)).is_none();
        if write.session.is_some_and(over) {
            return Err(Refusal::NoLease);
        }
        let mut results = Vec::with_capacity(write.ops.len());
        for (index, op) in write.ops.iter().enumerate() {
            match self.tree_op(op, write.who.as_deref()) {
                Ok(done) => results.push(done),
                Err(refusal) => return Err(Refusal::Ops(vec![(index, refusal)])),
            }
        }
        Ok(Written {
            succeeded: true,
            results,
        })
    }

    fn tree_op(&mut self, op: &Op, who: Option<&[Identity]>) -> Result<OpDone, Refusal> {
        match op {
            Op::Put(put) if put.space == Keyspace::Znodes && put.create.is_some() => {
                let parent = put.key.znode_parent().ok_or(Refusal::Exists)?;
                self.may(&parent, Permission::Create, who)?;
                if !put.sequential && tree::is_first(&put.key) {
                    return Err(Refusal::Exists);
                }
                self.put(put)
            }
            Op::Put(put) if put.space == Keyspace::Znodes => {
                self.may(&put.key, Permission::Write, who)?;
                self.have_row(&put.key);
                self.put(put)
            }
            Op::Delete {
                space: space @ Keyspace::Znodes,
                range: range @ KeyRange::One(key),
                expect,
            } => {
                if tree::is_first(key) {
                    return Err(Refusal::Reserved(key.znode_path().into()));
                }
                let parent = key.znode_parent().ok_or(Refusal::NoKey)?;
                self.may(&parent, Permission::Delete, who)?;
                self.delete(*space, range, expect)
            }
            Op::Check {
                space: Keyspace::Znodes,
                key,
                expect,
            } => {
                self.may(key, Permission::Read, who)?;
                let record = self.state.znode(key);
                met(expect, record.as_ref())?;
                Ok(OpDone::Held(record))
            }
            Op::SetAcl { key, acl, version } => {
                self.may(key, Permission::Admin, who)?;
                self.have_row(key);
                self.set_acl(key, acl, *version)
            }
            Op::Put(_)
            | Op::Delete { .. }
            | Op::Acquire { .. }
            | Op::Release { .. }
            | Op::Read(_)
            | Op::Check { .. }
            | Op::Nested(_)
            | Op::Command(_) => Err(Refusal::Reserved("not an operation on the tree".into())),
        }
    }

    /// Whether the node is there, and its ACL lets the caller do that.
    fn may(&self, key: &Key, what: Permission, who: Option<&[Identity]>) -> Result<(), Refusal> {
        let record = self.state.znode(key).ok_or(Refusal::NoKey)?;
        let allowed = match (&record.extension, who) {
            (Extension::Znode(node), Some(who)) => node.acl.allows(what, who),
            _ => true,
        };
        if allowed {
            Ok(())
        } else {
            Err(Refusal::Denied)
        }
    }

    /// A node of the beginning gets its row when something about it changes.
    fn have_row(&mut self, key: &Key) {
        if self.state.record(Keyspace::Znodes, key).is_none()
            && let Some(row) = self.state.znode(key)
        {
            self.set_record(Keyspace::Znodes, key, Some(row));
        }
    }

    fn set_acl(&mut self, key: &Key, acl: &Acl, version: Option<i32>) -> Result<OpDone, Refusal> {
        let before = self.state.record(Keyspace::Znodes, key).cloned();
        let record = before.clone().ok_or(Refusal::NoKey)?;
        let node = record.znode();
        if version.is_some_and(|version| version != node.acl_version) {
            return Err(Refusal::BadVersion);
        }
        let node = Znode {
            acl: acl.clone(),
            acl_version: node.acl_version.wrapping_add(1),
            ..node
        };
        let after = Arc::new(Record {
            extension: Extension::Znode(Arc::new(node)),
            ..(*record).clone()
        });
        self.set_record(Keyspace::Znodes, key, Some(after.clone()));
        Ok(OpDone::Put {
            key: key.clone(),
            before,
            after,
        })
    }
}
