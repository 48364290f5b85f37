//! The one thread that steps everything: what arrives, what goes wrong, each server for a millisecond in a drawn order, the clients.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::checker::raft::Raft;
use crate::checker::{Violation, catalog, leases, ledger, linear, replicas, watches};
use crate::client::Clients;
use crate::fault::{Fault, Who};
use crate::history::Listing;
use crate::network::{Effect, Links};
use crate::outcome::{Outcome, Report};
use crate::plan::Plan;
use crate::server::Server;
use crate::truth::Truth;
use crate::world::{Event, World};
use portolan_catalog::Batch;
use portolan_replica::disk::Crash;

/// How long servers may take to serve again when nothing fails any more.
const HEALING_MS: u64 = 30_000;
/// How long they are watched after that, for leases that must lapse.
const LAPSING_MS: u64 = 12_000;
/// How often states are compared.
const COMPARED_MS: u64 = 250;
/// How long a planned end of a process may take to happen by itself.
const SOON_MS: u64 = 600;

/// What is to be done when a fault is over.
#[derive(Clone, Copy, Debug)]
enum End {
    Start(u64),
    Link(usize),
    FastDisk(u64),
    SpaceAgain(u64),
    /// It ends now if it did not by itself.
    Now(u64, Crash),
    /// Nothing; that it was over is noted.
    Over,
}

pub(crate) struct Driver {
    plan: Plan,
    world: Arc<World>,
    servers: Vec<Server>,
    clients: Clients,
    rng: StdRng,
    /// The next fault of the timeline.
    next: usize,
    ends: BTreeMap<(u64, u64), End>,
    ends_made: u64,
    truth: Truth,
    /// What servers published that their disks hold up, with the time.
    held: BTreeMap<u64, Vec<(u64, Arc<Batch>)>>,
    raft: Raft,
    found: Vec<Violation>,
    /// When every lease may have got its full time again.
    disturbed: Vec<u64>,
    led: BTreeMap<u64, bool>,
}

impl Driver {
    pub(crate) fn new(plan: Plan) -> Result<Driver, String> {
        let mut rng = StdRng::seed_from_u64(plan.seed ^ 0x5eed);
        let world = Arc::new(World::new(rng.random(), plan.loss, plan.delay_ms));
        let servers = (1..=plan.servers)
            .map(|id| Server::new(id, &plan, &world, rng.random()))
            .collect();
        let clients = Clients::start(&plan, &world, rng.random())?;
        Ok(Driver {
            plan,
            world,
            servers,
            clients,
            rng,
            next: 0,
            ends: BTreeMap::new(),
            ends_made: 0,
            truth: Truth::default(),
            held: BTreeMap::new(),
            raft: Raft::default(),
            found: Vec::new(),
            disturbed: Vec::new(),
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
        for server in &mut self.servers {
            server.start()?;
        }
        while self.world.now() < self.plan.heal_ms {
            self.strike()?;
            self.end_faults()?;
            self.step()?;
        }
        self.heal()?;
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
        self.disturbed.push(self.world.now());
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
            self.disturbed.push(now);
            self.begin(number, &fault)?;
        }
        Ok(())
    }

    fn begin(&mut self, number: usize, fault: &Fault) -> Result<(), String> {
        let mut text = fault.to_string();
        let mut struck = |driver: &Driver, who: Who| {
            let at = driver.place(who);
            let id = driver.servers[at].id();
            if !matches!(who, Who::Server(_)) {
                text = format!("{text} ({who} is server {id})");
            }
            (at, id)
        };
        match *fault {
            Fault::PowerLoss {
                who,
                call,
                left,
                gone_ms,
            } => {
                let (at, id) = struck(self, who);
                self.servers[at].crash_soon(call, left);
                self.later(SOON_MS, End::Now(id, left));
                self.later(SOON_MS + gone_ms, End::Start(id));
            }
            Fault::Kill { who, gone_ms } => {
                let (at, id) = struck(self, who);
                self.servers[at].die(Crash::KeepAll, false);
                self.later(gone_ms, End::Start(id));
            }
            Fault::Blackout { left, gone_ms } => {
                for at in 0..self.servers.len() {
                    self.servers[at].die(left, true);
                    let gone_ms = gone_ms + self.rng.random_range(0..500);
                    self.later(gone_ms, End::Start(self.servers[at].id()));
                }
            }
            Fault::Restart { who } => {
                let (at, _) = struck(self, who);
                self.servers[at].stop();
            }
            Fault::Pause { who, ms } => {
                let (at, _) = struck(self, who);
                let until = self.world.now() + ms;
                self.servers[at].pause(until);
                self.later(ms, End::Over);
            }
            Fault::Isolated { who, clients, ms } => {
                let (_, id) = struck(self, who);
                let links = match clients {
                    true => Links::Island(id),
                    false => Links::Around(id),
                };
                self.cut(number, links, Effect::Cut, ms);
            }
            Fault::Mute { who, ms } => {
                let (_, id) = struck(self, who);
                self.cut(number, Links::From(id), Effect::Cut, ms);
            }
            Fault::Deaf { who, ms } => {
                let (_, id) = struck(self, who);
                self.cut(number, Links::To(id), Effect::Cut, ms);
            }
            Fault::Cut { a, b, ms } => self.cut(number, Links::Between(a, b), Effect::Cut, ms),
            Fault::Flapping {
                a,
                b,
                period_ms,
                ms,
            } => self.cut(number, Links::Between(a, b), Effect::Flap(period_ms), ms),
            Fault::SlowLink { a, b, by_ms, ms } => {
                self.cut(number, Links::Between(a, b), Effect::Slow(by_ms), ms);
            }
            Fault::Lossy { permille, ms } => {
                self.cut(number, Links::All, Effect::Loss(permille), ms);
            }
            Fault::Reordering { most_ms, ms } => {
                self.cut(number, Links::All, Effect::Spread(most_ms), ms);
            }
            Fault::SlowDisk { who, sync_ms, ms } => {
                let (at, id) = struck(self, who);
                self.servers[at].disk().set_sync_ms(sync_ms);
                self.later(ms, End::FastDisk(id));
            }
            Fault::FullDisk { who, ms } => {
                let (at, id) = struck(self, who);
                self.servers[at].disk().set_full(true);
                self.later(ms, End::SpaceAgain(id));
            }
            Fault::BrokenDisk { who, call, gone_ms } => {
                let (at, id) = struck(self, who);
                self.servers[at].break_soon(call);
                self.later(SOON_MS, End::Now(id, Crash::KeepAll));
                self.later(SOON_MS + gone_ms, End::Start(id));
            }
            Fault::WallClock { who, by_ms } => {
                let (at, _) = struck(self, who);
                self.servers[at].outside().set_wall(by_ms);
            }
        }
        self.world.say(text);
        Ok(())
    }

    /// Where in the list the one is that is struck.
    fn place(&self, who: Who) -> usize {
        let leads = |server: &Server| server.seen().is_some_and(|seen| seen.leads);
        let found = match who {
            Who::Leader => self.servers.iter().position(leads),
            Who::Follower => self
                .servers
                .iter()
                .position(|server| server.lives() && !leads(server)),
            Who::Server(id) => self.servers.iter().position(|server| server.id() == id),
        };
        found.unwrap_or(0)
    }

    fn server(&mut self, id: u64) -> Option<&mut Server> {
        let mut servers = self.servers.iter_mut();
        servers.find(|server| server.id() == id)
    }

    fn later(&mut self, ms: u64, end: End) {
        self.ends_made += 1;
        self.ends
            .insert((self.world.now() + ms, self.ends_made), end);
    }

    fn cut(&mut self, number: usize, links: Links, effect: Effect, ms: u64) {
        self.world.rule(number, links, effect);
        self.later(ms, End::Link(number));
    }

    fn end_faults(&mut self) -> Result<(), String> {
        let now = self.world.now();
        while let Some(first) = self.ends.first_entry()
            && first.key().0 <= now
        {
            let end = first.remove();
            self.end(end)?;
        }
        Ok(())
    }

    fn end(&mut self, end: End) -> Result<(), String> {
        self.disturbed.push(self.world.now());
        match end {
            End::Start(id) => {
                if let Some(server) = self.server(id)
                    && !server.lives()
                {
                    server.start()?;
                    self.world.say(format!("server {id} starts"));
                }
            }
            End::Link(number) => self.world.lift(number),
            End::FastDisk(id) => {
                if let Some(server) = self.server(id) {
                    server.disk().set_sync_ms(0);
                }
            }
            End::SpaceAgain(id) => {
                if let Some(server) = self.server(id) {
                    server.disk().set_full(false);
                }
            }
            End::Now(id, left) => {
                if let Some(server) = self.server(id)
                    && server.awaits_end()
                {
                    server.die(left, true);
                }
            }
            End::Over => {}
        }
        Ok(())
    }

    /// All faults end.
    fn heal(&mut self) -> Result<(), String> {
        self.ends.clear();
        self.world.heal();
        for server in &mut self.servers {
            server.heal();
            server.start()?;
        }
        self.disturbed.push(self.world.now());
        self.world.say("all faults end".to_owned());
        Ok(())
    }

    /// One millisecond.
    fn step(&mut self) -> Result<(), String> {
        for event in self.world.due() {
            self.arrive(event);
        }
        let mut order: Vec<usize> = (0..self.servers.len()).collect();
        order.shuffle(&mut self.rng);
        for at in order {
            self.servers[at].step()?;
        }
        self.clients.step();
        // While something is wrong, what leases wait for may take any time.
        let now = self.world.now();
        if now.is_multiple_of(COMPARED_MS) && !self.ends.is_empty() {
            self.disturbed.push(now);
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
        let server = self.servers.iter().find(|server| Some(server.id()) == to);
        if server.is_some_and(|server| server.lives() && server.stands_still()) {
            return self.world.postpone(event);
        }
        match event {
            Event::Request {
                from,
                channel,
                request,
                answer,
                ..
            } => {
                if let Some(server) = server {
                    server.deliver(from, channel, request, answer);
                }
            }
            Event::Ask { ask, reply, .. } => {
                if let Some(server) = server {
                    server.serve(ask, reply);
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
        for at in 0..self.servers.len() {
            self.collect(at)?;
            let server = &self.servers[at];
            let id = server.id();
            let Some(seen) = server.seen() else {
                self.led.insert(id, false);
                continue;
            };
            self.raft.see(id, server.number_of_life(), seen);
            if seen.leads && self.led.insert(id, true) != Some(true) {
                self.disturbed.push(now);
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
        let server = &mut self.servers[at];
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
        let states = self.servers.iter();
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
            state.revision() == states[0].1.revision() && state.leases().next().is_none()
        };
        self.world.history().working == 0 && states.iter().all(one)
    }

    fn describe(&self) -> String {
        let each = self.servers.iter().map(|server| match server.seen() {
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
        self.disturbed.sort_unstable();
        let leases = leases::check(&history.leases, &self.truth, &self.disturbed, over);
        self.found.extend(leases);
        self.found
            .extend(catalog::check_told(&history.instances, &self.truth));
        let elected = self.raft.elected();
        self.found.extend(self.raft.into_violations());
        if healed_ms.is_some() {
            let last: Vec<Option<Listing>> = self.servers.iter().map(Server::list).collect();
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
