//! What keeps the members of the cluster as they should be: the leader gives votes, replaces the dead and raises the feature level; a server
//! that the others do not know asks to be taken in.

use std::sync::Arc;
use std::time::Duration;

use portolan_catalog::stored::LEVEL;
use portolan_catalog::{Cause, Command, State, Why};
use portolan_cluster::members::{Request, Response, ask};
use portolan_environment::ANYBODY;
use tokio::time::{Instant, MissedTickBehavior};

use super::members::{Leaving, Members};

/// How often it is looked.
const ROUND: Duration = Duration::from_millis(250);
/// How long a server hears of no leader before it asks to be taken in.
const LONELY: Duration = Duration::from_secs(3);
/// How long another server may take.
const LIMIT: Duration = Duration::from_secs(2);
/// How often the same trouble is said.
const SAID: Duration = Duration::from_secs(10);

/// Keeps the members.
pub(crate) struct Keeper {
    pub(crate) members: Arc<Members>,
    /// Addresses to ask, beside those of the members.
    pub(crate) join: Vec<String>,
    /// A server with a vote that was silent for so long is removed when another has taken its place.
    pub(crate) dead_after: Duration,
}

impl Keeper {
    pub(crate) async fn run(self) {
        let mut round = tokio::time::interval(ROUND);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lonely_since: Option<Instant> = None;
        let mut said: Option<Instant> = None;
        loop {
            round.tick().await;
            if *self.members.leaving.borrow() != Leaving::No {
                continue;
            }
            let led = self.members.leader.borrow().is_some()
                && self
                    .members
                    .registry
                    .last_contact()
                    .is_some_and(|age| age < LONELY);
            let outcome = if self.members.leads() {
                lonely_since = None;
                self.lead().await
            } else if led && self.known() {
                lonely_since = None;
                Ok(())
            } else {
                let since = *lonely_since.get_or_insert_with(Instant::now);
                let known_here = led || !self.members.raft.membership().is_empty();
                if known_here && since.elapsed() < LONELY {
                    continue;
                }
                self.ask_in().await
            };
            if let Err(why) = outcome
                && said.is_none_or(|said| said.elapsed() > SAID)
            {
                said = Some(Instant::now());
                tracing::warn!(why, "the members of the cluster cannot be as they should");
            }
        }
    }

    /// Whether this server is a member under its present address.
    fn known(&self) -> bool {
        let own = &self.members.own;
        let members = self.members.raft.membership();
        let known = members.iter().find(|member| member.node == own.node);
        known.is_some_and(|known| known.address == own.address && known.name == own.name)
    }

    async fn lead(&self) -> Result<(), String> {
        let own = &self.members.own;
        if !self.known() && !own.address.is_empty() {
            // The first server of a cluster was alone before, or has moved.
            let raft = &self.members.raft;
            raft.admit(own.node, &own.address, &own.name).await?;
        }
        self.members.promote().await?;
        self.bury().await?;
        self.raise_level().await
    }

    /// Removes a dead server once another has taken its place: an even number of votes says so.
    async fn bury(&self) -> Result<(), String> {
        let members = self.members.raft.membership();
        let voters: Vec<_> = members.iter().filter(|member| member.voter).collect();
        let dead: Vec<_> = voters
            .iter()
            .filter(|member| self.members.absent(member.node, self.dead_after))
            .collect();
        let Some(dead) = dead
            .first()
            .filter(|_| voters.len() % 2 == 0 && dead.len() * 2 < voters.len())
        else {
            return Ok(());
        };
        let _one = self.members.changing.lock().await;
        self.members.remove(dead.node).await?;
        tracing::warn!(
            name = dead.name,
            node = dead.node,
            "a dead server was removed, another has taken its place"
        );
        Ok(())
    }

    /// Raises the feature level when every member has said that it knows more.
    async fn raise_level(&self) -> Result<(), String> {
        let agreed = self.members.registry.read(State::level);
        if agreed >= LEVEL || !self.members.registry.leads() {
            return Ok(());
        }
        let own = self.members.own.node;
        let members = self.members.raft.membership();
        let mut lowest = LEVEL;
        for member in members.iter().filter(|member| member.node != own) {
            match self.members.presence.of(member.node) {
                Some(seen) => lowest = lowest.min(seen.about.server.level),
                None => return Ok(()),
            }
        }
        if lowest <= agreed {
            return Ok(());
        }
        let command = Command::RaiseLevel { level: lowest };
        let raised = self
            .members
            .registry
            .propose(Cause::own(Why::Start), command)
            .await;
        raised.map(drop).map_err(|error| error.to_string())
    }

    /// Asks everybody this server knows of to be taken in.
    async fn ask_in(&self) -> Result<(), String> {
        let own = &self.members.own;
        let members = self.members.raft.membership();
        let mut places: Vec<(u64, String)> =
            self.join.iter().map(|a| (ANYBODY, a.clone())).collect();
        let leader = self.members.leader.borrow().clone();
        places.extend(leader.map(|leader| (leader.node, leader.address)));
        let others = members
            .into_iter()
            .filter(|member| member.node != own.node && !member.address.is_empty());
        places.extend(others.map(|member| (member.node, member.address)));
        let request = Request::Join(own.clone());
        let mut last = None;
        let mut at = 0;
        while let Some((to, address)) = places.get(at).cloned() {
            at += 1;
            if address == own.address {
                continue;
            }
            let transport = self.members.transport.as_ref();
            match ask(transport, to, &address, &request, LIMIT).await {
                Ok(Response::Welcome { .. }) => return Ok(()),
                Ok(Response::Elsewhere(leader)) => {
                    let place = (leader.node, leader.address);
                    if !places.contains(&place) && places.len() < 32 {
                        places.push(place);
                    }
                }
                Ok(Response::Refused(why)) => last = Some(why),
                Ok(_) => {}
                Err(error) => last = Some(format!("{address}: {error}")),
            }
        }
        last.map_or(Ok(()), Err)
    }
}
