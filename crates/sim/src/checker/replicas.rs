//! Replicas: servers at one revision have one state, and what they published on the way was the same.

use std::sync::Arc;

use portolan_catalog::{Revision, State};

use super::{Findings, Violation};
use crate::truth::Truth;

/// Compares servers that are at the same revision. `leases` only where nothing is in flight: a grant moves no revision.
pub(crate) fn check(states: &[(u64, Arc<State>)], leases: bool) -> Vec<Violation> {
    let mut findings = Findings::new("replicas");
    for (place, (server, state)) in states.iter().enumerate() {
        for (other, another) in &states[..place] {
            // The first entry of all fills the catalog and moves no revision.
            if state.revision() != another.revision() || state.revision() <= Revision::FIRST {
                continue;
            }
            if !state.same_rows(another) {
                findings.add(|| {
                    format!(
                        "servers {other} and {server} differ at revision {}",
                        state.revision().0
                    )
                });
            }
            if leases && !state.leases().eq(another.leases()) {
                findings.add(|| {
                    format!(
                        "servers {other} and {server} have different leases at revision {}",
                        state.revision().0
                    )
                });
            }
        }
    }
    findings.into_violations()
}

/// What servers published.
pub(crate) fn check_truth(truth: &Truth) -> Vec<Violation> {
    let mut findings = Findings::new("replicas");
    for conflict in &truth.conflicts {
        findings.add(|| conflict.clone());
    }
    findings.into_violations()
}

#[cfg(test)]
mod tests {
    use portolan_catalog::{Cause, Command, Entry, LeaseId, Terms, Timestamp, Why};

    use super::*;
    use crate::truth::tests::decided;

    fn state(puts: &[(&str, &str)]) -> State {
        let truth = decided(puts);
        let begin = State::default();
        let mut batches = truth.decided.values();
        batches
            .by_ref()
            .fold(begin, |state, one| state.advanced(&one.batch))
    }

    #[test]
    fn equal_states_pass_and_another_row_or_lease_is_found() {
        let one = Arc::new(state(&[("a", "1")]));
        let same = Arc::new(state(&[("a", "1")]));
        let later = Arc::new(state(&[("a", "1"), ("a", "2")]));
        let other = Arc::new(state(&[("a", "3")]));
        assert_eq!(check(&[(1, one.clone()), (2, same), (3, later)], true), []);
        let found = check(&[(1, one.clone()), (2, other)], true);
        assert!(
            found[0].what.contains("differ at revision 2"),
            "{}",
            found[0]
        );
        let mut leased = (*one).clone();
        leased.apply(&Entry {
            at: Timestamp(1),
            cause: Arc::new(Cause::own(Why::Call)),
            command: Command::Grant {
                lease: LeaseId::Etcd(1),
                terms: Some(Terms::strict(1000)),
                session: None,
            },
        });
        let found = check(&[(1, one), (2, Arc::new(leased))], true);
        assert!(found[0].what.contains("different leases"), "{}", found[0]);
    }

    #[test]
    fn a_fork_is_found() {
        let mut truth = decided(&[("a", "1")]);
        for one in decided(&[("a", "2")]).decided.into_values() {
            truth.add(one.batch, 5, 5, 2);
        }
        assert_eq!(check_truth(&truth).len(), 1);
    }
}
