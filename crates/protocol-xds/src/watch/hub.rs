//! One reader of the catalog's changes for all streams: it finds who follows what changed, notes it there, and wakes them.
//!
//! Invariants
//! - Whoever follows is in here before it reads what it answers: a change after that reading is noted for it.
//! - The cost of a change follows those who follow it. A slow stream has one note for each service, however often that changes: a burst
//!   becomes one push.
//! - When the reader itself was cut off, everything is noted for everybody: what is not different is not pushed.
//! - While there is no stream, nothing is read.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portolan_catalog::{Batch, ServiceKey, Table};
use portolan_registry::{Registry, Selector};
use tokio::sync::watch;

use super::member::{Member, Members};
use crate::read::Reader;

/// Who follows what.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    followers: Mutex<Followers>,
    /// How many streams there are.
    streams: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Followers {
    all: Members,
    services: BTreeMap<ServiceKey, Members>,
    /// Those to whom any service may be news.
    everything: Members,
    numbers: u64,
}

impl Hub {
    /// A new stream, unless there are `most` already.
    pub(crate) fn join(&self, peer: SocketAddr, most: usize) -> Option<Arc<Member>> {
        let mut held = self.lock();
        if held.all.len() >= most {
            return None;
        }
        held.numbers += 1;
        let member = Arc::new(Member::new(held.numbers, peer));
        held.all.insert(member.number, member.clone());
        let count = held.all.len();
        self.streams.send_replace(count);
        Some(member)
    }

    /// Forgets a stream that is over, and what it followed.
    pub(crate) fn leave<'a>(
        &self,
        member: &Member,
        services: impl Iterator<Item = &'a ServiceKey>,
    ) {
        let mut held = self.lock();
        for service in services {
            held.unfollow(service, member.number);
        }
        held.everything.remove(&member.number);
        held.all.remove(&member.number);
        let count = held.all.len();
        self.streams.send_replace(count);
    }

    pub(crate) fn follow(&self, service: &ServiceKey, member: &Arc<Member>) {
        let mut held = self.lock();
        let followers = held.services.entry(service.clone()).or_default();
        followers.insert(member.number, member.clone());
    }

    pub(crate) fn unfollow(&self, service: &ServiceKey, member: &Member) {
        self.lock().unfollow(service, member.number);
    }

    /// Has a stream told of every service, or no longer.
    pub(crate) fn follow_everything(&self, member: &Arc<Member>, wanted: bool) {
        let mut held = self.lock();
        match wanted {
            true => drop(held.everything.insert(member.number, member.clone())),
            false => drop(held.everything.remove(&member.number)),
        }
    }

    /// The streams that follow a service.
    pub(crate) fn followers(&self, service: &ServiceKey) -> Vec<Arc<Member>> {
        let held = self.lock();
        let mut found = held.everything.clone();
        if let Some(followers) = held.services.get(service) {
            found.extend(followers.clone());
        }
        found.into_values().collect()
    }

    /// Reads changes for ever, while there is anybody to tell.
    pub(crate) async fn run(self: Arc<Hub>, registry: Registry, reader: Arc<Reader>) {
        let mut streams = self.streams.subscribe();
        loop {
            // The sender is ours: there is no error.
            let _ = streams.wait_for(|count| *count > 0).await;
            tokio::select! {
                () = self.read(&registry, &reader) => {}
                _ = streams.wait_for(|count| *count == 0) => {}
            }
            reader.forget();
        }
    }

    async fn read(&self, registry: &Registry, reader: &Reader) {
        let tables = [
            Table::Services,
            Table::Endpoints,
            Table::Instances,
            Table::Nodes,
        ];
        let selectors = tables.map(Selector::Table).to_vec();
        loop {
            let after = registry.read(|state| state.revision());
            let feed = registry.follow(selectors.clone(), after);
            // Whatever changed before that revision.
            reader.forget();
            self.note_everything();
            let Ok(mut feed) = feed else {
                // The history was cut between the two lines above.
                tokio::task::yield_now().await;
                continue;
            };
            while let Ok(batch) = feed.next().await {
                self.deliver(&batch, reader);
            }
        }
    }

    fn deliver(&self, batch: &Batch, reader: &Reader) {
        reader.changed(batch.services.iter());
        let held = self.lock();
        for service in &batch.services {
            for follower in held.everything.values() {
                follower.note(service);
            }
            let followers = held.services.get(service);
            for follower in followers.into_iter().flat_map(BTreeMap::values) {
                follower.note(service);
            }
        }
    }

    fn note_everything(&self) {
        for member in self.lock().all.values() {
            member.note_everything();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Followers> {
        self.followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Followers {
    fn unfollow(&mut self, service: &ServiceKey, number: u64) {
        if let Some(followers) = self.services.get_mut(service) {
            followers.remove(&number);
            if followers.is_empty() {
                self.services.remove(service);
            }
        }
    }
}
