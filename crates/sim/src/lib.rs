//! A small simulation: real servers, virtual time, a seeded network, disks that lose what was not synced.
//!
//! Promises
//! - Two runs of one plan are equal, event by event: [`Outcome::hash`] is over all of them in their order.
//! - The servers are those of `portolan-replica`, unchanged; each has a paused runtime of its own, and one thread steps them in a drawn order.
//! - At the end the faults stop, and then every acknowledged write is on every server and all states are equal; [`run`] fails otherwise.
//!
//! Start reading at [`run`], then `server` for how one server lives and dies.

mod server;
mod world;

use std::sync::Arc;

use portolan_catalog::{Keyspace, LeaseId};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::server::Server;
use crate::world::{Event, World};

/// What is to happen. Times are milliseconds of virtual time.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides everything that is not said here.
    pub seed: u64,
    /// Servers; default 3.
    pub servers: u64,
    /// Clients that write at each server; default 2.
    pub clients: u64,
    /// Messages lost in a thousand; default 50.
    pub loss: u32,
    /// How long a message travels at most; they overtake each other. Default 20.
    pub delay_ms: u64,
    /// When a server loses power, in the middle of a write; default 4000.
    pub crash_ms: u64,
    /// How long it is gone; default 3000.
    pub gone_ms: u64,
    /// When clients stop, messages arrive and nothing fails any more; default 12,000.
    pub heal_ms: u64,
    /// Whether it is the leader that loses power, or any other server; default true.
    pub crash_leader: bool,
}

impl Plan {
    /// The defaults with a seed.
    #[must_use]
    pub fn new(seed: u64) -> Plan {
        Plan {
            seed,
            servers: 3,
            clients: 2,
            loss: 50,
            delay_ms: 20,
            crash_ms: 4000,
            gone_ms: 3000,
            heal_ms: 12_000,
            crash_leader: true,
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Of all events in their order: messages with their bytes, answers to clients, starts and crashes.
    pub hash: u64,
    /// How many events there were.
    pub events: u64,
    /// Writes that were acknowledged.
    pub acknowledged: usize,
    /// Writes whose outcome their clients never learned.
    pub unknown: usize,
    /// Raft's term at the end.
    pub term: u64,
    /// Parts of snapshots that one server sent another.
    pub snapshot_parts: u64,
    /// The revision at the end.
    pub revision: u64,
}

/// How long servers may take to agree when nothing fails any more.
const HEALING_MS: u64 = 30_000;

/// Runs a plan in a thread of its own.
///
/// # Errors
/// What did not hold, in words.
pub fn run(plan: &Plan) -> Result<Outcome, String> {
    let plan = plan.clone();
    // A fresh thread: whatever is kept per thread begins anew.
    std::thread::spawn(move || Driver::new(plan).run())
        .join()
        .map_err(|_| "the simulation panicked".to_owned())?
}

struct Driver {
    plan: Plan,
    world: Arc<World>,
    servers: Vec<Server>,
    rng: StdRng,
}

impl Driver {
    fn new(plan: Plan) -> Driver {
        let mut rng = StdRng::seed_from_u64(plan.seed);
        let world = Arc::new(World::new(rng.random(), plan.loss, plan.delay_ms));
        let servers = (1..=plan.servers)
            .map(|id| Server::new(id, &plan, &world, rng.random()))
            .collect();
        Driver {
            plan,
            world,
            servers,
            rng,
        }
    }

    fn run(mut self) -> Result<Outcome, String> {
        for server in &mut self.servers {
            server.start();
        }
        let mut victim = None;
        while self.world.now() < self.plan.heal_ms {
            if self.world.now() == self.plan.crash_ms {
                victim = Some(self.doom());
            }
            if self.world.now() == self.plan.crash_ms + self.plan.gone_ms
                && let Some(at) = victim
            {
                self.servers[at].start();
            }
            self.step()?;
        }
        self.world.heal();
        for server in &mut self.servers {
            server.start();
        }
        while !self.agree() {
            if self.world.now() > self.plan.heal_ms + HEALING_MS {
                return Err(format!("no agreement: {}", self.describe()));
            }
            self.step()?;
        }
        self.check()
    }

    /// Chooses who loses power. It happens in the middle of one of its next writes.
    fn doom(&mut self) -> usize {
        let leads = |server: &Server| server.leads() == self.plan.crash_leader;
        let at = self.servers.iter().position(leads).unwrap_or(0);
        self.servers[at].crash_soon(self.rng.random_range(1..10), self.rng.random());
        at
    }

    /// One millisecond.
    fn step(&mut self) -> Result<(), String> {
        for event in self.world.due() {
            match event {
                Event::Request {
                    from,
                    to,
                    channel,
                    request,
                    answer,
                } => {
                    if let Some(server) = self.servers.iter().find(|server| server.id() == to) {
                        server.deliver(from, channel, request, answer);
                    }
                }
                Event::Answer { answer, to } => {
                    // Who asked may have died or given up.
                    let _gone = to.send(answer);
                }
            }
        }
        let mut order: Vec<usize> = (0..self.servers.len()).collect();
        order.shuffle(&mut self.rng);
        for at in order {
            self.servers[at].step()?;
        }
        self.world.advance();
        Ok(())
    }

    fn agree(&self) -> bool {
        let mut revisions = self.servers.iter().map(Server::revision);
        let first = revisions.next().flatten();
        first.is_some()
            && revisions.all(|revision| revision == first)
            && self.servers.iter().any(Server::leads)
            && self.world.idle_clients()
    }

    fn describe(&self) -> String {
        let each = self.servers.iter().map(|server| {
            format!(
                "{} at {:?}{}",
                server.id(),
                server.revision(),
                if server.leads() { " leads" } else { "" }
            )
        });
        each.collect::<Vec<_>>().join(", ")
    }

    fn check(&self) -> Result<Outcome, String> {
        let states: Vec<_> = self.servers.iter().filter_map(Server::state).collect();
        let log = self.world.client_log();
        for (key, revision) in &log.acknowledged {
            for (state, server) in states.iter().zip(&self.servers) {
                let record = state.record(Keyspace::Etcd, key.as_bytes());
                let found = record.map(|record| record.modified.0);
                if found != Some(*revision) {
                    return Err(format!(
                        "{key} was acknowledged at revision {revision}, server {} has it at {found:?}",
                        server.id()
                    ));
                }
            }
        }
        let first = &states[0];
        for (state, server) in states.iter().zip(&self.servers) {
            if !state.same_rows(first) || !state.leases().eq(first.leases()) {
                return Err(format!(
                    "server {} has another state than server {}",
                    server.id(),
                    self.servers[0].id()
                ));
            }
            // It was renewed all the time, and each new leader gave it its full time.
            if state.lease(&LeaseId::Etcd(server::LEASE)).is_none() {
                return Err(format!("server {} let a renewed lease lapse", server.id()));
            }
        }
        let (hash, events) = self.world.trace();
        Ok(Outcome {
            hash,
            events,
            acknowledged: log.acknowledged.len(),
            unknown: log.unknown,
            term: self.servers.iter().map(Server::term).max().unwrap_or(0),
            snapshot_parts: self.world.snapshot_parts(),
            revision: first.revision().0,
        })
    }
}
