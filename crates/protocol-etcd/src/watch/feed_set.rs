//! The feeds of one stream: those that have batches are polled, the others are not touched.

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
pub(crate) struct FeedSet {
    feeds: BTreeMap<u64, (Feed, Waker, Arc<FeedWaker>)>,
    numbers: u64,
    ready: Arc<Ready>,
}

impl fmt::Debug for FeedSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FeedSet({} feeds)", self.feeds.len())
    }
}

/// The feeds that may have batches, and the task that waits for any of them.
#[derive(Default)]
struct Ready {
    numbers: Mutex<VecDeque<u64>>,
    reader: AtomicWaker,
}

/// The waker of one feed.
struct FeedWaker {
    number: u64,
    /// Already in the ready queue.
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl FeedWaker {
    fn mark_ready(&self) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.ready
                .numbers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_back(self.number);
        }
    }
}

impl Wake for FeedWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.mark_ready();
        self.ready.reader.wake();
    }
}

impl FeedSet {
    /// Adds a feed and gives its number.
    pub(crate) fn add(&mut self, feed: Feed) -> u64 {
        let number = self.numbers;
        self.numbers += 1;
        let feed_waker = Arc::new(FeedWaker {
            number,
            queued: AtomicBool::new(false),
            ready: self.ready.clone(),
        });
        feed_waker.mark_ready();
        self.feeds
            .insert(number, (feed, Waker::from(feed_waker.clone()), feed_waker));
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
        self.ready.reader.register(context.waker());
        loop {
            let number = self
                .ready
                .numbers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            let Some(number) = number else {
                return Poll::Pending;
            };
            if let Poll::Ready(changes) = self.poll_one(number) {
                return Poll::Ready((number, changes));
            }
        }
    }

    /// The next batch of one feed. When there is none the feed is marked ready later; when there is one, there may be more: poll until there is none, or
    /// say [`FeedSet::again`].
    pub(crate) fn poll_one(&mut self, number: u64) -> Poll<Result<Arc<Batch>, Cut>> {
        let Some((feed, waker, feed_waker)) = self.feeds.get_mut(&number) else {
            return Poll::Pending;
        };
        // Cleared first: what comes from here on marks it again.
        feed_waker.queued.store(false, Ordering::Release);
        match Pin::new(feed).poll_next(&mut Context::from_waker(waker)) {
            Poll::Ready(Some(changes)) => Poll::Ready(changes),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// A feed that was not read to its end comes up again, behind the others.
    pub(crate) fn again(&mut self, number: u64) {
        if let Some((_, _, feed_waker)) = self.feeds.get(&number) {
            feed_waker.mark_ready();
        }
    }
}
