//! What a client wants of one kind, and what it was told: the rules of requests, without what resources are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portolan_catalog::Revision;

use super::ask::Wanted;
use crate::kind::Kind;
use crate::resource::Resource;

/// The name that stands for everything.
const STAR: &str = "*";

/// What a client was told of a resource.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) version: u64,
    /// What it was sent; none when the client said itself that it has it.
    pub(crate) resource: Option<Arc<Resource>>,
}

/// One kind on one stream.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// There was a request.
    begun: bool,
    /// Everything is wanted.
    pub(crate) everything: bool,
    /// And it was said by naming nothing.
    by_silence: bool,
    /// What is wanted by name.
    pub(crate) names: BTreeSet<Arc<str>>,
    pub(crate) told: BTreeMap<Arc<str>, Told>,
    /// Gone, and the client is not told yet.
    pub(crate) gone: BTreeSet<Arc<str>>,
    /// Of the last response; 0 before the first.
    pub(crate) nonce: u64,
    /// The last response was accepted or refused.
    pub(crate) answered: bool,
    /// Of the last response.
    pub(crate) version: Revision,
    pub(crate) due: Due,
}

/// What has to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// All that is wanted.
    pub(crate) all: bool,
    /// These, which may have changed.
    pub(crate) names: BTreeSet<Arc<str>>,
    /// These, which are told of even if they have not changed, or are not there.
    pub(crate) again: BTreeSet<Arc<str>>,
    /// A response is owed, if only an empty one.
    pub(crate) response: bool,
}

impl Due {
    pub(crate) fn is_empty(&self) -> bool {
        !self.all && !self.response && self.names.is_empty() && self.again.is_empty()
    }
}

/// Names that are wanted since a request, and no longer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Turned {
    pub(crate) on: Vec<Arc<str>>,
    pub(crate) off: Vec<Arc<str>>,
}

impl Default for Subscription {
    fn default() -> Subscription {
        Subscription {
            begun: false,
            everything: false,
            by_silence: false,
            names: BTreeSet::new(),
            told: BTreeMap::new(),
            gone: BTreeSet::new(),
            nonce: 0,
            answered: true,
            version: Revision(0),
            due: Due::default(),
        }
    }
}

impl Subscription {
    /// Whether the client knows of nothing that it has not answered, and there is nothing to tell it.
    pub(crate) fn is_settled(&self) -> bool {
        self.answered && self.due.is_empty()
    }

    /// Takes in what a request wants, and notes what it is owed for it.
    pub(crate) fn want(&mut self, kind: Kind, wanted: Wanted) -> Turned {
        let first = !std::mem::replace(&mut self.begun, true);
        match wanted {
            Wanted::Exactly(names) => self.exactly(kind, first, names),
            Wanted::Also { more, less, has } => self.also(kind, first, more, less, has),
        }
    }

    fn exactly(&mut self, kind: Kind, first: bool, names: Vec<String>) -> Turned {
        let mut wanted: BTreeSet<Arc<str>> = names.into_iter().map(Arc::from).collect();
        let star = wanted.remove(STAR);
        self.by_silence = !star && wanted.is_empty() && (first || self.by_silence);
        let everything = kind.is_whole() && (star || self.by_silence);
        let on: Vec<Arc<str>> = wanted.difference(&self.names).cloned().collect();
        let off: Vec<Arc<str>> = self.names.difference(&wanted).cloned().collect();
        self.names = wanted;
        self.all_or_not(everything);
        if kind.is_whole() {
            self.due.response |= first || !on.is_empty();
            self.due.names.extend(on.iter().cloned());
        } else {
            self.due.again.extend(on.iter().cloned());
        }
        self.drop_told(&off);
        Turned { on, off }
    }

    fn also(
        &mut self,
        kind: Kind,
        first: bool,
        more: Vec<String>,
        less: Vec<String>,
        has: BTreeMap<String, String>,
    ) -> Turned {
        let silent = first && more.is_empty() && less.is_empty();
        let mut everything = self.everything || silent;
        let mut turned = Turned::default();
        for name in more.into_iter().map(Arc::<str>::from) {
            if *name == *STAR {
                everything = true;
                self.due.response = true;
                continue;
            }
            if self.names.insert(name.clone()) {
                turned.on.push(name.clone());
            }
            self.due.again.insert(name);
        }
        for name in less.into_iter().map(Arc::<str>::from) {
            if *name == *STAR {
                everything = false;
            } else if self.names.remove(&name) {
                turned.off.push(name);
            }
        }
        self.all_or_not(everything && kind.is_whole());
        if first {
            self.due.response |= self.everything;
            for (name, version) in has {
                let name: Arc<str> = name.into();
                if self.everything || self.names.contains(&name) {
                    // What it has already is not sent again for being asked for.
                    self.due.again.remove(&name);
                    self.due.names.insert(name.clone());
                    let told = Told {
                        version: Resource::read(&version).unwrap_or(0),
                        resource: None,
                    };
                    self.told.insert(name, told);
                }
            }
        }
        if self.everything {
            // Whoever no longer wants by name what it has with everything is told which of the two it is.
            self.due.again.extend(turned.off.iter().cloned());
        } else {
            self.drop_told(&turned.off);
        }
        turned
    }

    fn all_or_not(&mut self, everything: bool) {
        let before = std::mem::replace(&mut self.everything, everything);
        if everything && !before {
            self.due.all = true;
        }
        if before && !everything {
            let names = &self.names;
            self.told.retain(|name, _| names.contains(name));
            self.gone.retain(|name| names.contains(name));
            self.due.again.retain(|name| names.contains(name));
            self.due.names.retain(|name| names.contains(name));
        }
    }

    /// Of what is not wanted nothing is known, unless it is wanted with everything.
    fn drop_told(&mut self, names: &[Arc<str>]) {
        for name in names {
            if self.everything {
                self.due.names.insert(name.clone());
                continue;
            }
            self.told.remove(name);
            self.gone.remove(name);
            self.due.names.remove(name);
            self.due.again.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exactly(names: &[&str]) -> Wanted {
        Wanted::Exactly(names.iter().map(ToString::to_string).collect())
    }

    fn also(more: &[&str], less: &[&str]) -> Wanted {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        Wanted::Also {
            more: words(more),
            less: words(less),
            has: BTreeMap::new(),
        }
    }

    /// Per step: what is asked, whether everything is wanted then, which names, and whether a response is owed.
    fn check(kind: Kind, steps: &[(Wanted, bool, &[&str], bool)]) {
        let mut subscription = Subscription::default();
        for (number, (wanted, everything, names, owed)) in steps.iter().enumerate() {
            subscription.want(kind, wanted.clone());
            let held: Vec<&str> = subscription.names.iter().map(|name| &**name).collect();
            let due = std::mem::take(&mut subscription.due);
            assert_eq!(
                (
                    subscription.everything,
                    &*held,
                    due.response || !due.again.is_empty()
                ),
                (*everything, *names, *owed),
                "step {number} of {kind:?}: {wanted:?}"
            );
        }
    }

    #[test]
    fn everything_is_asked_for_by_silence_or_by_a_star() {
        check(
            Kind::Clusters,
            &[
                (exactly(&[]), true, &[], true),
                (exactly(&[]), true, &[], false),
                (exactly(&["web"]), false, &["web"], true),
                (exactly(&["web"]), false, &["web"], false),
                (exactly(&[]), false, &[], false),
                (exactly(&["*", "a"]), true, &["a"], true),
                (exactly(&[]), false, &[], false),
            ],
        );
        check(
            Kind::Assignments,
            &[
                (exactly(&[]), false, &[], false),
                (exactly(&["*"]), false, &[], false),
                (exactly(&["a", "b"]), false, &["a", "b"], true),
                (exactly(&["b"]), false, &["b"], false),
            ],
        );
        check(
            Kind::Clusters,
            &[
                (also(&[], &[]), true, &[], true),
                (also(&["a"], &[]), true, &["a"], true),
                (also(&["a"], &[]), true, &["a"], true),
                (also(&[], &["*"]), false, &["a"], false),
                (also(&[], &["a"]), false, &[], false),
                (also(&[], &[]), false, &[], false),
                (also(&["*"], &[]), true, &[], true),
            ],
        );
        check(
            Kind::Assignments,
            &[
                (also(&[], &[]), false, &[], false),
                (also(&["a"], &[]), false, &["a"], true),
            ],
        );
    }

    #[test]
    fn a_client_that_comes_back_says_what_it_has() {
        let mut subscription = Subscription::default();
        let has = [("a", Resource::print(7)), ("other", Resource::print(8))];
        subscription.want(
            Kind::Assignments,
            Wanted::Also {
                more: vec!["a".into(), "b".into()],
                less: Vec::new(),
                has: has.map(|(name, version)| (name.to_owned(), version)).into(),
            },
        );
        let again: Vec<&str> = subscription.due.again.iter().map(|name| &**name).collect();
        assert_eq!(again, ["b"]);
        assert_eq!(subscription.told["a"].version, 7);
        assert!(!subscription.told.contains_key("other"));
    }
}
