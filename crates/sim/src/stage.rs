//! The machines of a run, and what is done to them: how faults begin and end.

use std::collections::BTreeMap;
use std::sync::Arc;

use portolan_registry::MemberChange;
use portolan_replica::disk::Crash;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::edge::Edge;
use crate::fault::{Fault, Who};
use crate::network::{Effect, Links};
use crate::plan::Plan;
use crate::server::Server;
use crate::world::World;

/// Servers that may come and go, beside those of the beginning.
const NEWCOMERS: u64 = 1;
/// How long a planned end of a process may take to happen by itself.
const SOON_MS: u64 = 600;

/// What is to be done when a fault is over.
#[derive(Clone, Copy, Debug)]
enum End {
    Start(u64),
    StartAgent(u64),
    /// It leaves its cluster.
    Leave(u64),
    Link(usize),
    FastDisk(u64),
    SpaceAgain(u64),
    /// It ends now if it did not by itself.
    Now(u64, Crash),
    /// Nothing; that it was over is noted.
    Over,
}

/// Where in the list an agent is.
fn agent_place(agent: u64) -> usize {
    usize::try_from(agent.saturating_sub(1)).unwrap_or(usize::MAX)
}

/// See the module.
pub(crate) struct Stage {
    world: Arc<World>,
    pub(crate) servers: Vec<Server>,
    pub(crate) edges: Vec<Edge>,
    rng: StdRng,
    ends: BTreeMap<(u64, u64), End>,
    ends_made: u64,
    /// When every lease may have got its full time again.
    pub(crate) disturbed: Vec<u64>,
}

impl Stage {
    pub(crate) fn new(plan: &Plan, world: &Arc<World>, rng: &mut StdRng) -> Stage {
        let servers = (1..=plan.servers + NEWCOMERS)
            .map(|id| Server::new(id, plan, world, rng.random()))
            .collect();
        let edges = (1..=plan.agents)
            .map(|number| Edge::new(number, plan, world, rng.random()))
            .collect();
        Stage {
            world: world.clone(),
            servers,
            edges,
            rng: StdRng::seed_from_u64(rng.random()),
            ends: BTreeMap::new(),
            ends_made: 0,
            disturbed: Vec::new(),
        }
    }

    /// Starts everything.
    ///
    /// # Errors
    /// When the system gives no runtime.
    pub(crate) fn start(&mut self) -> Result<(), String> {
        for server in &mut self.servers {
            server.start()?;
        }
        for edge in &mut self.edges {
            edge.start()?;
        }
        Ok(())
    }

    /// Whether something is wrong.
    pub(crate) fn faults_go_on(&self) -> bool {
        !self.ends.is_empty()
    }

    /// Begins a fault.
    ///
    /// # Errors
    /// When a server cannot be started.
    pub(crate) fn begin(&mut self, number: usize, fault: &Fault) -> Result<(), String> {
        self.disturbed.push(self.world.now());
        let mut text = fault.to_string();
        let mut struck = |stage: &Stage, who: Who| {
            let at = stage.place(who);
            let id = stage.servers[at].id();
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
            Fault::Transfer => {
                let (at, _) = struck(self, Who::Leader);
                self.servers[at].change_members(MemberChange::Transfer(None));
                self.later(SOON_MS, End::Over);
            }
            Fault::Replaced { who, gone_ms } => {
                let (at, id) = struck(self, who);
                self.servers[at].die(Crash::KeepAll, true);
                self.servers[at].begin_anew();
                self.later(gone_ms, End::Start(id));
            }
            Fault::Newcomer { ms } => {
                let newcomer = self.servers.iter_mut().find(|server| !server.belongs());
                if let Some(server) = newcomer.filter(|server| !server.lives()) {
                    server.begin_anew();
                    let id = server.id();
                    server.start()?;
                    self.later(ms, End::Leave(id));
                }
            }
            Fault::AgentAlone { agent, ms } => {
                if let Some(edge) = self.edges.get(agent_place(agent)) {
                    let links = Links::Around(edge.id());
                    self.cut(number, links, Effect::Cut, ms);
                }
            }
            Fault::AgentLost {
                agent,
                left,
                gone_ms,
            } => {
                if let Some(edge) = self.edges.get_mut(agent_place(agent)) {
                    edge.die(left);
                    self.later(gone_ms, End::StartAgent(agent));
                }
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

    /// Ends the faults whose time is over.
    ///
    /// # Errors
    /// When a server cannot be started.
    pub(crate) fn end_faults(&mut self) -> Result<(), String> {
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
            End::StartAgent(agent) => {
                if let Some(edge) = self.edges.get_mut(agent_place(agent)) {
                    edge.start()?;
                    self.world.say(format!("agent {agent} starts"));
                }
            }
            End::Leave(id) => {
                if let Some(server) = self.server(id) {
                    server.leave();
                    self.world.say(format!("server {id} is to leave"));
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
    ///
    /// # Errors
    /// When a server cannot be started.
    pub(crate) fn heal(&mut self) -> Result<(), String> {
        self.ends.clear();
        self.world.heal();
        for server in &mut self.servers {
            server.heal();
            server.start()?;
        }
        for edge in &mut self.edges {
            edge.start()?;
        }
        self.disturbed.push(self.world.now());
        self.world.say("all faults end".to_owned());
        Ok(())
    }
}
