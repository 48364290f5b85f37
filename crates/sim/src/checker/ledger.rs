//! The ledger: nothing acknowledged is lost, nothing refused appears, what is unknown happened once or not at all, and revisions follow
//! the order in which clients saw things. A read shows the key as it was at the read's revision.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Findings, Violation};
use crate::history::{KeyDone, KeyOperation, KeyWork};
use crate::truth::{Truth, shown};

pub(crate) fn check(operations: &[KeyOperation], truth: &Truth) -> Vec<Violation> {
    let mut findings = Findings::new("ledger");
    let mut values: BTreeMap<&[u8], Vec<u64>> = BTreeMap::new();
    let mut keys: BTreeMap<&[u8], Vec<(u64, Option<&Bytes>)>> = BTreeMap::new();
    for (revision, key, value) in truth.writes() {
        keys.entry(key).or_default().push((revision, value));
        if let Some(value) = value {
            values.entry(value).or_default().push(revision);
        }
    }
    for operation in operations {
        let key = &operation.key;
        let versions = keys.get(key.as_bytes()).map_or(&[][..], Vec::as_slice);
        match &operation.work {
            KeyWork::Put(value) | KeyWork::PutIf(value, _) => {
                let found = values.get(&value[..]).map_or(&[][..], Vec::as_slice);
                judge_put(&mut findings, operation, value, found);
            }
            KeyWork::Delete => {
                if let KeyDone::Written(at) = operation.done
                    && !versions.contains(&(at, None))
                {
                    findings.add(|| {
                        format!(
                            "the delete of {key} was acknowledged at revision {at} and is not there"
                        )
                    });
                }
            }
            KeyWork::Read | KeyWork::StaleRead => {
                if let KeyDone::Found(at, found) = &operation.done {
                    let before = versions.partition_point(|(revision, _)| revision <= at);
                    let was = before.checked_sub(1).and_then(|place| versions.get(place));
                    let was = was.and_then(|(revision, value)| Some(((*value)?, *revision)));
                    let is = found.as_ref().map(|(value, revision)| (value, *revision));
                    if was != is {
                        findings.add(|| {
                            format!(
                                "server {} showed {key} as {} at revision {at}, it was {}",
                                operation.server,
                                version(is),
                                version(was)
                            )
                        });
                    }
                }
            }
        }
    }
    judge_order(&mut findings, operations);
    findings.into_violations()
}

fn version(version: Option<(&Bytes, u64)>) -> String {
    version.map_or("absent".to_owned(), |(value, revision)| {
        format!("{} of revision {revision}", shown(value))
    })
}

fn judge_put(findings: &mut Findings, operation: &KeyOperation, value: &[u8], found: &[u64]) {
    let (key, value) = (&operation.key, shown(value));
    match operation.done {
        KeyDone::Written(at) if found == [at] => {}
        KeyDone::Written(at) => findings.add(|| {
            format!("{key}={value} was acknowledged at revision {at}, it was written at {found:?}")
        }),
        KeyDone::Unknown if found.len() <= 1 => {}
        KeyDone::Unknown => {
            findings.add(|| format!("{key}={value}, of unknown outcome, was written at {found:?}"))
        }
        _ if found.is_empty() => {}
        _ => findings.add(|| {
            format!(
                "{key}={value} was answered {:?} and written at {found:?}",
                operation.done
            )
        }),
    }
}

/// Whatever was asked after an answer has no lower a revision than the answer; a write has a higher one.
fn judge_order(findings: &mut Findings, operations: &[KeyOperation]) {
    let mut answers: Vec<(u64, u64, &KeyOperation)> = Vec::new();
    for operation in operations {
        let at = match operation.done {
            KeyDone::Written(at) | KeyDone::NotEqual(at) | KeyDone::Nothing(at) => at,
            KeyDone::Found(at, _) if operation.work == KeyWork::Read => at,
            _ => continue,
        };
        answers.push((operation.answered, at, operation));
    }
    answers.sort_by_key(|(answered, at, _)| (*answered, *at));
    let mut highest = Vec::with_capacity(answers.len());
    let mut most = 0;
    for (answered, at, _) in &answers {
        most = most.max(*at);
        highest.push((*answered, most));
    }
    for (_, at, operation) in &answers {
        let before = highest.partition_point(|(answered, _)| *answered < operation.asked);
        let Some((_, seen)) = before.checked_sub(1).and_then(|place| highest.get(place)) else {
            continue;
        };
        let wrong = match operation.done {
            KeyDone::Written(_) => at <= seen,
            _ => at < seen,
        };
        if wrong {
            findings.add(|| {
                format!(
                    "{:?} of {} at server {}, asked at {} ms, was answered at revision {at}, after somebody was told revision {seen}",
                    kind(&operation.work),
                    operation.key,
                    operation.server,
                    operation.asked
                )
            });
        }
    }
}

fn kind(work: &KeyWork) -> &'static str {
    match work {
        KeyWork::Put(_) => "a put",
        KeyWork::PutIf(..) => "a put with a condition",
        KeyWork::Delete => "a delete",
        KeyWork::Read => "a read",
        KeyWork::StaleRead => "a stale read",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::truth::tests::decided;

    fn operation(work: KeyWork, times: (u64, u64), done: KeyDone) -> KeyOperation {
        KeyOperation {
            key: "a".to_owned(),
            work,
            server: 1,
            asked: times.0,
            answered: times.1,
            done,
        }
    }

    fn put(value: &str, times: (u64, u64), done: KeyDone) -> KeyOperation {
        operation(KeyWork::Put(Bytes::from(value.to_owned())), times, done)
    }

    #[test]
    fn a_sound_history_passes() {
        let truth = decided(&[("a", "1"), ("a", "2")]);
        let second = Some((Bytes::from("2"), 3));
        let history = [
            put("1", (0, 5), KeyDone::Written(2)),
            put("2", (6, 9), KeyDone::Unknown),
            put("3", (6, 9), KeyDone::Unknown),
            put("4", (6, 9), KeyDone::Refused),
            operation(KeyWork::Read, (10, 12), KeyDone::Found(3, second)),
            operation(
                KeyWork::StaleRead,
                (10, 12),
                KeyDone::Found(2, Some((Bytes::from("1"), 2))),
            ),
        ];
        assert_eq!(check(&history, &truth), []);
    }

    #[test]
    fn every_kind_of_lie_is_found() {
        let truth = decided(&[("a", "1"), ("a", "2"), ("a", "2")]);
        let first = Some((Bytes::from("1"), 2));
        let wrong = [
            (put("9", (0, 5), KeyDone::Written(5)), "acknowledged"),
            (put("1", (0, 5), KeyDone::Written(3)), "acknowledged"),
            (put("1", (0, 5), KeyDone::Refused), "Refused"),
            (put("2", (0, 5), KeyDone::Unknown), "unknown outcome"),
            (
                operation(KeyWork::Delete, (0, 5), KeyDone::Written(3)),
                "delete",
            ),
            (
                operation(KeyWork::StaleRead, (0, 5), KeyDone::Found(3, first.clone())),
                "showed",
            ),
        ];
        for (operation, words) in wrong {
            let found = check(std::slice::from_ref(&operation), &truth);
            assert_eq!(found.len(), 1, "{operation:?}");
            assert!(found[0].what.contains(words), "{}", found[0]);
        }
        let stale = [
            put("1", (0, 5), KeyDone::Written(2)),
            operation(KeyWork::Read, (6, 8), KeyDone::Found(1, None)),
        ];
        let found = check(&stale, &truth);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].what.contains("after somebody was told revision 2"),
            "{}",
            found[0]
        );
    }
}
