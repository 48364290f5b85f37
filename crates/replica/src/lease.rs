//! The lease clock: which silence is long enough, on the node that leads.
//!
//! Deadlines are the registry's ([`Deadlines`]): in memory, moved by renewals without touching the log. Here is what becomes of the ones
//! that are reached.
//!
//! Invariants
//! - A start gives every lease its full time again, and in a cluster as much more as the leader before may have gone on renewing.
//! - Silence that this process could not have heard through is nobody's fault: after a pause longer than a heartbeat nothing is decided
//!   for as long as it lasted, after a pause of a second or more every lease begins anew.
//! - A lapse that was handed in is decided before anything is renewed again, or never: whoever leads anew waits for what it had handed in,
//!   nobody hands in what another leader is to decide, and a lapse whose outcome is not known is handed in again until it is.
//! - At most [`ROUND`] leases lapse in one round.
//! - Removals that the [`guard`] holds back come up again; strict leases are never held back.

pub(crate) mod guard;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use portolan_catalog::guard::{Mode, Removals, Report, held, mode};
use portolan_catalog::{
    Attached, Cause, Command, InstanceKey, LeaseId, Settled, State, Then, Timestamp, Why,
};
use portolan_environment::mutated;
use portolan_registry::{Deadlines, Due, Publisher, Registry, Unavailable};
use tokio::time::{Instant, sleep_until};

pub use guard::GuardOptions;
use guard::{Guard, Suspect};

use crate::stats::Stats;

/// How often the clock looks.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// A pause beyond the tick that is longer than this suspends decisions.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(100);
/// A pause that gives everyone their full time again.
const STOPPED: Duration = Duration::from_secs(1);
/// Lapses proposed in one round.
pub(crate) const ROUND: usize = 500;
/// Rounds of due leases looked at in one tick.
const ROUNDS_PER_TICK: usize = 20;
/// How long a lease that could not be lapsed, or must not be, is left alone.
const AGAIN: Duration = Duration::from_secs(1);

/// Decides what lapses. Driven by [`Clock::tick`].
pub(crate) struct Clock {
    registry: Registry,
    publisher: Publisher,
    stats: Arc<Stats>,
    guard: Guard,
    last: Instant,
    /// No decisions before this.
    hold_until: Instant,
    /// What the catalog was last told.
    told: Option<Report>,
    judged_at: Instant,
    /// How long a lease that is held back is left alone.
    again: Duration,
}

/// What one round found to do.
#[derive(Debug, Default)]
pub(crate) struct Round {
    lapses: Vec<Due>,
    /// What the catalog was told and what it is to be told.
    report: Option<(Option<Report>, Option<Report>)>,
}

impl Clock {
    pub(crate) fn new(
        registry: Registry,
        publisher: Publisher,
        stats: Arc<Stats>,
        options: GuardOptions,
        now: Instant,
    ) -> Self {
        let told = registry.read(|state| held(state, Removals::Silent).map(|held| held.report));
        Clock {
            registry,
            publisher,
            stats,
            guard: Guard::new(options),
            last: now,
            hold_until: now,
            told,
            judged_at: now,
            again: AGAIN,
        }
    }

    fn deadlines(&self) -> &Deadlines {
        self.publisher.deadlines()
    }

    /// Begins leading: every lease has its full time and the `grace`.
    pub(crate) fn begin(&mut self, now: Instant, grace: Duration) {
        self.deadlines().reset(&self.publisher.state(), now + grace);
        (self.last, self.hold_until) = (now, now);
    }

    /// One round: decides, then proposes and waits for the answers.
    pub(crate) async fn tick(&mut self, now: Instant) {
        let round = self.decide(now);
        let carrying = carry_out(self.registry.clone(), self.publisher.clone(), round);
        let mut carrying = std::pin::pin!(carrying);
        // Waiting for the answers is no pause, renewals are heard meanwhile; but the process can stand still while it waits.
        let told = loop {
            tokio::select! {
                biased;
                () = sleep_until(self.last + TICK) => self.observe(Instant::now()),
                told = &mut carrying => break told,
            }
        };
        if let Some(told) = told {
            self.told = told;
        }
    }

    /// Looks whether the process stood still since the last look.
    fn observe(&mut self, now: Instant) {
        let pause = now
            .saturating_duration_since(self.last)
            .saturating_sub(TICK);
        self.last = now;
        if pause > HEARTBEAT {
            self.stats.pauses.add(1);
            if pause >= STOPPED {
                tracing::warn!(
                    pause_ms = pause.as_millis() as u64,
                    "the process stood still, every lease has its full time again"
                );
                self.deadlines().prolong(&self.publisher.state(), now);
            }
            self.hold_until = now + pause;
        }
    }

    /// What is to be done now.
    pub(crate) fn decide(&mut self, now: Instant) -> Round {
        self.observe(now);
        self.stats.leases.set(self.deadlines().len() as u64);
        if now < self.hold_until {
            return Round::default();
        }
        let mut round = Round::default();
        let state = self.publisher.state();
        // Leases that are held back come up again and again; they must not stand in the way of those that may lapse.
        for _ in 0..ROUNDS_PER_TICK {
            let due = self.deadlines().due(now, ROUND);
            let last = due.len() < ROUND;
            let (guarded, strict): (Vec<_>, Vec<_>) = due.into_iter().partition(is_guarded);
            round.lapses.extend(strict);
            if !guarded.is_empty() || self.guard.holds() || self.told.is_some() {
                self.judge(&state, now);
            }
            for due in guarded {
                let suspects = suspects_of(&state, &due.lease);
                if self.guard.holds_back(&suspects) {
                    self.deadlines().spare(&due.lease, now, self.again);
                } else {
                    self.guard.let_go(suspects, window(&due), now);
                    round.lapses.push(due);
                }
            }
            if last || round.lapses.len() >= ROUND {
                break;
            }
        }
        self.stats.lapses.add(round.lapses.len() as u64);
        let report = self.guard.report();
        self.stats.guard.set(u64::from(report.is_some()));
        if report != self.told {
            round.report = Some((self.told.clone(), report));
        }
        round
    }

    /// Has the guard look at everyone who is silent; while it holds, once a second.
    fn judge(&mut self, state: &State, now: Instant) {
        if now == self.judged_at || self.guard.holds() && now < self.judged_at + AGAIN {
            return;
        }
        self.judged_at = now;
        let suspects = self.suspects(state);
        self.guard
            .judge(&suspects, state.instance_count(), mode(state), now);
        let held = if self.guard.holds() {
            suspects.len()
        } else {
            0
        };
        self.stats.guarded_leases.set(held as u64);
        self.again = if held > 5000 { 5 * AGAIN } else { AGAIN };
    }

    /// Instances that are silent for longer than their renewals should ever take.
    fn suspects(&self, state: &State) -> Vec<Suspect> {
        self.deadlines()
            .silent()
            .iter()
            .flat_map(|id| suspects_of(state, id))
            .collect()
    }
}

/// Proposes what was decided and waits for the answers; gives back what the catalog was told about the guard, if it was told anew.
async fn carry_out(
    registry: Registry,
    publisher: Publisher,
    round: Round,
) -> Option<Option<Report>> {
    let mut told = None;
    if let Some((before, report)) = round.report
        && tell(&registry, report.as_ref()).await
    {
        match (&before, &report) {
            (None, Some(report)) => tracing::warn!(
                silent = report.count,
                "very many leases fell silent at once, removals are held back"
            ),
            (Some(before), None) => {
                let silent = before.count;
                match mode(&publisher.state()) {
                    Mode::Off => tracing::warn!(
                        silent,
                        "the guard was switched off, what it held back is removed now"
                    ),
                    Mode::Auto | Mode::On => tracing::info!(
                        silent,
                        "renewals returned, removals are no longer held back"
                    ),
                }
            }
            _ => {}
        }
        told = Some(report);
    }
    let now = Instant::now();
    let wall = registry.now();
    let proposals = round.lapses.iter().map(|due| {
        let ago = u64::try_from(now.saturating_duration_since(due.since).as_millis());
        let since = Timestamp(wall.0.saturating_sub(ago.unwrap_or(0)));
        let command = Command::Lapse {
            lease: due.lease.clone(),
            stage: due.stage,
            generation: due.generation,
        };
        registry.propose(Cause::own(Why::Silence { since }), command)
    });
    let answers = join_all(proposals).await;
    for (due, answer) in round.lapses.iter().zip(answers) {
        settle(&publisher, due, &answer);
    }
    told
}

fn settle(publisher: &Publisher, due: &Due, answer: &Result<Settled, Unavailable>) {
    let deadlines = publisher.deadlines();
    match answer {
        // The apply loop has brought the deadline up to date.
        Ok(settled) if settled.outcome.is_ok() => {}
        // Granted again or gone in the meantime: the state knows.
        Ok(_) => deadlines.update(&publisher.state(), &due.lease, Instant::now()),
        // It may be in the log and decided yet: a renewal before that would be answered and then not count.
        Err(Unavailable::Unknown) if !mutated("lapse-late") => {
            deadlines.ask_again(&due.lease, Instant::now(), AGAIN);
        }
        Err(_) => deadlines.spare(&due.lease, Instant::now(), AGAIN),
    }
}

/// Writes or removes the guard's setting; whether that was decided.
async fn tell(registry: &Registry, report: Option<&Report>) -> bool {
    registry
        .propose(
            Cause::own(Why::Guard),
            guard::tell(Removals::Silent, report),
        )
        .await
        .is_ok_and(|settled| settled.outcome.is_ok())
}

/// Whether the guard has a say: over removals, and over everything on an agent's node, which nobody can use once it is critical.
fn is_guarded(due: &Due) -> bool {
    let removes = due
        .terms
        .stages
        .get(usize::from(due.stage))
        .is_some_and(|stage| stage.then == Then::Remove);
    due.terms.guarded && (removes || matches!(due.lease, LeaseId::Agent(_)))
}

/// How long those that are let go count: the time that a stage takes.
fn window(due: &Due) -> Duration {
    let stage = due.terms.stages.get(usize::from(due.stage));
    Duration::from_millis(stage.map_or(0, |stage| stage.after_ms))
}

fn suspects_of(state: &State, lease: &LeaseId) -> Vec<Suspect> {
    if let LeaseId::Agent(node) = lease {
        return Suspect::on_agent(state, node);
    }
    instances_of(state, lease)
        .filter_map(|key| Suspect::of(state, &key))
        .collect()
}

fn instances_of<'a>(
    state: &'a State,
    lease: &'a LeaseId,
) -> impl Iterator<Item = InstanceKey> + 'a {
    state.attached(lease).filter_map(|attached| match attached {
        Attached::Instance(key) => Some(key),
        Attached::Record(..) | Attached::Lock(..) => None,
    })
}

#[cfg(test)]
mod tests;
