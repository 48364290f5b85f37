//! Comparisons: which branch is taken, decided for the whole tree on the state before the command.

use std::cmp::Ordering;

use crate::command::{Comparand, Compare, Op, Relation, Write};
use crate::ids::LeaseId;
use crate::record::Record;
use crate::state::State;

/// Which branches are taken, by operation index for nested writes.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) succeeded: bool,
    pub(super) nested: Vec<Plan>,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            succeeded: true,
            nested: Vec::new(),
        }
    }
}

impl Plan {
    pub(super) fn of(state: &State, write: &Write) -> Plan {
        let succeeded = write.when.iter().all(|compare| holds(state, compare));
        let ops = if succeeded {
            &write.then
        } else {
            &write.or_else
        };
        let nested = if ops.iter().any(|op| matches!(op, Op::Nested(_))) {
            let plan = |op: &Op| {
                if let Op::Nested(write) = op {
                    Plan::of(state, write)
                } else {
                    Plan::default()
                }
            };
            ops.iter().map(plan).collect()
        } else {
            Vec::new()
        };
        Plan { succeeded, nested }
    }
}

fn holds(state: &State, compare: &Compare) -> bool {
    let mut found = false;
    for (_, record) in state.range(compare.space, &compare.range) {
        found = true;
        if !satisfies(record, compare) {
            return false;
        }
    }
    found || absent_satisfies(compare)
}

fn related(relation: Relation, ordering: Ordering) -> bool {
    match relation {
        Relation::Equal => ordering.is_eq(),
        Relation::Greater => ordering.is_gt(),
        Relation::Less => ordering.is_lt(),
        Relation::NotEqual => ordering.is_ne(),
    }
}

fn satisfies(record: &Record, compare: &Compare) -> bool {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let ordering = match &compare.comparand {
        Comparand::Version(given) => signed(record.version).cmp(given),
        Comparand::Created(given) => signed(record.created.0).cmp(given),
        Comparand::Modified(given) => signed(record.modified.0).cmp(given),
        Comparand::Value(given) => record.value.as_deref().unwrap_or_default().cmp(given),
        Comparand::Lease(given) => match record.lease {
            Some(LeaseId::Etcd(id)) => id.cmp(given),
            _ => 0.cmp(given),
        },
    };
    related(compare.relation, ordering)
}

/// A missing key compares as zero; by value it never holds.
fn absent_satisfies(compare: &Compare) -> bool {
    match &compare.comparand {
        Comparand::Value(_) => false,
        Comparand::Version(given)
        | Comparand::Created(given)
        | Comparand::Modified(given)
        | Comparand::Lease(given) => related(compare.relation, 0.cmp(given)),
    }
}
