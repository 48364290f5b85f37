//! What another server sends is refused while there is no room for it: Raft would take a full disk for a broken one, and this server would end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::disk::is_full;
use crate::log::frame::ENTRY_HEADER;
use crate::log::{Log, Position};
use crate::space::Room;

/// How often it is looked whether the next segment is prepared.
const LOOK: Duration = Duration::from_millis(5);
/// How long it may take: less than the leader waits, which sends the same again.
const PREPARING: Duration = Duration::from_millis(80);
/// What an entry takes in the log beside its own bytes, at most.
const FRAME: usize = ENTRY_HEADER + 64;

/// Room for what other servers send.
#[derive(Debug)]
pub(crate) struct Admission {
    log: Arc<Log>,
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
    pub(crate) fn new(log: Arc<Log>) -> Admission {
        Admission {
            log,
            pending: AtomicUsize::new(0),
        }
    }

    /// Waits until there is room for entries, given as places and bytes. Those that the log has need none, nor does a message without any.
    ///
    /// # Errors
    /// `StorageFull`; the leader goes on sending heartbeats, and tries again.
    pub(crate) async fn entries(&self, entries: &[(Position, usize)]) -> io::Result<Admitted<'_>> {
        let all = entries.iter().map(|(_, bytes)| bytes + FRAME).sum();
        let mut admitted = self.admit(all);
        if all == 0 || self.room() == Room::Ready {
            return Ok(admitted);
        }
        // A leader that looks for where the logs part sends much that is here already.
        let there = entries.iter().take_while(|(at, _)| self.log.has(*at));
        let known: usize = there.map(|(_, bytes)| bytes + FRAME).sum();
        drop(admitted);
        admitted = self.admit(all - known);
        if all == known {
            return Ok(admitted);
        }
        let until = Instant::now() + PREPARING;
        loop {
            match self.room() {
                Room::Ready => return Ok(admitted),
                Room::Soon if Instant::now() < until => sleep(LOOK).await,
                Room::Soon | Room::Full => return Err(full()),
            }
        }
    }

    fn admit(&self, bytes: usize) -> Admitted<'_> {
        self.pending.fetch_add(bytes, Ordering::AcqRel);
        Admitted {
            admission: self,
            bytes,
        }
    }

    /// Whether there is room for all that is on its way into the log.
    fn room(&self) -> Room {
        let pending = self.pending.load(Ordering::Acquire);
        self.log.space().room_for(pending)
    }

    /// Gives the reserve for the next try of a snapshot that found no space.
    ///
    /// # Errors
    /// That of `part`.
    pub(crate) fn part<T>(&self, part: io::Result<T>) -> io::Result<T> {
        part.inspect_err(|error| {
            if is_full(error)
                && let Err(error) = self.log.space().give_up_reserve()
            {
                tracing::warn!(%error, "the reserve on a full disk could not be removed");
            }
        })
    }
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the disk is full")
}
