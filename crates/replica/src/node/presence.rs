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

/// What every other server said last.
#[derive(Debug, Default)]
pub(crate) struct Presence(Mutex<BTreeMap<u64, Seen>>);

impl Presence {
    fn seen(&self) -> MutexGuard<'_, BTreeMap<u64, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn of(&self, node: u64) -> Option<Seen> {
        self.seen().get(&node).cloned()
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
        let present: Vec<u64> = others.iter().map(|member| member.node).collect();
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
                members.presence.seen().insert(node, seen);
            }
        }
        members
            .presence
            .seen()
            .retain(|node, _| present.contains(node));
    }
}
