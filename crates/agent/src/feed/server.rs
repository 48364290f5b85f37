//! The side of the feed that is followed: answers agents from the newest entries and, where those do not reach, with a whole state.
//!
//! An answer costs a copy of the entries it carries; they were encoded once, for the log. A whole state is encoded once for all who ask
//! for it within half a minute.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use portolan_environment as environment;
use portolan_environment::Peer;
use portolan_registry::{EntryLog, Following, Mark, Registry};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, timeout_at};

use super::parts::parts;
use super::wire::{Answer, Place, Request, Standing, milliseconds};

/// Nobody waits longer for news in one request.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Bytes of entries in one answer, whatever is asked for.
const MOST_BYTES: usize = 4 << 20;
/// A whole state that nobody asked for in this time is given up.
const KEPT: Duration = Duration::from_secs(30);

/// Answers the requests of agents. Clones are the same.
#[derive(Clone)]
pub struct FeedServer(Arc<Inner>);

struct Inner {
    registry: Registry,
    entries: Arc<EntryLog>,
    whole: Mutex<Option<Whole>>,
    /// Held by whoever encodes a state, so that others wait for it instead of doing it too.
    encoding: AsyncMutex<()>,
}

#[derive(Clone)]
struct Whole {
    cluster: u64,
    mark: Mark,
    parts: Arc<[Bytes]>,
    asked: Instant,
}

impl fmt::Debug for FeedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedServer").finish_non_exhaustive()
    }
}

impl FeedServer {
    /// Answers from the newest entries of a node.
    #[must_use]
    pub fn new(registry: Registry) -> FeedServer {
        FeedServer(Arc::new(Inner {
            entries: registry.entries().clone(),
            registry,
            whole: Mutex::default(),
            encoding: AsyncMutex::default(),
        }))
    }

    /// Answers one request; takes up to ten seconds where it waits for news.
    ///
    /// # Errors
    /// When the bytes are not a request.
    pub async fn answer(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let answer = match Request::decode(request)? {
            Request::Follow {
                cluster,
                after,
                most_bytes,
                wait_ms,
            } => {
                let most_bytes = (most_bytes as usize).min(MOST_BYTES);
                let wait = Duration::from_millis(wait_ms.into()).min(LONGEST_WAIT);
                self.follow(cluster, &after.into(), most_bytes, wait).await
            }
            Request::Whole { index, part } => self.part(index, part).await?,
        };
        Ok(answer.encode())
    }

    fn standing(&self) -> Standing {
        let registry = &self.0.registry;
        Standing {
            contact_ms: registry.last_contact().map(milliseconds),
            members: registry.members().into_iter().map(Into::into).collect(),
        }
    }

    async fn follow(
        &self,
        cluster: u64,
        after: &Mark,
        most_bytes: usize,
        wait: Duration,
    ) -> Answer {
        let until = Instant::now() + wait;
        // Subscribed before looking, so that what comes in between is not missed.
        let mut reached = self.0.entries.subscribe();
        loop {
            reached.mark_unchanged();
            let following = self.0.entries.following(cluster, after, most_bytes);
            match following {
                Following::Entries { batches, upto } => {
                    let current = self.0.entries.reached().1.index == upto.index;
                    return Answer::Entries {
                        standing: self.standing(),
                        batches,
                        upto: upto.into(),
                        current,
                    };
                }
                Following::Gone => {
                    return Answer::Gone {
                        standing: self.standing(),
                    };
                }
                Following::Behind => {
                    return Answer::Behind {
                        standing: self.standing(),
                    };
                }
                Following::Nothing => {}
            }
            if !matches!(timeout_at(until, reached.changed()).await, Ok(Ok(()))) {
                return Answer::Nothing {
                    standing: self.standing(),
                };
            }
        }
    }

    async fn part(&self, index: Option<u64>, part: u32) -> io::Result<Answer> {
        let whole = match index {
            Some(index) => self.kept().filter(|whole| whole.mark.index == index),
            None => Some(self.whole().await?),
        };
        let Some(whole) = whole else {
            return Ok(Answer::Gone {
                standing: self.standing(),
            });
        };
        let Some(bytes) = whole.parts.get(part as usize) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("there is no part {part} of {}", whole.parts.len()),
            ));
        };
        Ok(Answer::Part {
            cluster: whole.cluster,
            place: Place::from(whole.mark),
            parts: u32::try_from(whole.parts.len()).unwrap_or(u32::MAX),
            bytes: bytes.clone(),
        })
    }

    fn slot(&self) -> MutexGuard<'_, Option<Whole>> {
        self.0.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state that was encoded last, if that is not too long ago.
    fn kept(&self) -> Option<Whole> {
        let now = Instant::now();
        let mut slot = self.slot();
        if slot
            .as_ref()
            .is_some_and(|whole| now.saturating_duration_since(whole.asked) > KEPT)
        {
            *slot = None;
        }
        let whole = slot.as_mut()?;
        whole.asked = now;
        Some(whole.clone())
    }

    /// A state from which the entries that are kept lead on.
    async fn whole(&self) -> io::Result<Whole> {
        let usable = |whole: &Whole| {
            let following = self.0.entries.following(whole.cluster, &whole.mark, 0);
            !matches!(following, Following::Gone | Following::Behind)
        };
        let _alone = self.0.encoding.lock().await;
        if let Some(whole) = self.kept().filter(usable) {
            return Ok(whole);
        }
        let (cluster, mark, state) = self.0.entries.whole();
        let parts = environment::blocking(move || parts(&state)).await?;
        let whole = Whole {
            cluster,
            mark,
            parts: parts.into(),
            asked: Instant::now(),
        };
        *self.slot() = Some(whole.clone());
        self.give_up_later();
        Ok(whole)
    }

    /// Gives the memory back when nobody asks any more.
    fn give_up_later(&self) {
        let inner = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(KEPT + Duration::from_secs(1)).await;
                let Some(inner) = inner.upgrade() else { return };
                let mut slot = inner.whole.lock().unwrap_or_else(PoisonError::into_inner);
                match &*slot {
                    Some(whole) if whole.asked.elapsed() <= KEPT => {}
                    _ => {
                        *slot = None;
                        return;
                    }
                }
            }
        });
    }
}

impl Peer for FeedServer {
    fn answer(&self, _: u64, request: Vec<u8>) -> environment::Answer<'_> {
        Box::pin(async move { FeedServer::answer(self, &request).await })
    }
}
