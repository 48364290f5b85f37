//! A stream as others see it: where what changed is noted for it, and what it said last.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use portolan_catalog::{ServiceKey, Timestamp};
use tokio::sync::Notify;

use crate::client::Client;
use crate::kind::Kind;

/// Services that are noted one by one; with more of them, a stream looks at everything it follows.
const NOTED: usize = 4096;
/// Bytes that are kept of why a response was refused.
const REASON: usize = 1024;

/// What changed since a stream looked last.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) services: BTreeSet<ServiceKey>,
    /// Nobody can say what.
    pub(crate) everything: bool,
}

impl News {
    pub(crate) fn is_empty(&self) -> bool {
        self.services.is_empty() && !self.everything
    }
}

/// A response that a client did not accept, and has not accepted a later one since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// As the response said it.
    pub(crate) version: String,
    pub(crate) reason: String,
    pub(crate) at: Timestamp,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) number: u64,
    pub(crate) peer: SocketAddr,
    pub(crate) client: OnceLock<Client>,
    news: Mutex<News>,
    wake: Notify,
    refusals: Mutex<[Option<Refusal>; 4]>,
}

impl Member {
    pub(crate) fn new(number: u64, peer: SocketAddr) -> Member {
        Member {
            number,
            peer,
            client: OnceLock::new(),
            news: Mutex::default(),
            wake: Notify::new(),
            refusals: Mutex::default(),
        }
    }

    /// Notes that something about a service changed.
    pub(crate) fn note(&self, service: &ServiceKey) {
        let mut news = lock(&self.news);
        if news.everything || news.services.contains(service) {
            return;
        }
        match news.services.len() < NOTED {
            true => drop(news.services.insert(service.clone())),
            false => {
                news.everything = true;
                news.services = BTreeSet::new();
            }
        }
        drop(news);
        self.wake.notify_one();
    }

    /// Notes that anything may have changed.
    pub(crate) fn note_everything(&self) {
        *lock(&self.news) = News {
            services: BTreeSet::new(),
            everything: true,
        };
        self.wake.notify_one();
    }

    /// Waits until there is news.
    pub(crate) async fn woken(&self) {
        while lock(&self.news).is_empty() {
            self.wake.notified().await;
        }
    }

    pub(crate) fn take_news(&self) -> News {
        std::mem::take(&mut lock(&self.news))
    }

    /// Keeps a refusal, or forgets the last one.
    pub(crate) fn answered(&self, kind: Kind, refusal: Option<Refusal>) {
        let refusal = refusal.map(|refusal| {
            let mut reason = refusal.reason;
            reason.truncate(reason.floor_char_boundary(REASON));
            Refusal { reason, ..refusal }
        });
        lock(&self.refusals)[kind as usize] = refusal;
    }

    /// The responses that stand refused, by kind.
    pub(crate) fn refusals(&self) -> Vec<(Kind, Refusal)> {
        let held = lock(&self.refusals);
        Kind::ALL
            .into_iter()
            .filter_map(|kind| Some((kind, held[kind as usize].clone()?)))
            .collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Streams by number.
pub(crate) type Members = std::collections::BTreeMap<u64, Arc<Member>>;
