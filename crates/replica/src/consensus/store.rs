//! openraft's view of the log.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};

use super::types::{
    Entry, LogId, Types, Vote, decode_vote, encode_vote, log_id, position, to_entry, to_stored,
};
use crate::log::{Log, READ_LIMIT};

/// A handle to the log, as storage and as reader.
#[derive(Clone, Debug)]
pub(crate) struct Store(Arc<Log>);

impl Store {
    pub(crate) fn new(log: Arc<Log>) -> Self {
        Store(log)
    }

    fn read(&self, start: u64, end: u64, limit: usize) -> io::Result<Vec<Entry>> {
        self.0
            .read(start..end, limit)?
            .iter()
            .map(|stored| to_entry(stored))
            .collect()
    }
}

impl RaftLogReader<Types> for Store {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start, end, usize::MAX)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(start, end, READ_LIMIT)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        self.0.vote().map(|bytes| decode_vote(&bytes)).transpose()
    }
}

impl RaftLogStorage<Types> for Store {
    type LogReader = Store;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let (purged, last) = self.0.ends();
        Ok(LogState {
            last_purged_log_id: purged.map(log_id),
            last_log_id: last.map(log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Store {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.0.save_vote(&encode_vote(vote))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.0.note_committed(committed.map(|id| id.index));
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.0.committed().map(log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let stored = entries
            .into_iter()
            .map(|entry| Arc::new(to_stored(entry)))
            .collect();
        self.0.append(stored)?;
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.0.truncate_after(last.as_ref().map(position))
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.0.purge(position(&upto))
    }
}
