//! The selector index: a change finds its followers without asking all of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use portolan_catalog::{
    Batch, Change, Key, KeyRange, Keyspace, NodeName, Revision, ServiceKey, Table,
};

use crate::selector::{Selector, nodes};

/// Batches that wait for one follower at most; beyond that it is sent back to the history.
const QUEUE: usize = 256;

/// One follower's side of the index.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    id: u64,
    inbox: Mutex<Inbox>,
}

#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pub(crate) queue: VecDeque<Arc<Batch>>,
    /// The queue was full: batches after this were not kept, read the history instead.
    pub(crate) overflowed: bool,
    pub(crate) waker: Option<Waker>,
}

impl Follower {
    pub(crate) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, batch: &Arc<Batch>) {
        let mut inbox = self.inbox();
        if inbox.overflowed
            || inbox
                .queue
                .back()
                .is_some_and(|last| last.revision == batch.revision)
        {
            return;
        }
        if inbox.queue.len() == QUEUE {
            inbox.queue = VecDeque::new();
            inbox.overflowed = true;
        } else {
            inbox.queue.push_back(batch.clone());
        }
        let waker = inbox.waker.take();
        drop(inbox);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

type Followers = BTreeMap<u64, Arc<Follower>>;

/// Followers by what they follow.
#[derive(Debug, Default)]
struct Maps {
    keys: BTreeMap<(Keyspace, Key), Followers>,
    prefixes: BTreeMap<(Keyspace, Key), Followers>,
    /// How many prefixes there are of each length, so that only those lengths are looked up.
    lengths: BTreeMap<(Keyspace, usize), usize>,
    ranges: Vec<(Keyspace, KeyRange, Followers)>,
    services: BTreeMap<ServiceKey, Followers>,
    nodes: BTreeMap<NodeName, Followers>,
    tables: BTreeMap<Table, Followers>,
    everything: Followers,
}

/// The index, shared by the handle and the publisher.
#[derive(Debug, Default)]
pub(crate) struct Index {
    maps: Mutex<Maps>,
    ids: AtomicU64,
    followers: AtomicU64,
    /// Everything up to this revision has been handed to its followers.
    delivered: AtomicU64,
}

impl Index {
    fn maps(&self) -> MutexGuard<'_, Maps> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a follower under its selectors.
    pub(crate) fn add(&self, selectors: &[Selector]) -> Arc<Follower> {
        let follower = Arc::new(Follower {
            id: self.ids.fetch_add(1, Ordering::Relaxed),
            inbox: Mutex::default(),
        });
        let mut maps = self.maps();
        for selector in selectors {
            maps.bucket(selector).insert(follower.id, follower.clone());
        }
        self.followers.fetch_add(1, Ordering::Relaxed);
        follower
    }

    /// Removes a follower again.
    pub(crate) fn remove(&self, selectors: &[Selector], follower: &Follower) {
        let mut maps = self.maps();
        for selector in selectors {
            maps.remove(selector, follower.id);
        }
        self.followers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Feeds that are open now.
    pub(crate) fn followers(&self) -> u64 {
        self.followers.load(Ordering::Relaxed)
    }

    pub(crate) fn delivered(&self) -> Revision {
        Revision(self.delivered.load(Ordering::Acquire))
    }

    /// Hands batches to whoever follows something in them.
    pub(crate) fn deliver(&self, batches: &[Arc<Batch>], through: Revision) {
        if self.followers() > 0 && !batches.is_empty() {
            let maps = self.maps();
            for batch in batches {
                maps.deliver(batch);
            }
        }
        self.delivered.store(through.0, Ordering::Release);
    }
}

impl Maps {
    fn bucket(&mut self, selector: &Selector) -> &mut Followers {
        match selector {
            Selector::Key(space, key) => self.keys.entry((*space, key.clone())).or_default(),
            Selector::Range(space, range) => match prefix(range) {
                Some(prefix) => {
                    let fresh = !self.prefixes.contains_key(&(*space, prefix.clone()));
                    if fresh {
                        *self.lengths.entry((*space, prefix.len())).or_default() += 1;
                    }
                    self.prefixes.entry((*space, prefix)).or_default()
                }
                None => {
                    let at = self
                        .ranges
                        .iter()
                        .position(|(s, r, _)| s == space && r == range);
                    let at = at.unwrap_or_else(|| {
                        self.ranges.push((*space, range.clone(), Followers::new()));
                        self.ranges.len() - 1
                    });
                    &mut self.ranges[at].2
                }
            },
            Selector::Service(service) => self.services.entry(service.clone()).or_default(),
            Selector::Node(node) => self.nodes.entry(node.clone()).or_default(),
            Selector::Table(table) => self.tables.entry(*table).or_default(),
            Selector::Everything => &mut self.everything,
        }
    }

    fn remove(&mut self, selector: &Selector, id: u64) {
        let bucket = self.bucket(selector);
        bucket.remove(&id);
        if !bucket.is_empty() {
            return;
        }
        match selector {
            Selector::Key(space, key) => drop(self.keys.remove(&(*space, key.clone()))),
            Selector::Range(space, range) => match prefix(range) {
                Some(prefix) => {
                    if let Some(count) = self.lengths.get_mut(&(*space, prefix.len())) {
                        *count -= 1;
                        if *count == 0 {
                            self.lengths.remove(&(*space, prefix.len()));
                        }
                    }
                    self.prefixes.remove(&(*space, prefix));
                }
                None => self.ranges.retain(|(s, r, _)| s != space || r != range),
            },
            Selector::Service(service) => drop(self.services.remove(service)),
            Selector::Node(node) => drop(self.nodes.remove(node)),
            Selector::Table(table) => drop(self.tables.remove(table)),
            Selector::Everything => {}
        }
    }

    fn deliver(&self, batch: &Arc<Batch>) {
        let push = |followers: Option<&Followers>| {
            for follower in followers.into_iter().flat_map(BTreeMap::values) {
                follower.push(batch);
            }
        };
        push(Some(&self.everything));
        if !self.services.is_empty() {
            for service in &batch.services {
                push(self.services.get(service));
            }
        }
        for change in &batch.changes {
            if !self.tables.is_empty() {
                push(self.tables.get(&change.table()));
            }
            if !self.nodes.is_empty() {
                nodes(change).for_each(|node| push(self.nodes.get(&node)));
            }
            if let Change::Record { space, key, .. } = change {
                self.deliver_record(*space, key, &push);
            }
        }
    }

    fn deliver_record(&self, space: Keyspace, key: &Key, push: &impl Fn(Option<&Followers>)) {
        if !self.keys.is_empty() {
            push(self.keys.get(&(space, key.clone())));
        }
        for (_, length) in self
            .lengths
            .range((space, 0)..=(space, key.len()))
            .map(|(at, _)| at)
        {
            push(self.prefixes.get(&(space, Key::from(&key[..*length]))));
        }
        for (_, _, followers) in self
            .ranges
            .iter()
            .filter(|(s, range, _)| *s == space && range.contains(key))
        {
            push(Some(followers));
        }
    }
}

/// The prefix a range stands for, if it stands for one.
fn prefix(range: &KeyRange) -> Option<Key> {
    (KeyRange::prefix(range.start()) == *range).then(|| range.start().clone())
}
