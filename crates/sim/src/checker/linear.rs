//! Linearizability, key by key, by Wing and Gong's search with Lowe's memory of what was tried: some order of the operations explains every
//! answer, and an operation that was answered before another was asked comes before it.
//!
//! It knows nothing of revisions, so that it finds what a wrong revision would hide from the ledger.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;

use super::{Findings, Violation};
use crate::history::{KeyDone, KeyOperation, KeyWork};
use crate::truth::{Truth, shown};

/// Steps of one search; a history that needs more counts as undecided.
const STEPS: usize = 2_000_000;

/// What the checker found, and how many keys it did not decide.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) violations: Vec<Violation>,
    pub(crate) keys: usize,
    pub(crate) undecided: usize,
}

type Value = Option<Bytes>;

/// What an operation does to a key and what its answer says about it.
#[derive(Clone, Debug)]
enum Step {
    Put(Value),
    /// Puts if the key is as expected (none: as it never was); whether it was, if that is known.
    PutIf(Value, Option<Value>, Option<bool>),
    /// Deletes; whether there was something, if that is known.
    Delete(Option<bool>),
    Read(Value),
}

impl Step {
    /// The key afterwards; none when the answer contradicts it.
    fn apply(&self, now: &Value) -> Option<Value> {
        match self {
            Step::Put(value) => Some(value.clone()),
            Step::PutIf(value, expected, known) => {
                let holds = expected.as_ref() == Some(now);
                if known.is_some_and(|known| known != holds) {
                    return None;
                }
                Some(if holds { value.clone() } else { now.clone() })
            }
            Step::Delete(known) => {
                let there = now.is_some();
                (known.is_none() || *known == Some(there)).then_some(None)
            }
            Step::Read(value) => (value == now).then(|| now.clone()),
        }
    }
}

struct Operation {
    asked: u64,
    /// Never, where the outcome is unknown.
    answered: u64,
    step: Step,
}

pub(crate) fn check(operations: &[KeyOperation], truth: &Truth) -> Verdict {
    let mut findings = Findings::new("linearizability");
    let mut by_revision: BTreeMap<(&[u8], u64), &Bytes> = BTreeMap::new();
    for (revision, key, value) in truth.writes() {
        if let Some(value) = value {
            by_revision.insert((key, revision), value);
        }
    }
    let mut keys: BTreeMap<&str, Vec<Operation>> = BTreeMap::new();
    for operation in operations {
        let expected = |revision: u64| {
            if revision == 0 {
                return Some(None);
            }
            let value = by_revision.get(&(operation.key.as_bytes(), revision))?;
            Some(Some((*value).clone()))
        };
        if let Some(one) = translate(operation, expected) {
            keys.entry(&operation.key).or_default().push(one);
        }
    }
    let mut verdict = Verdict {
        keys: keys.len(),
        ..Verdict::default()
    };
    let all = operations;
    for (key, operations) in keys {
        match search(operations) {
            Some(true) => {}
            Some(false) => findings.add(|| {
                let told = told(key, all);
                format!("no order of its operations explains the answers about {key}:{told}")
            }),
            None => verdict.undecided += 1,
        }
    }
    verdict.violations = findings.into_violations();
    verdict
}

/// The operations on a key, a line each.
fn told(key: &str, operations: &[KeyOperation]) -> String {
    let mut of_key: Vec<&KeyOperation> = operations.iter().filter(|one| one.key == key).collect();
    of_key.sort_by_key(|operation| operation.asked);
    let lines = of_key
        .into_iter()
        .filter(|one| one.work != KeyWork::StaleRead);
    lines
        .map(|one| {
            let work = match &one.work {
                KeyWork::Put(value) => format!("put {}", shown(value)),
                KeyWork::PutIf(value, at) => format!("put {} if at {at}", shown(value)),
                KeyWork::Delete => "delete".to_owned(),
                KeyWork::Read | KeyWork::StaleRead => "read".to_owned(),
            };
            let done = match &one.done {
                KeyDone::Found(at, found) => {
                    let found = found.as_ref().map(|(value, _)| shown(value));
                    format!("{} at {at}", found.unwrap_or("nothing".to_owned()))
                }
                other => format!("{other:?}"),
            };
            format!(
                "\n    {}-{} ms at server {}: {work}: {done}",
                one.asked, one.answered, one.server
            )
        })
        .collect()
}

fn translate(
    operation: &KeyOperation,
    expected: impl Fn(u64) -> Option<Value>,
) -> Option<Operation> {
    let unknown = operation.done == KeyDone::Unknown;
    let done = &operation.done;
    let step = match (&operation.work, done) {
        (_, KeyDone::Refused) | (KeyWork::StaleRead, _) => return None,
        (KeyWork::Put(value), _) => Step::Put(Some(value.clone())),
        (KeyWork::PutIf(value, revision), _) => {
            let held = matches!(done, KeyDone::Written(_));
            let known = (!unknown).then_some(held);
            Step::PutIf(Some(value.clone()), expected(*revision), known)
        }
        (KeyWork::Delete, _) => {
            Step::Delete((!unknown).then_some(matches!(done, KeyDone::Written(_))))
        }
        (KeyWork::Read, KeyDone::Found(_, found)) => {
            Step::Read(found.as_ref().map(|(value, _)| value.clone()))
        }
        (KeyWork::Read, _) => return None,
    };
    Some(Operation {
        asked: operation.asked,
        answered: if unknown {
            u64::MAX
        } else {
            operation.answered
        },
        step,
    })
}

/// Whether some order explains all answers; none when that takes too long to find out.
fn search(mut operations: Vec<Operation>) -> Option<bool> {
    operations.sort_by_key(|operation| operation.asked);
    let count = operations.len();
    let mut tried: HashSet<(Vec<u64>, Value)> = HashSet::new();
    let mut open = vec![(vec![0_u64; count.div_ceil(64)], None::<Bytes>)];
    let mut steps = 0;
    while let Some((done, value)) = open.pop() {
        let is_done = |at: usize| done[at / 64] >> (at % 64) & 1 == 1;
        // Whatever must come before the rest: the first answer among those that are left.
        let left = || (0..count).filter(|at| !is_done(*at));
        let first = left().map(|at| operations[at].answered).min();
        // Those without an answer need not have happened.
        let Some(first) = first.filter(|first| *first < u64::MAX) else {
            return Some(true);
        };
        for at in left().take_while(|at| operations[*at].asked <= first) {
            steps += 1;
            if steps > STEPS {
                return None;
            }
            let Some(next) = operations[at].step.apply(&value) else {
                continue;
            };
            let mut with = done.clone();
            with[at / 64] |= 1 << (at % 64);
            if tried.insert((with.clone(), next.clone())) {
                open.push((with, next));
            }
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(times: (u64, u64), step: Step) -> Operation {
        Operation {
            asked: times.0,
            answered: times.1,
            step,
        }
    }

    fn value(value: &str) -> Value {
        Some(Bytes::from(value.to_owned()))
    }

    #[test]
    fn overlapping_operations_may_come_in_either_order() {
        for seen in ["1", "2"] {
            let history = vec![
                operation((0, 10), Step::Put(value("1"))),
                operation((5, 10), Step::Put(value("2"))),
                operation((11, 12), Step::Read(value(seen))),
            ];
            assert_eq!(search(history), Some(true), "{seen}");
        }
    }

    #[test]
    fn wrong_histories_are_refused() {
        let stale = vec![
            operation((0, 3), Step::Put(value("1"))),
            operation((4, 6), Step::Put(value("2"))),
            operation((7, 9), Step::Read(value("1"))),
        ];
        assert_eq!(search(stale), Some(false));
        let back = vec![
            operation((0, u64::MAX), Step::Put(value("1"))),
            operation((4, 6), Step::Read(value("1"))),
            operation((7, 9), Step::Read(None)),
        ];
        assert_eq!(search(back), Some(false), "read, then unread");
        let twice = vec![
            operation((0, 3), Step::PutIf(value("1"), Some(None), Some(true))),
            operation((4, 6), Step::PutIf(value("2"), Some(None), Some(true))),
        ];
        assert_eq!(search(twice), Some(false), "created twice");
        let deleted = vec![
            operation((0, 3), Step::Put(value("1"))),
            operation((4, 6), Step::Delete(Some(false))),
        ];
        assert_eq!(search(deleted), Some(false), "nothing to delete");
    }

    #[test]
    fn an_unknown_operation_may_happen_late_or_never() {
        for seen in [value("1"), value("2")] {
            let history = vec![
                operation((0, 3), Step::Put(value("1"))),
                operation((4, u64::MAX), Step::Put(value("2"))),
                operation((7, 9), Step::Read(seen)),
            ];
            assert_eq!(search(history), Some(true));
        }
    }
}
