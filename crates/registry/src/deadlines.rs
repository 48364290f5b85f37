//! Deadlines: when leases lapse, in memory only.
//!
//! A renewal moves one number. The order by time is mended lazily: an entry comes up at the time it was last put in for,
//! and goes back in if it was renewed since.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portolan_catalog::{Lease, LeaseId, State, Terms};
use tokio::sync::Notify;
use tokio::time::Instant;

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

#[derive(Debug)]
struct Running {
    lease: Arc<Lease>,
    /// The last renewal, or the grant.
    since: Instant,
    /// The stage counts from here: later than `since` after a pause of the clock or a decision not to let it lapse.
    counted_from: Instant,
    deciding: bool,
}

impl Running {
    fn deadline(&self) -> Option<Instant> {
        let stage = self.lease.terms.stages.get(usize::from(self.lease.stage))?;
        Some(self.counted_from + Duration::from_millis(stage.after_ms))
    }
}

#[derive(Debug, Default)]
struct Inner {
    running: BTreeMap<LeaseId, Running>,
    order: BinaryHeap<Reverse<(Instant, LeaseId)>>,
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

    /// Starts over with every lease of a state at its full time: a new leader, a restart.
    pub fn reset(&self, state: &State, now: Instant) {
        let mut inner = self.inner();
        *inner = Inner::default();
        for lease in state.leases() {
            inner.arm(lease, now);
        }
        drop(inner);
        self.decided.notify_waiters();
    }

    /// Brings one lease up to date with a state that was just applied: granted, at another stage, or gone.
    pub fn update(&self, state: &State, id: &LeaseId, now: Instant) {
        match state.lease(id) {
            Some(lease) => self.inner().arm(lease, now),
            None => drop(self.inner().running.remove(id)),
        }
        self.decided.notify_waiters();
    }

    /// Gives a lease its full time again.
    pub fn renew(&self, id: &LeaseId, now: Instant) -> Renewal {
        let mut inner = self.inner();
        let Some(running) = inner.running.get_mut(id) else {
            return Renewal::Unknown;
        };
        if running.deciding {
            return Renewal::Deciding;
        }
        if running.lease.stage > 0 {
            return Renewal::Lapsed;
        }
        (running.since, running.counted_from) = (now, now);
        Renewal::Renewed(Duration::from_millis(running.lease.terms.ttl_ms()))
    }

    /// Resolves when some lapse was decided: for those whom [`Renewal::Deciding`] told to wait.
    pub fn decided(&self) -> tokio::sync::futures::Notified<'_> {
        self.decided.notified()
    }

    /// Time left until the next stage, and when it was last renewed.
    pub fn remaining(&self, id: &LeaseId, now: Instant) -> Option<(Duration, Instant)> {
        let inner = self.inner();
        let running = inner.running.get(id)?;
        let left = running
            .deadline()
            .map_or(Duration::MAX, |at| at.saturating_duration_since(now));
        Some((left, running.since))
    }

    /// Shows every running lease: its id, its stage, its last renewal or grant, its terms.
    pub fn each(&self, mut see: impl FnMut(&LeaseId, u8, Instant, &Terms)) {
        for (id, running) in &self.inner().running {
            see(id, running.lease.stage, running.since, &running.lease.terms);
        }
    }

    /// How many leases run.
    pub fn len(&self) -> usize {
        self.inner().running.len()
    }

    /// Whether none runs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When the next stage may be reached; an entry renewed since comes up early and goes back.
    pub fn next(&self) -> Option<Instant> {
        self.inner().order.peek().map(|Reverse((at, _))| *at)
    }

    /// Leases whose stage is reached, at most `most`. Each is being decided from now on: [`Deadlines::update`] or
    /// [`Deadlines::spare`] ends that.
    pub fn due(&self, now: Instant, most: usize) -> Vec<Due> {
        let mut inner = self.inner();
        let mut due = Vec::new();
        while due.len() < most
            && let Some(Reverse((at, _))) = inner.order.peek()
            && *at <= now
        {
            let Some(Reverse((_, id))) = inner.order.pop() else {
                break;
            };
            let Some(running) = inner.running.get_mut(&id) else {
                continue;
            };
            match running.deadline() {
                _ if running.deciding => {}
                None => {}
                Some(deadline) if deadline > now => inner.order.push(Reverse((deadline, id))),
                Some(_) => {
                    running.deciding = true;
                    due.push(Due {
                        lease: id,
                        stage: running.lease.stage,
                        generation: running.lease.generation,
                        since: running.since,
                        terms: running.lease.terms.clone(),
                    });
                }
            }
        }
        due
    }

    /// Does not let a lease lapse now: it comes up again after `wait` unless it is renewed.
    pub fn spare(&self, id: &LeaseId, now: Instant, wait: Duration) {
        let mut inner = self.inner();
        if let Some(running) = inner.running.get_mut(id) {
            running.deciding = false;
            let lease = &running.lease;
            let stage = lease
                .terms
                .stages
                .get(usize::from(lease.stage))
                .map_or(0, |s| s.after_ms);
            running.counted_from = (now + wait)
                .checked_sub(Duration::from_millis(stage))
                .unwrap_or(now);
            inner.order.push(Reverse((now + wait, id.clone())));
        }
        drop(inner);
        self.decided.notify_waiters();
    }
}

impl Inner {
    fn arm(&mut self, lease: &Arc<Lease>, now: Instant) {
        let since = match self.running.get(&lease.id) {
            // A later stage counts from the same silence.
            Some(running) if lease.stage > 0 && running.lease.generation == lease.generation => {
                running.since
            }
            _ => now,
        };
        let running = Running {
            lease: lease.clone(),
            since,
            counted_from: since,
            deciding: false,
        };
        if let Some(deadline) = running.deadline() {
            self.order.push(Reverse((deadline, lease.id.clone())));
        }
        self.running.insert(lease.id.clone(), running);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(id: i64, terms: Terms) -> Arc<Lease> {
        Arc::new(Lease {
            id: LeaseId::Etcd(id),
            terms,
            generation: 1,
            stage: 0,
            granted_at: Default::default(),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewed_lease_comes_up_later() {
        let deadlines = Deadlines::default();
        let start = Instant::now();
        let second = Duration::from_secs(1);
        deadlines.inner().arm(&lease(1, Terms::strict(2000)), start);
        deadlines.inner().arm(&lease(2, Terms::strict(2000)), start);
        assert_eq!(
            deadlines.renew(&LeaseId::Etcd(1), start + second),
            Renewal::Renewed(2 * second)
        );
        let due = deadlines.due(start + 2 * second, 10);
        assert_eq!(
            due.iter().map(|d| d.lease.clone()).collect::<Vec<_>>(),
            [LeaseId::Etcd(2)]
        );
        assert_eq!(
            deadlines.renew(&LeaseId::Etcd(2), start + 2 * second),
            Renewal::Deciding
        );
        assert_eq!(deadlines.renew(&LeaseId::Etcd(3), start), Renewal::Unknown);
        assert_eq!(deadlines.due(start + 3 * second, 10).len(), 1);
        deadlines.spare(&LeaseId::Etcd(2), start + 3 * second, second);
        assert!(deadlines.due(start + 3 * second, 10).is_empty());
        assert_eq!(deadlines.due(start + 4 * second, 10).len(), 1);
    }
}
