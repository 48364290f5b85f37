//! How many instances of each status there are: the hash code of the whole registry is made of nothing else.

use std::collections::HashMap;

use portolan_catalog::{ServiceKey, State};

use crate::read;
use crate::wire::Counts;

/// Kept by service, so that a change costs its own services.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    services: HashMap<ServiceKey, Counts>,
    total: Counts,
}

impl Tally {
    /// Over the whole registry.
    pub(crate) fn total(&self) -> &Counts {
        &self.total
    }

    /// Counts all services.
    pub(crate) fn count(&mut self, state: &State) {
        *self = Tally::default();
        for service in state.services() {
            self.count_one(state, &service.key);
        }
    }

    /// Counts those services again; the others are as they were.
    pub(crate) fn count_again<'a>(
        &mut self,
        state: &State,
        services: impl IntoIterator<Item = &'a ServiceKey>,
    ) {
        for service in services {
            self.count_one(state, service);
        }
    }

    fn count_one(&mut self, state: &State, service: &ServiceKey) {
        let counts = read::counts_of(state, service);
        let before = match counts == Counts::default() {
            true => self.services.remove(service),
            false => self.services.insert(service.clone(), counts),
        };
        if let Some(before) = before {
            self.total.remove(&before);
        }
        self.total.merge(&counts);
    }
}
