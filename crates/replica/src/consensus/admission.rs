//! What another server sends is refused while there is no room for it: Raft would take a full disk for a broken one, and this server would end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::disk::is_full;
use crate::log::frame::ENTRY_HEADER;
use crate::space::{Room, Space};

/// How often it is looked whether the next segment is prepared.
const LOOK: Duration = Duration::from_millis(5);
/// How long it may take; the leader sends again.
const PREPARING: Duration = Duration::from_secs(1);
/// What an entry takes in the log beside its own bytes, at most.
const FRAME: usize = ENTRY_HEADER + 64;

/// Room for what other servers send.
#[derive(Debug)]
pub(crate) struct Admission {
    space: Arc<Space>,
    /// Bytes that were admitted and are not in the log yet.
    pending: AtomicUsize,
}

/// Entries that were admitted, until they are in the log.
#[derive(Debug)]
pub(crate) struct Admitted<'a> {
    admission: &'a Admission,
    bytes: usize,
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.admission
            .pending
            .fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl Admission {
    pub(crate) fn new(space: Arc<Space>) -> Admission {
        Admission {
            space,
            pending: AtomicUsize::new(0),
        }
    }

    /// Waits until there is room for entries of so many bytes each. A message without any needs none.
    ///
    /// # Errors
    /// `StorageFull`; the leader goes on sending heartbeats, and tries again.
    pub(crate) async fn entries(
        &self,
        entries: impl Iterator<Item = usize>,
    ) -> io::Result<Admitted<'_>> {
        let bytes: usize = entries.map(|bytes| bytes + FRAME).sum();
        let all = self.pending.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let admitted = Admitted {
            admission: self,
            bytes,
        };
        if bytes == 0 {
            return Ok(admitted);
        }
        let until = Instant::now() + PREPARING;
        loop {
            match self.space.room_for(all) {
                Room::Ready => return Ok(admitted),
                Room::Soon if Instant::now() < until => sleep(LOOK).await,
                Room::Soon | Room::Full => return Err(full()),
            }
        }
    }

    /// Gives the reserve for the next try of a snapshot that found no space.
    ///
    /// # Errors
    /// That of `part`.
    pub(crate) fn part<T>(&self, part: io::Result<T>) -> io::Result<T> {
        part.inspect_err(|error| {
            if is_full(error)
                && let Err(error) = self.space.give_up_reserve()
            {
                tracing::warn!(%error, "the reserve on a full disk could not be removed");
            }
        })
    }
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the disk is full")
}
