//! Many feeds behind one stream: whichever has something is read, the others are not touched.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::{Stream, task::AtomicWaker};
use portolan_catalog::{Batch, Revision};
use portolan_registry::{Cut, Feed};

/// Feeds by number. A number is never used twice.
#[derive(Default)]
pub(crate) struct Fan {
    feeds: BTreeMap<u64, (Feed, Waker, Arc<Bell>)>,
    numbers: u64,
    rung: Arc<Rung>,
}

impl fmt::Debug for Fan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fan({} feeds)", self.feeds.len())
    }
}

/// The feeds that may have something, and who waits for any of them.
#[derive(Default)]
struct Rung {
    numbers: Mutex<VecDeque<u64>>,
    reader: AtomicWaker,
}

/// What a feed wakes.
struct Bell {
    number: u64,
    /// Already among the rung.
    queued: AtomicBool,
    rung: Arc<Rung>,
}

impl Bell {
    fn ring(&self) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.rung
                .numbers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_back(self.number);
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
        self.rung.reader.wake();
    }
}

impl Fan {
    /// Adds a feed and gives its number.
    pub(crate) fn add(&mut self, feed: Feed) -> u64 {
        let number = self.numbers;
        self.numbers += 1;
        let bell = Arc::new(Bell {
            number,
            queued: AtomicBool::new(false),
            rung: self.rung.clone(),
        });
        bell.ring();
        self.feeds
            .insert(number, (feed, Waker::from(bell.clone()), bell));
        number
    }

    /// Drops a feed.
    pub(crate) fn remove(&mut self, number: u64) {
        self.feeds.remove(&number);
    }

    /// Everything up to this revision was read from a feed; none when there is no such feed.
    pub(crate) fn frontier(&self, number: u64) -> Option<Revision> {
        self.feeds.get(&number).map(|(feed, ..)| feed.frontier())
    }

    /// The next batch of any feed.
    pub(crate) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<(u64, Result<Arc<Batch>, Cut>)> {
        self.rung.reader.register(context.waker());
        loop {
            let number = self
                .rung
                .numbers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            let Some(number) = number else {
                return Poll::Pending;
            };
            if let Poll::Ready(told) = self.poll_one(number) {
                return Poll::Ready((number, told));
            }
        }
    }

    /// The next batch of one feed. When there is none it rings later; when there is one there may be more: ask until there is none, or
    /// say [`Fan::again`].
    pub(crate) fn poll_one(&mut self, number: u64) -> Poll<Result<Arc<Batch>, Cut>> {
        let Some((feed, waker, bell)) = self.feeds.get_mut(&number) else {
            return Poll::Pending;
        };
        // Cleared first: what comes from here on rings again.
        bell.queued.store(false, Ordering::Release);
        match Pin::new(feed).poll_next(&mut Context::from_waker(waker)) {
            Poll::Ready(Some(told)) => Poll::Ready(told),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// A feed that was not read to its end comes up again, behind the others.
    pub(crate) fn again(&mut self, number: u64) {
        if let Some((_, _, bell)) = self.feeds.get(&number) {
            bell.ring();
        }
    }
}
