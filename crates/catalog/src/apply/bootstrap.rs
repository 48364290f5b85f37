//! The first entry of a catalog's life. Its rows are there from the first revision on: nobody could have watched before.

use std::sync::Arc;

use super::Applied;
use super::transaction::Transaction;
use crate::change::Batch;
use crate::check::Status;
use crate::command::{Bootstrap, NewCheck, Register};
use crate::ids::{DEFAULT, Protocol, Revision};
use crate::outcome::{Done, Refusal, Settled};
use crate::state::State;

impl State {
    /// Fills an empty catalog. A second one is refused with `Exists` and changes nothing.
    pub(super) fn bootstrap(&mut self, first: &Bootstrap) -> Applied {
        if self.nodes().next().is_some() || self.revision > Revision::FIRST {
            let settled = Settled {
                revision: self.revision,
                outcome: Err(Refusal::Exists),
            };
            return Applied {
                settled,
                batch: None,
                leases: Vec::new(),
                replaced: false,
            };
        }
        let mut transaction = Transaction::new(self);
        transaction.revision = Revision::FIRST;
        for (name, layout) in &first.layouts {
            transaction.put_layout(name, Some(Arc::new(layout.clone())));
        }
        let outcome = transaction.first_rows(first);
        match outcome {
            Ok(_) => transaction.settle(),
            Err(_) => transaction.undo(),
        }
        let finished = transaction.finish();
        let batch = Batch {
            revision: Revision::FIRST,
            at: self.last_at,
            cause: Arc::new(crate::Cause::own(crate::Why::Start)),
            changes: finished.changes.into_boxed_slice(),
            services: finished.services,
        };
        self.mark(&batch);
        Applied {
            settled: Settled {
                revision: self.revision,
                outcome,
            },
            batch: None,
            leases: finished.leases,
            replaced: false,
        }
    }
}

impl Transaction<'_> {
    fn first_rows(&mut self, first: &Bootstrap) -> Result<Done, Refusal> {
        let none: Arc<str> = Arc::default();
        self.declare_namespace(&DEFAULT.into(), &none, &none, Protocol::Portolan)?;
        self.put_node(&first.node, None, None)?;
        let checks = first.checks.iter().map(|facts| NewCheck {
            facts: facts.clone(),
            status: Status::Passing,
            output: "Agent alive and reachable".into(),
            reported: true,
        });
        for check in checks {
            self.upsert_check(&check);
        }
        let register = Register {
            facts: first.service.clone(),
            terms: None,
            checks: Vec::new(),
            replace_checks: false,
            expect: None,
            admin: None,
        };
        self.register(&register)
    }
}
