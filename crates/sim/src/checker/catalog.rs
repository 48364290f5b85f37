//! One catalog: at one revision every protocol lists the same instances, and in the end those that were registered and not removed.

use super::{Findings, Violation};
use crate::history::{InstanceStory, Listing};

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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
}
