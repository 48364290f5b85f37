//! What the leader proposes by itself: compaction by retention, services that stay empty, instances whose check stays critical, znodes
//! that go by themselves, layouts that are half awake.
//!
//! Durations are measured from when this leader first saw a condition, by the clock it is given: a restart begins anew, and a wall
//! clock that jumps moves nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use portolan_catalog::guard::{Removals, held, mode};
use portolan_catalog::{Cause, CheckKey, Command, ServiceKey, State, Target, Timestamp, Why};
use portolan_history::{History, Retention};
use tokio::time::Instant;

use crate::lease::GuardOptions;
use crate::lease::guard::{Guard, Suspect, tell};
use crate::stats::Stats;

mod ages;
mod znodes;
use ages::Ages;
use znodes::Passing;

/// How often the housekeeping are looked at.
pub(crate) const ROUND: Duration = Duration::from_secs(1);
/// A service without instances is forgotten after this.
pub const EMPTY_FOR: Duration = Duration::from_secs(60);
/// Commands of one round at most.
const MOST: usize = 500;

/// Remembers since when.
#[derive(Debug)]
pub(crate) struct Housekeeping {
    retention: Retention,
    ages: Ages,
    history: Arc<History>,
    empty: BTreeMap<ServiceKey, (Option<Timestamp>, Instant)>,
    critical: BTreeMap<CheckKey, (Timestamp, Instant)>,
    passing: Passing,
    guard: Guard,
    stats: Arc<Stats>,
}

impl Housekeeping {
    pub(crate) fn new(
        retention: Retention,
        history: Arc<History>,
        guard: GuardOptions,
        stats: Arc<Stats>,
    ) -> Self {
        Housekeeping {
            retention,
            ages: Ages::default(),
            history,
            empty: BTreeMap::new(),
            critical: BTreeMap::new(),
            passing: Passing::default(),
            guard: Guard::new(guard),
            stats,
        }
    }

    /// What is to be proposed now, by the monotonic clock.
    pub(crate) fn round(&mut self, state: &State, now: Instant) -> Vec<(Cause, Command)> {
        let mut commands = Vec::new();
        commands.extend(self.compact(state, now));
        self.forget(state, now, &mut commands);
        self.reap(state, now, &mut commands);
        commands.extend(self.passing.due(state, now));
        // Whoever began to wake a layout may be gone, or was a record and no reader.
        commands.extend(state.waking().map(|layout| {
            let layout = layout.clone();
            (Cause::own(Why::Layout), Command::Wake { layout })
        }));
        commands
    }

    fn compact(&mut self, state: &State, now: Instant) -> Option<(Cause, Command)> {
        let age = Duration::from_millis(self.retention.age_ms);
        let by_age = self.ages.at(age, now, state.revision());
        let view = self.history.view();
        let disk_bytes = self.history.disk_bound(self.retention.disk_bytes);
        // No revision is old at the beginning of time: what is left are the other bounds.
        let by_size = view.bound(&self.retention, disk_bytes, Timestamp(0));
        let revision = by_age.map_or(by_size, |by_age| by_age.max(by_size));
        (revision > view.first() && revision > state.floor(None)).then(|| {
            let command = Command::Compact {
                space: None,
                revision,
            };
            (Cause::own(Why::Housekeeping), command)
        })
    }

    fn forget(&mut self, state: &State, now: Instant, commands: &mut Vec<(Cause, Command)>) {
        let mut empty = BTreeMap::new();
        for (key, marks) in state.empty_services() {
            let declared = state
                .service(key)
                .is_none_or(|service| !service.declared_by.is_empty());
            if declared {
                continue;
            }
            let seen = match self.empty.get(key) {
                Some((since, seen)) if *since == marks.empty_since => *seen,
                _ => now,
            };
            if now.saturating_duration_since(seen) >= EMPTY_FOR && commands.len() < MOST {
                let command = Command::Forget {
                    service: key.clone(),
                    protocol: None,
                };
                commands.push((Cause::own(Why::Housekeeping), command));
            }
            empty.insert(key.clone(), (marks.empty_since, seen));
        }
        self.empty = empty;
    }

    fn reap(&mut self, state: &State, now: Instant, commands: &mut Vec<(Cause, Command)>) {
        let mut critical = BTreeMap::new();
        let mut due = Vec::new();
        let mut suspects = Vec::new();
        for check in state.reapable() {
            let Some((after_ms, instance)) = check.reap_after_ms.zip(check.instance.as_ref())
            else {
                continue;
            };
            let seen = match self.critical.get(&check.key) {
                Some((since, seen)) if *since == check.since => *seen,
                _ => now,
            };
            critical.insert(check.key.clone(), (check.since, seen));
            let silence = now.saturating_duration_since(seen);
            let after = Duration::from_millis(after_ms);
            if silence < after / 2 {
                continue;
            }
            let Some(suspect) = Suspect::of(state, instance) else {
                continue;
            };
            if silence >= after {
                due.push((check.key.clone(), after, suspect.clone()));
            }
            suspects.push(suspect);
        }
        self.critical = critical;
        suspects.sort_unstable();
        suspects.dedup();
        self.guard
            .judge(&suspects, state.instance_count(), mode(state), now);
        let mut kept = 0;
        for (check, after, suspect) in due {
            if self.guard.holds_back(std::slice::from_ref(&suspect)) {
                kept += 1;
            } else if commands.len() < MOST {
                let command = Command::Deregister {
                    target: Target::Instance(suspect.instance.clone()),
                    expect: None,
                };
                commands.push((Cause::own(Why::Reaped { check }), command));
                self.guard.let_go(vec![suspect], after, now);
            }
        }
        commands.extend(self.tell(state, kept));
    }

    /// What the guard holds back, where the catalog says otherwise; `kept` removals were due and did not happen.
    fn tell(&self, state: &State, kept: usize) -> Option<(Cause, Command)> {
        let report = self.guard.report().filter(|_| kept > 0);
        self.stats.guarded_checks.set(kept as u64);
        let told = held(state, Removals::Critical).map(|held| held.report);
        if report == told {
            return None;
        }
        // Said when it begins and when it is over, not each time its number changes.
        match (&told, &report) {
            (None, Some(report)) => tracing::warn!(
                critical = report.count,
                "very many checks are critical at once, removals of their instances are held back"
            ),
            (Some(_), None) => {
                tracing::info!("removals by critical checks are no longer held back");
            }
            _ => {}
        }
        let command = tell(Removals::Critical, report.as_ref());
        Some((Cause::own(Why::Guard), command))
    }
}

#[cfg(test)]
mod tests;
