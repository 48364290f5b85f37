//! What every handler holds: the registry, and who this server is. No state of its own.

use crate::connect::leaves::Leaves;
use crate::datacenters::Elsewhere;
use crate::error::Failure;
use crate::read::{SERF_HEALTH, Shown};
use crate::reply::Freshness;
use crate::request::Request;
use crate::server_info::ServerInfo;
use crate::wire::{Consistency, ReadOptions};
use portolan_catalog::{CheckKey, Command, LeaseId, NodeName, Op, Refusal, Settled, State, Write};
use portolan_registry::{Member, Registry, Renewed, Unavailable};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Shared by all requests.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) registry: Registry,
    pub(crate) info: ServerInfo,
    /// What the last proposal or confirmed read found.
    leaderless: AtomicBool,
    pub(crate) elsewhere: Elsewhere,
    /// Certificates this server gave out.
    pub(crate) leaves: Leaves,
}

impl Server {
    pub(crate) fn new(registry: Registry, info: ServerInfo) -> Self {
        Self {
            registry,
            info,
            leaderless: AtomicBool::new(false),
            elsewhere: Elsewhere::default(),
            leaves: Leaves::default(),
        }
    }

    pub(crate) fn snapshot(&self) -> Arc<State> {
        self.registry.snapshot()
    }

    pub(crate) fn shown<'a>(&'a self, state: &'a State) -> Shown<'a> {
        Shown {
            state,
            info: &self.info,
            sight: None,
        }
    }

    /// A state as whoever asks sees it.
    pub(crate) fn shown_to<'a>(&'a self, request: &'a Request, state: &'a State) -> Shown<'a> {
        Shown {
            state,
            info: &self.info,
            sight: request.sight.as_deref(),
        }
    }

    /// A state as fresh as was asked for.
    pub(crate) async fn state_for(&self, consistency: Consistency) -> Result<Arc<State>, Failure> {
        if !self.asks_leader(consistency) {
            return Ok(self.snapshot());
        }
        let confirmed = self.registry.linearized().await;
        self.heard(confirmed.as_ref().err());
        Ok(confirmed?)
    }

    /// A state to plan a write by; see [`Registry::latest_unless`].
    pub(crate) async fn state_with(
        &self,
        enough: impl Fn(Shown<'_>) -> bool,
    ) -> Result<Arc<State>, Failure> {
        let latest = self
            .registry
            .latest_unless(|state| enough(self.shown(state)));
        Ok(latest.await?)
    }

    /// Whether a read has to be confirmed: the leader's word is what it answers by default, so another server asks it.
    pub(crate) fn asks_leader(&self, consistency: Consistency) -> bool {
        match consistency {
            Consistency::Stale => false,
            // An agent answers from its copy, also when nobody else can: how old it is stands in the headers.
            Consistency::Leader => !self.registry.leads() && !self.registry.is_copy(),
            Consistency::Consistent => true,
        }
    }

    /// Proposes one command.
    pub(crate) async fn propose(
        &self,
        request: &Request,
        command: Command,
    ) -> Result<Settled, Failure> {
        let settled = self.registry.propose(request.cause(), command).await;
        self.heard(settled.as_ref().err());
        Ok(settled?)
    }

    /// Proposes several commands as one, all or nothing. None at all is nothing to do.
    pub(crate) async fn propose_all(
        &self,
        request: &Request,
        mut commands: Vec<Command>,
    ) -> Result<Result<(), Refusal>, Failure> {
        let command = match commands.len() {
            0 => return Ok(Ok(())),
            1 => commands.swap_remove(0),
            _ => together(commands),
        };
        Ok(self.propose(request, command).await?.outcome.map(|_| ()))
    }

    /// Renews a lease; false when there is none.
    pub(crate) async fn renew(&self, lease: &LeaseId) -> Result<bool, Failure> {
        let renewed = self.registry.renew(lease).await;
        self.heard(renewed.as_ref().err());
        Ok(match renewed? {
            Renewed::For(_) => true,
            Renewed::Unknown => false,
        })
    }

    fn heard(&self, error: Option<&Unavailable>) {
        self.leaderless
            .store(error == Some(&Unavailable::NoLeader), Ordering::Relaxed);
    }

    /// Whether there was a leader when one was last needed, and it was heard of lately.
    pub(crate) fn known_leader(&self) -> bool {
        let heard = self.registry.last_contact();
        // An agent hears of the leader all the time, a server only when it needs it.
        let missed = self.leaderless.load(Ordering::Relaxed) && !self.registry.is_copy();
        !missed && heard.is_some_and(|age| age <= Member::ALIVE)
    }

    /// How old a read may be, in milliseconds.
    fn last_contact_ms(&self, consistency: Consistency) -> u64 {
        let age = match consistency {
            Consistency::Consistent => Duration::ZERO,
            Consistency::Leader if !self.registry.is_copy() => Duration::ZERO,
            Consistency::Leader | Consistency::Stale => {
                self.registry.last_contact().unwrap_or_default()
            }
        };
        u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
    }

    /// The headers of a read at an index.
    pub(crate) fn freshness(&self, options: &ReadOptions, index: u64) -> Freshness {
        Freshness {
            index,
            known_leader: self.known_leader(),
            last_contact_ms: self.last_contact_ms(options.consistency),
            consistency: options.consistency,
            cached: options.cached.then_some(true),
        }
    }

    /// The wall clock, milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        self.registry.now().0
    }

    /// Whether a node has an agent or server that the cluster watches.
    pub(crate) fn is_member(&self, state: &State, name: &NodeName) -> bool {
        state.check(&CheckKey::new(name, SERF_HEALTH)).is_some()
    }

    /// Whether a datacenter is the one that is answered for here. No name means it.
    pub(crate) fn is_here(&self, datacenter: &str) -> bool {
        datacenter.is_empty() || datacenter.eq_ignore_ascii_case(&self.info.datacenter)
    }
}

/// Several commands as one write, so that they are one revision and all or nothing.
fn together(commands: Vec<Command>) -> Command {
    Command::Write(Write {
        then: commands
            .into_iter()
            .map(|command| Op::Command(Box::new(command)))
            .collect(),
        ..Write::default()
    })
}
