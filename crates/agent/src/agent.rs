//! A running agent: everything wired together.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portolan_catalog::{LeaseId, NodeFacts, Protocol, State};
use portolan_environment as environment;
use portolan_history::History;
use portolan_registry::{Backend, Cluster, Limits, Registry, WallClock};
use portolan_replica::Directory;
use portolan_replica::disk::{Disk, RealDisk};
use portolan_replica::identity::{self, DirectoryLock, Identity, IdentityError};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::core::{Base, Beginning, Core};
use crate::decide::Decider;
use crate::disk::Files;
use crate::follow::{fetch, follow_always};
use crate::keep::Keeper;
use crate::members::Members;
use crate::node_lease::renew_always;
use crate::servers::Servers;
use crate::standing::Age;

/// How long a start waits for servers when there is a copy to answer from.
const PATIENCE: Duration = Duration::from_millis(250);
/// Between two tries to reach a server when there is nothing to answer from.
const AGAIN: Duration = Duration::from_millis(500);
/// How often it is looked whether TTL checks have expired while no server can be reached.
const EXPIRY: Duration = Duration::from_millis(500);
/// How long the copy may take to be written at the end.
const LAST_COPY: Duration = Duration::from_secs(10);

/// How an agent starts.
pub struct Options {
    /// The data directory.
    pub directory: Directory,
    /// This agent's node. An empty id takes that of the node's row, or a new one; the lease is filled in.
    pub node: NodeFacts,
    /// The way to the servers.
    pub servers: Arc<dyn Servers>,
    /// The wall clock.
    pub wall: WallClock,
    /// How many proposals wait, and how long.
    pub limits: Limits,
    /// Bytes of history in memory; 4 MiB by default. Watches resume as far as it reaches.
    pub history_bytes: u64,
    /// How often the copy is written; five minutes by default, and whenever servers are lost.
    pub copy_every: Duration,
    /// Called when something ended that the agent cannot do without; the binary exits with the message.
    pub fatal: Box<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("directory", &self.directory)
            .field("node", &self.node)
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// Options with the defaults; an end of something is only logged until the caller sets `fatal`.
    #[must_use]
    pub fn new(
        directory: Directory,
        node: NodeFacts,
        servers: Arc<dyn Servers>,
        wall: WallClock,
    ) -> Options {
        Options {
            directory,
            node,
            servers,
            wall,
            limits: Limits::default(),
            history_bytes: 4 << 20,
            copy_every: Duration::from_secs(300),
            fatal: Box::new(|why| tracing::error!(why, "the agent stops")),
        }
    }
}

/// Why an agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory belongs to somebody else or is damaged.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The directory is a server's.
    #[error(
        "data directory \"{place}\" has a server's log; an agent needs one of its own: choose another --data-dir"
    )]
    Servers {
        /// The directory.
        place: String,
    },
    /// The node is one of the servers.
    #[error("a server of the cluster has the name \"{name}\"; pass another --node-name")]
    Name {
        /// The name.
        name: String,
    },
    /// What is owned cannot be read.
    #[error(
        "file agent-owned in data directory \"{place}\" cannot be read; it has the services that were registered at this agent: restore it from a copy, or remove it to take what the servers have of them"
    )]
    Owned {
        /// The directory.
        place: String,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// The system refused.
    #[error("cannot {doing} data directory \"{place}\"")]
    Io {
        /// The directory.
        place: String,
        /// What was tried.
        doing: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// What an agent knows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The cluster it follows.
    pub cluster_id: u64,
    /// Index of the last entry of the servers' log that it has applied.
    pub index: u64,
    /// How current that is.
    pub age: Age,
    /// Commands that the servers have to be told so that they have what is owned here.
    pub offers: usize,
    /// Whether something is shown that the servers do not have yet.
    pub diverged: bool,
}

/// A running agent. Dropping it without [`Agent::shutdown`] stops it as a crash would.
pub struct Agent {
    identity: Identity,
    core: Arc<Core>,
    members: Arc<Members>,
    keeper: Keeper,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    lock: Mutex<Option<DirectoryLock>>,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Agent {
    /// Starts. With a copy on the disk it answers from that at once; without one it waits for a server, for ever.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(options: Options) -> Result<(Agent, Registry), StartError> {
        let (disk, lock) = open(&options.directory)?;
        let place = disk.place();
        let name = options.node.name.as_str().to_owned();
        let mut random = environment::random_u64;
        let names = disk.list().map_err(|source| StartError::Io {
            place: place.clone(),
            doing: "list the files of",
            source,
        })?;
        if names.iter().any(|name| name.starts_with("log-")) {
            return Err(StartError::Servers { place });
        }
        let identity = identity::establish(disk.as_ref(), &name, true, &mut random)?;
        let files = Files::new(disk);
        let read = files.clone();
        let read = environment::blocking(move || (read.read_owned(), read.read_copy())).await;
        let failed = |source| StartError::Owned {
            place: place.clone(),
            source,
        };
        let (owned, copy) = read.map_err(failed)?;
        let owned = owned.map_err(failed)?;
        let written = copy.as_ref().map(|base| (base.cluster, base.mark));
        let base = match copy {
            Some(base) => {
                options.servers.belong(base.cluster);
                base
            }
            None => first_state(options.servers.as_ref()).await,
        };
        if is_servers(&options.node, &base.state) {
            return Err(StartError::Name { name });
        }
        let history = Arc::new(History::in_memory(options.history_bytes));
        let (registry, backend) = Backend::with_history(
            base.state.clone(),
            options.wall.clone(),
            options.limits,
            history,
        );
        let publisher = backend.publisher();
        publisher.set_copy();
        let beginning = Beginning {
            node: Arc::new(own_node(options.node, &base.state, identity.node_id)),
            base,
            owned,
            owns: true,
        };
        let core = Arc::new(Core::new(beginning, publisher, options.wall));
        let keeper = Keeper::new(core.clone(), files, options.copy_every, written);
        let decider = Decider {
            core: core.clone(),
            servers: options.servers.clone(),
            keeper: keeper.clone(),
        };
        let mut tasks = JoinSet::new();
        let Backend {
            proposals,
            barriers,
            leases,
            ..
        } = backend;
        let members = Arc::new(Members::new(decider.clone()));
        let known: Arc<dyn Cluster> = members.clone();
        core.publisher().set_cluster(Arc::downgrade(&known));
        tasks.spawn(decider.clone().decide_always(proposals));
        tasks.spawn(decider.clone().confirm_always(barriers));
        tasks.spawn(decider.clone().ask_about_leases_always(leases));
        tasks.spawn(decider.offer_always());
        tasks.spawn(renew_always(core.clone(), options.servers.clone()));
        tasks.spawn(keeper.clone().keep_owned_always());
        tasks.spawn(keeper.clone().keep_copy_always());
        tasks.spawn(expire_always(core.clone()));
        tasks.spawn(follow_always(core.clone(), options.servers.clone()));
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(watch_over(tasks, stopped, options.fatal));
        settle_in(&core).await;
        let agent = Agent {
            identity,
            core,
            members,
            keeper,
            stop: Mutex::new(Some(stop)),
            lock: Mutex::new(lock),
        };
        Ok((agent, registry))
    }

    /// Who this node is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The id of its node, as it is registered.
    #[must_use]
    pub fn node_id(&self) -> Arc<str> {
        self.core.node().id.clone()
    }

    /// The members of the cluster, as the server it follows has told of them.
    #[must_use]
    pub fn cluster(&self) -> &dyn Cluster {
        self.members.as_ref()
    }

    /// What it knows of itself.
    #[must_use]
    pub fn status(&self) -> Status {
        let (cluster_id, mark) = self.core.place();
        Status {
            cluster_id,
            index: mark.index,
            age: self.core.standing.age(),
            offers: self.core.offers(),
            diverged: self.core.diverged(),
        }
    }

    /// How current the copy is.
    #[must_use]
    pub fn age(&self) -> Age {
        self.core.standing.age()
    }

    /// Resolves when this agent has left by [`portolan_registry::MemberChange::Leave`]: the process is to stop.
    pub async fn left(&self) {
        self.members.left().await;
    }

    /// Stops in order: what is owned and the copy are written down. The node's lease runs on, so that a restart is no failure.
    pub async fn shutdown(&self) {
        let stop = self
            .stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(stop);
        // Whatever is wrong was logged.
        let _kept = self.keeper.keep_owned().await;
        match timeout(LAST_COPY, self.keeper.keep_copy()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the copy cannot be written"),
            Err(_) => tracing::warn!("the copy could not be written in time"),
        }
        let _unlocked = self
            .lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}

fn open(directory: &Directory) -> Result<(Arc<dyn Disk>, Option<DirectoryLock>), StartError> {
    match directory {
        Directory::Path(path) => {
            let disk = RealDisk::open(path).map_err(|source| StartError::Io {
                place: place_of(path),
                doing: "open",
                source,
            })?;
            let lock = identity::lock(path)?;
            Ok((Arc::new(disk), Some(lock)))
        }
        Directory::Disk(disk) => Ok((disk.clone(), None)),
    }
}

fn place_of(path: &Path) -> String {
    path.display().to_string()
}

/// Whether a node of this name is one of the servers.
fn is_servers(node: &NodeFacts, state: &State) -> bool {
    let mut there = state.instances_on(&node.name);
    there.any(|row| row.key.origin == Protocol::Portolan)
}

/// The agent's node as it is registered: with its lease, and with the id it has. One without a row gets the id that follows from its
/// directory's: a copy may be older than the row, and the servers refuse a node that comes back with another id.
fn own_node(mut node: NodeFacts, state: &State, directory: u64) -> NodeFacts {
    if node.id.is_empty() {
        let known = state.node(&node.name).map(|row| row.id.clone());
        node.id = known
            .filter(|id| !id.is_empty())
            .unwrap_or_else(|| uuid(directory).into());
    }
    node.lease = Some(LeaseId::Agent(node.name.clone()));
    node
}

/// The text of the UUID that is a directory's: random, since its number is.
fn uuid(directory: u64) -> String {
    let mixed = directory
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(31)
        ^ directory;
    let mut bytes = ((u128::from(directory) << 64) | u128::from(mixed)).to_be_bytes();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut text = String::with_capacity(36);
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// The state of whichever server answers first.
async fn first_state(servers: &dyn Servers) -> Base {
    let mut tries = 0_u32;
    loop {
        match meet_and_fetch(servers).await {
            Ok(base) => return base,
            Err(error) => {
                if tries.is_multiple_of(20) {
                    tracing::warn!(%error, "there is no copy here and no server can be reached; waiting for one");
                }
                tries = tries.wrapping_add(1);
                servers.turn();
                sleep(AGAIN).await;
            }
        }
    }
}

async fn meet_and_fetch(servers: &dyn Servers) -> io::Result<Base> {
    let cluster = servers.meet().await?;
    servers.belong(cluster);
    fetch(servers).await
}

/// Gives servers that can be reached a moment to say what is new.
async fn settle_in(core: &Core) {
    let up_to_date = async {
        while !core.live() && !core.standing.was_missed() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    // Nobody has to be there.
    let _either = timeout(PATIENCE, up_to_date).await;
}

async fn expire_always(core: Arc<Core>) {
    let mut tick = interval(EXPIRY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        core.expire();
    }
}

/// Ends everything when it is asked to, and tells when something ends by itself.
async fn watch_over(
    mut tasks: JoinSet<()>,
    stopped: oneshot::Receiver<()>,
    fatal: Box<dyn Fn(&str) + Send + Sync>,
) {
    tokio::select! {
        _ = stopped => {}
        ended = tasks.join_next() => match ended {
            Some(Err(error)) if error.is_panic() => fatal("a task of the agent panicked"),
            _ => fatal("a task of the agent ended"),
        },
    }
    tasks.shutdown().await;
}
