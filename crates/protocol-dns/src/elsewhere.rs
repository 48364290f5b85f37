//! Other datacenters: names of theirs are answered from the copies of their catalogs, by the same rules, in their own name.

use std::sync::Arc;

use portolan_catalog::State;
use portolan_registry::{Datacenter, Datacenters};

use crate::builder::nothing;
use crate::found::{Found, Indexes, Question, Reader};
use crate::names::Asked;
use crate::settings::{Options, Settings};
use crate::wire::Rcode;

/// The other datacenters.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere {
    known: Datacenters,
    each: Vec<One>,
}

#[derive(Debug)]
struct One {
    datacenter: Arc<Datacenter>,
    settings: Settings,
    indexes: Indexes,
}

impl Elsewhere {
    /// Those that are followed, each with the settings of this server under its own name.
    pub(crate) fn new(known: &Datacenters, options: &Options) -> Self {
        let one = |datacenter: &Arc<Datacenter>| One {
            datacenter: datacenter.clone(),
            settings: Settings::new(&Options {
                datacenter: datacenter.name().to_string(),
                ..options.clone()
            }),
            indexes: Indexes::default(),
        };
        Self {
            each: known.iter().map(one).collect(),
            known: known.clone(),
        }
    }

    /// Their names.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = self
            .each
            .iter()
            .map(|one| one.datacenter.name().to_string());
        names.collect()
    }

    fn find(&self, name: &str) -> Option<&One> {
        let is = |one: &&One| one.datacenter.name().eq_ignore_ascii_case(name);
        self.each.iter().find(is)
    }

    /// Where something goes on that is not found here: the `nearest` datacenters, then those that are named; each once.
    pub(crate) fn in_order(&self, nearest: usize, named: &[&str]) -> Vec<Arc<str>> {
        let mut places: Vec<Arc<str>> = Vec::new();
        let near = self.known.by_distance().into_iter().take(nearest);
        let named = named.iter().filter_map(|name| self.known.find(name));
        for one in near.chain(named) {
            if !places.contains(one.name()) {
                places.push(one.name().clone());
            }
        }
        places
    }

    /// Answers from the copy of a datacenter; none where there is no copy yet. What is found is not kept: it depends on another catalog's
    /// revisions.
    pub(crate) fn at(
        &self,
        datacenter: &str,
        answer: impl FnOnce(&State, &Settings, &Indexes) -> Found,
    ) -> Option<Found> {
        let one = self.find(datacenter)?;
        let state = one.datacenter.copy()?.snapshot();
        let found = answer(&state, &one.settings, &one.indexes);
        Some(Found {
            keep: false,
            ..found
        })
    }
}

/// Works out the answer to a question about something of another datacenter.
pub(crate) fn resolve(
    reader: &Reader<'_>,
    question: Question<'_>,
    datacenter: &str,
    asked: &Asked<'_>,
) -> Found {
    let found = reader.elsewhere.at(datacenter, |state, settings, indexes| {
        let there = Reader {
            state,
            settings,
            indexes,
            ..*reader
        };
        there.direct(question, asked)
    });
    found.unwrap_or_else(|| Found::passing(nothing(Rcode::ServFail)))
}
