//! Watches: one table for the whole port, kept up by one feed of the tree's changes.
//!
//! Invariants
//! - Memory follows the distinct paths of each connection, not how often it asked.
//! - Before a reply that shows revision R is queued on a connection that watches, everything up to R that it watches is queued there; what
//!   comes after R is not, until the reply is. So replies are queued while the table is held.
//! - A watch that was registered at revision R is not told of anything up to R.
//! - Nobody waits for a reader: a connection whose events pile up is closed, and its client comes back and asks what it missed.

mod events;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::Stream;
use portolan_catalog::{Batch, Keyspace, Revision, State, Table as CatalogTable};
use portolan_registry::{Feed, Registry, Selector};
use tokio::sync::{Mutex, MutexGuard, Notify};

pub(crate) use table::{Kind, Table};

/// Wakes the task that hands out events when nobody else does.
#[derive(Debug, Default)]
struct Kick(Notify);

impl Wake for Kick {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

/// The table and its feed.
#[derive(Debug)]
pub(crate) struct Watches {
    registry: Registry,
    kick: Arc<Kick>,
    inner: Mutex<Inner>,
    /// Whether anybody watches anything; may say so for a moment too long.
    any: AtomicBool,
    events: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Inner {
    feed: Feed,
    /// A batch that came after what was to be handed out.
    held: Option<Arc<Batch>>,
    pub(crate) table: Table,
}

impl Watches {
    pub(crate) fn new(registry: Registry) -> Watches {
        let feed = follow(&registry);
        Watches {
            registry,
            kick: Arc::default(),
            inner: Mutex::new(Inner {
                feed,
                held: None,
                table: Table::default(),
            }),
            any: AtomicBool::new(false),
            events: AtomicU64::new(0),
        }
    }

    /// Whether there may be watches.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Notifications queued so far.
    pub(crate) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// How many watches there are, unless the table is in use.
    pub(crate) fn count_now(&self) -> Option<usize> {
        self.inner.try_lock().ok().map(|inner| inner.table.count())
    }

    /// The table with a state up to which everything was handed out, and nothing after it.
    pub(crate) async fn caught_up(&self) -> (Held<'_>, Arc<State>) {
        let mut held = self.lock().await;
        let state = self.registry.snapshot();
        self.hand_out(&mut held.inner, state.revision()).await;
        (held, state)
    }

    /// The table, with everything up to `revision` handed out.
    pub(crate) async fn up_to(&self, revision: Revision) -> Held<'_> {
        let mut held = self.lock().await;
        self.hand_out(&mut held.inner, revision).await;
        held
    }

    /// The table as it is.
    pub(crate) async fn lock(&self) -> Held<'_> {
        Held {
            watches: self,
            inner: self.inner.lock().await,
        }
    }

    /// Hands out what nobody waits for, for ever.
    pub(crate) async fn hand_out_always(&self) {
        loop {
            self.kick.0.notified().await;
            let mut held = self.lock().await;
            self.hand_out_present(&mut held.inner, Revision(u64::MAX));
        }
    }

    async fn hand_out(&self, inner: &mut Inner, until: Revision) {
        let mut tries = 0;
        loop {
            self.hand_out_present(inner, until);
            if inner.held.is_some() || inner.feed.frontier() >= until {
                return;
            }
            // It was published a moment ago and is being delivered.
            tries += 1;
            if tries % 64 == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
    }

    fn hand_out_present(&self, inner: &mut Inner, until: Revision) {
        while let Some(batch) = self.next(inner, until) {
            let sent = events::hand_out(&batch, &mut inner.table);
            self.events.fetch_add(sent, Ordering::Relaxed);
        }
    }

    fn next(&self, inner: &mut Inner, until: Revision) -> Option<Arc<Batch>> {
        if let Some(held) = &inner.held {
            return (held.revision <= until)
                .then(|| inner.held.take())
                .flatten();
        }
        let waker = Waker::from(self.kick.clone());
        let mut context = Context::from_waker(&waker);
        match std::pin::Pin::new(&mut inner.feed).poll_next(&mut context) {
            Poll::Ready(Some(Ok(batch))) if batch.revision <= until => Some(batch),
            Poll::Ready(Some(Ok(batch))) => {
                inner.held = Some(batch);
                None
            }
            Poll::Ready(Some(Err(cut))) => {
                tracing::warn!(
                    after = cut.after.0,
                    "changes could not be followed fast enough, connections that watch are closed"
                );
                inner.table.close_all();
                inner.feed = follow(&self.registry);
                None
            }
            Poll::Ready(None) | Poll::Pending => None,
        }
    }
}

/// The table, held.
pub(crate) struct Held<'a> {
    watches: &'a Watches,
    pub(crate) inner: MutexGuard<'a, Inner>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let any = !self.inner.table.is_empty();
        self.watches.any.store(any, Ordering::Release);
    }
}

fn follow(registry: &Registry) -> Feed {
    let selector = Selector::Table(CatalogTable::Records(Keyspace::Znodes));
    loop {
        let now = registry.snapshot().revision();
        // The present can be followed from unless the floor moves past it meanwhile.
        if let Ok(feed) = registry.follow(vec![selector.clone()], now) {
            return feed;
        }
    }
}
