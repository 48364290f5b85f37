//! What the servers share: time, the network between them, the trace, and what clients were told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use portolan_environment::Channel;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::oneshot;

/// The way back to who asked.
pub(crate) type Reply = oneshot::Sender<Vec<u8>>;

/// Something that arrives.
#[derive(Debug)]
pub(crate) enum Event {
    Request {
        from: u64,
        to: u64,
        channel: Channel,
        request: Vec<u8>,
        answer: Reply,
    },
    Answer {
        answer: Vec<u8>,
        to: Reply,
    },
}

/// What clients were told.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientLog {
    /// Keys, each written once, and the revision that the client was told.
    pub(crate) acknowledged: Vec<(String, u64)>,
    pub(crate) unknown: usize,
}

#[derive(Debug)]
struct Inner {
    rng: StdRng,
    loss: u32,
    delay_ms: u64,
    /// By time and then by the order in which they were sent.
    flying: BTreeMap<(u64, u64), Event>,
    sent: u64,
    /// Whoever waits for these must run into its time limit: no network says that it lost something.
    lost: Vec<Reply>,
    hash: u64,
    events: u64,
    snapshot_parts: u64,
    clients: ClientLog,
    writing: bool,
    in_flight: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct World {
    now: AtomicU64,
    inner: Mutex<Inner>,
}

impl World {
    pub(crate) fn new(seed: u64, loss: u32, delay_ms: u64) -> World {
        World {
            now: AtomicU64::new(0),
            inner: Mutex::new(Inner {
                rng: StdRng::seed_from_u64(seed),
                loss,
                delay_ms,
                flying: BTreeMap::new(),
                sent: 0,
                lost: Vec::new(),
                hash: 0xcbf2_9ce4_8422_2325,
                events: 0,
                snapshot_parts: 0,
                clients: ClientLog::default(),
                writing: true,
                in_flight: 0,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    pub(crate) fn advance(&self) {
        self.now.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds an event to the trace.
    pub(crate) fn note(&self, what: &str, numbers: &[u64], bytes: &[u8]) {
        let now = self.now();
        self.lock().note(now, what, numbers, bytes);
    }

    pub(crate) fn trace(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.hash, inner.events)
    }

    /// No more faults, no more writes.
    pub(crate) fn heal(&self) {
        let mut inner = self.lock();
        (inner.loss, inner.writing) = (0, false);
        // What was lost stays lost.
        inner.lost.shrink_to_fit();
    }

    pub(crate) fn writing(&self) -> bool {
        self.lock().writing
    }

    pub(crate) fn request(
        &self,
        from: u64,
        to: u64,
        channel: Channel,
        request: Vec<u8>,
        answer: Reply,
    ) {
        let now = self.now();
        let mut inner = self.lock();
        // The byte after the version says what is asked; a part of a snapshot is the fourth kind.
        let part = channel == Channel::Raft && request.get(1) == Some(&3);
        inner.snapshot_parts += u64::from(part);
        inner.note(now, "request", &[from, to, channel as u64], &request);
        if inner.loses() {
            inner.note(now, "lost", &[from, to], &[]);
            inner.lost.push(answer);
            return;
        }
        let event = Event::Request {
            from,
            to,
            channel,
            request,
            answer,
        };
        inner.fly(now, event);
    }

    pub(crate) fn answer(&self, from: u64, to: u64, answer: Vec<u8>, reply: Reply) {
        let now = self.now();
        let mut inner = self.lock();
        inner.note(now, "answer", &[from, to], &answer);
        if inner.loses() {
            inner.note(now, "lost", &[from, to], &[]);
            inner.lost.push(reply);
            return;
        }
        inner.fly(now, Event::Answer { answer, to: reply });
    }

    /// Nobody will answer: the one who asked finds out by its time limit.
    pub(crate) fn silence(&self, reply: Reply) {
        self.lock().lost.push(reply);
    }

    /// What arrives now, in its order.
    pub(crate) fn due(&self) -> Vec<Event> {
        let now = self.now();
        let mut inner = self.lock();
        let mut due = Vec::new();
        while let Some(first) = inner.flying.first_entry()
            && first.key().0 <= now
        {
            due.push(first.remove());
        }
        due
    }

    pub(crate) fn snapshot_parts(&self) -> u64 {
        self.lock().snapshot_parts
    }

    pub(crate) fn client_asks(&self) {
        self.lock().in_flight += 1;
    }

    pub(crate) fn client_heard(&self, key: &str, revision: Option<u64>, unknown: bool) {
        let now = self.now();
        let mut inner = self.lock();
        inner.note(now, "client", &[revision.unwrap_or(0)], key.as_bytes());
        inner.in_flight = inner.in_flight.saturating_sub(1);
        match revision {
            Some(revision) => inner.clients.acknowledged.push((key.to_owned(), revision)),
            None => inner.clients.unknown += usize::from(unknown),
        }
    }

    /// The clients of a server died with it; what they had asked stays unknown.
    pub(crate) fn clients_died(&self, waiting: u64) {
        let mut inner = self.lock();
        inner.in_flight = inner.in_flight.saturating_sub(waiting);
        inner.clients.unknown += usize::try_from(waiting).unwrap_or(0);
    }

    pub(crate) fn idle_clients(&self) -> bool {
        self.lock().in_flight == 0
    }

    pub(crate) fn client_log(&self) -> ClientLog {
        self.lock().clients.clone()
    }
}

impl Inner {
    fn loses(&mut self) -> bool {
        self.rng.random_range(0..1000) < self.loss
    }

    fn fly(&mut self, now: u64, event: Event) {
        let arrives = now + self.rng.random_range(1..=self.delay_ms.max(1));
        self.sent += 1;
        self.flying.insert((arrives, self.sent), event);
    }

    fn note(&mut self, now: u64, what: &str, numbers: &[u64], bytes: &[u8]) {
        self.events += 1;
        // FNV-1a, 64 bits: short, and the same everywhere.
        let mut mix = |bytes: &[u8]| {
            for byte in bytes {
                self.hash ^= u64::from(*byte);
                self.hash = self.hash.wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        mix(&now.to_le_bytes());
        mix(what.as_bytes());
        for number in numbers {
            mix(&number.to_le_bytes());
        }
        mix(bytes);
    }
}
