//! The watchers of one stream. Live watchers of equal ranges share one feed: a change wakes them together.
//!
//! Invariants
//! - All watchers of a feed have the same range, and start after what the feed returned before they joined.
//! - An id is in use until the client has cancelled it, also when compaction ended the watcher before.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    task::{Context, Poll},
};

use portolan_catalog::{Batch, Compacted, KeyRange, Keyspace, Revision};
use portolan_registry::{Cut, Registry, Selector};

use super::{
    events::{WatchOptions, size},
    feed_set::FeedSet,
};

/// Revisions, and bytes of events, that one response to a watcher that is behind carries at most.
const CATCH_UP: (usize, usize) = (1000, 512 << 10);

/// One watcher.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) options: WatchOptions,
    /// The client gave a start revision.
    pub(super) waits: bool,
    pub(super) fragment: bool,
    /// The client asked for progress notifications (`progress_notify`).
    pub(super) notify: bool,
    /// No event since the last tick.
    pub(super) quiet: bool,
}

/// The watchers that share one feed.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) range: KeyRange,
    pub(super) members: BTreeMap<i64, Watcher>,
    /// The feed reads history and has not reached the present yet.
    pub(super) behind: bool,
}

/// Batches that one feed returned.
#[derive(Debug)]
pub(super) struct Received {
    /// The feed's number.
    pub(super) number: u64,
    pub(super) batches: Vec<Arc<Batch>>,
    /// There is nothing more for now.
    pub(super) all: bool,
    pub(super) cut: Option<Cut>,
}

#[derive(Debug, Default)]
pub(super) struct Watchers {
    feeds: FeedSet,
    /// By the number of their feed.
    groups: BTreeMap<u64, Group>,
    /// The live feeds, which further watchers may join.
    present: HashMap<KeyRange, u64>,
    /// Ids in use, with the number of the feed; none when compaction ended the watcher.
    ids: BTreeMap<i64, Option<u64>>,
    next_id: i64,
}

impl Watchers {
    /// Ids in use.
    pub(super) fn ids(&self) -> usize {
        self.ids.len()
    }

    /// Watchers that were not ended by a compaction.
    pub(super) fn count(&self) -> usize {
        self.ids.values().flatten().count()
    }

    pub(super) fn uses(&self, id: i64) -> bool {
        self.ids.contains_key(&id)
    }

    /// The next id that is not in use.
    pub(super) fn free_id(&mut self) -> i64 {
        while self.ids.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    /// Adds a watcher under an id. `now` is the revision published last.
    ///
    /// # Errors
    /// When its start is compacted: the id is in use then, and that is all.
    pub(super) fn add(
        &mut self,
        registry: &Registry,
        now: Revision,
        (id, range): (i64, KeyRange),
        watcher: Watcher,
    ) -> Result<(), Compacted> {
        self.ids.insert(id, None);
        // A feed returns only what was published, and this watcher starts later.
        let joins = watcher.options.start > now;
        let number = match self.present.get(&range).filter(|_| joins) {
            Some(number) => *number,
            None => {
                let selector = match &range {
                    KeyRange::One(key) => Selector::Key(Keyspace::Etcd, key.clone()),
                    range => Selector::Range(Keyspace::Etcd, range.clone()),
                };
                let after = match joins {
                    true => now,
                    false => Revision(watcher.options.start.0.saturating_sub(1)),
                };
                let number = self.feeds.add(registry.follow(vec![selector], after)?);
                if joins {
                    self.present.insert(range.clone(), number);
                }
                self.groups.insert(
                    number,
                    Group {
                        range,
                        members: BTreeMap::new(),
                        behind: !joins,
                    },
                );
                number
            }
        };
        if let Some(group) = self.groups.get_mut(&number) {
            group.members.insert(id, watcher);
            self.ids.insert(id, Some(number));
        }
        Ok(())
    }

    /// Frees an id. None when it is not in use, else whether there was still a watcher under it.
    pub(super) fn remove(&mut self, id: i64) -> Option<bool> {
        let number = self.ids.remove(&id)?;
        if let Some(number) = number
            && let Some(group) = self.groups.get_mut(&number)
        {
            group.members.remove(&id);
            if group.members.is_empty() {
                self.dissolve(number);
            }
        }
        Some(number.is_some())
    }

    /// Ends a feed. The ids of its watchers stay in use.
    pub(super) fn dissolve(&mut self, number: u64) -> Option<Group> {
        self.feeds.remove(number);
        let group = self.groups.remove(&number)?;
        if self.present.get(&group.range) == Some(&number) {
            self.present.remove(&group.range);
        }
        for id in group.members.keys() {
            self.ids.insert(*id, None);
        }
        Some(group)
    }

    pub(super) fn group(&mut self, number: u64) -> Option<&mut Group> {
        self.groups.get_mut(&number)
    }

    pub(super) fn get(&self, id: i64) -> Option<&Watcher> {
        let number = self.ids.get(&id).copied().flatten()?;
        self.groups.get(&number)?.members.get(&id)
    }

    pub(super) fn each(&self) -> impl Iterator<Item = (&i64, &Watcher)> {
        self.groups.values().flat_map(|group| &group.members)
    }

    pub(super) fn each_mut(&mut self) -> impl Iterator<Item = (&i64, &mut Watcher)> {
        self.groups
            .values_mut()
            .flat_map(|group| &mut group.members)
    }

    /// Everything up to this revision was read for a watcher, or without an id for all. None without watchers.
    pub(super) fn frontier(&self, id: Option<i64>) -> Option<Revision> {
        match id {
            Some(id) => self.feeds.frontier(self.ids.get(&id).copied().flatten()?),
            None => self
                .groups
                .keys()
                .filter_map(|number| self.feeds.frontier(*number))
                .min(),
        }
    }

    /// The next batches of any feed, at most as many as one response carries.
    pub(super) fn poll_received(&mut self, context: &mut Context<'_>) -> Poll<Received> {
        self.feeds
            .poll_next(context)
            .map(|(number, first)| self.gather(number, first))
    }

    /// Takes further batches of a feed that returned one.
    fn gather(&mut self, number: u64, first: Result<Arc<Batch>, Cut>) -> Received {
        let mut received = Received {
            number,
            batches: Vec::with_capacity(1),
            all: false,
            cut: None,
        };
        let mut bytes = 0;
        let mut next = Poll::Ready(first);
        loop {
            match next {
                Poll::Ready(Ok(batch)) => {
                    bytes += batch.changes.iter().map(size).sum::<usize>();
                    received.batches.push(batch);
                }
                Poll::Ready(Err(cut)) => {
                    received.cut = Some(cut);
                    return received;
                }
                Poll::Pending => {
                    received.all = true;
                    return received;
                }
            }
            if received.batches.len() >= CATCH_UP.0 || bytes >= CATCH_UP.1 {
                self.feeds.again(number);
                return received;
            }
            next = self.feeds.poll_one(number);
        }
    }
}
