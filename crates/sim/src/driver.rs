//! The one thread that steps everything: what arrives, what goes wrong, each server for a millisecond in a drawn order, the clients.

use std::collections::BTreeMap;
use std::sync::Arc;

use portolan_catalog::{Batch, Lease, LeaseId};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::checker::raft::Raft;
use crate::checker::{Violation, agents, catalog, leases, ledger, linear, replicas, watches};
use crate::client::Clients;
use crate::edge::Edge;
use crate::history::Listing;
use crate::outcome::{Outcome, Report};
use crate::plan::Plan;
use crate::server::Server;
use crate::stage::Stage;
use crate::truth::Truth;
use crate::world::{Event, World};

/// How long servers may take to serve again when nothing fails any more.
const HEALING_MS: u64 = 30_000;
/// How long they are watched after that, for leases that must lapse.
const LAPSING_MS: u64 = 12_000;
/// How often states are compared.
const COMPARED_MS: u64 = 250;
pub(crate) struct Driver {
    plan: Plan,
    world: Arc<World>,
    stage: Stage,
    clients: Clients,
    rng: StdRng,
    /// The next fault of the timeline.
    next: usize,
    truth: Truth,
    /// What servers published that their disks hold up, with the time.
    held: BTreeMap<u64, Vec<(u64, Arc<Batch>)>>,
    raft: Raft,
    found: Vec<Violation>,
    led: BTreeMap<u64, bool>,
}

impl Driver {
    pub(crate) fn new(plan: Plan) -> Result<Driver, String> {
        let mut rng = StdRng::seed_from_u64(plan.seed ^ 0x5eed);
        let world = Arc::new(World::new(rng.random(), plan.loss, plan.delay_ms));
        let stage = Stage::new(&plan, &world, &mut rng);
        let clients = Clients::start(&plan, &world, rng.random())?;
        Ok(Driver {
            plan,
            world,
            stage,
            clients,
            rng,
            next: 0,
            truth: Truth::default(),
            held: BTreeMap::new(),
            raft: Raft::default(),
            found: Vec::new(),
            led: BTreeMap::new(),
        })
    }

    /// Runs the plan to its end and judges.
    pub(crate) fn run(mut self) -> Report {
        let healed = match self.drive() {
            Ok(healed) => Some(healed),
            Err(what) => {
                self.found.push(Violation {
                    checker: "servers",
                    what,
                });
                None
            }
        };
        self.judge(healed)
    }

    /// Gives back how long the healing took.
    fn drive(&mut self) -> Result<u64, String> {
        self.stage.start()?;
        while self.world.now() < self.plan.heal_ms {
            self.strike()?;
            self.stage.end_faults()?;
            self.step()?;
        }
        self.stage.heal()?;
        let began = self.world.now();
        self.clients.probe();
        while !self.serves() {
            if self.world.now() > began + HEALING_MS {
                return Err(format!(
                    "not all serve {HEALING_MS} ms after the end of the faults: {}",
                    self.describe()
                ));
            }
            self.step()?;
        }
        let healed = self.world.now() - began;
        self.stage.disturbed.push(self.world.now());
        let until = self.world.now() + LAPSING_MS;
        while self.world.now() < until && !self.at_rest() {
            self.step()?;
        }
        Ok(healed)
    }

    /// Begins the faults whose time has come.
    fn strike(&mut self) -> Result<(), String> {
        let now = self.world.now();
        while let Some(planned) = self.plan.timeline.get(self.next)
            && planned.at_ms <= now
        {
            let fault = planned.fault.clone();
            let number = self.next;
            self.next += 1;
            self.stage.begin(number, &fault)?;
        }
        Ok(())
    }

    /// One millisecond.
    fn step(&mut self) -> Result<(), String> {
        for event in self.world.due() {
            self.arrive(event);
        }
        let mut order: Vec<usize> = (0..self.stage.servers.len()).collect();
        order.shuffle(&mut self.rng);
        for at in order {
            self.stage.servers[at].step()?;
        }
        for edge in &self.stage.edges {
            edge.step()?;
        }
        self.clients.step();
        // While something is wrong, what leases wait for may take any time.
        let now = self.world.now();
        if now.is_multiple_of(COMPARED_MS) && self.stage.faults_go_on() {
            self.stage.disturbed.push(now);
        }
        self.look()?;
        self.world.advance();
        Ok(())
    }

    fn arrive(&mut self, event: Event) {
        let to = match &event {
            Event::Request { to, .. } | Event::Ask { to, .. } => Some(*to),
            Event::Answer { .. } | Event::Told { .. } => None,
        };
        let server = self
            .stage
            .servers
            .iter()
            .find(|server| Some(server.id()) == to);
        if server.is_some_and(|server| server.lives() && server.stands_still()) {
            return self.world.postpone(event);
        }
        match event {
            Event::Request {
                from,
                letter,
                answer,
                ..
            } => {
                if let Some(server) = server {
                    server.deliver(from, letter, answer);
                }
            }
            Event::Ask { ask, reply, .. } => {
                let edge = self.stage.edges.iter().find(|edge| Some(edge.id()) == to);
                match (server, edge) {
                    (Some(server), _) => server.serve(ask, reply),
                    (None, Some(edge)) => edge.serve(ask, reply),
                    (None, None) => {}
                }
            }
            // Whoever asked may have died or given up.
            Event::Answer { answer, to } => drop(to.send(answer)),
            Event::Told { told, reply } => drop(reply.send(told)),
        }
    }

    /// Watches what servers say of themselves and publish.
    fn look(&mut self) -> Result<(), String> {
        let now = self.world.now();
        for at in 0..self.stage.servers.len() {
            self.collect(at)?;
            let server = &self.stage.servers[at];
            let id = server.id();
            let Some(seen) = server.seen() else {
                self.led.insert(id, false);
                continue;
            };
            self.raft.see(server.node(), server.number_of_life(), seen);
            if seen.leads && self.led.insert(id, true) != Some(true) {
                self.stage.disturbed.push(now);
                let term = seen.term;
                self.world.say(format!("server {id} leads in term {term}"));
            }
            self.led.insert(id, seen.leads);
        }
        if now.is_multiple_of(COMPARED_MS) && self.found.is_empty() {
            self.found = replicas::check(&self.states(), false);
        }
        Ok(())
    }

    /// Takes over what a server published. What it did before its disk held it up counts when that is over.
    fn collect(&mut self, at: usize) -> Result<(), String> {
        let now = self.world.now();
        let server = &mut self.stage.servers[at];
        let fresh = server.collect()?.into_iter().map(|batch| (now, batch));
        let held = self.held.entry(server.id()).or_default();
        held.extend(fresh);
        if !server.stands_still() {
            for (published, batch) in held.drain(..) {
                self.truth.add(batch, published, now, server.id());
            }
        }
        Ok(())
    }

    fn states(&self) -> Vec<(u64, Arc<portolan_catalog::State>)> {
        let states = self.stage.servers.iter().filter(|server| server.belongs());
        states
            .filter_map(|server| Some((server.id(), server.state()?)))
            .collect()
    }

    /// Whether every server was seen to serve.
    fn serves(&self) -> bool {
        self.world.history().served.is_some()
    }

    /// Whether clients are done, no lease of theirs is left, and all servers are at one place.
    fn at_rest(&self) -> bool {
        let states = self.states();
        let one = |(_, state): &(u64, Arc<portolan_catalog::State>)| {
            state.revision() == states[0].1.revision() && state.leases().all(is_agents)
        };
        let back = |edge: &Edge| {
            let copy = edge.copy();
            copy.is_some_and(|copy| copy.revision() == states[0].1.revision())
        };
        self.world.history().working == 0
            && states.iter().all(one)
            && self.stage.edges.iter().all(back)
    }

    fn describe(&self) -> String {
        let each = self.stage.servers.iter().map(|server| match server.seen() {
            Some(seen) => format!("server {} {seen:?}", server.id()),
            None => format!("server {} has not started", server.id()),
        });
        each.collect::<Vec<_>>().join(", ")
    }

    fn judge(mut self, healed_ms: Option<u64>) -> Report {
        let over = self.world.now();
        if healed_ms.is_some() {
            self.found.extend(replicas::check(&self.states(), true));
        }
        let history = self.world.history().clone();
        self.found.extend(replicas::check_truth(&self.truth));
        self.found.extend(ledger::check(&history.keys, &self.truth));
        let linear = linear::check(&history.keys, &self.truth);
        self.found.extend(linear.violations);
        self.found
            .extend(watches::check(&history.watches, &self.truth));
        self.stage.disturbed.sort_unstable();
        let leases = leases::check(&history.leases, &self.truth, &self.stage.disturbed, over);
        self.found.extend(leases);
        self.found
            .extend(catalog::check_told(&history.instances, &self.truth));
        let elected = self.raft.elected();
        let raft = std::mem::take(&mut self.raft);
        self.found.extend(raft.into_violations());
        if healed_ms.is_some() {
            let members = self.stage.servers.iter().filter(|server| server.belongs());
            let last: Vec<Option<Listing>> = members.map(Server::list).collect();
            if last.iter().any(Option::is_none) {
                self.found.push(Violation {
                    checker: "catalog",
                    what: "a server does not list its instances in the end".to_owned(),
                });
            }
            let last: Vec<Listing> = last.into_iter().flatten().collect();
            let found = catalog::check(&history.listings, &last, &history.instances);
            self.found.extend(found);
        }
        self.found.extend(agents::check_looks(&history.wrong_looks));
        if healed_ms.is_some() {
            let last = self.stage.edges.iter().map(|edge| agents::Last {
                agent: edge.number(),
                node: edge.node(),
                copy: edge.copy(),
            });
            let last: Vec<agents::Last> = last.collect();
            let found = agents::check(&last, &self.states(), &history.owned);
            self.found.extend(found);
        }
        let (hash, events, messages) = self.world.trace();
        let outcome = Outcome {
            hash,
            events,
            messages,
            virtual_ms: over,
            healed_ms,
            elected,
            revision: self.truth.decided.keys().last().copied().unwrap_or(0),
            undecided_keys: linear.undecided,
            keys: linear.keys,
            ..Outcome::of(&history)
        };
        Report {
            happened: self.world.said(),
            plan: self.plan,
            outcome,
            violations: self.found,
        }
    }
}

/// Whether a lease is that of an agent's node, which is renewed for as long as there is the agent.
fn is_agents(lease: &Arc<Lease>) -> bool {
    matches!(lease.id, LeaseId::Agent(_))
}
