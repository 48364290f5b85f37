//! An agent: the product's, in a runtime of its own. It follows the servers, owns what is registered at it, and answers when it is alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portolan_agent::{Agent, Joined, Options};
use portolan_catalog::{Host, NodeFacts, NodeName, State, Timestamp};
use portolan_environment::Environment;
use portolan_replica::Directory;
use portolan_replica::disk::Crash;
use tokio::runtime::Runtime;

use crate::disk::SimDisk;
use crate::front::{Ask, Front, Told};
use crate::plan::Plan;
use crate::setup;
use crate::wire::{Outside, Served, Wire};
use crate::world::{ToldReply, World};

/// Agents stand behind all servers in the network.
const FIRST: u64 = 100;

/// Where an agent stands in the network.
pub(crate) fn machine(number: u64) -> u64 {
    FIRST + number
}

struct Up {
    agent: Arc<Agent>,
    registry: portolan_registry::Registry,
    front: Arc<Front>,
}

/// A running process.
struct Life {
    runtime: Runtime,
    started: Arc<Mutex<Option<Result<Up, String>>>>,
}

/// See the module.
pub(crate) struct Edge {
    number: u64,
    servers: u64,
    world: Arc<World>,
    outside: Arc<Outside>,
    disk: SimDisk,
    life: Option<Life>,
    fatal: Arc<Mutex<Option<String>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Edge {
    pub(crate) fn new(number: u64, plan: &Plan, world: &Arc<World>, seed: u64) -> Edge {
        Edge {
            number,
            servers: plan.servers,
            world: world.clone(),
            outside: Arc::new(Outside::new(seed, world)),
            disk: SimDisk::new(machine(number), world),
            life: None,
            fatal: Arc::default(),
        }
    }

    /// Where it stands in the network.
    pub(crate) fn id(&self) -> u64 {
        machine(self.number)
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Its node.
    pub(crate) fn node(&self) -> NodeName {
        NodeName::new(&format!("edge-{}", self.number))
    }

    /// Starts the process unless it runs.
    ///
    /// # Errors
    /// When the system gives no runtime.
    pub(crate) fn start(&mut self) -> Result<(), String> {
        if self.life.is_some() {
            return Ok(());
        }
        self.world.started(self.id());
        self.world.note("start", &[self.id()], &[]);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .map_err(|error| format!("no runtime: {error}"))?;
        let started = Arc::new(Mutex::new(None));
        let (slot, options, name) = (started.clone(), self.options(), self.node().to_string());
        let _entered = portolan_environment::enter(self.outside.clone());
        runtime.spawn(async move {
            let begun = Agent::start(options).await;
            let up = begun.map_err(|error| error.to_string());
            let up = up.map(|(agent, registry)| {
                tokio::spawn(registry.deliver_changes());
                Up {
                    agent: Arc::new(agent),
                    front: Arc::new(Front::new(registry.clone(), &name)),
                    registry,
                }
            });
            *lock(&slot) = Some(up);
        });
        self.life = Some(Life { runtime, started });
        Ok(())
    }

    fn options(&self) -> Options {
        let wire = Wire {
            me: self.id(),
            node: self.id(),
            world: self.world.clone(),
            served: Served::default(),
        };
        let addresses = (1..=self.servers).map(setup::name).collect();
        let servers = Joined::new(Arc::new(wire), Box::new(|_| {}), addresses);
        let mut options = Options::new(
            Directory::Disk(Arc::new(self.disk.clone())),
            NodeFacts::new(self.node().as_str(), Host::new("10.1.0.1")),
            Arc::new(servers),
            {
                let outside = self.outside.clone();
                Arc::new(move || Timestamp(outside.wall_ms()))
            },
        );
        let fatal = self.fatal.clone();
        options.fatal = Box::new(move |why| *lock(&fatal) = Some(why.to_owned()));
        options
    }

    /// Its machine loses power.
    pub(crate) fn die(&mut self, left: Crash) {
        let Some(life) = self.life.take() else { return };
        self.world.note("end", &[self.id()], &[]);
        self.world.ended(self.id(), true);
        let _entered = portolan_environment::enter(self.outside.clone());
        // Everything it had spawned goes with the runtime.
        drop(life);
        self.disk.restart(left);
        lock(&self.fatal).take();
    }

    /// One millisecond.
    ///
    /// # Errors
    /// When it did not start, or ended by itself.
    pub(crate) fn step(&self) -> Result<(), String> {
        let Some(life) = &self.life else {
            return Ok(());
        };
        let _entered = portolan_environment::enter(self.outside.clone());
        life.runtime
            .block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
        if let Some(why) = &*lock(&self.fatal) {
            return Err(format!("agent {}: {why}", self.number));
        }
        match &*lock(&life.started) {
            Some(Err(error)) => Err(format!("agent {} did not start: {error}", self.number)),
            _ => Ok(()),
        }
    }

    /// A client's question arrives.
    pub(crate) fn serve(&self, ask: Ask, reply: ToldReply) {
        let front = self.up(|up| up.front.clone());
        let (Some(front), Some(life)) = (front, &self.life) else {
            return self.world.tell(self.id(), Told::Refused, reply);
        };
        let (world, me) = (self.world.clone(), self.id());
        let number = world.opens_to_client(me, reply);
        let _entered = portolan_environment::enter(self.outside.clone());
        life.runtime.spawn(async move {
            let told = front.answer(ask).await;
            world.settle_client(me, number, told);
        });
    }

    /// Looks at it in its own time.
    fn up<T>(&self, look: impl FnOnce(&Up) -> T) -> Option<T> {
        let life = self.life.as_ref()?;
        let _own_time = life.runtime.enter();
        let _entered = portolan_environment::enter(self.outside.clone());
        match &*lock(&life.started) {
            Some(Ok(up)) => Some(look(up)),
            _ => None,
        }
    }

    /// What it shows, if that is what the servers had; none while it is down, starts, or shows what they do not have yet. What became of a call
    /// without an answer is put right with the next offer, which may take longer than a run.
    pub(crate) fn copy(&self) -> Option<Arc<State>> {
        self.up(|up| {
            let status = up.agent.status();
            (!status.diverged).then(|| up.registry.snapshot())
        })?
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _entered = portolan_environment::enter(self.outside.clone());
        drop(self.life.take());
    }
}
