//! Feeds: the changes after a revision that match some selectors, in order and without gaps.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use portolan_catalog::{Batch, Compacted, Revision, State};
use portolan_history::Select;

use crate::index::Subscription;
use crate::registry::Registry;
use crate::selector::{Selector, floor, select};

/// Matching batches read from the history in one go.
const CHUNK: usize = 256;
/// Parts of the history looked at in one go, so that a reader far behind does not hold up its thread.
const PIECES: usize = 8;

/// A reader was too slow and the history no longer reaches back to where it stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Everything up to this revision was delivered.
    pub after: Revision,
    /// The oldest revision that can still be followed from.
    pub floor: Revision,
}

/// A reader of changes. Holds at most a few hundred batches, however slow it is.
#[derive(Debug)]
pub struct Feed {
    registry: Registry,
    selectors: Arc<[Selector]>,
    select: Select,
    subscription: Arc<Subscription>,
    /// Everything up to this revision was delivered or did not match.
    position: Revision,
    /// The history has to be read up to this revision before the inbox counts.
    history_until: Revision,
    ready: VecDeque<Arc<Batch>>,
    /// Everything up to this revision was looked at: what matched is ready or was delivered.
    seen: Revision,
    cut: bool,
}

impl Feed {
    pub(crate) fn open(
        registry: &Registry,
        selectors: Vec<Selector>,
        after: Revision,
    ) -> Result<Feed, Compacted> {
        let select = select(&selectors);
        let subscription = registry.index().add(&selectors);
        // Read after the subscription was added: what comes later than this is in its inbox.
        let state = registry.snapshot();
        let feed = Feed {
            registry: registry.clone(),
            selectors: selectors.into(),
            select,
            subscription,
            position: after,
            history_until: state.revision(),
            ready: VecDeque::new(),
            seen: after,
            cut: false,
        };
        if after < state.revision() {
            feed.reachable(&state)?;
        }
        Ok(feed)
    }

    /// The next batch that matches; waits until there is one.
    ///
    /// # Errors
    /// [`Cut`] when the reader was so slow that changes it did not see are no longer kept; the feed is over then.
    pub async fn next(&mut self) -> Result<Arc<Batch>, Cut> {
        poll_fn(|context| self.poll(context)).await
    }

    /// The next batch if there is one already.
    ///
    /// # Errors
    /// As [`Feed::next`].
    pub fn try_next(&mut self) -> Result<Option<Arc<Batch>>, Cut> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        match self.poll_within(&mut context, usize::MAX) {
            Poll::Ready(batch) => batch.map(Some),
            Poll::Pending => Ok(None),
        }
    }

    /// What it follows.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// Everything of interest up to this revision has been returned by this feed.
    pub fn frontier(&self) -> Revision {
        // Read before the inbox: what was delivered up to here is in it.
        let delivered = self.registry.index().delivered();
        let inbox = self.subscription.inbox();
        let live = self.position >= self.history_until && self.ready.is_empty();
        if live && inbox.queue.is_empty() && !inbox.overflowed {
            self.position.max(delivered)
        } else {
            self.position
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Arc<Batch>, Cut>> {
        self.poll_within(context, PIECES)
    }

    /// Looks at so many pieces of the history at most, and then lets others have the thread.
    fn poll_within(
        &mut self,
        context: &mut Context<'_>,
        mut pieces: usize,
    ) -> Poll<Result<Arc<Batch>, Cut>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                self.position = batch.revision;
                return Poll::Ready(Ok(batch));
            }
            self.position = self.position.max(self.seen);
            if self.cut {
                return Poll::Pending;
            }
            if self.position < self.history_until {
                if pieces == 0 {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                pieces -= 1;
                if let Err(floor) = self.read_history() {
                    self.cut = true;
                    return Poll::Ready(Err(Cut {
                        after: self.position,
                        floor,
                    }));
                }
                continue;
            }
            let mut inbox = self.subscription.inbox();
            while let Some(batch) = inbox.queue.pop_front() {
                if batch.revision > self.position {
                    self.position = batch.revision;
                    return Poll::Ready(Ok(batch));
                }
            }
            if inbox.overflowed {
                inbox.overflowed = false;
                drop(inbox);
                self.history_until = self.registry.snapshot().revision();
                if self.history_until < self.position {
                    // What was delivered is not what led to the present state.
                    self.cut = true;
                    return Poll::Ready(Err(Cut {
                        after: self.position,
                        floor: self.history_until.next(),
                    }));
                }
                continue;
            }
            match &mut inbox.waker {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            return Poll::Pending;
        }
    }

    /// Whether what follows the present position is kept.
    fn reachable(&self, state: &State) -> Result<(), Compacted> {
        let here = self.registry.history().first();
        let found = floor(&self.selectors, state, here);
        if self.position.next() < found.floor {
            Err(found)
        } else {
            Ok(())
        }
    }

    /// Reads a piece of the history; an error is the oldest revision that can still be followed from.
    fn read_history(&mut self) -> Result<(), Revision> {
        self.reachable(&self.registry.snapshot())
            .map_err(|compacted| compacted.floor)?;
        let piece = self
            .registry
            .read_history(&self.select, self.position, self.history_until, CHUNK)
            .map_err(|damage| damage.through.next())?;
        let matching = |batch: &Arc<Batch>| {
            let mut selectors = self.selectors.iter();
            selectors.any(|selector| selector.matches(batch))
        };
        self.ready = piece.batches.into_iter().filter(matching).collect();
        self.seen = piece.through;
        Ok(())
    }
}

impl Stream for Feed {
    type Item = Result<Arc<Batch>, Cut>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll(context).map(Some)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.registry
            .index()
            .remove(&self.selectors, &self.subscription);
    }
}
