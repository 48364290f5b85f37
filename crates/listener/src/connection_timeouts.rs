//! The time limits of connections: what each is waiting for, and since when. One task per port checks them all, and passes on what
//! the whole server is told.
//!
//! Invariants
//! - Time counts against a connection only while no request is in flight: a long poll is never cut.
//! - A request's head counts from its first byte, however often further bytes trickle in.
//! - No timer per connection and no clock reading per byte: the first byte after a quiet phase reads the clock once.
//! - A connection shares nothing with others that it would lock when it is polled: its orders come to it.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

use crate::limits::Limits;
use crate::server_context::ServerContext;

/// What a connection is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The server drains: finish what is asked, take no more.
    Drain,
    /// A time limit was crossed.
    Close(Expired),
}

/// The time limit that a connection crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    /// Nothing was asked for a long time: close it gracefully.
    Idle,
    /// A head (or a frame) took too long to arrive.
    SlowHead,
    /// The peer does not take what it asked for.
    SlowReader,
}

impl Expired {
    pub(crate) fn limit(self) -> &'static str {
        match self {
            Expired::Idle => "idle_timeout",
            Expired::SlowHead => "header_timeout",
            Expired::SlowReader => "write_timeout",
        }
    }
}

/// Orders as they are kept: a bit each, the most pressing first.
const ORDERS: [(u8, Order); 4] = [
    (SLOW_READER, Order::Close(Expired::SlowReader)),
    (SLOW_HEAD, Order::Close(Expired::SlowHead)),
    (IDLE, Order::Close(Expired::Idle)),
    (DRAIN, Order::Drain),
];
const SLOW_READER: u8 = 1;
const SLOW_HEAD: u8 = 1 << 1;
const IDLE: u8 = 1 << 2;
const DRAIN: u8 = 1 << 3;
/// The server waits no longer: the connection is dropped, whatever it does.
const ABORT: u8 = 1 << 4;

const NEVER: u64 = 0;

/// One connection's state, shared by its socket, its requests and the checking task. Times are milliseconds since the port's start, plus one.
#[derive(Debug)]
pub(crate) struct ConnectionTimer {
    base: Instant,
    in_flight: AtomicU32,
    served: AtomicBool,
    quiet_since: AtomicU64,
    head_since: AtomicU64,
    blocked_since: AtomicU64,
    /// A request was answered whose body had not been read to its end.
    unread: AtomicBool,
    orders: AtomicU8,
    waker: AtomicWaker,
}

impl ConnectionTimer {
    fn new(base: Instant) -> ConnectionTimer {
        let timer = ConnectionTimer {
            base,
            in_flight: AtomicU32::new(0),
            served: AtomicBool::new(false),
            quiet_since: AtomicU64::new(NEVER),
            head_since: AtomicU64::new(NEVER),
            blocked_since: AtomicU64::new(NEVER),
            unread: AtomicBool::new(false),
            orders: AtomicU8::new(0),
            waker: AtomicWaker::new(),
        };
        timer.quiet_since.store(timer.now(), Ordering::Relaxed);
        timer
    }

    fn now(&self) -> u64 {
        ms(self.base.elapsed()) + 1
    }

    /// A request's head is complete, or a message is. Time stops counting until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Busy {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.served.store(true, Ordering::Relaxed);
        self.head_since.store(NEVER, Ordering::Relaxed);
        if self.unread.load(Ordering::Relaxed) {
            // What had not been read then has been since: here is the next request.
            self.unread.store(false, Ordering::Relaxed);
        }
        Busy(self.clone())
    }

    /// A body is left unread.
    pub(crate) fn leaves_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    /// Whether the peer may be sending what nobody will read: a body, or the rest of a head.
    pub(crate) fn is_sending(&self) -> bool {
        self.unread.load(Ordering::Relaxed) || self.head_since.load(Ordering::Relaxed) != NEVER
    }

    /// The connection speaks HTTP/2, where a peer may be connected and ask nothing for long.
    pub(crate) fn multiplexed(&self) {
        self.served.store(true, Ordering::Relaxed);
    }

    /// Bytes came that do not complete what they began.
    pub(crate) fn partial(&self) {
        if self.head_since.load(Ordering::Relaxed) == NEVER {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Bytes came that completed what earlier ones began.
    pub(crate) fn whole(&self) {
        if self.head_since.load(Ordering::Relaxed) != NEVER {
            self.head_since.store(NEVER, Ordering::Relaxed);
        }
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The peer takes no bytes.
    pub(crate) fn blocked(&self) {
        if self.blocked_since.load(Ordering::Relaxed) == NEVER {
            self.blocked_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// The peer took bytes.
    pub(crate) fn flowing(&self) {
        if self.blocked_since.load(Ordering::Relaxed) != NEVER {
            self.blocked_since.store(NEVER, Ordering::Relaxed);
        }
    }

    /// Whether there is an order that is not among those `followed`, which it then joins. The task that polls is woken by the next
    /// one as long as it also polls [`ConnectionTimer::until_aborted`].
    pub(crate) fn order(&self, followed: &mut u8) -> Option<Order> {
        let fresh = self.orders.load(Ordering::Acquire) & !*followed;
        let (bit, order) = ORDERS.into_iter().find(|(bit, _)| fresh & bit != 0)?;
        *followed |= bit;
        Some(order)
    }

    /// As [`ConnectionTimer::order`], for a connection that only ends: waits for a time limit to be crossed.
    pub(crate) async fn expired(&self) -> Expired {
        let mut followed = 0;
        std::future::poll_fn(|_| match self.order(&mut followed) {
            Some(Order::Close(expired)) => Poll::Ready(expired),
            Some(Order::Drain) | None => Poll::Pending,
        })
        .await
    }

    /// Runs a connection, waking it for each order, until it ends or is cut.
    pub(crate) async fn until_aborted(&self, connection: impl Future<Output = ()>) {
        let mut connection = pin!(connection);
        std::future::poll_fn(|cx: &mut Context<'_>| {
            // First the waker, then the look: an order given in between is not missed.
            self.waker.register(cx.waker());
            if self.orders.load(Ordering::Acquire) & ABORT != 0 {
                return Poll::Ready(());
            }
            connection.as_mut().poll(cx)
        })
        .await;
    }

    fn judge(&self, limits: &Limits) -> Option<Expired> {
        let now = self.now();
        let over = |since: &AtomicU64, bound: Duration| {
            let since = since.load(Ordering::Relaxed);
            since != NEVER && now.saturating_sub(since) > ms(bound)
        };
        if over(&self.blocked_since, limits.write_timeout) {
            return Some(Expired::SlowReader);
        }
        // The socket marks a partial head only where one is possible: between requests, or inside a frame.
        if over(&self.head_since, limits.header_timeout) {
            return Some(Expired::SlowHead);
        }
        if self.in_flight() > 0 {
            return None;
        }
        if !self.served.load(Ordering::Relaxed) {
            return over(&self.quiet_since, limits.header_timeout).then_some(Expired::SlowHead);
        }
        over(&self.quiet_since, limits.idle_timeout).then_some(Expired::Idle)
    }

    fn tell(&self, orders: u8) {
        if self.orders.fetch_or(orders, Ordering::Release) & orders != orders {
            self.waker.wake();
        }
    }
}

/// Keeps a connection's idle time from counting while a request or message is being answered.
#[derive(Debug)]
pub struct Busy(Arc<ConnectionTimer>);

impl Drop for Busy {
    fn drop(&mut self) {
        // The time is set before the count falls, so that the checking task never sees a quiet connection with an old time.
        self.0.quiet_since.store(self.0.now(), Ordering::Relaxed);
        self.0.in_flight.fetch_sub(1, Ordering::Release);
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The longest waits of one port at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waits {
    /// For the rest of a head or message.
    pub(crate) head: Duration,
    /// For a peer to take bytes.
    pub(crate) blocked: Duration,
    /// For a request on an open connection.
    pub(crate) quiet: Duration,
}

/// All timers of one port.
#[derive(Debug)]
pub(crate) struct ConnectionTimers {
    base: Instant,
    timers: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// What every connection is told, also the next one.
    orders: u8,
    by_id: HashMap<u64, Arc<ConnectionTimer>>,
}

/// A timer's place among the port's; dropping it takes it out.
#[derive(Debug)]
pub(crate) struct TimerEntry {
    timers: Arc<ConnectionTimers>,
    id: u64,
    pub(crate) timer: Arc<ConnectionTimer>,
}

impl Drop for TimerEntry {
    fn drop(&mut self) {
        self.timers.lock().by_id.remove(&self.id);
    }
}

impl ConnectionTimers {
    pub(crate) fn new() -> Arc<ConnectionTimers> {
        Arc::new(ConnectionTimers {
            base: Instant::now(),
            timers: Mutex::default(),
        })
    }

    pub(crate) fn start(self: &Arc<Self>) -> TimerEntry {
        let timer = Arc::new(ConnectionTimer::new(self.base));
        let mut table = self.lock();
        table.next += 1;
        let id = table.next;
        timer.tell(table.orders);
        table.by_id.insert(id, timer.clone());
        TimerEntry {
            timers: self.clone(),
            id,
            timer,
        }
    }

    /// How long the connections that wait longest have waited.
    pub(crate) fn longest(&self) -> Waits {
        let now = ms(self.base.elapsed()) + 1;
        let mut waits = Waits::default();
        let table = self.lock();
        for timer in table.by_id.values() {
            let since = |at: &AtomicU64| match at.load(Ordering::Relaxed) {
                NEVER => Duration::ZERO,
                at => Duration::from_millis(now.saturating_sub(at)),
            };
            waits.head = waits.head.max(since(&timer.head_since));
            waits.blocked = waits.blocked.max(since(&timer.blocked_since));
            if timer.in_flight() == 0 {
                waits.quiet = waits.quiet.max(since(&timer.quiet_since));
            }
        }
        waits
    }

    /// The largest number of requests in flight on one connection.
    pub(crate) fn busiest(&self) -> u32 {
        let table = self.lock();
        table
            .by_id
            .values()
            .map(|p| p.in_flight())
            .max()
            .unwrap_or(0)
    }

    /// Looks at every connection, and passes on what the server is told, until the port and its last connection are gone.
    pub(crate) async fn sweep(
        port: Weak<ConnectionTimers>,
        limits: Limits,
        context: ServerContext,
    ) {
        let shortest = limits
            .header_timeout
            .min(limits.idle_timeout)
            .min(limits.write_timeout);
        let pause = (shortest / 4).clamp(Duration::from_millis(5), Duration::from_secs(1));
        let mut known = 0;
        loop {
            let orders = tokio::select! {
                () = tokio::time::sleep(pause) => 0,
                () = context.draining(), if known & DRAIN == 0 => DRAIN,
                () = context.abort().cancelled(), if known & ABORT == 0 => ABORT,
            };
            known |= orders;
            // Judged outside the lock: connections come and go while tens of thousands are looked at.
            let Some(all) = port.upgrade() else {
                return;
            };
            for timer in all.tell_all(orders) {
                if let Some(expired) = timer.judge(&limits) {
                    timer.tell(match expired {
                        Expired::SlowReader => SLOW_READER,
                        Expired::SlowHead => SLOW_HEAD,
                        Expired::Idle => IDLE,
                    });
                }
            }
        }
    }

    /// Tells every connection, and those to come, and gives the ones that are there.
    fn tell_all(&self, orders: u8) -> Vec<Arc<ConnectionTimer>> {
        let mut table = self.lock();
        table.orders |= orders;
        let all: Vec<Arc<ConnectionTimer>> = table.by_id.values().cloned().collect();
        drop(table);
        for timer in &all {
            timer.tell(orders);
        }
        all
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
