//! Leases: none lapses before its time after an acknowledged renewal, none lives on long after its holder fell silent, and nobody is told
//! that a lease is gone which is not.

use portolan_catalog::{Change, Why};

use super::{Findings, Violation};
use crate::history::{LeaseEvent, LeaseStory};
use crate::truth::Truth;

/// Clocks of servers may run so much faster or slower than ours, in a hundred.
const DRIFT_PERCENT: u64 = 6;
/// How long a lease that is over may live on where nothing is wrong: the clock looks ten times a second, and its decision takes a way.
const LATE_MS: u64 = 2_500;

/// How a lease's key went.
struct End {
    at: u64,
    revision: u64,
    silence: bool,
}

/// `disturbed` are the moments at which every lease may have got its full time again or none could be decided: a new leader, and the
/// beginnings and ends of faults, by time. `over` is when the run ended.
pub(crate) fn check(
    stories: &[LeaseStory],
    truth: &Truth,
    disturbed: &[u64],
    over: u64,
) -> Vec<Violation> {
    let mut findings = Findings::new("leases");
    for story in stories {
        judge(&mut findings, story, end(story, truth), disturbed, over);
    }
    findings.into_violations()
}

fn end(story: &LeaseStory, truth: &Truth) -> Option<End> {
    truth.decided.values().find_map(|decided| {
        let gone = decided.batch.changes.iter().any(|change| {
            matches!(change, Change::Record { key, after: None, .. } if **key == *story.key.as_bytes())
        });
        gone.then(|| End {
            at: decided.at,
            revision: decided.batch.revision.0,
            silence: matches!(decided.batch.cause.why, Why::Silence { .. }),
        })
    })
}

fn judge(
    findings: &mut Findings,
    story: &LeaseStory,
    end: Option<End>,
    disturbed: &[u64],
    over: u64,
) {
    let key = &story.key;
    let mut ttl = 0;
    let mut attached = false;
    let mut revoked = false;
    for event in &story.events {
        match event {
            LeaseEvent::Granted { asked, ttl_ms } => {
                ttl = *ttl_ms;
                not_before(findings, key, end.as_ref(), *asked, ttl);
            }
            LeaseEvent::Attached => attached = true,
            LeaseEvent::Renewed { asked } => not_before(findings, key, end.as_ref(), *asked, ttl),
            LeaseEvent::Gone {
                asked,
                answered,
                server,
            } => {
                if !revoked && end.as_ref().is_none_or(|end| end.at > *answered) {
                    findings.add(|| {
                        format!("{key}: server {server} said between {asked} and {answered} ms that there is no such lease, there was")
                    });
                }
            }
            LeaseEvent::Revoked => revoked = true,
            LeaseEvent::Left { at } => {
                if attached && ttl > 0 {
                    not_after(findings, key, end.as_ref(), (*at, ttl), disturbed, over);
                }
            }
        }
    }
}

fn not_before(findings: &mut Findings, key: &str, end: Option<&End>, asked: u64, ttl: u64) {
    let promised = asked + ttl - ttl * DRIFT_PERCENT / 100;
    if let Some(end) = end.filter(|end| end.silence && end.at > asked && end.at < promised) {
        findings.add(|| {
            format!(
                "{key} was renewed at {asked} ms for {ttl} ms and lapsed at {} ms, revision {}",
                end.at, end.revision
            )
        });
    }
}

fn not_after(
    findings: &mut Findings,
    key: &str,
    end: Option<&End>,
    (left, ttl): (u64, u64),
    disturbed: &[u64],
    over: u64,
) {
    let lived_until = end.map_or(over, |end| end.at);
    let before = disturbed.partition_point(|at| *at < lived_until);
    let disturbed = before.checked_sub(1).and_then(|place| disturbed.get(place));
    let since = disturbed.copied().unwrap_or(0).max(left);
    let bound = since + ttl + ttl * DRIFT_PERCENT / 100 + LATE_MS;
    if lived_until > bound {
        findings.add(|| {
            format!("{key}, of {ttl} ms, was left at {left} ms and lived until {lived_until} ms")
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use portolan_catalog::{
        Cause, Command, Entry, Key, Keyspace, LeaseId, Op, Put, State, Terms, Timestamp, Write,
    };

    use super::*;

    /// A lease of four seconds whose key is written at 10 ms and goes at `at`.
    fn truth(at: u64, why: Why) -> Truth {
        let (mut state, mut truth) = (State::default(), Truth::default());
        let lease = LeaseId::Etcd(1);
        let mut put = Put::new(Keyspace::Etcd, Key::from("l"), Bytes::from("v"));
        put.lease = Some(lease.clone());
        let commands = [
            Command::Grant {
                lease: lease.clone(),
                terms: Some(Terms::strict(4000)),
                session: None,
            },
            Command::Write(Write::one(Op::Put(Box::new(put)))),
            Command::Revoke { lease },
        ];
        for (command, at) in commands.into_iter().zip([5, 10, at]) {
            let applied = state.apply(&Entry {
                at: Timestamp(1_700_000_000_000),
                cause: Arc::new(Cause::own(why.clone())),
                command,
            });
            if let Some(batch) = applied.batch {
                truth.add(batch, at, at, 1);
            }
        }
        truth
    }

    fn silent(at: u64) -> Truth {
        let since = Timestamp(0);
        truth(at, Why::Silence { since })
    }

    fn story(events: &[LeaseEvent]) -> LeaseStory {
        let mut all = vec![
            LeaseEvent::Granted {
                asked: 0,
                ttl_ms: 4000,
            },
            LeaseEvent::Attached,
        ];
        all.extend_from_slice(events);
        LeaseStory {
            key: "l".to_owned(),
            events: all,
        }
    }

    #[test]
    fn leases_that_end_in_time_pass() {
        let renewed = [
            LeaseEvent::Renewed { asked: 2000 },
            LeaseEvent::Left { at: 2010 },
        ];
        assert_eq!(check(&[story(&renewed)], &silent(6100), &[], 20_000), []);
        let after = [LeaseEvent::Left { at: 10 }];
        let late = check(&[story(&after)], &silent(15_000), &[9_000], 20_000);
        assert_eq!(late, [], "a new leader gave it its full time");
        let revoked = [LeaseEvent::Revoked, LeaseEvent::Left { at: 110 }];
        assert_eq!(
            check(&[story(&revoked)], &truth(105, Why::Call), &[], 20_000),
            []
        );
    }

    #[test]
    fn a_false_end_an_undead_and_a_false_word_are_found() {
        let renewed = [LeaseEvent::Renewed { asked: 2000 }];
        let gone = [LeaseEvent::Gone {
            asked: 100,
            answered: 110,
            server: 2,
        }];
        let left = [LeaseEvent::Left { at: 10 }];
        for (events, truth, words) in [
            (&renewed, silent(5000), "lapsed at 5000"),
            (&gone, silent(5000), "no such lease"),
            (&left, silent(9000), "lived until 9000"),
        ] {
            let found = check(&[story(events)], &truth, &[], 20_000);
            assert_eq!(found.len(), 1, "{words}");
            assert!(found[0].what.contains(words), "{}", found[0]);
        }
        let only_put = Truth {
            decided: silent(1).decided.into_iter().take(1).collect(),
            ..Truth::default()
        };
        let found = check(&[story(&left)], &only_put, &[], 20_000);
        assert!(found[0].what.contains("lived until 20000"), "{}", found[0]);
    }
}
