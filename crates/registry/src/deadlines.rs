//! Deadlines: when leases lapse, in memory only.
//!
//! Invariants
//! - Each running lease has one slot and at most one entry in the order by time, however often it is granted again: memory follows the
//!   leases that live.
//! - A renewal moves one number. The order is mended lazily: an entry that comes up too early goes back in at its new time. An entry is
//!   moved at once only when it would come up too late.
//! - Nobody holds the lock for longer than it takes to look at [`LOOKED_AT`] entries.
//! - A guarded lease also comes up when half its time is over: those that are silent for longer are known without looking at the others.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashTable;
use portolan_catalog::{Lease, LeaseId, Stage, State, Terms};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Entries looked at before the lock is given to others.
const LOOKED_AT: usize = 1024;
/// Slots below which memory is not worth giving back.
const SMALL: usize = 1024;

/// What a renewal found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease has its full time again, which is given.
    Renewed(Duration),
    /// It is past its first stage: a `Revive` command has to bring it back.
    Lapsed,
    /// Its lapse was proposed and is not decided yet: wait and ask again.
    Deciding,
    /// There is no such lease.
    Unknown,
}

/// A lease whose stage is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub lease: LeaseId,
    /// The stage.
    pub stage: u8,
    /// The generation that was granted.
    pub generation: u64,
    /// The last renewal, or the grant.
    pub since: Instant,
    /// Its terms.
    pub terms: Terms,
}

/// Microseconds since the first time these deadlines were given: half the size of an [`Instant`].
type Micros = u64;
type Slot = u32;

#[derive(Debug)]
struct Running {
    lease: Arc<Lease>,
    /// The last renewal, or the grant.
    since: Micros,
    /// The stage is not reached before this, however long the silence: a decision not to let it lapse.
    not_before: Micros,
    /// Where it stands in the order; [`Micros::MAX`] when it does not.
    queued: Micros,
    hash: u32,
    deciding: bool,
    /// Whether its lapse was decided is not known: it is proposed again when its time comes.
    uncertain: bool,
    /// Half its time is over, and it is guarded.
    silent: bool,
}

impl Running {
    fn stage(&self) -> Option<&Stage> {
        self.lease.terms.stages.get(usize::from(self.lease.stage))
    }

    fn deadline(&self) -> Option<Micros> {
        let reached = self.since.saturating_add(micros(self.stage()?.after_ms));
        Some(reached.max(self.not_before))
    }

    /// When it has been silent for longer than renewals should ever take.
    fn half(&self) -> Option<Micros> {
        let stage = self.stage().filter(|_| self.lease.terms.guarded)?;
        Some(self.since.saturating_add(micros(stage.after_ms) / 2 + 1))
    }

    /// When something about it has to be noticed.
    fn comes_up(&self) -> Option<Micros> {
        let deadline = self.deadline()?;
        match self.half() {
            Some(half) if !self.silent => Some(half.min(deadline)),
            _ => Some(deadline),
        }
    }
}

fn micros(ms: u64) -> Micros {
    ms.saturating_mul(1000)
}

#[derive(Debug, Default)]
struct Inner {
    /// What times are counted from; the first time that was given.
    base: Option<Instant>,
    slots: Vec<Option<Running>>,
    free: Vec<Slot>,
    /// Slots by the hash of their lease's id. Nothing depends on its order.
    by_id: HashTable<Slot>,
    order: BTreeSet<(Micros, Slot)>,
    silent: BTreeSet<Slot>,
    hasher: RandomState,
}

/// The deadlines of all leases, on the node that leads.
#[derive(Debug, Default)]
pub struct Deadlines {
    inner: Mutex<Inner>,
    decided: Notify,
}

impl Deadlines {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts over with every lease of a state at its full time, counted from `now`, which may be ahead: a new leader, a restart.
    pub fn reset(&self, state: &State, now: Instant) {
        let mut inner = self.inner();
        *inner = Inner::default();
        for lease in state.leases() {
            inner.arm(lease, now);
        }
        drop(inner);
        self.decided.notify_waiters();
    }

    /// As [`Deadlines::reset`] while this server goes on leading: leases whose lapse was proposed and may be decided yet are not renewed
    /// until that is known.
    pub fn prolong(&self, state: &State, now: Instant) {
        let mut inner = self.inner();
        let before = std::mem::take(&mut *inner);
        for lease in state.leases() {
            inner.arm(lease, now);
        }
        let deciding = before.slots.into_iter().flatten();
        for before in deciding.filter(|running| running.deciding) {
            let Some(slot) = inner.find(&before.lease.id) else {
                continue;
            };
            if let Some(running) = inner.running(slot)
                && running.lease.generation == before.lease.generation
                && running.lease.stage == before.lease.stage
            {
                (running.deciding, running.uncertain) = (true, true);
            }
        }
        drop(inner);
        self.decided.notify_waiters();
    }

    /// Whether the lapse of this stage is being decided here, so that no renewal came between.
    pub fn is_deciding(&self, id: &LeaseId, stage: u8, generation: u64) -> bool {
        let mut inner = self.inner();
        let Some(slot) = inner.find(id) else {
            return false;
        };
        inner.running(slot).is_some_and(|running| {
            running.deciding
                && running.lease.stage == stage
                && running.lease.generation == generation
        })
    }

    /// Brings one lease up to date with a state that was just applied: granted, at another stage, or gone.
    pub fn update(&self, state: &State, id: &LeaseId, now: Instant) {
        match state.lease(id) {
            Some(lease) => self.inner().arm(lease, now),
            None => self.inner().remove(id),
        }
        self.decided.notify_waiters();
    }

    /// Gives a lease its full time again.
    pub fn renew(&self, id: &LeaseId, now: Instant) -> Renewal {
        let mut inner = self.inner();
        let now = inner.count(now);
        let Some(slot) = inner.find(id) else {
            return Renewal::Unknown;
        };
        let Some(running) = inner.running(slot) else {
            return Renewal::Unknown;
        };
        if running.deciding {
            return Renewal::Deciding;
        }
        if running.lease.stage > 0 {
            return Renewal::Lapsed;
        }
        (running.since, running.not_before) = (now, 0);
        let time = Duration::from_millis(running.lease.terms.ttl_ms());
        if std::mem::take(&mut running.silent) {
            inner.silent.remove(&slot);
        }
        inner.queue(slot);
        Renewal::Renewed(time)
    }

    /// Resolves when some lapse was decided: for those whom [`Renewal::Deciding`] told to wait.
    pub fn decided(&self) -> tokio::sync::futures::Notified<'_> {
        self.decided.notified()
    }

    /// Time left until the next stage, and when it was last renewed.
    pub fn remaining(&self, id: &LeaseId, now: Instant) -> Option<(Duration, Instant)> {
        let mut inner = self.inner();
        let (at, base) = (inner.count(now), inner.base?);
        let slot = inner.find(id)?;
        let running = inner.running(slot)?;
        let left = running.deadline().map_or(Duration::MAX, |deadline| {
            Duration::from_micros(deadline.saturating_sub(at))
        });
        Some((left, base + Duration::from_micros(running.since)))
    }

    /// Guarded leases that were silent for more than half the time of their stage when [`Deadlines::due`] was last called, and still
    /// are. The cost follows those.
    pub fn silent(&self) -> Vec<LeaseId> {
        let inner = self.inner();
        let leases = inner.silent.iter();
        leases
            .filter_map(|slot| inner.slots.get(*slot as usize)?.as_ref())
            .map(|running| running.lease.id.clone())
            .collect()
    }

    /// How many leases run.
    pub fn len(&self) -> usize {
        self.inner().by_id.len()
    }

    /// Whether none runs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Leases whose stage is reached, at most `most`. Each is being decided from now on: [`Deadlines::update`] or
    /// [`Deadlines::spare`] ends that.
    pub fn due(&self, now: Instant, most: usize) -> Vec<Due> {
        let mut due = Vec::new();
        while self.inner().collect(now, most, &mut due) {
            // Renewals that wait for the lock come first.
            std::thread::yield_now();
        }
        due
    }

    /// A lapse was proposed and may be decided yet: it comes up again after `wait`, and renewals go on waiting.
    pub fn ask_again(&self, id: &LeaseId, now: Instant, wait: Duration) {
        let mut inner = self.inner();
        let now = inner.count(now);
        let wait = Micros::try_from(wait.as_micros()).unwrap_or(Micros::MAX);
        if let Some(slot) = inner.find(id)
            && let Some(running) = inner.running(slot)
            && running.deciding
        {
            running.uncertain = true;
            running.not_before = now.saturating_add(wait);
            inner.queue(slot);
        }
    }

    /// Does not let a lease lapse now: it comes up again after `wait` unless it is renewed.
    pub fn spare(&self, id: &LeaseId, now: Instant, wait: Duration) {
        let mut inner = self.inner();
        let now = inner.count(now);
        let wait = Micros::try_from(wait.as_micros()).unwrap_or(Micros::MAX);
        if let Some(slot) = inner.find(id)
            && let Some(running) = inner.running(slot)
        {
            (running.deciding, running.uncertain) = (false, false);
            running.not_before = now.saturating_add(wait);
            inner.queue(slot);
        }
        drop(inner);
        self.decided.notify_waiters();
    }
}

impl Inner {
    fn count(&mut self, now: Instant) -> Micros {
        let base = *self.base.get_or_insert(now);
        let passed = now.saturating_duration_since(base);
        Micros::try_from(passed.as_micros()).unwrap_or(Micros::MAX)
    }

    fn hash(&self, id: &LeaseId) -> u32 {
        self.hasher.hash_one(id) as u32
    }

    fn find(&self, id: &LeaseId) -> Option<Slot> {
        let hash = self.hash(id);
        let is = |slot: &Slot| {
            let running = self.slots.get(*slot as usize).and_then(Option::as_ref);
            running.is_some_and(|running| running.hash == hash && running.lease.id == *id)
        };
        self.by_id.find(spread(hash), is).copied()
    }

    fn running(&mut self, slot: Slot) -> Option<&mut Running> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    fn arm(&mut self, lease: &Arc<Lease>, now: Instant) {
        let now = self.count(now);
        if let Some(slot) = self.find(&lease.id) {
            if let Some(running) = self.running(slot) {
                // A later stage counts from the same silence.
                let same = lease.stage > 0 && running.lease.generation == lease.generation;
                running.since = if same { running.since } else { now };
                running.lease = lease.clone();
                (running.not_before, running.silent) = (0, false);
                (running.deciding, running.uncertain) = (false, false);
            }
            self.silent.remove(&slot);
            self.queue(slot);
            return;
        }
        let hash = self.hash(&lease.id);
        let running = Running {
            lease: lease.clone(),
            since: now,
            not_before: 0,
            queued: Micros::MAX,
            hash,
            deciding: false,
            uncertain: false,
            silent: false,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(running);
                slot
            }
            None => {
                self.slots.push(Some(running));
                (self.slots.len() - 1) as Slot
            }
        };
        let slots = &self.slots;
        self.by_id
            .insert_unique(spread(hash), slot, |slot| spread(hash_of(slots, *slot)));
        self.queue(slot);
    }

    fn remove(&mut self, id: &LeaseId) {
        let Some(slot) = self.find(id) else {
            return;
        };
        let Some(running) = self.slots[slot as usize].take() else {
            return;
        };
        if let Ok(entry) = self.by_id.find_entry(spread(running.hash), |s| *s == slot) {
            entry.remove();
        }
        self.order.remove(&(running.queued, slot));
        self.silent.remove(&slot);
        self.free.push(slot);
        if self.slots.len() > SMALL && self.by_id.len() < self.slots.len() / 4 {
            self.shrink();
        }
    }

    /// Moves what runs together and gives the rest of the memory back. Paid for by the three removals in four before it.
    fn shrink(&mut self) {
        let slots = std::mem::take(&mut self.slots);
        let order = std::mem::take(&mut self.order);
        let hasher = self.hasher.clone();
        let base = self.base;
        *self = Inner {
            base,
            hasher,
            ..Inner::default()
        };
        drop(order);
        let live: Vec<_> = slots.into_iter().flatten().map(Some).collect();
        self.by_id.reserve(live.len(), |_| 0);
        self.slots = live;
        for slot in 0..self.slots.len() as Slot {
            let slots = &self.slots;
            let hash = spread(hash_of(slots, slot));
            self.by_id
                .insert_unique(hash, slot, |slot| spread(hash_of(slots, *slot)));
            if let Some(running) = self.running(slot) {
                running.queued = Micros::MAX;
                let comes_up = !running.deciding || running.uncertain;
                let silent = running.silent;
                if silent {
                    self.silent.insert(slot);
                }
                if comes_up {
                    self.queue(slot);
                }
            }
        }
    }

    /// Sees to it that a lease comes up no later than it has to. One that stands earlier stays where it is.
    fn queue(&mut self, slot: Slot) {
        let Some(running) = self.running(slot) else {
            return;
        };
        let Some(at) = running.comes_up().filter(|at| *at < running.queued) else {
            return;
        };
        let old = std::mem::replace(&mut running.queued, at);
        if old != Micros::MAX {
            self.order.remove(&(old, slot));
        }
        self.order.insert((at, slot));
    }

    /// Looks at some entries whose time has come. Whether there may be more.
    fn collect(&mut self, now: Instant, most: usize, due: &mut Vec<Due>) -> bool {
        let at = self.count(now);
        let Some(base) = self.base else {
            return false;
        };
        for _ in 0..LOOKED_AT {
            if due.len() >= most {
                return false;
            }
            let Some(&(queued, slot)) = self.order.first().filter(|(queued, _)| *queued <= at)
            else {
                return false;
            };
            self.order.remove(&(queued, slot));
            let Some(running) = self.running(slot) else {
                continue;
            };
            running.queued = Micros::MAX;
            if running.deciding && !running.uncertain {
                continue;
            }
            let quiet = !running.silent && running.half().is_some_and(|half| half <= at);
            running.silent |= quiet;
            if running.deadline().is_some_and(|deadline| deadline <= at) {
                (running.deciding, running.uncertain) = (true, false);
                due.push(Due {
                    lease: running.lease.id.clone(),
                    stage: running.lease.stage,
                    generation: running.lease.generation,
                    since: base + Duration::from_micros(running.since),
                    terms: running.lease.terms.clone(),
                });
            }
            let back = !running.deciding || running.uncertain;
            if quiet {
                self.silent.insert(slot);
            }
            if back {
                self.queue(slot);
            }
        }
        true
    }
}

fn hash_of(slots: &[Option<Running>], slot: Slot) -> u32 {
    slots
        .get(slot as usize)
        .and_then(Option::as_ref)
        .map_or(0, |running| running.hash)
}

/// The table takes its position from the low and its tag from the high bits of a hash.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests;
