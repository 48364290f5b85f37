//! The selector index: a change finds its subscriptions without asking all of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use portolan_catalog::{
    Batch, Change, Key, KeyRange, Keyspace, NodeName, Revision, ServiceKey, Table,
};

use crate::selector::{Selector, nodes};

/// Batches that wait for one subscription at most; beyond that it is sent back to the history.
const QUEUE: usize = 256;

/// One subscription's side of the index.
#[derive(Debug, Default)]
pub(crate) struct Subscription {
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

impl Subscription {
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

type Subscriptions = BTreeMap<u64, Arc<Subscription>>;

/// Subscriptions by what they follow.
#[derive(Debug, Default)]
struct Maps {
    keys: BTreeMap<(Keyspace, Key), Subscriptions>,
    prefixes: BTreeMap<(Keyspace, Key), Subscriptions>,
    /// How many prefixes there are of each length, so that only those lengths are looked up.
    lengths: BTreeMap<(Keyspace, usize), usize>,
    ranges: Vec<(Keyspace, KeyRange, Subscriptions)>,
    services: BTreeMap<ServiceKey, Subscriptions>,
    nodes: BTreeMap<NodeName, Subscriptions>,
    tables: BTreeMap<Table, Subscriptions>,
    everything: Subscriptions,
}

/// The index, shared by the handle and the publisher.
#[derive(Debug, Default)]
pub(crate) struct Index {
    maps: Mutex<Maps>,
    ids: AtomicU64,
    subscriptions: AtomicU64,
    /// Everything up to this revision has been handed to its subscriptions.
    delivered: AtomicU64,
}

impl Index {
    fn maps(&self) -> MutexGuard<'_, Maps> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a subscription under its selectors.
    pub(crate) fn add(&self, selectors: &[Selector]) -> Arc<Subscription> {
        let subscription = Arc::new(Subscription {
            id: self.ids.fetch_add(1, Ordering::Relaxed),
            inbox: Mutex::default(),
        });
        let mut maps = self.maps();
        for selector in selectors {
            maps.bucket(selector)
                .insert(subscription.id, subscription.clone());
        }
        self.subscriptions.fetch_add(1, Ordering::Relaxed);
        subscription
    }

    /// Removes a subscription again.
    pub(crate) fn remove(&self, selectors: &[Selector], subscription: &Subscription) {
        let mut maps = self.maps();
        for selector in selectors {
            maps.remove(selector, subscription.id);
        }
        self.subscriptions.fetch_sub(1, Ordering::Relaxed);
    }

    /// Feeds that are open now.
    pub(crate) fn subscriptions(&self) -> u64 {
        self.subscriptions.load(Ordering::Relaxed)
    }

    pub(crate) fn delivered(&self) -> Revision {
        Revision(self.delivered.load(Ordering::Acquire))
    }

    /// Hands batches to whoever follows something in them.
    pub(crate) fn deliver(&self, batches: &[Arc<Batch>], through: Revision) {
        // The lock orders this after the state was published and against `add`: a reader that subscribes during a publish either is
        // found here, or reads a state that holds the batches. A look at the counter instead would need a full fence on both sides.
        if !batches.is_empty() {
            let maps = self.maps();
            for batch in batches {
                maps.deliver(batch);
            }
        }
        self.delivered.store(through.0, Ordering::Release);
    }
}

impl Maps {
    fn bucket(&mut self, selector: &Selector) -> &mut Subscriptions {
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
                        self.ranges
                            .push((*space, range.clone(), Subscriptions::new()));
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
        let push = |subscriptions: Option<&Subscriptions>| {
            for subscription in subscriptions.into_iter().flat_map(BTreeMap::values) {
                subscription.push(batch);
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

    fn deliver_record(&self, space: Keyspace, key: &Key, push: &impl Fn(Option<&Subscriptions>)) {
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
        for (_, _, subscriptions) in self
            .ranges
            .iter()
            .filter(|(s, range, _)| *s == space && range.contains(key))
        {
            push(Some(subscriptions));
        }
    }
}

/// The prefix a range stands for, if it stands for one.
fn prefix(range: &KeyRange) -> Option<Key> {
    (KeyRange::prefix(range.start()) == *range).then(|| range.start().clone())
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use portolan_catalog::{Cause, Timestamp, Why};

    use super::*;

    /// The window is narrow and closed by the hardware on x86; on other processors a missing order shows here.
    #[test]
    fn whoever_subscribes_during_a_publish_finds_the_batch_or_the_state() {
        let batch = Arc::new(Batch {
            revision: Revision(1),
            at: Timestamp(0),
            cause: Arc::new(Cause::own(Why::Start)),
            changes: Box::default(),
            services: Box::default(),
        });
        for _ in 0..2000 {
            let index = Index::default();
            let published = AtomicU64::new(0);
            let start = Barrier::new(2);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    start.wait();
                    published.store(1, Ordering::Relaxed);
                    index.deliver(std::slice::from_ref(&batch), Revision(1));
                });
                start.wait();
                let subscription = index.add(&[Selector::Everything]);
                let read = published.load(Ordering::Relaxed) == 1;
                while index.delivered() != Revision(1) {
                    std::hint::spin_loop();
                }
                assert!(read || subscription.inbox().queue.len() == 1);
            });
        }
    }
}
