//! Who of the cluster is there: every server asks every other one now and then, and remembers what it said.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use portolan_cluster::members::{About, Request, Response, ask};
use tokio::time::{Instant, MissedTickBehavior};

use super::members::Members;

/// How often the others are asked.
const ROUND: Duration = Duration::from_secs(1);
/// How long they may take.
const LIMIT: Duration = Duration::from_secs(1);

/// What another server said last.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) about: About,
    pub(crate) at: Instant,
    /// How long the question and its answer took.
    pub(crate) round_trip: Duration,
}

/// A member that is asked.
#[derive(Clone, Debug)]
struct Asked {
    /// Since when it is asked.
    since: Instant,
    seen: Option<Seen>,
}

/// What every other server said last.
#[derive(Debug, Default)]
pub(crate) struct Presence(Mutex<BTreeMap<u64, Asked>>);

impl Presence {
    fn asked(&self) -> MutexGuard<'_, BTreeMap<u64, Asked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn of(&self, node: u64) -> Option<Seen> {
        self.asked().get(&node)?.seen.clone()
    }

    /// For how long a member has said nothing although it was asked; none of one that was not asked yet. A server that has just started
    /// knows nothing of anybody, which says nothing about them.
    pub(crate) fn silent(&self, node: u64) -> Option<Duration> {
        let asked = self.asked();
        let asked = asked.get(&node)?;
        let last = asked.seen.as_ref().map_or(asked.since, |seen| seen.at);
        Some(last.elapsed())
    }

    /// These are the members to ask now; others are forgotten.
    fn ask(&self, members: &[u64]) {
        let mut asked = self.asked();
        asked.retain(|node, _| members.contains(node));
        for node in members {
            asked.entry(*node).or_insert_with(|| Asked {
                since: Instant::now(),
                seen: None,
            });
        }
    }

    fn note(&self, node: u64, seen: Seen) {
        if let Some(asked) = self.asked().get_mut(&node) {
            asked.seen = Some(seen);
        }
    }
}

/// Asks for ever.
pub(crate) async fn watch(members: Arc<Members>) {
    let mut round = tokio::time::interval(ROUND);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        round.tick().await;
        let own = members.about().await;
        let others: Vec<_> = members
            .raft
            .membership()
            .into_iter()
            .filter(|member| member.node != own.server.node && !member.address.is_empty())
            .collect();
        let nodes: Vec<u64> = others.iter().map(|member| member.node).collect();
        members.presence.ask(&nodes);
        let request = Request::Meet(own);
        let asking = others.iter().map(|member| async {
            let begun = Instant::now();
            let transport = members.transport.as_ref();
            let answer = ask(transport, member.node, &member.address, &request, LIMIT).await;
            (member.node, begun.elapsed(), answer)
        });
        for (node, round_trip, answer) in join_all(asking).await {
            if let Ok(Response::Met { about, .. }) = answer {
                let at = Instant::now();
                let seen = Seen {
                    about: *about,
                    at,
                    round_trip,
                };
                members.presence.note(node, seen);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_member_is_silent_only_since_it_was_asked() {
        let presence = Presence::default();
        assert_eq!(presence.silent(1), None, "nobody asked it");
        presence.ask(&[1, 2]);
        assert_eq!(presence.silent(1), Some(Duration::ZERO));
        tokio::time::advance(Duration::from_secs(4)).await;
        presence.ask(&[1, 2]);
        assert_eq!(presence.silent(1), Some(Duration::from_secs(4)));
        let seen = Seen {
            about: About::default(),
            at: Instant::now(),
            round_trip: Duration::ZERO,
        };
        presence.note(2, seen.clone());
        assert_eq!(presence.silent(2), Some(Duration::ZERO));
        presence.ask(&[2]);
        assert_eq!(presence.silent(1), None, "it is no member any more");
        presence.note(1, seen);
        assert!(
            presence.of(1).is_none(),
            "it was no member when it answered"
        );
    }
}
