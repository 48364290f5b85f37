//! From what may have changed to what a client is told.

use std::collections::BTreeSet;
use std::sync::Arc;

use portolan_catalog::{Revision, State};

use super::Stream;
use super::ask::Form;
use super::subscription::{Due, Subscription, Told};
use crate::client::{Client, Flavor};
use crate::kind::Kind;
use crate::read::EGRESS;
use crate::reply::{self, Envelope};
use crate::resource::Resource;

/// Bytes of resources beyond which a response is followed by another, where a response may hold a part.
const TOGETHER: usize = 1 << 20;

/// What is different from what a client was told, of one kind.
#[derive(Default)]
struct Difference {
    changed: Vec<Arc<Resource>>,
    gone: Vec<Arc<str>>,
    /// The last revision that touched what was looked at.
    touched: Revision,
}

impl Stream {
    /// Has the hub tell of every service, if any may be news, or no longer.
    pub(super) fn follow_everything(&mut self) {
        let wanted = self.kinds[Kind::Clusters as usize].everything
            || self.kinds[Kind::Routes as usize].names.contains(EGRESS)
            || self.follows.is_open();
        if wanted != self.follows_everything {
            self.follows_everything = wanted;
            self.app.hub.follow_everything(&self.member, wanted);
        }
    }

    /// Looks at what changed, and tells of it.
    pub(super) fn push(&mut self) {
        self.due = false;
        self.note_news();
        self.settle();
    }

    /// Tells of everything that is due.
    pub(super) fn settle(&mut self) {
        let state = self.app.registry.snapshot();
        for kind in Kind::ALL {
            self.tell(&state, kind);
        }
        self.take_away();
        // A name may mean something else now.
        self.follow_everything();
    }

    /// Finds out which of the resources of this stream the news concerns.
    fn note_news(&mut self) {
        let news = self.member.take_news();
        if news.everything {
            for subscription in &mut self.kinds {
                subscription.due.all = true;
            }
            return;
        }
        for service in &news.services {
            for (kind, name) in self.follows.concerned(service) {
                self.kinds[*kind as usize].due.names.insert(name.clone());
            }
            let clusters = &mut self.kinds[Kind::Clusters as usize];
            if clusters.everything {
                let name = portolan_catalog::name::flat(service);
                clusters.due.names.insert(name.into());
            }
        }
        let routes = &mut self.kinds[Kind::Routes as usize];
        if let Some(table) = routes.names.get(EGRESS)
            && !news.services.is_empty()
        {
            routes.due.names.insert(table.clone());
        }
    }

    /// Tells of what is due of one kind.
    fn tell(&mut self, state: &State, kind: Kind) {
        let Some(client) = self.client.clone() else {
            return;
        };
        let due = std::mem::take(&mut self.kinds[kind as usize].due);
        if due.is_empty() {
            return;
        }
        let response = due.response;
        let mut difference = self.difference(state, &client, kind, due);
        self.warm_again(&client, kind, &difference.changed);
        let subscription = &mut self.kinds[kind as usize];
        if matches!(kind, Kind::Clusters | Kind::Assignments) {
            subscription.hold_back(&mut difference.gone);
        }
        let Difference {
            changed,
            gone,
            touched,
        } = difference;
        let different = !changed.is_empty() || !gone.is_empty();
        if !different && !response {
            return;
        }
        subscription.note_told(&changed, &gone);
        subscription.advance(touched, state.revision(), different);
        self.send(kind, &changed, &gone);
    }

    /// Compares what is there with what the client was told.
    fn difference(&mut self, state: &State, client: &Client, kind: Kind, due: Due) -> Difference {
        let mut looked_at: BTreeSet<Arc<str>> = due.names;
        looked_at.extend(due.again.iter().cloned());
        if due.all {
            let subscription = &self.kinds[kind as usize];
            looked_at.extend(subscription.names.iter().cloned());
            looked_at.extend(subscription.told.keys().cloned());
            if subscription.everything {
                let (reader, caller) = (&self.app.reader, &self.caller);
                looked_at.extend(reader.everything(state, caller, client, kind));
            }
        }
        let mut found = Difference::default();
        for name in looked_at {
            let named = (kind, name);
            if self.kinds[kind as usize].names.contains(&named.1) {
                self.follow(state, &named);
            }
            let name = named.1;
            let resource = self.resource(state, client, kind, &name);
            let again = due.again.contains(&name);
            let subscription = &mut self.kinds[kind as usize];
            let told = subscription.told.get(&name).map(|told| told.version);
            if let Some(meaning) = self.app.reader.meaning(state, client, kind, &name) {
                found.touched = found.touched.max(state.service_index(&meaning.service));
            }
            match resource {
                Some(resource) if again || told != Some(resource.version) => {
                    found.changed.push(resource);
                }
                // Back as it was, before the client was told that it went.
                Some(_) => drop(subscription.gone.remove(&name)),
                None if told.is_some() => found.gone.push(name),
                // Whoever asks for differences waits for a word on each name.
                None if again && self.form == Form::Delta => found.gone.push(name),
                None => {}
            }
        }
        found
    }

    /// The resource that this stream is to have under a name now.
    fn resource(
        &self,
        state: &State,
        client: &Client,
        kind: Kind,
        name: &Arc<str>,
    ) -> Option<Arc<Resource>> {
        let (reader, caller) = (&self.app.reader, &self.caller);
        let subscription = &self.kinds[kind as usize];
        let by_name = subscription.names.contains(name);
        let wanted =
            by_name || subscription.everything && reader.is_in_everything(state, kind, name);
        if !wanted {
            return None;
        }
        let resource = reader.resource(state, caller, client, kind, name);
        // A response about the state of the world cannot say that an assignment is not there, and a client waits for it.
        let nobody = || by_name && kind == Kind::Assignments && self.form == Form::World;
        resource.or_else(|| nobody().then(|| reader.nobody(name)))
    }

    /// A proxy that is given a cluster anew waits for its assignment before it uses it, also where that is what it was.
    fn warm_again(&mut self, client: &Client, kind: Kind, changed: &[Arc<Resource>]) {
        if kind != Kind::Clusters || client.flavor != Flavor::Envoy {
            return;
        }
        let [clusters, assignments, ..] = &mut self.kinds;
        for cluster in changed {
            if clusters.told.contains_key(&cluster.name)
                && let Some(name) = assignments.names.get(&cluster.name)
            {
                assignments.due.again.insert(name.clone());
            }
        }
    }

    /// Takes away what nothing points to any more.
    fn take_away(&mut self) {
        let pointing = [Kind::Listeners, Kind::Routes];
        if !pointing
            .map(|kind| self.kinds[kind as usize].is_settled())
            .iter()
            .all(|is| *is)
        {
            return;
        }
        for kind in [Kind::Clusters, Kind::Assignments] {
            let subscription = &mut self.kinds[kind as usize];
            let gone: Vec<Arc<str>> = std::mem::take(&mut subscription.gone).into_iter().collect();
            if gone.is_empty() {
                continue;
            }
            subscription.note_told(&[], &gone);
            let now = self.app.registry.read(State::revision);
            subscription.advance(Revision::FIRST, now, true);
            self.send(kind, &[], &gone);
        }
    }

    /// Makes the responses that tell of a difference.
    fn send(&mut self, kind: Kind, changed: &[Arc<Resource>], gone: &[Arc<str>]) {
        match self.form {
            Form::World if kind.is_whole() => {
                let told = self.kinds[kind as usize].told.values();
                let all: Vec<Arc<Resource>> =
                    told.filter_map(|told| told.resource.clone()).collect();
                self.respond(kind, &all, &[]);
            }
            Form::World => {
                for part in parts(changed) {
                    self.respond(kind, part, &[]);
                }
            }
            Form::Delta => {
                let mut rest = gone;
                for part in parts(changed) {
                    // All that is gone goes with the first part.
                    self.respond(kind, part, std::mem::take(&mut rest));
                }
                if !rest.is_empty() || changed.is_empty() {
                    self.respond(kind, &[], rest);
                }
            }
        }
    }

    fn respond(&mut self, kind: Kind, resources: &[Arc<Resource>], gone: &[Arc<str>]) {
        self.nonce += 1;
        let subscription = &mut self.kinds[kind as usize];
        subscription.nonce = self.nonce;
        subscription.answered = false;
        let envelope = Envelope {
            kind,
            version: subscription.version.0,
            nonce: self.nonce,
            server: &self.app.settings.node,
        };
        let frame = match self.form {
            Form::World => reply::world(&envelope, resources),
            Form::Delta => reply::delta(&envelope, resources, gone),
        };
        self.app.figures.sent(kind, 1, resources.len() as u64);
        self.out.push_back(frame);
    }
}

impl Subscription {
    /// Keeps those back that the client was told of: others may point to them. What it never had, it is told at once that it is not there.
    fn hold_back(&mut self, gone: &mut Vec<Arc<str>>) {
        let (known, unknown): (Vec<_>, Vec<_>) = std::mem::take(gone)
            .into_iter()
            .partition(|name| self.told.contains_key(name));
        self.gone.extend(known);
        *gone = unknown;
    }

    fn note_told(&mut self, changed: &[Arc<Resource>], gone: &[Arc<str>]) {
        for resource in changed {
            self.gone.remove(&resource.name);
            let told = Told {
                version: resource.version,
                resource: Some(resource.clone()),
            };
            self.told.insert(resource.name.clone(), told);
        }
        for name in gone {
            self.told.remove(name);
        }
    }

    /// The version of the next response: the last revision that touched what it is about. It never goes back, and what differs has another
    /// one as far as revisions go.
    fn advance(&mut self, touched: Revision, now: Revision, different: bool) {
        let before = self.version;
        self.version = before.max(touched).max(Revision::FIRST);
        if different && self.version == before {
            self.version = before.max(now);
        }
    }
}

/// Pieces of what is told, each of a size that clients take.
fn parts(resources: &[Arc<Resource>]) -> impl Iterator<Item = &[Arc<Resource>]> {
    let mut rest = resources;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|resource| {
            let before = bytes;
            bytes += resource.any.len();
            before == 0 || bytes <= TOGETHER
        });
        let (part, left) = rest.split_at(fits.count());
        rest = left;
        (!part.is_empty()).then_some(part)
    })
}
