//! One catalog: at one revision every protocol lists the same instances, and in the end those that were registered and not removed.

use std::collections::BTreeMap;

use portolan_catalog::Change;

use super::{Findings, Violation};
use crate::history::{InstanceStory, Listing};
use crate::protocols::Place;
use crate::truth::Truth;

/// `last` are the listings of every server at the end.
pub(crate) fn check(
    listings: &[Listing],
    last: &[Listing],
    stories: &[InstanceStory],
) -> Vec<Violation> {
    let mut findings = Findings::new("catalog");
    for listing in listings.iter().chain(last) {
        let Some((first, wanted)) = listing.lists.first_key_value() else {
            continue;
        };
        for (spoken, list) in &listing.lists {
            if list != wanted {
                findings.add(|| {
                    format!(
                        "server {} at revision {} lists {wanted:?} through {first:?} and {list:?} through {spoken:?}",
                        listing.server, listing.revision
                    )
                });
            }
        }
    }
    for listing in last {
        for story in stories {
            for (spoken, list) in &listing.lists {
                if story
                    .there
                    .is_some_and(|there| there != list.contains(&story.place))
                {
                    findings.add(|| {
                        format!(
                            "{:?}, registered through {:?}, is{} listed by server {} through {spoken:?}",
                            story.place,
                            story.spoken,
                            if story.there == Some(true) { " not" } else { "" },
                            listing.server
                        )
                    });
                }
            }
        }
    }
    findings.into_violations()
}

/// What a client was told of an instance that is its own was so: only what is decided may be acknowledged.
pub(crate) fn check_told(stories: &[InstanceStory], truth: &Truth) -> Vec<Violation> {
    let mut findings = Findings::new("catalog");
    let decided = comings_and_goings(truth);
    for story in stories {
        let changes = decided.get(&story.place).map_or(&[][..], Vec::as_slice);
        for (at, there) in &story.told {
            let last = changes.iter().rev().find(|(decided, _)| decided <= at);
            if last.is_some_and(|(_, there)| *there) != *there {
                findings.add(|| {
                    format!(
                        "{:?} was said to be {} through {:?} at {at} ms, which was not decided",
                        story.place,
                        if *there { "registered" } else { "removed" },
                        story.spoken
                    )
                });
            }
        }
    }
    findings.into_violations()
}

/// For each place, when it was decided that an instance is there, and that it is not.
fn comings_and_goings(truth: &Truth) -> BTreeMap<Place, Vec<(u64, bool)>> {
    let mut places: BTreeMap<Place, Vec<(u64, bool)>> = BTreeMap::new();
    for decided in truth.decided.values() {
        for change in &decided.batch.changes {
            let Change::Instance { before, after } = change else {
                continue;
            };
            if let Some(row) = after.as_ref().or(before.as_ref()) {
                let port = u64::from(row.endpoint.port());
                let place = (row.endpoint.host.to_string(), port);
                let changes = places.entry(place).or_default();
                changes.push((decided.published, after.is_some()));
            }
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use portolan_catalog::{
        Cause, Command, Endpoint, Entry, Host, InstanceKey, Protocol, Register, Registration,
        ServiceKey, State, Target, Timestamp,
    };

    use super::*;
    use crate::protocols::{Place, Spoken};

    fn place(port: u64) -> Place {
        ("10.0.0.1".to_owned(), port)
    }

    fn listing(consul: &[u64], eureka: &[u64]) -> Listing {
        let set = |ports: &[u64]| {
            ports
                .iter()
                .map(|port| place(*port))
                .collect::<BTreeSet<_>>()
        };
        Listing {
            server: 1,
            revision: 5,
            lists: [(Spoken::Consul, set(consul)), (Spoken::Eureka, set(eureka))].into(),
        }
    }

    fn story(port: u64, there: Option<bool>) -> InstanceStory {
        InstanceStory {
            place: place(port),
            spoken: Spoken::Eureka,
            there,
            told: Vec::new(),
        }
    }

    #[test]
    fn equal_lists_pass_and_unequal_lost_and_undead_ones_are_found() {
        let stories = [story(1, Some(true)), story(2, Some(false)), story(3, None)];
        assert_eq!(check(&[], &[listing(&[1, 3], &[1, 3])], &stories), []);
        for (listing, words) in [
            (listing(&[1], &[1, 3]), "through Consul and"),
            (listing(&[3], &[3]), "is not listed"),
            (listing(&[1, 2], &[1, 2]), "is listed"),
        ] {
            let found = check(&[], std::slice::from_ref(&listing), &stories);
            assert!(found[0].what.contains(words), "{}", found[0]);
        }
    }

    #[test]
    fn what_was_told_and_not_decided_is_found() {
        let mut state = State::default();
        let mut truth = Truth::default();
        let key = InstanceKey::new(Protocol::Eureka, "web/1");
        let endpoint = Endpoint::new(Host::new("10.0.0.1"), 1);
        let facts = Registration::new(key.clone(), ServiceKey::plain("web"), endpoint);
        let steps = [
            (10, Command::Register(Box::new(Register::new(facts)))),
            (
                30,
                Command::Deregister {
                    target: Target::Instance(key),
                    expect: None,
                },
            ),
        ];
        for (at, command) in steps {
            let applied = state.apply(&Entry {
                at: Timestamp(1),
                cause: Arc::new(Cause::call(Protocol::Eureka, None)),
                command,
            });
            truth.add(applied.batch.unwrap(), at, at, 1);
        }
        let told = |told: &[(u64, bool)]| {
            let story = InstanceStory {
                told: told.to_vec(),
                ..story(1, None)
            };
            check_told(&[story], &truth).len()
        };
        assert_eq!(told(&[(5, false), (12, true), (30, false)]), 0);
        assert_eq!(told(&[(9, true)]), 1, "not yet");
        assert_eq!(told(&[(20, false)]), 1, "still there");
        assert_eq!(told(&[(31, true)]), 1, "gone");
    }
}
