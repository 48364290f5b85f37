//! What one peer has yet to be told: collapsed, in order, bounded, and out of date after a while. The times are the original's.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use portolan_catalog::{Cause, InstanceKey, State, Why};
use portolan_registry::Registry;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::client::{Client, Failed};
use super::url::PeerUrl;
use super::{Figures, LENT_BY, lender};
use crate::read;
use crate::wire::replication::{
    BATCH, Happened, Outcome, Replicated, decode_outcomes, encode_batch,
};
use crate::wire::{Instance, Status};
use crate::write::Writer;

/// What waits for one peer at most; the oldest goes.
const MOST: usize = 10_000;
/// How long an entry waits for others to go with it.
const DELAY: Duration = Duration::from_millis(500);
/// After this time nobody wants to know any more. Registrations and heartbeats are worth a renewal interval.
const PATIENCE: Duration = Duration::from_secs(30);
/// After a peer that has too much to do, and after one that is not there.
const BUSY: Duration = Duration::from_secs(1);
const UNREACHABLE: Duration = Duration::from_millis(100);

type Key = (Happened, String, String);
/// What is told, and the record where another protocol registered it.
type Worded = (Replicated, Option<Box<Instance>>);

#[derive(Clone, Debug)]
struct Entry {
    since: Instant,
    expires: Instant,
    /// What another protocol registered, as it is shown; what Eureka's clients registered is looked up when it is told.
    lent: Option<Box<Instance>>,
}

#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<Key>,
    entries: BTreeMap<Key, Entry>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Outbox {
    url: PeerUrl,
    registry: Registry,
    figures: Arc<Figures>,
    waiting: Mutex<Waiting>,
    put: Notify,
}

impl Outbox {
    pub(crate) fn new(url: PeerUrl, registry: Registry, figures: &Arc<Figures>) -> Arc<Outbox> {
        Arc::new(Outbox {
            url,
            registry,
            figures: figures.clone(),
            waiting: Mutex::default(),
            put: Notify::new(),
        })
    }

    /// Where the peer is.
    pub(crate) fn url(&self) -> &PeerUrl {
        &self.url
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the peer told. What waits already is told once, at its place, as it is then.
    pub(crate) fn put(&self, happened: Happened, app: &str, id: &str, lent: Option<Box<Instance>>) {
        let now = Instant::now();
        let expires = now + self.worth(happened, app, id);
        let key = (happened, app.to_owned(), id.to_owned());
        let mut waiting = self.waiting();
        match waiting.entries.get_mut(&key) {
            Some(entry) => (entry.expires, entry.lent) = (expires, lent),
            None => {
                let entry = Entry {
                    since: now,
                    expires,
                    lent,
                };
                waiting.entries.insert(key.clone(), entry);
                waiting.order.push_back(key);
                self.figures.waiting.fetch_add(1, Ordering::Relaxed);
            }
        }
        if waiting.order.len() > MOST
            && let Some(oldest) = waiting.order.pop_front()
        {
            waiting.entries.remove(&oldest);
            self.dropped(1);
        }
        drop(waiting);
        self.put.notify_one();
    }

    fn dropped(&self, count: u64) {
        self.figures.waiting.fetch_sub(count, Ordering::Relaxed);
        self.figures.dropped.fetch_add(count, Ordering::Relaxed);
    }

    fn worth(&self, happened: Happened, app: &str, id: &str) -> Duration {
        if !matches!(happened, Happened::Register | Happened::Heartbeat) {
            return PATIENCE;
        }
        let found = self
            .registry
            .read(|state| state.instance(&InstanceKey::eureka(app, id)).cloned());
        let interval = found.map(|row| {
            let it = crate::translate::render_own(app, &row, None);
            u64::try_from(it.lease.renewal_interval_secs).unwrap_or(0)
        });
        interval.map_or(PATIENCE, |secs| Duration::from_secs(secs.max(1)))
    }

    /// Tells the peer for ever.
    pub(crate) async fn tell_always(self: Arc<Self>) {
        let mut client = Client::new(self.url.clone());
        let mut silent = false;
        loop {
            let taken = self.next().await;
            let worded = self.worded(&taken);
            let list: Vec<Replicated> = worded.iter().map(|(one, _)| one.clone()).collect();
            if list.is_empty() {
                continue;
            }
            let told = client.replicate(encode_batch(&list)).await;
            let wait = match told {
                Ok((status, body)) if status.is_success() => {
                    if std::mem::take(&mut silent) {
                        tracing::info!(peer = %self.url, "the peer is told again");
                    }
                    self.figures
                        .sent
                        .fetch_add(list.len() as u64, Ordering::Relaxed);
                    match decode_outcomes(&body) {
                        Ok(outcomes) => self.settle(worded, outcomes).await,
                        Err(error) => {
                            tracing::debug!(peer = %self.url, %error, "the peer's answer cannot be read");
                        }
                    }
                    continue;
                }
                Ok((StatusCode::SERVICE_UNAVAILABLE, _)) | Err(Failed::Slow) => BUSY,
                Ok((status, _)) => {
                    tracing::warn!(peer = %self.url, %status, entries = list.len(), "the peer refused a list; it is dropped");
                    self.figures
                        .dropped
                        .fetch_add(list.len() as u64, Ordering::Relaxed);
                    continue;
                }
                Err(Failed::Unreachable(why)) => {
                    if !std::mem::replace(&mut silent, true) {
                        tracing::warn!(peer = %self.url, why, "the peer cannot be reached; it is told when it is back");
                    }
                    UNREACHABLE
                }
            };
            self.give_back(taken);
            sleep(wait).await;
        }
    }

    /// Up to a whole list: as soon as there is one, or the oldest entry has waited long enough.
    async fn next(&self) -> Vec<(Key, Entry)> {
        loop {
            let oldest = {
                let waiting = self.waiting();
                let oldest = waiting.order.front();
                let since = oldest.and_then(|key| Some(waiting.entries.get(key)?.since));
                since.map(|since| (since, waiting.order.len()))
            };
            match oldest {
                None => self.put.notified().await,
                Some((since, count)) => {
                    let due = since + DELAY;
                    if count >= BATCH || Instant::now() >= due {
                        return self.take();
                    }
                    tokio::select! {
                        () = sleep_until(due) => {}
                        () = self.put.notified() => {}
                    }
                }
            }
        }
    }

    fn take(&self) -> Vec<(Key, Entry)> {
        let now = Instant::now();
        let mut waiting = self.waiting();
        let mut taken = Vec::new();
        while taken.len() < BATCH
            && let Some(key) = waiting.order.pop_front()
        {
            match waiting.entries.remove(&key) {
                Some(entry) if entry.expires > now => {
                    self.figures.waiting.fetch_sub(1, Ordering::Relaxed);
                    taken.push((key, entry));
                }
                Some(_) => self.dropped(1),
                None => {}
            }
        }
        taken
    }

    /// Puts back what could not be told, before everything else, where nothing newer has come.
    fn give_back(&self, taken: Vec<(Key, Entry)>) {
        let mut waiting = self.waiting();
        for (key, entry) in taken.into_iter().rev() {
            if !waiting.entries.contains_key(&key) {
                waiting.order.push_front(key.clone());
                waiting.entries.insert(key, entry);
                self.figures.waiting.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What is to be told of each, as it is now. What is no longer so is left out.
    fn worded(&self, taken: &[(Key, Entry)]) -> Vec<Worded> {
        let state = self.registry.snapshot();
        let worded = taken
            .iter()
            .filter_map(|((happened, app, id), entry)| match &entry.lent {
                Some(lent) => {
                    let told = replicated(*happened, app, id, Some(lent));
                    Some((told, Some(lent.clone())))
                }
                None => Some((word(&state, *happened, app, id)?, None)),
            });
        worded.collect()
    }

    /// Takes note of what came of each: who lacks an instance gets it whole, and what a peer has newer is taken over.
    async fn settle(&self, list: Vec<Worded>, outcomes: Vec<Outcome>) {
        let own = lender(&self.registry);
        for ((told, lent), outcome) in list.into_iter().zip(outcomes) {
            if (200..300).contains(&outcome.status) || told.happened != Some(Happened::Heartbeat) {
                continue;
            }
            match (outcome.status, outcome.instance) {
                (404, _) => {
                    self.put(Happened::Register, &told.app, &told.id, lent);
                }
                (_, Some(newer)) if newer.metadata.get(LENT_BY) == Some(&own) => {}
                (_, Some(newer)) if newer.check_registration(&told.app).is_ok() => {
                    let writer = Writer {
                        registry: &self.registry,
                        cause: Cause::own(Why::Call),
                        now: self.registry.now(),
                    };
                    if let Err(problem) = writer.register(&newer).await {
                        tracing::warn!(peer = %self.url, app = told.app, id = told.id, %problem, "what the peer has newer cannot be taken over");
                    }
                }
                (status, _) => {
                    tracing::debug!(peer = %self.url, app = told.app, id = told.id, status, "the peer refused a heartbeat");
                }
            }
        }
    }
}

fn word(state: &State, happened: Happened, app: &str, id: &str) -> Option<Replicated> {
    let found = state.instance(&InstanceKey::eureka(app, id));
    match (happened, found) {
        // It has come back meanwhile.
        (Happened::Cancel, Some(_)) => None,
        (Happened::Cancel, None) => Some(replicated(happened, app, id, None)),
        (_, None) => None,
        (_, Some(_)) => {
            let it = read::find(state, app, id)?.render(state, app);
            Some(replicated(happened, app, id, Some(&it)))
        }
    }
}

/// An entry about an instance. Only a registration carries all of it.
fn replicated(happened: Happened, app: &str, id: &str, it: Option<&Instance>) -> Replicated {
    let whole = it.filter(|_| happened == Happened::Register);
    let overridden = it.map(|it| it.overridden);
    Replicated {
        happened: Some(happened),
        app: app.to_owned(),
        id: id.to_owned(),
        dirty_at: it.and_then(|it| it.dirty_at),
        overridden: overridden.filter(|o| *o != Status::Unknown && happened == Happened::Heartbeat),
        status: it.map(|it| it.status),
        instance: whole.cloned(),
    }
}

#[cfg(test)]
mod tests {
    use portolan_registry::LocalOptions;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_collapsed_bounded_and_out_of_date_after_a_while() {
        let registry = Registry::local(&LocalOptions::default());
        let figures = Arc::new(Figures::default());
        let outbox = Outbox::new(
            "http://127.0.0.1:1/eureka/".parse().unwrap(),
            registry,
            &figures,
        );
        for _ in 0..3 {
            outbox.put(Happened::Cancel, "A", "1", None);
            outbox.put(Happened::StatusUpdate, "A", "1", None);
        }
        let begun = Instant::now();
        let taken = outbox.next().await;
        assert_eq!(begun.elapsed(), DELAY);
        let kinds: Vec<_> = taken.iter().map(|((happened, ..), _)| *happened).collect();
        assert_eq!(kinds, [Happened::Cancel, Happened::StatusUpdate]);
        // Put back, it is before what came later.
        outbox.put(Happened::Cancel, "A", "2", None);
        outbox.give_back(taken);
        let ids: Vec<_> = outbox.take().into_iter().map(|((.., id), _)| id).collect();
        assert_eq!(ids, ["1", "1", "2"]);
        for at in 0..MOST + 5 {
            outbox.put(Happened::Cancel, "A", &at.to_string(), None);
        }
        assert_eq!(figures.dropped.load(Ordering::Relaxed), 5);
        let begun = Instant::now();
        let taken = outbox.next().await;
        assert_eq!(
            (taken.len(), begun.elapsed()),
            (BATCH, Duration::ZERO),
            "enough for a list"
        );
        tokio::time::advance(PATIENCE).await;
        assert!(outbox.take().is_empty());
        assert_eq!(figures.waiting.load(Ordering::Relaxed), 0);
        // An instance that is not here has nothing to be told of but that it left.
        let state = outbox.registry.snapshot();
        assert!(word(&state, Happened::Heartbeat, "A", "1").is_none());
        assert!(word(&state, Happened::Cancel, "A", "1").is_some());
    }
}
