//! Prepared answers, kept by question and proved against the catalog before use.
//!
//! Two levels. `LocalCache` belongs to one serving thread: a table of pointers without locks or atomic writes, looked at first. [`Cache`]
//! is common to all threads, so that an answer is prepared and kept once. Both are bounded; what does not fit is prepared again.
//!
//! Invariants
//! - An entry is used only at a revision for which its [`Dependency`] was found unchanged. Nothing is ever pushed into the cache by time.
//! - Only answers to questions about rows that exist are kept, so questions about random names cannot fill it.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use portolan_catalog::State;
use smallvec::SmallVec;

use crate::dependency::Dependency;
use crate::names::Zone;
use crate::template::Template;
use crate::wire::{HEADER, Query};

/// Places of a thread's own table: at first, and at most.
const LOCAL_LEAST: usize = 1 << 10;
const LOCAL_MOST: usize = 1 << 19;

/// Bytes of a question that are kept in its entry: names like `checkout.service.consul`.
const KEY_INLINE: usize = 32;

/// What the shared table and the allocator take for an entry, besides its own bytes.
const OVERHEAD: usize = 80;

/// One prepared answer.
#[derive(Debug)]
pub(crate) struct Entry {
    hash: u64,
    /// The registry's era that it was made in: revisions of another one say nothing of it.
    era: u64,
    /// The last revision for which `dependency` was found unchanged.
    proved: AtomicU64,
    /// The question: name and type.
    key: SmallVec<[u8; KEY_INLINE]>,
    /// The answer.
    pub(crate) template: Template,
    /// What it was made from.
    pub(crate) dependency: Dependency,
    /// The zone of the question and the bytes of the zone's name.
    zone: (Zone, u16),
}

impl Entry {
    /// An answer to the question `key`, made from `state`.
    pub(crate) fn new(
        key: &[u8],
        template: Template,
        dependency: Dependency,
        zone: (Zone, u16),
        state: &State,
    ) -> Self {
        Self {
            hash: 0,
            era: 0,
            proved: AtomicU64::new(state.revision().0),
            key: SmallVec::from_slice(key),
            template,
            dependency,
            zone,
        }
    }

    /// The zone, and where its name stands in the message that asks `query`.
    #[inline]
    pub(crate) fn place(&self, query: &Query) -> (Zone, u16) {
        let (zone, length) = self.zone;
        (zone, (HEADER + query.name) as u16 - length)
    }

    /// Whether the answer is still what `state` of this era says.
    #[inline]
    fn holds(&self, era: u64, state: &State) -> bool {
        if self.era != era {
            return false;
        }
        let revision = state.revision().0;
        // A thread that holds a newer snapshot may have proved it later than ours; newer is never wrong.
        if self.proved.load(Ordering::Relaxed) >= revision {
            return true;
        }
        let holds = self.dependency.unchanged(state);
        if holds {
            self.proved.fetch_max(revision, Ordering::Relaxed);
        }
        holds
    }

    fn weight(&self) -> usize {
        let key = if self.key.spilled() {
            self.key.len()
        } else {
            0
        };
        size_of::<Self>() + OVERHEAD + key + self.template.heap() + self.dependency.heap()
    }
}

/// An entry in the shared table, found by its question.
#[derive(Clone, Debug)]
struct Kept(Arc<Entry>);

impl Borrow<[u8]> for Kept {
    fn borrow(&self) -> &[u8] {
        &self.0.key
    }
}

impl Hash for Kept {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key.as_slice().hash(state);
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for Kept {}

/// The level that all threads share.
#[derive(Debug)]
pub(crate) struct Cache {
    hasher: RandomState,
    entries: papaya::HashMap<Kept, ()>,
    weight: AtomicUsize,
    /// Bytes above which everything is dropped and prepared afresh.
    most: usize,
    /// Counts the times everything was dropped, so that near tables let go as well.
    generation: AtomicU64,
}

impl Cache {
    /// An empty cache that keeps at most so many bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            entries: papaya::HashMap::new(),
            weight: AtomicUsize::new(0),
            most,
            generation: AtomicU64::new(0),
        }
    }

    /// How many answers are kept, how many bytes they take, and how many they may take.
    pub(crate) fn size(&self) -> Size {
        Size {
            entries: self.entries.len(),
            bytes: self.weight.load(Ordering::Relaxed),
            most: self.most,
        }
    }

    fn get(&self, key: &[u8]) -> Option<Arc<Entry>> {
        let entries = self.entries.pin();
        let (kept, ()) = entries.get_key_value(key)?;
        Some(Arc::clone(&kept.0))
    }

    fn put(&self, entry: &Arc<Entry>) {
        let added = entry.weight();
        if added > self.most {
            return;
        }
        let entries = self.entries.pin();
        if self.weight.fetch_add(added, Ordering::Relaxed) + added > self.most {
            entries.clear();
            self.weight.store(added, Ordering::Relaxed);
            self.generation.fetch_add(1, Ordering::Relaxed);
        }
        // Taken out first: inserting under an equal key would leave the old entry in place.
        let key = entry.key.as_slice();
        if let Some((old, ())) = entries.remove_entry(key) {
            let freed = old.0.weight();
            let _ = self
                .weight
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |w| {
                    Some(w.saturating_sub(freed))
                });
        }
        if entries.insert(Kept(Arc::clone(entry)), ()).is_some() {
            // Another thread was faster; its entry stays.
            self.weight.fetch_sub(added, Ordering::Relaxed);
        }
    }
}

/// How full the cache is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
    pub(crate) most: usize,
}

/// One thread's own level: two places for each hash.
#[derive(Debug)]
pub(crate) struct LocalCache {
    slots: Vec<[Option<Arc<Entry>>; 2]>,
    /// Entries that had to make room since the table last grew.
    evicted: usize,
    generation: u64,
    most: usize,
    /// The registry's era of the state that is answered from.
    era: u64,
}

impl LocalCache {
    /// A table for a thread that answers for long.
    pub(crate) fn lasting() -> Self {
        Self::of(LOCAL_LEAST, LOCAL_MOST)
    }

    /// The smallest table, for a connection.
    pub(crate) fn brief() -> Self {
        Self::of(2, 2)
    }

    fn of(least: usize, most: usize) -> Self {
        Self {
            slots: vec![[None, None]; least / 2],
            evicted: 0,
            generation: 0,
            most,
            era: 0,
        }
    }

    /// From here on it is answered from a state of this era; the era is to be read before the state.
    #[inline]
    pub(crate) fn enter(&mut self, era: u64) {
        self.era = era;
    }

    /// The prepared answer to `key` that holds in `state`, if there is one; `hash` must be [`LocalCache::hash`] of the key.
    #[inline]
    pub(crate) fn get(&self, hash: u64, key: &[u8], state: &State) -> Option<&Entry> {
        let slot = self.slots.get(hash as usize & (self.slots.len() - 1))?;
        let found = slot
            .iter()
            .flatten()
            .find(|entry| entry.hash == hash && entry.key.as_slice() == key)?;
        found.holds(self.era, state).then_some(found)
    }

    /// The hash under which `key` is kept.
    #[inline]
    pub(crate) fn hash(cache: &Cache, key: &[u8]) -> u64 {
        cache.hasher.hash_one(key)
    }

    /// The prepared answer from the shared level, taken over into this table.
    pub(crate) fn fetch(
        &mut self,
        cache: &Cache,
        hash: u64,
        key: &[u8],
        state: &State,
    ) -> Option<Arc<Entry>> {
        let entry = cache
            .get(key)
            .filter(|entry| entry.holds(self.era, state))?;
        self.keep(cache, hash, Arc::clone(&entry));
        Some(entry)
    }

    /// Keeps a new answer in both levels.
    pub(crate) fn put(&mut self, cache: &Cache, hash: u64, mut entry: Entry) -> Arc<Entry> {
        entry.hash = hash;
        entry.era = self.era;
        let entry = Arc::new(entry);
        cache.put(&entry);
        self.keep(cache, hash, Arc::clone(&entry));
        entry
    }

    fn keep(&mut self, cache: &Cache, hash: u64, entry: Arc<Entry>) {
        let generation = cache.generation.load(Ordering::Relaxed);
        if generation != self.generation {
            self.slots.fill([None, None]);
            self.generation = generation;
            self.evicted = 0;
        }
        if self.evicted > self.slots.len() / 4 && self.slots.len() * 2 < self.most {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let Some(slot) = self.slots.get_mut(hash as usize & mask) else {
            return;
        };
        // The same question again, or a free place, or the place of the one that has been here longer.
        if slot[0].as_ref().is_some_and(|old| old.key != entry.key) {
            let old = slot[0].take();
            self.evicted += usize::from(
                slot[1]
                    .as_ref()
                    .is_some_and(|second| second.key != entry.key),
            );
            slot[1] = old;
        }
        slot[0] = Some(entry);
    }

    fn grow(&mut self) {
        let mut slots = vec![[None, None]; self.slots.len() * 2];
        let mask = slots.len() - 1;
        for entry in self.slots.drain(..).flatten().flatten() {
            let slot = &mut slots[entry.hash as usize & mask];
            let place = usize::from(slot[0].is_some());
            slot[place] = Some(entry);
        }
        self.slots = slots;
        self.evicted = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::Builder;

    #[test]
    fn what_was_prepared_in_another_era_is_not_used() {
        let (shared, state) = (Cache::new(1 << 20), State::default());
        let (mut one, mut other) = (LocalCache::lasting(), LocalCache::lasting());
        let hash = LocalCache::hash(&shared, b"web");
        one.enter(1);
        let template = Builder::default().finish();
        let entry = Entry::new(
            b"web",
            template,
            Dependency::Nothing,
            (Zone::Domain, 0),
            &state,
        );
        one.put(&shared, hash, entry);
        other.enter(1);
        assert!(one.get(hash, b"web", &state).is_some());
        assert!(other.fetch(&shared, hash, b"web", &state).is_some());
        one.enter(2);
        other.enter(2);
        assert!(one.get(hash, b"web", &state).is_none());
        assert!(other.fetch(&shared, hash, b"web", &state).is_none());
    }
}
