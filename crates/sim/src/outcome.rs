//! What came of a run, and how people read it.

use std::fmt;

use crate::checker::Violation;
use crate::history::{History, KeyDone, LeaseEvent, Watched};
use crate::plan::Plan;

/// What happened, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Of all events in their order: messages with their bytes, answers to clients, faults, starts and ends.
    pub hash: u64,
    /// How many events there were.
    pub events: u64,
    /// Messages between servers.
    pub messages: u64,
    /// How long the run was, in virtual milliseconds.
    pub virtual_ms: u64,
    /// How long it took after the end of the faults until every server served.
    pub healed_ms: Option<u64>,
    /// How often a server was elected.
    pub elected: u64,
    /// The revision at the end.
    pub revision: u64,
    /// Operations on keys that were acknowledged.
    pub acknowledged: usize,
    /// Operations on keys that were refused.
    pub refused: usize,
    /// Operations on keys whose outcome was never told.
    pub unknown: usize,
    /// Renewals of leases that were acknowledged.
    pub renewals: usize,
    /// Batches that watchers got.
    pub watched: usize,
    /// Times that a server's lists in all protocols were compared, before the end.
    pub listings: usize,
    /// Keys whose histories were searched for an order.
    pub keys: usize,
    /// Of these, keys for which the search took too long.
    pub undecided_keys: usize,
}

impl Outcome {
    pub(crate) fn of(history: &History) -> Outcome {
        let count = |wanted: fn(&KeyDone) -> bool| {
            let operations = history.keys.iter();
            operations.filter(|one| wanted(&one.done)).count()
        };
        let refused = count(|done| *done == KeyDone::Refused);
        let unknown = count(|done| *done == KeyDone::Unknown);
        let renewals = history.leases.iter().flat_map(|story| &story.events);
        let watched = history.watches.iter().flat_map(|story| &story.events);
        Outcome {
            acknowledged: history.keys.len() - refused - unknown,
            refused,
            unknown,
            renewals: renewals
                .filter(|event| matches!(event, LeaseEvent::Renewed { .. }))
                .count(),
            watched: watched
                .map(|event| match event {
                    Watched::News { batches, .. } => batches.len(),
                    _ => 0,
                })
                .sum(),
            listings: history.listings.len(),
            ..Outcome::default()
        }
    }
}

/// A run: what was planned, what happened, and what must not have.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was planned.
    pub plan: Plan,
    /// Faults and elections as they happened: virtual milliseconds, and words.
    pub happened: Vec<(u64, String)>,
    /// In numbers.
    pub outcome: Outcome,
    /// What must not have happened; empty in a sound run.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Whether everything held.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.violations.is_empty()
    }

    /// The faults as they happened, a line each.
    #[must_use]
    pub fn timeline(&self) -> String {
        self.happened
            .iter()
            .map(|(at, what)| format!("{:>3}.{:03} s  {what}\n", at / 1000, at % 1000))
            .collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (plan, outcome) = (&self.plan, &self.outcome);
        write!(
            f,
            "seed {}: {} servers, {} s, {} elections, {} messages; {} operations acknowledged, {} refused, {} unknown; {} renewals, \
             {} batches watched; ",
            plan.seed,
            plan.servers,
            outcome.virtual_ms / 1000,
            outcome.elected,
            outcome.messages,
            outcome.acknowledged,
            outcome.refused,
            outcome.unknown,
            outcome.renewals,
            outcome.watched,
        )?;
        match outcome.healed_ms {
            Some(ms) => write!(f, "healed in {ms} ms; ")?,
            None => f.write_str("not healed; ")?,
        }
        match self.violations.len() {
            0 => f.write_str("all checkers pass; ")?,
            count => write!(f, "{count} VIOLATIONS; ")?,
        }
        write!(f, "trace {:016x}", outcome.hash)?;
        for violation in &self.violations {
            write!(f, "\n  {violation}")?;
        }
        Ok(())
    }
}
