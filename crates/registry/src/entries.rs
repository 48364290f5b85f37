//! The newest entries of the log, as the bytes they have there, for those who follow this node from elsewhere.
//!
//! Whoever applies the same entries to the same state has the same state, with its leases, floors and counters, which no change tells of.
//! An entry is kept once, as it came from the log, however many follow; what is older than the bound is a whole state for whoever asks.
//!
//! Places in two logs are told apart by what the state was there: a cluster that was restored from a backup counts its entries anew.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use portolan_catalog::{Revision, State, Timestamp};
use portolan_environment::watch;

/// A place in the log, and what the state is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Index of the last entry applied, 0 before the first.
    pub index: u64,
    /// Revision of the state.
    pub revision: Revision,
    /// Replicated time of the state.
    pub at: Timestamp,
}

impl Mark {
    /// The mark of a state that the entry with this index led to.
    #[must_use]
    pub fn of(index: u64, state: &State) -> Mark {
        Mark {
            index,
            revision: state.revision(),
            at: state.last_at(),
        }
    }

    /// Whether the state was the same at both.
    fn agrees(&self, other: &Mark) -> bool {
        (self.revision, self.at) == (other.revision, other.at)
    }
}

/// What a follower gets that has applied everything up to a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Following {
    /// Batches of entries in order, and the mark after them. Without batches the log went on without commands.
    Entries {
        /// Each with its index, as [`portolan_catalog::stored::encode_entry`] wrote it.
        batches: Vec<(u64, Bytes)>,
        /// What the follower has when it has applied them.
        upto: Mark,
    },
    /// There is nothing newer yet.
    Nothing,
    /// This node has not come that far itself.
    Behind,
    /// The follower has to begin with a whole state: what it lacks is no longer kept, or it followed something else.
    Gone,
}

/// The newest entries. Memory is bounded by what it was made with and the longest single entry.
#[derive(Debug)]
pub struct EntryLog {
    inner: Mutex<Inner>,
    reached: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    cluster: u64,
    /// The mark before the first entry that is kept.
    floor: Mark,
    /// Entries with commands, each with the mark after it.
    entries: VecDeque<(Mark, Bytes)>,
    reached: Mark,
    state: State,
    bytes: usize,
    most_bytes: usize,
}

/// Bytes of entries that are kept when nobody says otherwise.
pub const ENTRY_BYTES: usize = 8 << 20;

impl Default for EntryLog {
    fn default() -> EntryLog {
        EntryLog {
            inner: Mutex::new(Inner {
                cluster: 0,
                floor: Mark::default(),
                entries: VecDeque::new(),
                reached: Mark::default(),
                state: State::default(),
                bytes: 0,
                most_bytes: ENTRY_BYTES,
            }),
            reached: watch::Sender::new(0),
        }
    }
}

impl EntryLog {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bounds the bytes of the entries that are kept; [`ENTRY_BYTES`] by default.
    pub fn bound(&self, most_bytes: usize) {
        let mut inner = self.inner();
        inner.most_bytes = most_bytes;
        inner.trim();
    }

    /// Begins at a state whose past entries are not known here: a start, a snapshot that took the place of what was.
    pub fn begin(&self, cluster: u64, index: u64, state: &State) {
        let mark = Mark::of(index, state);
        let mut inner = self.inner();
        let most_bytes = inner.most_bytes;
        *inner = Inner {
            cluster,
            floor: mark,
            entries: VecDeque::new(),
            reached: mark,
            state: state.clone(),
            bytes: 0,
            most_bytes,
        };
        drop(inner);
        self.reached.send_replace(index);
    }

    /// Adds entries with commands, each with the mark after it, and the state that all entries up to `index` led to.
    pub fn push(
        &self,
        entries: impl IntoIterator<Item = (Mark, Bytes)>,
        index: u64,
        state: &State,
    ) {
        let mut inner = self.inner();
        for (mark, bytes) in entries {
            inner.bytes += bytes.len();
            inner.entries.push_back((mark, bytes));
        }
        inner.trim();
        inner.reached = Mark::of(index, state);
        inner.state = state.clone();
        drop(inner);
        self.reached.send_replace(index);
    }

    /// What follows `after`, which was reached in `cluster`: about `most_bytes` at a time, at least one entry.
    #[must_use]
    pub fn following(&self, cluster: u64, after: &Mark, most_bytes: usize) -> Following {
        let inner = self.inner();
        if cluster != inner.cluster || after.index < inner.floor.index {
            return Following::Gone;
        }
        if after.index > inner.reached.index {
            return Following::Behind;
        }
        let first = inner
            .entries
            .partition_point(|(mark, _)| mark.index <= after.index);
        let there = match first.checked_sub(1) {
            Some(last) => &inner.entries[last].0,
            None => &inner.floor,
        };
        if !there.agrees(after) {
            return Following::Gone;
        }
        if after.index == inner.reached.index {
            return Following::Nothing;
        }
        let (mut batches, mut bytes, mut upto) = (Vec::new(), 0, inner.reached);
        for (mark, batch) in inner.entries.range(first..) {
            if bytes + batch.len() > most_bytes && !batches.is_empty() {
                upto = inner.entries[first + batches.len() - 1].0;
                break;
            }
            bytes += batch.len();
            batches.push((mark.index, batch.clone()));
        }
        Following::Entries { batches, upto }
    }

    /// The cluster, the mark reached, and the state there.
    #[must_use]
    pub fn whole(&self) -> (u64, Mark, State) {
        let inner = self.inner();
        (inner.cluster, inner.reached, inner.state.clone())
    }

    /// The cluster and the mark reached.
    #[must_use]
    pub fn reached(&self) -> (u64, Mark) {
        let inner = self.inner();
        (inner.cluster, inner.reached)
    }

    /// The mark from which on entries are kept.
    #[must_use]
    pub fn floor(&self) -> Mark {
        self.inner().floor
    }

    /// Tells of every index that is reached.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.reached.subscribe()
    }

    /// Bytes of the entries that are kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.inner().bytes
    }
}

impl Inner {
    fn trim(&mut self) {
        while self.bytes > self.most_bytes
            && let Some((mark, bytes)) = self.entries.pop_front()
        {
            self.bytes -= bytes.len();
            self.floor = mark;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(at: u64) -> State {
        let mut state = State::default();
        let entry = portolan_catalog::Entry {
            at: Timestamp(at),
            cause: std::sync::Arc::new(portolan_catalog::Cause::own(portolan_catalog::Why::Start)),
            command: portolan_catalog::Command::RaiseLevel { level: 1 },
        };
        let _applied = state.apply(&entry);
        state
    }

    fn log() -> EntryLog {
        let log = EntryLog::default();
        log.begin(7, 10, &state(10));
        for index in [11, 13] {
            let state = state(index);
            let entry = (Mark::of(index, &state), Bytes::from(vec![index as u8; 4]));
            log.push([entry], index, &state);
        }
        // An entry without commands.
        log.push([], 14, &state(13));
        log
    }

    fn batches(log: &EntryLog, index: u64, at: u64, most: usize) -> (Vec<u8>, u64) {
        match log.following(7, &Mark::of(index, &state(at)), most) {
            Following::Entries { batches, upto } => (
                batches.iter().map(|(_, bytes)| bytes[0]).collect(),
                upto.index,
            ),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_follower_gets_what_it_lacks_some_at_a_time() {
        let log = log();
        assert_eq!(batches(&log, 10, 10, 100), (vec![11, 13], 14));
        assert_eq!(batches(&log, 10, 10, 1), (vec![11], 11));
        assert_eq!(batches(&log, 11, 11, 1), (vec![13], 14));
        assert_eq!(batches(&log, 12, 11, 100), (vec![13], 14));
        assert_eq!(batches(&log, 13, 13, 100), (vec![], 14));
        let there = Mark::of(14, &state(13));
        assert_eq!(log.following(7, &there, 100), Following::Nothing);
    }

    #[test]
    fn whoever_followed_something_else_begins_anew() {
        let log = log();
        let following =
            |cluster, index, at| log.following(cluster, &Mark::of(index, &state(at)), 100);
        assert_eq!(following(8, 13, 13), Following::Gone, "another cluster");
        assert_eq!(following(7, 13, 12), Following::Gone, "another history");
        assert_eq!(
            following(7, 9, 9),
            Following::Gone,
            "before all that is kept"
        );
        assert_eq!(following(7, 15, 15), Following::Behind);
        log.bound(4);
        assert_eq!(log.bytes(), 4);
        assert_eq!(following(7, 10, 10), Following::Gone);
        assert_eq!(batches(&log, 11, 11, 100), (vec![13], 14));
        log.begin(7, 20, &state(20));
        assert_eq!(
            following(7, 14, 13),
            Following::Gone,
            "a snapshot took its place"
        );
    }
}
