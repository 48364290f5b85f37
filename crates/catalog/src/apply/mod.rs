//! How a command leads from one state to the next.

mod admin;
mod aside;
mod bootstrap;
mod checks;
mod derive;
#[cfg(test)]
mod growth;
mod instances;
mod leases;
mod marks;
mod nodes;
mod recorder;
mod restore;
mod services;
mod settle;
mod transaction;
mod undo;
mod write;

use std::sync::Arc;

use crate::change::Batch;
use crate::command::Command;
use crate::entry::Entry;
use crate::ids::{LeaseId, Protocol, Timestamp};
use crate::outcome::{Done, Outcome, Refusal, Settled};
use crate::state::State;
use transaction::Transaction;

/// What one entry did.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The answer to its proposer.
    pub settled: Settled,
    /// Its changes; `None` exactly when the revision stood still.
    pub batch: Option<Arc<Batch>>,
    /// Leases that were granted, renewed by a registration, or ended: the lease clock looks them up in the state.
    pub leases: Vec<LeaseId>,
    /// The state is not what a batch made of the one before: another one took its place.
    pub replaced: bool,
}

impl State {
    /// Applies one entry. Total: every command has an answer. A refused command leaves everything as it was, except time.
    pub fn apply(&mut self, entry: &Entry) -> Applied {
        self.go_on_to(entry.at);
        if let Command::Bootstrap(bootstrap) = &entry.command {
            return self.bootstrap(bootstrap);
        }
        if let Command::Restore(part) = &entry.command {
            return self.take_part(part);
        }
        let mut transaction = Transaction::new(self);
        transaction.by_server =
            transaction.state.level < 2 || entry.cause.protocol == Protocol::Portolan;
        let outcome = transaction.run(&entry.command);
        match outcome {
            Ok(_) => transaction.settle(),
            Err(_) => transaction.undo(),
        }
        let transaction = transaction.finish();
        let batch = (!transaction.changes.is_empty()).then(|| {
            self.revision = self.revision.next();
            let batch = Arc::new(Batch {
                revision: self.revision,
                at: self.last_at,
                cause: entry.cause.clone(),
                changes: transaction.changes.into_boxed_slice(),
                services: transaction.services,
            });
            self.mark(&batch);
            batch
        });
        Applied {
            settled: Settled {
                revision: self.revision,
                outcome,
            },
            batch,
            leases: transaction.leases,
            replaced: false,
        }
    }
}

/// Milliseconds by which an entry's time may lie before the last one's without a clock having been set back: clocks of two leaders
/// differ by less. Time then stands still until it is reached again.
const SET_BACK_MS: u64 = 60_000;

impl State {
    /// Replicated time at an entry. It does not run backwards, but for a clock that was ahead and was set back: then it would stand still
    /// for as long as that was ahead, and everything that waits for a time with it. What is waited for keeps what is left of it.
    fn go_on_to(&mut self, at: Timestamp) {
        if self
            .restoring
            .as_ref()
            .is_some_and(|restoring| restoring.is_over(at))
        {
            self.restoring = None;
        }
        let back = self.last_at.0.saturating_sub(at.0);
        if self.level < 2 || back <= SET_BACK_MS {
            self.last_at = self.last_at.max(at);
            return;
        }
        self.lock_delays = self
            .lock_delays
            .iter()
            .map(|(key, until)| (key.clone(), Timestamp(until.0.saturating_sub(back))))
            .collect();
        self.last_at = at;
    }
}

impl Transaction<'_> {
    /// Does what a command says. After a refusal the caller undoes what was done before it.
    pub(super) fn run(&mut self, command: &Command) -> Outcome {
        match command {
            // Neither is one of several operations.
            Command::Bootstrap(_) | Command::Restore(_) => Err(Refusal::Exists),
            Command::Register(register) => self.register(register),
            Command::RegisterSet {
                lease,
                service,
                instances,
            } => self.register_set(lease, service, instances),
            Command::Deregister { target, expect } => self.deregister(target, *expect),
            Command::SetAdmin {
                target,
                admin,
                declared,
            } => self.set_admin(target, admin.as_ref(), *declared),
            Command::Declare { .. } => self.declare(command),
            Command::Forget { service, protocol } => self.forget(service, *protocol),
            Command::DeclareNamespace {
                name,
                title,
                description,
                protocol,
            } => self.declare_namespace(name, title, description, *protocol),
            Command::ForgetNamespace { name, protocol } => self.forget_namespace(name, *protocol),
            Command::PutNode {
                node,
                terms,
                expect,
            } => self.put_node(node, terms.as_ref(), *expect),
            Command::DropNode { name, expect } => self.drop_node(name, *expect),
            Command::PutCheck(put) => self.put_check(put),
            Command::DropCheck { key, expect } => self.drop_check(key, *expect),
            Command::Report {
                check,
                status,
                output,
            } => self.report(check, *status, output),
            Command::Grant {
                lease,
                terms,
                session,
            } => self.grant(lease, terms.as_ref(), session.as_deref()),
            Command::Revoke { lease } => self.revoke(lease),
            Command::Lapse {
                lease,
                stage,
                generation,
            } => self.lapse(lease, *stage, *generation),
            Command::Revive { lease } => self.revive(lease),
            Command::Write(write) => self.write(write).map(Done::Written),
            Command::Tree(write) => self.tree(write).map(Done::Written),
            Command::Retime { lease, terms } => self.retime(lease, terms),
            Command::Compact { space, revision } => self.compact(*space, *revision),
            Command::Wake { layout } => self.wake(layout),
            Command::RaiseLevel { level } => {
                let before = self.state.level;
                self.state.level = before.max(*level);
                if before < crate::layout::DUBBO_LEVEL
                    && self.state.level >= crate::layout::DUBBO_LEVEL
                {
                    self.derive_nodes_anew();
                }
                Ok(Done::Nothing)
            }
            Command::SetLayout { layout, state } => self.set_layout(layout, state.as_ref()),
        }
    }
}
