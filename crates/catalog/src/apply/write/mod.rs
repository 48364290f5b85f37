//! Writes: comparisons, then operations on records, all or nothing.

mod compare;
mod delete;
mod expect;
mod put;
mod recognised;
mod tree;
mod znode;

use super::transaction::Transaction;
use crate::command::{Op, Read, Write};
use crate::ids::Revision;
use crate::limits;
use crate::outcome::{OpDone, ReadDone, Refusal, Written};
use crate::state::State;
use compare::Plan;

impl Transaction<'_> {
    /// Runs a write. After a failure the whole command is undone.
    pub(super) fn write(&mut self, write: &Write) -> Result<Written, Refusal> {
        let most = write.then.len().max(write.or_else.len());
        if most.max(write.when.len()) > limits::OPS {
            return Err(Refusal::Limit("operations in one write"));
        }
        let plan = Plan::of(self.state, write);
        self.branch(write, &plan)
    }

    fn branch(&mut self, write: &Write, plan: &Plan) -> Result<Written, Refusal> {
        let ops = if plan.succeeded {
            &write.then
        } else {
            &write.or_else
        };
        let none = Plan::default();
        let mut results = Vec::with_capacity(ops.len());
        let mut failed = Vec::new();
        for (index, op) in ops.iter().enumerate() {
            match self.op(op, plan.nested.get(index).unwrap_or(&none)) {
                Ok(done) => results.push(done),
                Err(refusal) if write.report_all => failed.push((index, refusal)),
                Err(refusal) => return Err(refusal),
            }
        }
        if failed.is_empty() {
            Ok(Written {
                succeeded: plan.succeeded,
                results,
            })
        } else {
            Err(Refusal::Ops(failed))
        }
    }

    fn op(&mut self, op: &Op, plan: &Plan) -> Result<OpDone, Refusal> {
        match op {
            Op::Put(put) => self.put(put),
            Op::Delete {
                space,
                range,
                expect,
            } => self.delete(*space, range, expect),
            Op::Acquire { put, session } => self.acquire(put, session),
            Op::Release { put, session } => self.release(put, session),
            Op::Read(read) => self.read(read),
            Op::Check { space, key, expect } => self.check(*space, key, expect),
            Op::SetAcl { .. } => Err(Refusal::Reserved("an ACL outside the tree".into())),
            Op::Nested(write) => self.branch(write, plan).map(OpDone::Nested),
            Op::Command(command) => self.run(command).map(OpDone::Command),
        }
    }

    fn read(&self, read: &Read) -> Result<OpDone, Refusal> {
        let committed = self.state.revision;
        let now = if self.recorder.is_empty() {
            committed
        } else {
            self.revision
        };
        match read.at {
            Some(at) if at > committed => Err(Refusal::Future(committed)),
            Some(at) => {
                let floor = self.state.floors.of(Some(read.space));
                // There is no revision 0: etcd's front end asks for it where its clients sent a negative one.
                if at < floor.max(Revision::FIRST) {
                    return Err(Refusal::Compacted(floor));
                }
                // The past cannot change: whoever asked reads it beside, and nobody waits for that here.
                Ok(OpDone::Read(ReadDone {
                    revision: now,
                    at: Some(at),
                    ..ReadDone::default()
                }))
            }
            None => Ok(OpDone::Read(rows(self.state, read, now))),
        }
    }
}

fn rows(state: &State, read: &Read, revision: Revision) -> ReadDone {
    let count = state.count(read.space, &read.range);
    let limit = if read.limit == 0 {
        usize::MAX
    } else {
        read.limit
    };
    let wanted = if read.count_only { 0 } else { limit };
    let rows = state
        .range(read.space, &read.range)
        .take(wanted)
        .map(|(k, r)| (k.clone(), r.clone()))
        .collect();
    ReadDone {
        rows,
        count,
        revision,
        at: None,
    }
}
