//! A service as it is now, and as it changes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::WatchStream;
use tokio_util::task::AbortOnDropHandle;

use crate::endpoint::{Endpoint, Service};

/// Where a list comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Nobody has told anything yet: no endpoints does not mean that there are none.
    #[default]
    Nobody,
    /// An earlier process kept it.
    Disk,
    /// A server gave it.
    Server,
}

/// The endpoints of a service at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// All of them, those that are not healthy and those in maintenance included; by host and port.
    pub endpoints: Vec<Endpoint>,
    /// Revision of the catalog.
    pub revision: u64,
    /// Where it comes from.
    pub source: Source,
}

impl Listing {
    /// The endpoints that may be used now: healthy, and with a share.
    pub fn usable(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints
            .iter()
            .filter(|endpoint| endpoint.healthy && endpoint.weight > 0.0)
    }
}

/// What the task that follows a service and those who look at it share.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) service: Service,
    pub(crate) listing: watch::Sender<Arc<Listing>>,
    /// Since when no server tells what changes.
    pub(crate) lost: Mutex<Option<Instant>>,
}

impl Followed {
    pub(crate) fn set_lost(&self, lost: bool) {
        let mut since = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        *since = lost.then(|| since.unwrap_or_else(Instant::now));
    }
}

/// The task, for as long as anybody looks.
#[derive(Debug)]
pub(crate) struct Following {
    pub(crate) followed: Arc<Followed>,
    pub(crate) _task: AbortOnDropHandle<()>,
}

/// A service that is followed. Clones, and discoveries of the same service by the same client, share one connection.
#[derive(Clone, Debug)]
pub struct Discovery {
    following: Arc<Following>,
    seen: watch::Receiver<Arc<Listing>>,
}

impl Discovery {
    pub(crate) fn new(following: Arc<Following>) -> Discovery {
        let seen = following.followed.listing.subscribe();
        Discovery { following, seen }
    }

    /// Which service.
    pub fn service(&self) -> &Service {
        &self.following.followed.service
    }

    /// The endpoints as far as they are known.
    pub fn listing(&self) -> Arc<Listing> {
        self.seen.borrow().clone()
    }

    /// Waits until a server or the kept copy has told something; false when neither did in time.
    pub async fn known(&mut self, within: Duration) -> bool {
        let known = |listing: &Arc<Listing>| listing.source != Source::Nobody;
        matches!(timeout(within, self.seen.wait_for(known)).await, Ok(Ok(_)))
    }

    /// Waits for the next list. Several changes that follow each other quickly may be one.
    pub async fn changed(&mut self) -> Arc<Listing> {
        // The sender lives as long as this does.
        let _ = self.seen.changed().await;
        self.seen.borrow_and_update().clone()
    }

    /// The list as it is now, and then every new one.
    pub fn stream(&self) -> WatchStream<Arc<Listing>> {
        WatchStream::new(self.seen.clone())
    }

    /// For how long no server has told what changes; none while one does.
    pub fn lost(&self) -> Option<Duration> {
        let lost = &self.following.followed.lost;
        let since = *lost.lock().unwrap_or_else(PoisonError::into_inner);
        since.map(|since| since.elapsed())
    }

    pub(crate) fn receiver(&self) -> watch::Receiver<Arc<Listing>> {
        self.following.followed.listing.subscribe()
    }
}
