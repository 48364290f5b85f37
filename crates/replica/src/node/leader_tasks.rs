//! What the leader does by itself: the lease clock and housekeeping; and the watch over who leads.

use std::sync::Arc;
use std::time::Duration;

use portolan_catalog::{Bootstrap, Cause, Command, Why, Write};
use portolan_environment::mutated;
use portolan_registry::Unavailable;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior};

use super::Node;
use crate::condition::{Change, Condition};
use crate::consensus::is_new;
use crate::housekeeping::{self, Housekeeping};
use crate::lease::{Clock, TICK};

/// A cluster that chooses a leader anew is without one for less than this.
const ELECTION: Duration = Duration::from_secs(2);
/// A leader makes itself heard ten times in this time, the longest election timeout: a leader that no majority answered for so long decides
/// nothing any more, as the others may have another by then.
const SILENCE: Duration = Duration::from_secs(1);
/// Refusals further apart than this are several overloads.
const CALM: Duration = Duration::from_secs(10);

impl Node {
    /// The leader's clock has a thread of its own, so that a stalled disk is not taken for a stopped process. On a disk that is not real
    /// it shares the runtime.
    pub(super) fn spawn_clock(
        self: Arc<Self>,
        stopped: oneshot::Receiver<()>,
    ) -> std::io::Result<()> {
        let (threaded, supervisor) = (self.threaded, self.supervisor.clone());
        let work = async move {
            tokio::select! {
                biased;
                _ = stopped => {}
                () = self.clone().run_lease_clock() => {}
                () = self.clone().run_housekeeping() => {}
            }
        };
        let work = supervisor.watch("the lease clock", work);
        if threaded {
            portolan_environment::dedicate("portolan-clock", work).map(drop)
        } else {
            tokio::spawn(work);
            Ok(())
        }
    }

    async fn run_lease_clock(self: Arc<Self>) {
        let now = Instant::now();
        let mut clock = Clock::new(
            self.registry.clone(),
            self.publisher.clone(),
            self.stats.clone(),
            self.guard,
            now,
        );
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut led = false;
        loop {
            tick.tick().await;
            let leads = self.registry.leads();
            if leads && !led && !mutated("skip-lease-extension") {
                clock.begin(Instant::now(), self.grace());
            }
            led = leads;
            if leads {
                clock.tick(Instant::now()).await;
            }
        }
    }

    async fn run_housekeeping(self: Arc<Self>) {
        let fresh = || {
            Housekeeping::new(
                self.retention,
                self.publisher.history().clone(),
                self.guard,
                self.stats.clone(),
            )
        };
        let mut housekeeping = fresh();
        let mut round = tokio::time::interval(housekeeping::ROUND);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            round.tick().await;
            if !self.registry.leads() {
                // What it saw before is the next leader's business.
                housekeeping = fresh();
                continue;
            }
            let state = self.registry.snapshot();
            let commands = housekeeping.round(&state, Instant::now());
            let proposed = commands
                .into_iter()
                .map(|(cause, command)| self.registry.propose(cause, command));
            for answer in futures_util::future::join_all(proposed).await {
                if let Err(error) = answer {
                    tracing::debug!(%error, "housekeeping has to wait");
                }
            }
        }
    }

    /// Follows who leads. A new leader first makes sure that its state is the latest, then gives every lease its full time, then decides.
    pub(super) async fn watch_leadership(
        self: Arc<Self>,
        bootstrap: Bootstrap,
        mut term: Option<u64>,
    ) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lost = Condition::default();
        let mut absent_since: Option<Instant> = None;
        loop {
            tick.tick().await;
            let now = Instant::now();
            let status = self.raft.status();
            // Nobody has to be asked where this server is the one voter. A leader that is cut off does not know it otherwise.
            let age = match (self.registry.voters(), status.leader) {
                (1, Some(leader)) if leader == self.node_id => Some(Duration::ZERO),
                (_, Some(_)) if mutated("keep-deciding-alone") => Some(Duration::ZERO),
                _ => self.raft.leader_age(self.node_id).await,
            };
            let heard = age.is_some_and(|age| age <= SILENCE);
            self.publisher.set_contact(age);
            let absent = if heard {
                absent_since = None;
                false
            } else {
                *absent_since.get_or_insert(now) + ELECTION <= now
            };
            self.stats.leader_lost.set(u64::from(absent));
            match lost.note(absent, now, Duration::ZERO) {
                Some(Change::Begun) => tracing::warn!(
                    term = status.term,
                    "no leader: nothing can be written until a majority of the servers can reach each other"
                ),
                Some(Change::Over(_)) => {
                    tracing::info!(
                        term = status.term,
                        leader = status.leader,
                        "there is a leader again"
                    );
                }
                None => {}
            }
            let leads = status.leader == Some(self.node_id) && heard;
            let alone = self.registry.voters() == 1 || mutated("keep-deciding-alone");
            // No later than the longest election timeout after a majority last answered.
            let sure = now + age.map_or(Duration::ZERO, |age| SILENCE.saturating_sub(age));
            self.publisher.set_leads_until((!alone).then_some(sure));
            if !leads {
                self.publisher.set_leads(false);
                term = None;
            } else if term != Some(status.term) && self.take_over(&bootstrap, status.term).await {
                term = Some(status.term);
            }
        }
    }

    /// Begins to lead; whether that is done.
    async fn take_over(&self, bootstrap: &Bootstrap, term: u64) -> bool {
        if self.registry.linearized().await.is_err() {
            return false;
        }
        if self.registry.read(is_new) {
            let command = Command::Bootstrap(Box::new(bootstrap.clone()));
            let settled = self.registry.propose(Cause::own(Why::Start), command).await;
            if let Err(error) = settled {
                tracing::warn!(%error, "the first entry of the catalog has to wait");
                return false;
            }
        }
        if self.registry.voters() != 1 && !mutated("lapse-late") && !self.cleared(term).await {
            return false;
        }
        if !mutated("skip-lease-extension") {
            self.publisher
                .deadlines()
                .reset(&self.publisher.state(), Instant::now() + self.grace());
        }
        self.publisher.set_leads(true);
        true
    }

    /// Whether everything that this server had handed in before is decided, or never will be, and it still leads in this term: a lapse
    /// from when it led before must not follow on renewals that are taken from now on. An entry that does nothing is behind all of it.
    async fn cleared(&self, term: u64) -> bool {
        let nothing = Command::Write(Write::default());
        let settled = self.registry.propose(Cause::own(Why::Start), nothing).await;
        // A full disk takes nothing, and says so when what came before is settled.
        let settled = matches!(settled, Ok(_) | Err(Unavailable::Full));
        let status = self.raft.status();
        settled && status.term == term && status.leader == Some(self.node_id)
    }

    /// What a new leader adds to every lease's full time: the one before may have renewed it for so long after the others gave it up.
    fn grace(&self) -> Duration {
        match self.registry.voters() {
            1 => Duration::ZERO,
            _ => SILENCE,
        }
    }

    /// Says when the disk is full and when writes are refused because too many wait, and when that is over.
    pub(super) async fn watch_conditions(self: Arc<Self>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut full, mut overload) = (Condition::default(), Condition::default());
        let mut refused = 0;
        loop {
            tick.tick().await;
            let now = Instant::now();
            self.stats.disk_full.set(u64::from(self.log.space().full()));
            match full.note(self.log.space().full(), now, Duration::ZERO) {
                Some(Change::Begun) => tracing::error!(
                    "the disk of the data directory is full: writes are refused until there is space again, reads and renewals go on"
                ),
                Some(Change::Over(held)) => tracing::info!(
                    seconds = held.as_secs(),
                    "the disk of the data directory has space again, writes are taken"
                ),
                None => {}
            }
            let before = std::mem::replace(&mut refused, self.registry.refused_busy());
            match overload.note(refused > before, now, CALM) {
                Some(Change::Begun) => tracing::warn!(
                    waiting = self.registry.waiting(),
                    "overload: more writes wait than are allowed, further ones are refused"
                ),
                Some(Change::Over(held)) => tracing::info!(
                    seconds = held.as_secs(),
                    "the overload is over, no write was refused for a while"
                ),
                None => {}
            }
        }
    }
}
