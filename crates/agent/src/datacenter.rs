//! Another datacenter: a copy of what its servers have, followed as an agent follows its own, with nothing in it that is owned here.
//!
//! What is proposed to the copy is decided by the leader there. While no server there can be reached it is answered from as it is, with
//! its age; nothing is decided here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use portolan_catalog::{Host, NodeFacts};
use portolan_environment as environment;
use portolan_history::History;
use portolan_registry::{Backend, Cluster, Datacenter, Limits, Registry, WallClock};
use portolan_replica::disk::Disk;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::core::{Base, Beginning, Core};
use crate::decide::Decider;
use crate::disk::Files;
use crate::feed::wire::{Answer, Place, Request};
use crate::follow::{fetch, follow_always};
use crate::keep::Keeper;
use crate::members::Members;
use crate::servers::Servers;
use crate::standing::Age;

/// Between two tries to reach a server when there is no copy, at first and at most.
const AGAIN: Duration = Duration::from_millis(500);
const AGAIN_AT_MOST: Duration = Duration::from_secs(5);
/// How often the way is measured.
const MEASURED_EVERY: Duration = Duration::from_secs(10);
/// How long a question that measures may take.
const MEASURING: Duration = Duration::from_secs(5);

/// How a datacenter is followed.
pub struct Elsewhere {
    /// Which one; it is given the copy and the measures.
    pub datacenter: Arc<Datacenter>,
    /// Where the copy is kept; nothing else may be there.
    pub disk: Arc<dyn Disk>,
    /// The way to its servers.
    pub servers: Arc<dyn Servers>,
    /// The wall clock.
    pub wall: WallClock,
    /// How many proposals wait, and how long.
    pub limits: Limits,
    /// Bytes of history in memory. Watches resume as far as it reaches.
    pub history_bytes: u64,
    /// How often the copy is written, and whenever the servers are lost.
    pub copy_every: Duration,
}

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elsewhere")
            .field("datacenter", &self.datacenter)
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

/// A copy that is followed. Dropping it ends that; what was handed out of the copy stays as it is then.
pub struct Followed {
    core: Arc<Core>,
    registry: Registry,
    keeper: Keeper,
    _members: Arc<Members>,
    tasks: JoinSet<()>,
}

impl fmt::Debug for Followed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Followed").finish_non_exhaustive()
    }
}

impl Followed {
    /// Begins with the copy on the disk, else with what a server sends, which takes as long as it takes.
    pub async fn begin(options: Elsewhere) -> Followed {
        let Elsewhere {
            datacenter,
            disk,
            servers,
            wall,
            limits,
            history_bytes,
            copy_every,
        } = options;
        let files = Files::new(disk);
        let read = files.clone();
        let copy = environment::blocking(move || read.read_copy()).await;
        let copy = copy.ok().flatten();
        let written = copy.as_ref().map(|base| (base.cluster, base.mark));
        let base = match copy {
            Some(base) => base,
            None => first_state(servers.as_ref(), datacenter.name()).await,
        };
        let history = Arc::new(History::in_memory(history_bytes));
        let (registry, backend) =
            Backend::with_history(base.state.clone(), wall.clone(), limits, history);
        let publisher = backend.publisher();
        publisher.set_copy();
        let beginning = Beginning {
            node: Arc::new(NodeFacts::new("", Host::new(""))),
            base,
            owned: None,
            owns: false,
        };
        let core = Arc::new(Core::new(beginning, publisher, wall));
        let keeper = Keeper::new(core.clone(), files, copy_every, written);
        let decider = Decider {
            core: core.clone(),
            servers: servers.clone(),
            keeper: keeper.clone(),
        };
        let Backend {
            proposals,
            barriers,
            leases,
            ..
        } = backend;
        let members = Arc::new(Members::new(decider.clone()));
        let known: Arc<dyn Cluster> = members.clone();
        core.publisher().set_cluster(Arc::downgrade(&known));
        let mut tasks = JoinSet::new();
        tasks.spawn(decider.clone().decide_always(proposals));
        tasks.spawn(decider.clone().confirm_always(barriers));
        tasks.spawn(decider.ask_about_leases_always(leases));
        tasks.spawn(keeper.clone().keep_copy_always());
        tasks.spawn(follow_always(core.clone(), servers.clone()));
        tasks.spawn(registry.deliver_changes());
        tasks.spawn(measure_always(core.clone(), servers, datacenter.clone()));
        datacenter.set_copy(registry.clone());
        Followed {
            core,
            registry,
            keeper,
            _members: members,
            tasks,
        }
    }

    /// The copy.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// How current the copy is.
    #[must_use]
    pub fn age(&self) -> Age {
        self.core.standing.age()
    }

    /// Resolves when a task of it has ended, which none does by itself: whether by a panic.
    pub async fn ended(&mut self) -> bool {
        let ended = self.tasks.join_next().await;
        matches!(ended, Some(Err(error)) if error.is_panic())
    }

    /// Writes the copy down and ends.
    pub async fn finish(mut self) {
        self.tasks.shutdown().await;
        if let Err(error) = self.keeper.keep_copy().await {
            tracing::warn!(%error, "the copy of another datacenter cannot be written");
        }
    }
}

/// The state of whichever server answers first.
async fn first_state(servers: &dyn Servers, datacenter: &str) -> Base {
    let (mut wait, mut told) = (AGAIN, false);
    loop {
        match fetch(servers).await {
            Ok(base) => {
                tracing::info!(datacenter, "there is a copy of this datacenter now");
                return base;
            }
            Err(error) if !told => {
                told = true;
                tracing::warn!(%error, datacenter, "there is no copy of this datacenter and no server of it can be reached; it is tried again");
            }
            Err(error) => tracing::debug!(%error, datacenter, "no server can be reached"),
        }
        servers.turn();
        sleep(wait.mul_f64(0.5 + environment::random_fraction())).await;
        wait = (wait * 2).min(AGAIN_AT_MOST);
    }
}

/// Measures for ever how long a question to the servers takes that needs no work.
async fn measure_always(core: Arc<Core>, servers: Arc<dyn Servers>, datacenter: Arc<Datacenter>) {
    let mut tick = interval(MEASURED_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let (cluster, mark) = core.place();
        let request = Request::Follow {
            cluster,
            after: Place::from(mark),
            most_bytes: 0,
            wait_ms: 0,
        };
        let begun = Instant::now();
        let answer = servers.feed(request.encode(), MEASURING).await;
        // The first one of a connection pays for making it; the smoothing takes care of that.
        if answer.is_ok_and(|bytes| Answer::decode(&bytes).is_ok()) {
            datacenter.measured(begun.elapsed());
        }
    }
}
