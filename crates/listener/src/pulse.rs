//! A connection's pulse: what it is waiting for, and since when. One sweeper per port looks at all of them.
//!
//! Invariants
//! - Time counts against a connection only while no request is in flight: a long poll is never cut.
//! - A request's head counts from its first byte, however often further bytes trickle in.
//! - No timer per connection and no clock reading per byte: the first byte after a quiet phase reads the clock once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits::Limits;

/// Why a connection is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing was asked for a long time: say goodbye.
    Idle,
    /// A head (or a frame) took too long to arrive.
    SlowHead,
    /// The peer does not take what it asked for.
    SlowReader,
}

impl Verdict {
    pub(crate) fn limit(self) -> &'static str {
        match self {
            Verdict::Idle => "idle_timeout",
            Verdict::SlowHead => "header_timeout",
            Verdict::SlowReader => "write_timeout",
        }
    }
}

const NEVER: u64 = 0;

/// One connection's state, shared by its socket, its requests and the sweeper. Times are milliseconds since the port's start, plus one.
#[derive(Debug)]
pub(crate) struct Pulse {
    base: Instant,
    in_flight: AtomicU32,
    served: AtomicBool,
    quiet_since: AtomicU64,
    head_since: AtomicU64,
    blocked_since: AtomicU64,
    verdict: AtomicU8,
    told: Notify,
}

impl Pulse {
    fn new(base: Instant) -> Pulse {
        let pulse = Pulse {
            base,
            in_flight: AtomicU32::new(0),
            served: AtomicBool::new(false),
            quiet_since: AtomicU64::new(NEVER),
            head_since: AtomicU64::new(NEVER),
            blocked_since: AtomicU64::new(NEVER),
            verdict: AtomicU8::new(0),
            told: Notify::new(),
        };
        pulse.quiet_since.store(pulse.now(), Ordering::Relaxed);
        pulse
    }

    fn now(&self) -> u64 {
        ms(self.base.elapsed()) + 1
    }

    /// A request's head is complete, or a message is. Time stops counting until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Busy {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.served.store(true, Ordering::Relaxed);
        self.head_since.store(NEVER, Ordering::Relaxed);
        Busy(self.clone())
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

    /// Waits until the sweeper has something to say; after `idle`, something else than that.
    pub(crate) async fn verdict(&self, idle: bool) -> Verdict {
        loop {
            let told = self.told.notified();
            match self.verdict.load(Ordering::Acquire) {
                1 if !idle => return Verdict::Idle,
                2 => return Verdict::SlowHead,
                3 => return Verdict::SlowReader,
                _ => told.await,
            }
        }
    }

    fn judge(&self, limits: &Limits) -> Option<Verdict> {
        let now = self.now();
        let over = |since: &AtomicU64, bound: Duration| {
            let since = since.load(Ordering::Relaxed);
            since != NEVER && now.saturating_sub(since) > ms(bound)
        };
        if over(&self.blocked_since, limits.write_timeout) {
            return Some(Verdict::SlowReader);
        }
        // The socket marks a partial head only where one is possible: between requests, or inside a frame.
        if over(&self.head_since, limits.header_timeout) {
            return Some(Verdict::SlowHead);
        }
        if self.in_flight() > 0 {
            return None;
        }
        if !self.served.load(Ordering::Relaxed) {
            return over(&self.quiet_since, limits.header_timeout).then_some(Verdict::SlowHead);
        }
        over(&self.quiet_since, limits.idle_timeout).then_some(Verdict::Idle)
    }

    fn tell(&self, verdict: Verdict) {
        let code = match verdict {
            Verdict::Idle => 1,
            Verdict::SlowHead => 2,
            Verdict::SlowReader => 3,
        };
        self.verdict.store(code, Ordering::Release);
        self.told.notify_waiters();
        self.told.notify_one();
    }
}

/// Keeps a connection's idle time from counting while a request or message is being answered.
#[derive(Debug)]
pub struct Busy(Arc<Pulse>);

impl Drop for Busy {
    fn drop(&mut self) {
        // The time is set before the count falls, so that the sweeper never sees a quiet connection with an old time.
        self.0.quiet_since.store(self.0.now(), Ordering::Relaxed);
        self.0.in_flight.fetch_sub(1, Ordering::Release);
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// All pulses of one port.
#[derive(Debug)]
pub(crate) struct Pulses {
    base: Instant,
    pulses: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    by_id: HashMap<u64, Arc<Pulse>>,
}

/// A pulse's place among the port's; dropping it takes it out.
#[derive(Debug)]
pub(crate) struct Beating {
    pulses: Arc<Pulses>,
    id: u64,
    pub(crate) pulse: Arc<Pulse>,
}

impl Drop for Beating {
    fn drop(&mut self) {
        self.pulses.lock().by_id.remove(&self.id);
    }
}

impl Pulses {
    pub(crate) fn new() -> Arc<Pulses> {
        Arc::new(Pulses {
            base: Instant::now(),
            pulses: Mutex::default(),
        })
    }

    pub(crate) fn start(self: &Arc<Self>) -> Beating {
        let pulse = Arc::new(Pulse::new(self.base));
        let mut table = self.lock();
        table.next += 1;
        let id = table.next;
        table.by_id.insert(id, pulse.clone());
        Beating {
            pulses: self.clone(),
            id,
            pulse,
        }
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

    /// Looks at every connection, until the port and its last connection are gone.
    pub(crate) async fn sweep(port: Weak<Pulses>, limits: Limits) {
        let shortest = limits
            .header_timeout
            .min(limits.idle_timeout)
            .min(limits.write_timeout);
        let pause = (shortest / 4).clamp(Duration::from_millis(5), Duration::from_secs(1));
        loop {
            tokio::time::sleep(pause).await;
            // Judged outside the lock: connections come and go while tens of thousands are looked at.
            let Some(all) = port.upgrade() else {
                return;
            };
            let pulses: Vec<Arc<Pulse>> = all.lock().by_id.values().cloned().collect();
            for pulse in pulses {
                if let Some(verdict) = pulse.judge(&limits) {
                    pulse.tell(verdict);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.pulses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
