//! What the servers and their clients share: time, what travels between them, the trace, and the record of what clients saw.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::oneshot;

use crate::front::{Ask, Told};
use crate::history::History;
use crate::network::{CLIENTS, Effect, Letter, Links, Network};
use crate::trace::Trace;

/// What a server that asked gets: bytes, or how its connection ended.
pub(crate) type Answered = Result<Vec<u8>, io::ErrorKind>;
/// The way back to a server that asked.
pub(crate) type Reply = oneshot::Sender<Answered>;
/// The way back to a client that asked.
pub(crate) type ToldReply = oneshot::Sender<Told>;

/// Something that arrives.
#[derive(Debug)]
pub(crate) enum Event {
    Request {
        from: u64,
        to: u64,
        letter: Letter,
        answer: Reply,
    },
    Answer {
        answer: Answered,
        to: Reply,
    },
    Ask {
        to: u64,
        ask: Ask,
        reply: ToldReply,
    },
    Told {
        told: Told,
        reply: ToldReply,
    },
}

/// The way back to whoever asked a server.
#[derive(Debug)]
enum Open {
    /// Another server, by its number.
    Server(u64, Reply),
    Client(ToldReply),
}

#[derive(Debug)]
struct Inner {
    network: Network,
    trace: Trace,
    /// By time and then by the order in which they were sent.
    flying: BTreeMap<(u64, u64), Event>,
    sent: u64,
    /// Whoever waits for these must run into a time limit.
    lost: Vec<Reply>,
    lost_by_clients: Vec<ToldReply>,
    /// Questions that servers are at, by server and number, with the way back. Tasks hold the number alone: tokio drops the tasks of a runtime
    /// in an order that hangs on how many tasks the process had before, and whoever waits would be woken in it.
    open: BTreeMap<(u64, u64), Open>,
    opened: u64,
    /// Servers whose process ended and whose machine goes on: it closes their connections.
    closed: BTreeSet<u64>,
    /// Until when the disk holds a server up: what it sends meanwhile leaves then.
    busy_until: BTreeMap<u64, u64>,
    /// What was said, told people and put into the trace: faults as they happened.
    said: Vec<(u64, String)>,
    messages: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct World {
    now: AtomicU64,
    quiet: AtomicBool,
    inner: Mutex<Inner>,
    history: Mutex<History>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(crate) fn new(seed: u64, loss: u32, delay_ms: u64) -> World {
        World {
            now: AtomicU64::new(0),
            quiet: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                network: Network::new(StdRng::seed_from_u64(seed), loss, delay_ms),
                trace: Trace::new(),
                flying: BTreeMap::new(),
                sent: 0,
                lost: Vec::new(),
                lost_by_clients: Vec::new(),
                open: BTreeMap::new(),
                opened: 0,
                closed: BTreeSet::new(),
                busy_until: BTreeMap::new(),
                said: Vec::new(),
                messages: 0,
            }),
            history: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// What clients saw.
    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
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
        self.lock().trace.note(now, what, numbers, bytes);
    }

    /// Adds an event that people want to read.
    pub(crate) fn say(&self, what: String) {
        let now = self.now();
        let mut inner = self.lock();
        inner.trace.note(now, "said", &[], what.as_bytes());
        inner.said.push((now, what));
    }

    pub(crate) fn said(&self) -> Vec<(u64, String)> {
        self.lock().said.clone()
    }

    /// Hash and number of the events, and how many messages servers sent.
    pub(crate) fn trace(&self) -> (u64, u64, u64) {
        let inner = self.lock();
        let (hash, events) = inner.trace.result();
        (hash, events, inner.messages)
    }

    pub(crate) fn rule(&self, number: usize, links: Links, effect: Effect) {
        self.lock().network.rule(number, links, effect);
    }

    pub(crate) fn lift(&self, number: usize) {
        self.lock().network.lift(number);
    }

    /// No more faults of the network, no further work of clients.
    pub(crate) fn heal(&self) {
        self.lock().network.heal();
        self.quiet.store(true, Ordering::Relaxed);
    }

    /// Whether clients are to stop.
    pub(crate) fn quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }

    /// The disk of a server takes so long from now on, or longer if it was busy already.
    pub(crate) fn hold_up(&self, server: u64, ms: u64) {
        let now = self.now();
        let mut inner = self.lock();
        let busy = inner.busy_until.entry(server).or_default();
        *busy = (*busy).max(now) + ms;
    }

    /// Whether the disk of a server holds it up now.
    pub(crate) fn is_held_up(&self, server: u64) -> bool {
        let now = self.now();
        self.lock()
            .busy_until
            .get(&server)
            .is_some_and(|until| *until > now)
    }

    /// A server ended: with its machine, which leaves whoever waits for it in the dark, or by itself.
    pub(crate) fn ended(&self, server: u64, with_machine: bool) {
        let mut inner = self.lock();
        inner.busy_until.remove(&server);
        if !with_machine {
            inner.closed.insert(server);
        }
        // In the order in which they came.
        inner.open.retain(|(at, _), _| *at != server);
    }

    pub(crate) fn started(&self, server: u64) {
        self.lock().closed.remove(&server);
    }

    /// Whether a server does not run, and its machine says so.
    pub(crate) fn is_closed(&self, server: u64) -> bool {
        self.lock().closed.contains(&server)
    }

    pub(crate) fn request(&self, from: u64, to: u64, letter: Letter, answer: Reply) {
        let now = self.now();
        let mut inner = self.lock();
        inner.messages += 1;
        let numbers = [from, to, letter.channel as u64];
        inner.trace.note(now, "request", &numbers, &letter.request);
        match inner.leaves(now, from, to) {
            None => inner.lost.push(answer),
            Some(at) => inner.fly(
                at,
                Event::Request {
                    from,
                    to,
                    letter,
                    answer,
                },
            ),
        }
    }

    pub(crate) fn answer(&self, from: u64, to: u64, answer: Answered, reply: Reply) {
        let now = self.now();
        let mut inner = self.lock();
        inner.messages += 1;
        let bytes = answer.as_deref().unwrap_or_default();
        inner.trace.note(now, "answer", &[from, to], bytes);
        match inner.leaves(now, from, to) {
            None => inner.lost.push(reply),
            Some(at) => inner.fly(at, Event::Answer { answer, to: reply }),
        }
    }

    /// A server begins to answer another.
    pub(crate) fn opens(&self, server: u64, from: u64, reply: Reply) -> u64 {
        self.lock().open(server, Open::Server(from, reply))
    }

    /// A server begins to answer a client.
    pub(crate) fn opens_to_client(&self, server: u64, reply: ToldReply) -> u64 {
        self.lock().open(server, Open::Client(reply))
    }

    /// A server has an answer for another, or none; nothing happens when the question ended with an earlier life of the server.
    pub(crate) fn settle(&self, server: u64, number: u64, answer: Option<Vec<u8>>) {
        let open = self.lock().open.remove(&(server, number));
        match (open, answer) {
            (Some(Open::Server(from, reply)), Some(answer)) => {
                self.answer(server, from, Ok(answer), reply);
            }
            (Some(Open::Server(_, reply)), None) => self.silence(reply),
            (Some(Open::Client(_)) | None, _) => {}
        }
    }

    /// The same for a client.
    pub(crate) fn settle_client(&self, server: u64, number: u64, told: Told) {
        let open = self.lock().open.remove(&(server, number));
        if let Some(Open::Client(reply)) = open {
            self.tell(server, told, reply);
        }
    }

    /// Nobody will answer: the one who asked finds out by its time limit.
    pub(crate) fn silence(&self, reply: Reply) {
        self.lock().lost.push(reply);
    }

    /// A client asks a server.
    pub(crate) fn ask(&self, to: u64, ask: Ask, reply: ToldReply) {
        let now = self.now();
        let mut inner = self.lock();
        inner.trace.note(now, "ask", &[to], &[]);
        match inner.leaves(now, CLIENTS, to) {
            None => inner.lost_by_clients.push(reply),
            Some(at) => inner.fly(at, Event::Ask { to, ask, reply }),
        }
    }

    /// A server answers a client.
    pub(crate) fn tell(&self, from: u64, told: Told, reply: ToldReply) {
        let now = self.now();
        let mut inner = self.lock();
        inner.trace.note(now, "told", &[from, told.digest()], &[]);
        match inner.leaves(now, from, CLIENTS) {
            None => inner.lost_by_clients.push(reply),
            Some(at) => inner.fly(at, Event::Told { told, reply }),
        }
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

    /// What arrives at a server that stands still waits for it until then.
    pub(crate) fn postpone(&self, event: Event) {
        let at = self.now() + 1;
        self.lock().fly(at, event);
    }
}

impl Inner {
    /// When a message that is sent now arrives, if it does.
    fn leaves(&mut self, now: u64, from: u64, to: u64) -> Option<u64> {
        let held = self.busy_until.get(&from).copied().unwrap_or(0);
        let way = self.network.way(now, from, to);
        if way.is_none() {
            self.trace.note(now, "lost", &[from, to], &[]);
        }
        Some(now.max(held) + way?)
    }

    fn open(&mut self, server: u64, open: Open) -> u64 {
        self.opened += 1;
        self.open.insert((server, self.opened), open);
        self.opened
    }

    fn fly(&mut self, at: u64, event: Event) {
        self.sent += 1;
        self.flying.insert((at, self.sent), event);
    }
}
