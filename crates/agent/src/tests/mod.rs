//! An agent against a registry in this process that plays the servers: what is followed, what is owned, and what happens without servers.

mod alone;
mod datacenters;
mod decoders;
mod fan_out;
mod following;
mod servers;
mod strangers;

use std::sync::Arc;
use std::time::Duration;

use portolan_catalog::{
    Cause, CheckFacts, CheckKey, Command, Endpoint, Host, InstanceKey, NewCheck, NodeFacts,
    NodeName, Probe, Protocol, Register, Registration, ServiceKey, Settled, State, Status, Target,
    Timestamp,
};
use portolan_registry::{Registry, Unavailable, WallClock};
use portolan_replica::Directory;
use portolan_replica::disk::MemoryDisk;

use crate::{Agent, Options};
use servers::Local;

pub(crate) const NODE: &str = "a1";

/// An agent with everything around it.
pub(crate) struct World {
    pub(crate) servers: Arc<Local>,
    pub(crate) disk: MemoryDisk,
    pub(crate) agent: Agent,
    pub(crate) registry: Registry,
}

pub(crate) fn wall() -> WallClock {
    Arc::new(|| Timestamp(1_700_000_100_000))
}

pub(crate) async fn start(servers: &Arc<Local>, disk: &MemoryDisk) -> (Agent, Registry) {
    let node = NodeFacts::new(NODE, Host::new("10.0.0.9"));
    let directory = Directory::Disk(Arc::new(disk.clone()));
    let options = Options::new(directory, node, servers.clone(), wall());
    Agent::start(options).await.unwrap()
}

impl World {
    pub(crate) async fn new() -> World {
        let servers = Local::new();
        let disk = MemoryDisk::new();
        let (agent, registry) = start(&servers, &disk).await;
        let world = World {
            servers,
            disk,
            agent,
            registry,
        };
        world
            .at_servers("the node", |state| state.node(&node()).is_some())
            .await;
        world.alike().await;
        world
    }

    /// Stops and starts the agent.
    pub(crate) async fn restart(self) -> World {
        self.agent.shutdown().await;
        let (agent, registry) = start(&self.servers, &self.disk).await;
        World {
            agent,
            registry,
            ..self
        }
    }

    /// Waits until the servers show something.
    pub(crate) async fn at_servers(&self, what: &str, shown: impl Fn(&State) -> bool) {
        until(what, || shown(&self.servers.registry().snapshot())).await;
    }

    /// Waits until the agent shows something.
    pub(crate) async fn here(&self, what: &str, shown: impl Fn(&State) -> bool) {
        until(what, || shown(&self.registry.snapshot())).await;
    }

    /// Waits until the agent shows exactly what the servers have.
    pub(crate) async fn alike(&self) {
        until("the same state", || {
            let (here, there) = (self.registry.snapshot(), self.servers.registry().snapshot());
            !self.agent.status().diverged && format!("{here:?}") == format!("{there:?}")
        })
        .await;
    }

    pub(crate) async fn propose(&self, command: Command) -> Result<Settled, Unavailable> {
        self.registry.propose(client(), command).await
    }

    pub(crate) async fn ok(&self, command: Command) {
        self.propose(command).await.unwrap().outcome.unwrap();
    }
}

pub(crate) fn client() -> Cause {
    Cause::call(Protocol::Consul, None)
}

pub(crate) async fn until(what: &str, is: impl Fn() -> bool) {
    let there = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), there)
        .await
        .unwrap_or_else(|_| panic!("{what} did not come about"));
}

pub(crate) fn node() -> NodeName {
    NodeName::new(NODE)
}

pub(crate) fn key(id: &str) -> InstanceKey {
    InstanceKey::consul(&node(), id)
}

pub(crate) fn check_key(id: &str) -> CheckKey {
    CheckKey::new(&node(), id)
}

/// A service of the agent, with a TTL check of ten seconds.
pub(crate) fn register(id: &str, port: u16) -> Command {
    let endpoint = Endpoint::new(Host::new("10.0.0.9"), port);
    let mut facts = Registration::new(key(id), ServiceKey::plain("web"), endpoint);
    facts.node = node();
    let mut check = CheckFacts::new(check_key(&format!("service:{id}")), "ttl");
    check.instance = Some(key(id));
    check.probe = Probe::Ttl { ttl_ms: 10_000 };
    check.owner = Some(node());
    let mut register = Register::new(facts);
    register.checks = vec![NewCheck {
        facts: Arc::new(check),
        status: Status::Critical,
        output: Arc::default(),
        reported: false,
    }];
    Command::Register(Box::new(register))
}

pub(crate) fn deregister(id: &str) -> Command {
    Command::Deregister {
        target: Target::Instance(key(id)),
        expect: None,
    }
}

pub(crate) fn report(id: &str, status: Status) -> Command {
    Command::Report {
        check: check_key(&format!("service:{id}")),
        status,
        output: "said".into(),
    }
}

pub(crate) fn status(state: &State, id: &str) -> Option<Status> {
    let check = state.check(&check_key(&format!("service:{id}")));
    check.map(|check| check.status)
}
