//! What Raft promises, seen from outside: one leader in a term, no term, place or revision goes back while a server lives, and a place in the
//! log leads to the same revision everywhere.

use std::collections::BTreeMap;

use super::{Findings, Violation};
use crate::server::Seen;

/// Looks at servers again and again; see the module.
#[derive(Debug)]
pub(crate) struct Raft {
    leaders: BTreeMap<u64, u64>,
    revisions: BTreeMap<u64, (u64, u64)>,
    /// By server and life.
    last: BTreeMap<u64, (u64, Seen)>,
    /// How often somebody began to lead.
    elected: u64,
    findings: Findings,
}

impl Default for Raft {
    fn default() -> Raft {
        Raft {
            leaders: BTreeMap::new(),
            revisions: BTreeMap::new(),
            last: BTreeMap::new(),
            elected: 0,
            findings: Findings::new("raft"),
        }
    }
}

impl Raft {
    /// A server in one of its lives says this of itself.
    pub(crate) fn see(&mut self, server: u64, life: u64, seen: Seen) {
        if let Some((before_life, before)) = self.last.get(&server) {
            if *before_life == life && *before == seen {
                return;
            }
            let same = *before_life == life;
            if same
                && (seen.term < before.term
                    || seen.applied < before.applied
                    || seen.revision < before.revision)
            {
                let before = *before;
                self.findings
                    .add(|| format!("server {server} went back from {before:?} to {seen:?}"));
            }
        }
        self.last.insert(server, (life, seen));
        if seen.leader == Some(server) {
            let leader = *self.leaders.entry(seen.term).or_insert_with(|| {
                self.elected += 1;
                server
            });
            if leader != server {
                self.findings.add(|| {
                    format!(
                        "servers {leader} and {server} both lead in term {}",
                        seen.term
                    )
                });
            }
        }
        let (revision, by) = *self
            .revisions
            .entry(seen.applied)
            .or_insert((seen.revision, server));
        if revision != seen.revision {
            self.findings.add(|| {
                format!(
                    "entry {} leads to revision {revision} at server {by} and to {} at server {server}",
                    seen.applied, seen.revision
                )
            });
        }
    }

    /// How often somebody began to lead.
    pub(crate) fn elected(&self) -> u64 {
        self.elected
    }

    pub(crate) fn into_violations(self) -> Vec<Violation> {
        self.findings.into_violations()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(term: u64, leader: u64, applied: u64, revision: u64) -> Seen {
        Seen {
            term,
            leader: Some(leader),
            leads: false,
            applied,
            revision,
        }
    }

    fn found(sights: &[(u64, u64, Seen)]) -> Vec<Violation> {
        let mut raft = Raft::default();
        for (server, life, seen) in sights {
            raft.see(*server, *life, *seen);
        }
        raft.into_violations()
    }

    #[test]
    fn a_sound_cluster_passes_and_a_restart_may_begin_earlier() {
        let sights = [
            (1, 1, seen(1, 1, 5, 3)),
            (2, 1, seen(1, 1, 5, 3)),
            (2, 1, seen(2, 2, 6, 3)),
            (1, 2, seen(1, 2, 4, 2)),
        ];
        assert_eq!(found(&sights), []);
    }

    #[test]
    fn two_leaders_a_step_back_and_a_fork_are_found() {
        for (sights, words) in [
            (
                [(1, 1, seen(3, 1, 5, 3)), (2, 1, seen(3, 2, 5, 3))],
                "both lead in term 3",
            ),
            (
                [(1, 1, seen(3, 1, 5, 3)), (1, 1, seen(2, 1, 5, 3))],
                "went back",
            ),
            (
                [(1, 1, seen(3, 1, 5, 3)), (2, 1, seen(3, 1, 5, 4))],
                "entry 5",
            ),
        ] {
            let found = found(&sights);
            assert_eq!(found.len(), 1, "{words}");
            assert!(found[0].what.contains(words), "{}", found[0]);
        }
    }
}
