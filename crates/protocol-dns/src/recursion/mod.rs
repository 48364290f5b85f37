//! Names outside our zones: recursors are asked for them, one after another, and what they say is kept for as long as it says.
//!
//! Questions that are alike are asked once. A recursor that does not answer is asked last for ten seconds. What fails is never kept.

mod counts;
mod exchange;
mod outside;
mod pending;

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::DescriptorEncoder;
use quick_cache::sync::Cache;
use quick_cache::{OptionsBuilder, Weighter};
use smallvec::SmallVec;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::settings::Options;
use crate::wire::{Asking, Response};
use counts::{Counts, Fill};

pub(crate) use outside::{Outside, behind_alias, forward, wanted};
pub(crate) use pending::Pending;

/// For so long a recursor that was silent is asked last.
const SHUNNED: Duration = Duration::from_secs(10);

/// Bytes that the cache and the allocator take for an answer, besides its own.
const OVERHEAD: usize = 128;

/// An answer and when it came.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) response: Response,
    came: Instant,
}

impl Kept {
    /// Its age in whole seconds; `None`: it is no longer true.
    fn age(&self) -> Option<u32> {
        let age = u32::try_from(self.came.elapsed().as_secs()).ok()?;
        (age < self.response.keep).then_some(age)
    }
}

/// What an answer is kept under: name in lower case, type, and the bits that change the answer.
pub(crate) type Key = SmallVec<[u8; 272]>;

/// Makes the key of a question whose folded name and type are `folded`.
pub(crate) fn key(folded: &[u8], dnssec_ok: bool, checking_disabled: bool) -> Key {
    let mut key = Key::from_slice(folded);
    key.push(u8::from(dnssec_ok) | u8::from(checking_disabled) << 1);
    key
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<Box<[u8]>, Arc<Kept>> for Weight {
    fn weight(&self, key: &Box<[u8]>, kept: &Arc<Kept>) -> u64 {
        (key.len() + kept.response.weight() + OVERHEAD) as u64
    }
}

#[derive(Debug)]
struct Upstream {
    address: SocketAddr,
    /// Until when it is asked last, in milliseconds since the start; 0: it is not.
    shunned_until: AtomicU64,
}

type Cell = Arc<OnceCell<Option<Arc<Kept>>>>;

/// The recursors, and what they said.
#[derive(Debug)]
pub(crate) struct Recursion {
    upstreams: Box<[Upstream]>,
    patience: Duration,
    random: bool,
    cache: Cache<Box<[u8]>, Arc<Kept>, Weight>,
    most_bytes: u64,
    asked: Mutex<HashMap<Box<[u8]>, Cell>>,
    permits: Arc<Semaphore>,
    most_questions: usize,
    start: Instant,
    counts: Counts,
}

impl Recursion {
    /// The recursors of the options without `own`, where this server itself listens. `None`: there are none.
    pub(crate) fn new(options: &Options, own: SocketAddr) -> Option<Arc<Self>> {
        let (itself, others): (Vec<_>, Vec<_>) = options
            .recursors
            .iter()
            .map(|recursor| recursor.0)
            .partition(|address| *address == own);
        for address in itself {
            tracing::warn!(%address, "dns: this recursor is the server itself and is left out");
        }
        if others.is_empty() {
            return None;
        }
        let most_bytes = options.recursor_cache_bytes as u64;
        let upstream = |address| Upstream {
            address,
            shunned_until: AtomicU64::new(0),
        };
        let cache = OptionsBuilder::new()
            // Answers have some three hundred bytes.
            .estimated_items_capacity(options.recursor_cache_bytes / 512 + 1)
            .weight_capacity(most_bytes)
            .build()
            .ok()?;
        Some(Arc::new(Self {
            upstreams: others.into_iter().map(upstream).collect(),
            patience: options.recursor_timeout,
            random: options.recursor_random,
            cache: Cache::with_options(cache, Weight, Default::default(), Default::default()),
            most_bytes,
            asked: Mutex::default(),
            permits: Arc::new(Semaphore::new(options.recursor_questions)),
            most_questions: options.recursor_questions,
            start: Instant::now(),
            counts: Counts::default(),
        }))
    }

    /// The answer that is kept, and its age in seconds.
    pub(crate) fn kept(&self, key: &[u8]) -> Option<(Arc<Kept>, u32)> {
        let kept = self.cache.get(key)?;
        let age = kept.age()?;
        self.counts.kept.fetch_add(1, Ordering::Relaxed);
        Some((kept, age))
    }

    /// Leave to have one more question in flight.
    pub(crate) fn begin(&self) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok();
        if permit.is_none() {
            self.counts.full.fetch_add(1, Ordering::Relaxed);
        }
        permit
    }

    /// Asks the recursors, together with everybody who asks the same now. `None`: none of them has answered.
    pub(crate) async fn resolve(&self, key: &[u8], asking: &Asking) -> Option<Arc<Kept>> {
        let asked = || self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let cell = asked().entry(key.into()).or_default().clone();
        let found = cell.get_or_init(|| self.ask(key, asking)).await.clone();
        let mut asked = asked();
        if asked.get(key).is_some_and(|now| Arc::ptr_eq(now, &cell)) {
            asked.remove(key);
        }
        found
    }

    async fn ask(&self, key: &[u8], asking: &Asking) -> Option<Arc<Kept>> {
        for upstream in self.in_order() {
            match exchange::ask(upstream.address, asking, self.patience, &self.counts).await {
                Ok(response) => {
                    self.counts.asked.fetch_add(1, Ordering::Relaxed);
                    upstream.shunned_until.store(0, Ordering::Relaxed);
                    let keep = response.keep;
                    let kept = Arc::new(Kept {
                        response,
                        came: Instant::now(),
                    });
                    if keep > 0 {
                        self.cache.insert(key.into(), kept.clone());
                    }
                    return Some(kept);
                }
                Err(error) => {
                    let recursor = upstream.address;
                    tracing::debug!(%recursor, %error, "dns: a recursor did not answer");
                    if !matches!(error, exchange::Failure::Code(_)) {
                        let until = self.start.elapsed() + SHUNNED;
                        let until = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
                        upstream.shunned_until.store(until, Ordering::Relaxed);
                    }
                }
            }
        }
        self.counts.failed.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// The recursors as they are asked: in the order given, or in any; silent ones last.
    fn in_order(&self) -> Vec<&Upstream> {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut all: Vec<&Upstream> = self.upstreams.iter().collect();
        if self.random {
            all.sort_by_cached_key(|_| portolan_environment::random_u64());
        }
        all.sort_by_key(|upstream| upstream.shunned_until.load(Ordering::Relaxed) > now);
        all
    }

    /// Writes the series.
    pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let fill = Fill {
            questions: self.most_questions - self.permits.available_permits(),
            most_questions: self.most_questions,
            answers: self.cache.len(),
            bytes: self.cache.weight(),
            most_bytes: self.most_bytes,
        };
        self.counts.encode(encoder, fill)
    }
}
