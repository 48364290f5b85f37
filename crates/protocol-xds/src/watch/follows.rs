//! Which services a stream's names depend on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portolan_catalog::ServiceKey;

use super::hub::Hub;
use super::member::Member;
use crate::kind::Kind;
use crate::names::Meaning;

/// A resource that a stream asks for by name.
pub(crate) type Named = (Kind, Arc<str>);

/// The names of a stream, and the services behind them. Whatever is in here is in the hub.
#[derive(Debug, Default)]
pub(crate) struct Follows {
    meanings: BTreeMap<Named, Meaning>,
    services: BTreeMap<ServiceKey, BTreeSet<Named>>,
    /// Names that any new service may take.
    open: BTreeSet<Named>,
}

impl Follows {
    /// Notes what a name means now.
    pub(crate) fn set(&mut self, hub: &Hub, member: &Arc<Member>, named: &Named, meaning: Meaning) {
        if self.meanings.get(named) == Some(&meaning) {
            return;
        }
        let before = self.meanings.insert(named.clone(), meaning.clone());
        for service in [Some(&meaning.service), meaning.first.as_ref()]
            .into_iter()
            .flatten()
        {
            let names = self.services.entry(service.clone()).or_default();
            if names.is_empty() {
                hub.follow(service, member);
            }
            names.insert(named.clone());
        }
        match meaning.open {
            true => drop(self.open.insert(named.clone())),
            false => drop(self.open.remove(named)),
        }
        // Afterwards, so that what both depend on is followed throughout.
        if let Some(before) = before {
            self.leave(hub, member, named, &before, Some(&meaning));
        }
    }

    /// Forgets a name.
    pub(crate) fn remove(&mut self, hub: &Hub, member: &Member, named: &Named) {
        self.open.remove(named);
        if let Some(before) = self.meanings.remove(named) {
            self.leave(hub, member, named, &before, None);
        }
    }

    /// The names that a change of a service concerns.
    pub(crate) fn concerned(&self, service: &ServiceKey) -> impl Iterator<Item = &Named> {
        let names = self.services.get(service).into_iter().flatten();
        names.chain(&self.open)
    }

    /// Whether any new service may be news.
    pub(crate) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = &ServiceKey> {
        self.services.keys()
    }

    fn leave(
        &mut self,
        hub: &Hub,
        member: &Member,
        named: &Named,
        before: &Meaning,
        now: Option<&Meaning>,
    ) {
        for service in [Some(&before.service), before.first.as_ref()]
            .into_iter()
            .flatten()
        {
            let still = now
                .is_some_and(|now| now.service == *service || now.first.as_ref() == Some(service));
            if still {
                continue;
            }
            if let Some(names) = self.services.get_mut(service) {
                names.remove(named);
                if names.is_empty() {
                    self.services.remove(service);
                    hub.unfollow(service, member);
                }
            }
        }
    }
}
