//! How much servers have to do for very many instances and agents: real servers in virtual time, and agents that are modelled at their wire.
//!
//! An agent here has no state: it registers its node and its instances with the leader, renews its node's lease as agents do, and follows the
//! feed of one server by its place alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use portolan_agent::{Pursuit, node_terms};
use portolan_catalog::stored::{LEVEL, encode_entry};
use portolan_catalog::{
    Cause, Command, Endpoint, Entry, Host, InstanceKey, LeaseId, NodeFacts, NodeName, Protocol,
    Register, Registration, ServiceKey, Timestamp,
};
use portolan_cluster::forward::{Forward, Leader, Renewal};
use portolan_environment::{ANYBODY, Channel, Environment, Transport, watch};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::plan::Plan;
use crate::server::Server;
use crate::setup;
use crate::traffic::Traffic;
use crate::wire::{Outside, Served, Wire};
use crate::world::{Event, World};

/// Registrations on their way at a time: agents that start at once wait for each other at the leader.
const AT_ONCE: usize = 64;
/// How often an agent renews its node's lease.
const RENEWED_MS: u64 = 3_000;
/// How long loading may take.
const LOADING_MS: u64 = 600_000;
/// Agents stand behind all servers in the network.
const FIRST: u64 = 1_000;

/// How much there is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Servers.
    pub servers: u64,
    /// Agents.
    pub agents: u64,
    /// Instances, shared out among the agents.
    pub instances: u64,
    /// Virtual seconds that are watched after everything is registered.
    pub seconds: u64,
    /// Instances that change in a second.
    pub changes: u64,
}

/// What one server had to do in a time.
#[derive(Clone, Debug)]
pub struct Handled {
    /// Its name.
    pub server: String,
    /// Whether it led.
    pub leads: bool,
    /// Requests and bytes, by what they were about.
    pub traffic: Vec<(Channel, Traffic)>,
    /// Commands that changed something.
    pub commands: u64,
    /// Entries of the log.
    pub entries: u64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Scaled {
    /// Virtual milliseconds until everything was registered.
    pub loading_ms: u64,
    /// What servers had to do until then.
    pub loading: Vec<Handled>,
    /// What they had to do afterwards.
    pub steady: Vec<Handled>,
    /// Renewals that were answered as they have to be, and others.
    pub renewals: (u64, u64),
    /// Entries that reached agents.
    pub followed: u64,
    /// Instances that every server has.
    pub instances: usize,
}

/// What the agents came to.
#[derive(Debug)]
struct Crowd {
    size: Size,
    places: Semaphore,
    loaded: AtomicU64,
    renewed: AtomicU64,
    not_renewed: AtomicU64,
    following: AtomicU64,
    followed: AtomicU64,
    changed: AtomicU64,
    /// Whether agents follow.
    begun: watch::Receiver<bool>,
}

fn node(agent: u64) -> NodeName {
    NodeName::new(&format!("agent-{agent}"))
}

fn entries(commands: Vec<Command>) -> Bytes {
    let cause = Arc::new(Cause::call(Protocol::Consul, None));
    let mut bytes = Vec::new();
    for command in commands {
        let entry = Entry {
            at: Timestamp(0),
            cause: cause.clone(),
            command,
        };
        // Nothing here is beyond the bounds of entries.
        let _within = encode_entry(&entry, LEVEL, &mut bytes);
    }
    bytes.into()
}

fn instance(agent: u64, number: u64, port: u16) -> Command {
    let name = node(agent);
    let service = format!("service-{}", number % 1000);
    let id = format!("{service}-{number}");
    let host = format!("10.{}.{}.{}", agent >> 16, agent >> 8 & 255, agent & 255);
    let mut facts = Registration::new(
        InstanceKey::consul(&name, &id),
        ServiceKey::plain(&service),
        Endpoint::new(Host::new(&host), port),
    );
    facts.node = name;
    Command::Register(Box::new(Register::new(facts)))
}

impl Crowd {
    fn instances(&self, agent: u64) -> impl Iterator<Item = u64> {
        let size = self.size;
        (0..size.instances.div_ceil(size.agents))
            .map(move |nth| nth * size.agents + agent - 1)
            .filter(move |number| *number < size.instances)
    }

    fn registration(&self, agent: u64) -> Vec<Command> {
        let name = node(agent);
        let mut facts = NodeFacts::new(name.as_str(), Host::new("10.0.0.1"));
        facts.lease = Some(LeaseId::Agent(name));
        let own = Command::PutNode {
            node: Arc::new(facts),
            terms: Some(node_terms()),
            expect: None,
        };
        let instances = self.instances(agent);
        let instances = instances.map(|number| instance(agent, number, 8000));
        std::iter::once(own).chain(instances).collect()
    }

    async fn run(self: Arc<Self>, agent: u64, wire: Arc<Wire>, forward: Forward) {
        let spread = |most: u64| portolan_environment::random_u64() % most.max(1);
        {
            // It is never closed.
            let _place = self.places.acquire().await;
            let batch = entries(self.registration(agent));
            while forward
                .propose(batch.clone(), Instant::now() + Duration::from_secs(30))
                .await
                .is_err()
            {
                sleep(Duration::from_millis(50 + spread(100))).await;
            }
        }
        self.loaded.fetch_add(1, Ordering::Relaxed);
        let (renewing, leader) = (self.clone(), forward.clone());
        tokio::spawn(async move { renewing.renew(agent, leader).await });
        let mut begun = self.begun.clone();
        if begun.wait_for(|begun| *begun).await.is_err() {
            return;
        }
        sleep(Duration::from_millis(spread(RENEWED_MS))).await;
        let address = setup::name(agent % self.size.servers + 1);
        let mut pursuit = Pursuit::default();
        self.following.fetch_add(1, Ordering::Relaxed);
        loop {
            let request = pursuit.request();
            let limit = Duration::from_secs(30);
            let answer = wire.call(ANYBODY, &address, Channel::Feed, request, limit);
            match answer.await.and_then(|answer| pursuit.heard(&answer)) {
                Ok(0) => {}
                Ok(entries) => {
                    self.followed.fetch_add(entries as u64, Ordering::Relaxed);
                }
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn renew(&self, agent: u64, forward: Forward) {
        let lease = [LeaseId::Agent(node(agent))];
        loop {
            let share = 900 + portolan_environment::random_u64() % 200;
            sleep(Duration::from_millis(RENEWED_MS * share / 1000)).await;
            let until = Instant::now() + Duration::from_millis(2500);
            let renewed = forward.renew(&lease, until).await;
            let count = match renewed.as_deref() {
                Ok([Renewal::For(_)]) => &self.renewed,
                _ => &self.not_renewed,
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Changes so many instances in a second, one after the other.
    async fn change(self: Arc<Self>, forward: Forward) {
        let pause = Duration::from_millis(1000 / self.size.changes.clamp(1, 1000));
        for turn in 0..self.size.changes * self.size.seconds {
            sleep(pause).await;
            let agent = turn % self.size.agents + 1;
            let Some(number) = self.instances(agent).next() else {
                continue;
            };
            let port = 9000 + u16::try_from(turn / self.size.agents % 1000).unwrap_or(0);
            let batch = entries(vec![instance(agent, number, port)]);
            let until = Instant::now() + Duration::from_secs(10);
            if forward.propose(batch, until).await.is_ok() {
                self.changed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The machines of a run.
struct Machines {
    world: Arc<World>,
    servers: Vec<Server>,
    runtime: Runtime,
    outside: Arc<dyn Environment>,
    leader: watch::Sender<Option<Leader>>,
    /// Terms in which somebody led.
    terms: BTreeSet<u64>,
}

impl Machines {
    fn start(size: &Size) -> Result<Machines, String> {
        let world = Arc::new(World::new(1, 0, 3));
        let plan = Plan {
            servers: size.servers,
            snapshot_bytes: 64 << 20,
            drift_ppm: Vec::new(),
            timeline: Vec::new(),
            ..Plan::new(1)
        };
        let mut servers: Vec<Server> = (1..=size.servers)
            .map(|id| Server::new(id, &plan, &world, id))
            .collect();
        for server in &mut servers {
            server.start()?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .map_err(|error| format!("no runtime: {error}"))?;
        Ok(Machines {
            outside: Arc::new(Outside::new(7, &world)),
            world,
            servers,
            runtime,
            leader: watch::Sender::new(None),
            terms: BTreeSet::new(),
        })
    }

    /// One millisecond.
    fn step(&mut self) -> Result<(), String> {
        for event in self.world.due() {
            match event {
                Event::Request {
                    from,
                    to,
                    letter,
                    answer,
                } => {
                    let mut servers = self.servers.iter();
                    if let Some(server) = servers.find(|server| server.id() == to) {
                        server.deliver(from, letter, answer);
                    }
                }
                // Whoever asked may have given up.
                Event::Answer { answer, to } => drop(to.send(answer)),
                Event::Ask { .. } | Event::Told { .. } => {}
            }
        }
        for server in &mut self.servers {
            server.step()?;
        }
        let _entered = portolan_environment::enter(self.outside.clone());
        self.runtime
            .block_on(async { sleep(Duration::from_millis(1)).await });
        let seen = |server: &Server| Some((server.seen()?, server.node(), server.id()));
        if self.world.now().is_multiple_of(50)
            && let Some((seen, node, id)) = self
                .servers
                .iter()
                .filter_map(seen)
                .find(|(seen, ..)| seen.leads)
        {
            self.terms.insert(seen.term);
            let leader = Some(Leader {
                node,
                address: setup::name(id),
            });
            self.leader.send_if_modified(|before| {
                let other = *before != leader;
                *before = leader;
                other
            });
        }
        self.world.advance();
        Ok(())
    }

    /// What each server had to do since the last time, and its revision and applied index before.
    fn handled(&self, before: &[(u64, u64)]) -> Vec<Handled> {
        let places = self.places();
        let each = self.servers.iter().zip(places.iter().zip(before));
        each.map(|(server, (now, before))| Handled {
            server: setup::name(server.id()),
            leads: server.seen().is_some_and(|seen| seen.leads),
            traffic: server.take_traffic(),
            commands: now.0 - before.0,
            entries: now.1 - before.1,
        })
        .collect()
    }

    fn places(&self) -> Vec<(u64, u64)> {
        let seen = self.servers.iter().map(Server::seen);
        seen.map(|seen| seen.map_or((0, 0), |seen| (seen.revision, seen.applied)))
            .collect()
    }
}

/// Runs it; `say` is told how far it is.
///
/// # Errors
/// What did not hold: an election too many, a lease that lapsed, a server that lacks something.
pub fn scale(size: &Size, mut say: impl FnMut(&str)) -> Result<Scaled, String> {
    let mut machines = Machines::start(size)?;
    let (begin, begun) = watch::channel(false);
    let crowd = Arc::new(Crowd {
        size: *size,
        places: Semaphore::new(AT_ONCE),
        loaded: AtomicU64::new(0),
        renewed: AtomicU64::new(0),
        not_renewed: AtomicU64::new(0),
        following: AtomicU64::new(0),
        followed: AtomicU64::new(0),
        changed: AtomicU64::new(0),
        begun,
    });
    while machines.terms.is_empty() {
        machines.step()?;
    }
    let forward =
        |wire: Arc<Wire>, machines: &Machines| Forward::new(wire, machines.leader.subscribe());
    let wire = |agent: u64, machines: &Machines| {
        Arc::new(Wire {
            me: FIRST + agent,
            node: FIRST + agent,
            world: machines.world.clone(),
            served: Served::default(),
        })
    };
    for agent in 1..=size.agents {
        let wire = wire(agent, &machines);
        let run = crowd
            .clone()
            .run(agent, wire.clone(), forward(wire, &machines));
        machines.runtime.spawn(run);
    }
    let before = machines.places();
    let began = machines.world.now();
    let load = |crowd: &Crowd| crowd.loaded.load(Ordering::Relaxed);
    while load(&crowd) < size.agents {
        machines.step()?;
        let passed = machines.world.now() - began;
        if passed.is_multiple_of(1000) {
            say(&format!(
                "{passed} ms: {} of {} agents are registered",
                load(&crowd),
                size.agents
            ));
        }
        if passed > LOADING_MS {
            return Err("not everything was registered in time".to_owned());
        }
    }
    let loading_ms = machines.world.now() - began;
    let loading = machines.handled(&before);
    say("everything is registered; agents begin to follow");
    begin.send_replace(true);
    for _ in 0..2 * RENEWED_MS {
        machines.step()?;
    }
    let following = crowd.following.load(Ordering::Relaxed);
    if following != size.agents {
        return Err(format!("only {following} agents follow"));
    }
    say("all agents follow; changes begin");
    let _counted_before = machines.handled(&before);
    let before = machines.places();
    let changing = crowd.clone().change(forward(wire(0, &machines), &machines));
    machines.runtime.spawn(changing);
    let counted = |crowd: &Crowd| {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (
            (load(&crowd.renewed), load(&crowd.not_renewed)),
            load(&crowd.followed),
        )
    };
    let at_first = counted(&crowd);
    for passed in 1..=size.seconds * 1000 {
        machines.step()?;
        if passed.is_multiple_of(5000) {
            say(&format!("{passed} ms of changes"));
        }
    }
    let at_last = counted(&crowd);
    let steady = machines.handled(&before);
    for _ in 0..1000 {
        machines.step()?;
    }
    judge(&machines, &crowd, &before)?;
    let states = machines.servers.iter().filter_map(Server::state);
    Ok(Scaled {
        loading_ms,
        loading,
        steady,
        renewals: (at_last.0.0 - at_first.0.0, at_last.0.1 - at_first.0.1),
        followed: at_last.1 - at_first.1,
        instances: states
            .map(|state| state.instance_count())
            .min()
            .unwrap_or(0),
    })
}

/// Nothing lapsed, nothing is missing, nobody else was elected.
fn judge(machines: &Machines, crowd: &Crowd, before: &[(u64, u64)]) -> Result<(), String> {
    if machines.terms.len() != 1 {
        return Err(format!("there were leaders in terms {:?}", machines.terms));
    }
    let changed = crowd.changed.load(Ordering::Relaxed);
    let wanted = before.iter().map(|place| place.0).max().unwrap_or(0) + changed;
    for (server, place) in machines.servers.iter().zip(machines.places()) {
        if place.0 != wanted {
            let name = setup::name(server.id());
            return Err(format!(
                "{name} is at revision {}, {wanted} was changed: something lapsed or is missing",
                place.0
            ));
        }
        let count = server.state().map_or(0, |state| state.instance_count());
        if (count as u64) < crowd.size.instances {
            return Err(format!(
                "{} has {count} instances",
                setup::name(server.id())
            ));
        }
    }
    Ok(())
}
