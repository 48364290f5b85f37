//! The newest batches, as they were made.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use portolan_catalog::stored::index::{Span, keys};
use portolan_catalog::{Batch, Revision};

/// Batches of one run.
pub(crate) const RUN: usize = 256;

/// Some batches in a row. Batches are added by one writer, and seen by readers as they come; a run that is closed has an index once
/// somebody asks for it.
#[derive(Debug)]
pub(crate) struct Run {
    slots: Box<[OnceLock<Arc<Batch>>]>,
    filled: AtomicUsize,
    weight: AtomicUsize,
    closed: AtomicBool,
    index: OnceLock<Index>,
}

impl Default for Run {
    fn default() -> Run {
        Run {
            slots: (0..RUN).map(|_| OnceLock::new()).collect(),
            filled: AtomicUsize::new(0),
            weight: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            index: OnceLock::new(),
        }
    }
}

/// Where a change is in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) batch: usize,
    /// None for an entry about the batch itself.
    pub(crate) change: Option<usize>,
}

/// Keys in order, one after the other, and where each begins.
#[derive(Debug)]
struct Index {
    keys: Box<[u8]>,
    entries: Box<[Entry]>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    end: u32,
    batch: u32,
    /// `u32::MAX` for none.
    change: u32,
}

impl Run {
    /// Adds a batch that takes `weight` bytes; false when the run is full or closed.
    pub(crate) fn push(&self, batch: &Arc<Batch>, weight: usize) -> bool {
        let at = self.len();
        if self.is_closed() || at == RUN {
            return false;
        }
        if self.slots[at].set(batch.clone()).is_err() {
            return false;
        }
        self.weight.fetch_add(weight, Ordering::Relaxed);
        self.filled.store(at + 1, Ordering::Release);
        if at + 1 == RUN {
            self.close();
        }
        true
    }

    /// No batch is added any more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn len(&self) -> usize {
        self.filled.load(Ordering::Acquire)
    }

    /// Bytes it takes, the index included once there is one.
    pub(crate) fn weight(&self) -> usize {
        let index = self.index.get().map_or(0, |index| {
            index.keys.len() + index.entries.len() * size_of::<Entry>()
        });
        self.weight.load(Ordering::Relaxed) + index + size_of::<Run>() + RUN * 16
    }

    pub(crate) fn batch(&self, at: usize) -> Option<&Arc<Batch>> {
        self.slots.get(at)?.get()
    }

    pub(crate) fn batches(&self) -> impl DoubleEndedIterator<Item = &Arc<Batch>> {
        self.slots[..self.len()].iter().filter_map(OnceLock::get)
    }

    pub(crate) fn first(&self) -> Option<Revision> {
        self.batches().next().map(|batch| batch.revision)
    }

    pub(crate) fn last(&self) -> Option<Revision> {
        self.batches().next_back().map(|batch| batch.revision)
    }

    /// Gives the entries of a span with a revision after `after`, those of one key in order. `each` says whether to go on.
    pub(crate) fn scan(
        &self,
        span: &Span,
        after: Revision,
        mut each: impl FnMut(&[u8], &Arc<Batch>, Place) -> bool,
    ) {
        if self.last().is_none_or(|last| last <= after) {
            return;
        }
        if self.is_closed() {
            let index = self.index.get_or_init(|| Index::of(self));
            index.scan(span, |key, place| match self.batch(place.batch) {
                Some(batch) if batch.revision > after => each(key, batch, place),
                _ => true,
            });
            return;
        }
        let mut on = true;
        for (at, batch) in self.batches().enumerate() {
            if batch.revision <= after {
                continue;
            }
            keys(batch, |key, change| {
                if on && span.contains(key) {
                    on = each(key, batch, Place { batch: at, change });
                }
            });
            if !on {
                return;
            }
        }
    }
}

impl Index {
    fn of(run: &Run) -> Index {
        let mut bytes = Vec::new();
        let mut entries = Vec::new();
        for (at, batch) in run.batches().enumerate() {
            keys(batch, |key, change| {
                let start = bytes.len() as u32;
                bytes.extend_from_slice(key);
                entries.push(Entry {
                    start,
                    end: bytes.len() as u32,
                    batch: at as u32,
                    change: change.map_or(u32::MAX, |change| change as u32),
                });
            });
        }
        let key = |entry: &Entry| &bytes[entry.start as usize..entry.end as usize];
        entries.sort_unstable_by(|a, b| {
            let order = |entry: &Entry| (entry.batch, entry.change);
            key(a).cmp(key(b)).then(order(a).cmp(&order(b)))
        });
        Index {
            entries: entries.into_boxed_slice(),
            keys: bytes.into_boxed_slice(),
        }
    }

    fn key(&self, entry: &Entry) -> &[u8] {
        &self.keys[entry.start as usize..entry.end as usize]
    }

    fn scan(&self, span: &Span, mut each: impl FnMut(&[u8], Place) -> bool) {
        let first = self
            .entries
            .partition_point(|entry| *self.key(entry) < *span.start);
        for entry in &self.entries[first..] {
            let key = self.key(entry);
            let change = (entry.change != u32::MAX).then_some(entry.change as usize);
            let place = Place {
                batch: entry.batch as usize,
                change,
            };
            if !span.contains(key) || !each(key, place) {
                return;
            }
        }
    }
}
