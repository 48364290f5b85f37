//! Feeds: the changes after a revision that match some selectors, in order and without gaps.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use portolan_catalog::{Batch, Compacted, Keyspace, Revision};

use crate::index::Subscription;
use crate::registry::Registry;
use crate::selector::Selector;

/// Matching batches read from the history in one go.
const CHUNK: usize = 256;
/// Batches looked at in one go, so that a reader far behind does not hold up its thread.
const SCAN: usize = 4096;

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
    space: Option<Keyspace>,
    subscription: Arc<Subscription>,
    /// Everything up to this revision was delivered or did not match.
    position: Revision,
    /// The history has to be read up to this revision before the inbox counts.
    history_until: Revision,
    ready: VecDeque<Arc<Batch>>,
    cut: bool,
}

impl Feed {
    pub(crate) fn open(
        registry: &Registry,
        selectors: Vec<Selector>,
        after: Revision,
    ) -> Result<Feed, Compacted> {
        let space = keyspace(&selectors);
        let subscription = registry.index().add(&selectors);
        // Read after the subscription was added: what comes later than this is in its inbox.
        let state = registry.snapshot();
        let feed = Feed {
            registry: registry.clone(),
            selectors: selectors.into(),
            space,
            subscription,
            position: after,
            history_until: state.revision(),
            ready: VecDeque::new(),
            cut: false,
        };
        if after < state.revision() {
            let _reachable = state.history().after(space, after)?.next();
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
        match self.poll(&mut context) {
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
        loop {
            if let Some(batch) = self.ready.pop_front() {
                self.position = batch.revision;
                return Poll::Ready(Ok(batch));
            }
            if self.cut {
                return Poll::Pending;
            }
            if self.position < self.history_until {
                if let Err(compacted) = self.read_history() {
                    self.cut = true;
                    return Poll::Ready(Err(Cut {
                        after: self.position,
                        floor: compacted.floor,
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
                continue;
            }
            match &mut inbox.waker {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            return Poll::Pending;
        }
    }

    fn read_history(&mut self) -> Result<(), Compacted> {
        let state = self.registry.snapshot();
        let mut seen = 0;
        let mut last = self.history_until;
        for batch in state.history().after(self.space, self.position)? {
            if batch.revision > self.history_until {
                break;
            }
            seen += 1;
            if self
                .selectors
                .iter()
                .any(|selector| selector.matches(batch))
            {
                self.ready.push_back(batch.clone());
            }
            if seen == SCAN || self.ready.len() == CHUNK {
                last = batch.revision;
                break;
            }
        }
        if self.ready.is_empty() {
            self.position = last;
        }
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

/// The one keyspace all selectors are of, whose own floor then counts.
fn keyspace(selectors: &[Selector]) -> Option<Keyspace> {
    let mut spaces = selectors.iter().map(|selector| match selector {
        Selector::Key(space, _) | Selector::Range(space, _) => Some(*space),
        _ => None,
    });
    let first = spaces.next()??;
    spaces.all(|space| space == Some(first)).then_some(first)
}
