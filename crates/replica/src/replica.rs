//! A running replica: everything wired together, in its own threads.
//!
//! Threads: `portolan-raft` runs openraft, the proposer, the apply loop and the leader's clock in a runtime of its own, because an append
//! blocks it until the disk has the entry; `portolan-space` prepares segments, `portolan-history` moves the history into files. Readers and renewals need neither.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portolan_catalog::Bootstrap;
use portolan_environment::{Dedicated, NoPeers, Transport};
use portolan_history::{History, Retention};
use portolan_registry::{Limits, Member, Registry, WallClock};
use tokio::sync::{mpsc, oneshot};

use crate::consensus::{RaftNode, node_text};
use crate::disk::{Disk, RealDisk};
use crate::fatal::{Fatal, FatalError};
use crate::identity::{self, DirectoryLock, Identity, IdentityError};
use crate::lease::GuardOptions;
use crate::log::{Log, LogError};
use crate::node::live;
use crate::node::members::Members;
use crate::snapshot::SnapshotError;
use crate::snapshot_wish::SnapshotWish;
use crate::space::SpaceOptions;
use crate::stats::Stats;
use crate::supervisor::Supervisor;

/// Where a replica keeps its files.
#[derive(Clone, Debug)]
pub enum Directory {
    /// A real directory, created if missing and locked against other processes.
    Path(PathBuf),
    /// Any other disk, for tests and simulation. Segments are prepared inline, without a thread.
    Disk(Arc<dyn Disk>),
}

/// The members that a new cluster begins with.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The cluster's id, the same on every member.
    pub cluster_id: u64,
    /// This server's Raft id.
    pub node_id: u64,
    /// Raft ids of all members and what [`place`] makes of their addresses and names, this one among them, the same on every member. Empty
    /// where this server waits until the members of a cluster take it in.
    pub members: BTreeMap<u64, String>,
}

/// A member's cluster address and name, as [`Cluster::members`] wants them.
#[must_use]
pub fn place(address: &str, name: &str) -> String {
    node_text(address, name)
}

/// This server among others.
#[derive(Clone, Debug)]
pub struct Membership {
    /// Where others reach its cluster port; empty when they cannot.
    pub address: String,
    /// Addresses to ask when the members do not know this server, beside those it remembers.
    pub join: Vec<String>,
    /// A server with a vote that was silent for so long is removed once another has taken its place; default 10 s.
    pub dead_after: Duration,
    /// A directory that has left its cluster comes back, by the addresses that it remembers. `join` says the same.
    pub rejoin: bool,
    /// Why `address` is another one than was meant, in words. A server that is alone starts there all the same.
    pub displaced: Option<String>,
}

impl Default for Membership {
    fn default() -> Membership {
        Membership {
            address: String::new(),
            join: Vec::new(),
            dead_after: Duration::from_secs(10),
            rejoin: false,
            displaced: None,
        }
    }
}

/// Called with the first disk error; see [`Fatal`].
pub type FatalHook = Box<dyn Fn(&FatalError) + Send + Sync>;

/// How a replica starts. Time, disk and randomness come in from here.
pub struct Options {
    /// The data directory.
    pub directory: Directory,
    /// This node's name; must be the one the directory was made with.
    pub node_name: String,
    /// This version, as the directory remembers it.
    pub version: String,
    /// First entry of a new catalog: the node, its service, its checks, the layouts.
    pub bootstrap: Bootstrap,
    /// The wall clock.
    pub wall: WallClock,
    /// Random numbers, for the identity of a new directory.
    pub random: Box<dyn FnMut() -> u64 + Send>,
    /// What happens on the first disk error; the binary exits with the message.
    pub fatal: FatalHook,
    /// Sizes of segments and reserve; on a small disk they are made smaller.
    pub space: SpaceOptions,
    /// A snapshot is written when the log has grown by this many bytes since the last one, or by the size of the last one if that is
    /// more; default 64 MiB.
    pub snapshot_bytes: u64,
    /// How much history is kept.
    pub retention: Retention,
    /// The mass-expiry guard's numbers.
    pub guard: GuardOptions,
    /// How many proposals wait, and how long.
    pub limits: Limits,
    /// The members of a new cluster; none for a server that is alone, whose ids are drawn.
    pub cluster: Option<Cluster>,
    /// The way to the other members.
    pub transport: Arc<dyn Transport>,
    /// This server among them.
    pub member: Membership,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("directory", &self.directory)
            .field("node_name", &self.node_name)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// Options with the defaults; a disk error is only remembered until the caller sets `fatal`.
    #[must_use]
    pub fn new(
        directory: Directory,
        node_name: &str,
        bootstrap: Bootstrap,
        wall: WallClock,
    ) -> Self {
        Options {
            directory,
            node_name: node_name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            bootstrap,
            wall,
            random: Box::new(portolan_environment::random_u64),
            fatal: Box::new(|error| tracing::error!(%error, "the node stops")),
            space: SpaceOptions::default(),
            snapshot_bytes: 64 << 20,
            retention: Retention::default(),
            guard: GuardOptions::default(),
            limits: Limits::default(),
            cluster: None,
            transport: Arc::new(NoPeers),
            member: Membership::default(),
        }
    }
}

/// Why a replica did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory belongs to somebody else or is damaged.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The log is damaged.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The snapshot is damaged.
    #[error(
        "{0}; `portolan doctor` explains it: restore the data directory from a copy, or an empty one with `portolan snapshot restore`"
    )]
    Snapshot(#[from] SnapshotError),
    /// The system refused.
    #[error("cannot {doing} for data directory \"{place}\"")]
    Io {
        /// The directory.
        place: String,
        /// What was tried.
        doing: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Files are missing that were there.
    #[error(
        "data directory \"{place}\" is not whole: {what}; acknowledged entries would be lost, so the node does not start: \
         `portolan doctor {place}` says what is lost and what can be done; a copy of the directory has it, or a file for `portolan snapshot restore`"
    )]
    Incomplete {
        /// The directory.
        place: String,
        /// What is missing.
        what: String,
    },
    /// It has left its cluster.
    #[error(
        "data directory \"{place}\" has left its cluster: pass --join with a server of the cluster (or --rejoin) to have it come back, or choose another \
         --data-dir to begin anew"
    )]
    Left {
        /// The directory.
        place: String,
    },
    /// It has others, which would not find it.
    #[error(
        "{why}, and data directory \"{place}\" is that of one of {members} servers, which look for it there: stop the process that has the port, or \
         pass --cluster-listen to have the others told of another one"
    )]
    Displaced {
        /// The directory.
        place: String,
        /// Why it is not where others look for it.
        why: String,
        /// How many there are, this one included.
        members: usize,
    },
    /// Raft did not come up.
    #[error(
        "the log of data directory \"{place}\" could not be taken up: {what}; `portolan doctor {place}` looks at it"
    )]
    Raft {
        /// The directory.
        place: String,
        /// openraft's words.
        what: String,
    },
}

/// What protocols show of this server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Raft's term.
    pub term: u64,
    /// Raft id of this node.
    pub node_id: u64,
    /// Raft id of the leader; none where it has not been heard of for longer than an election takes.
    pub leader: Option<u64>,
    /// Cluster id.
    pub cluster_id: u64,
    /// Index of the last entry in the log.
    pub last_index: u64,
    /// Index of the last applied entry.
    pub applied_index: u64,
    /// Bytes of the log on the disk.
    pub log_bytes: u64,
    /// Bytes of the current snapshot, 0 if there is none.
    pub snapshot_bytes: u64,
    /// Last entry in the current snapshot.
    pub snapshot_index: u64,
    /// Whether writes are refused because the disk is full.
    pub disk_full: bool,
}

/// A running replica. Dropping it without [`Replica::shutdown`] stops it as a crash would.
pub struct Replica {
    identity: Identity,
    log: Arc<Log>,
    history: Arc<History>,
    stats: Arc<Stats>,
    fatal: Fatal,
    raft: RaftNode,
    wish: Arc<SnapshotWish>,
    members: Arc<Members>,
    stop: mpsc::Sender<oneshot::Sender<()>>,
    supervisor: Supervisor,
    threads: Mutex<Vec<Dedicated>>,
    lock: Mutex<Option<DirectoryLock>>,
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.supervisor.stop();
        self.log.space().stop();
        self.history.stop();
    }
}

impl Replica {
    /// Starts: recovers, becomes leader, and gives back the handle once the state is what it was before.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(options: Options) -> Result<(Replica, Registry), StartError> {
        let (disk, lock, threaded) = match &options.directory {
            Directory::Path(path) => {
                let place = path.display().to_string();
                let disk = RealDisk::open(path).map_err(|source| StartError::Io {
                    place,
                    doing: "open the directory",
                    source,
                })?;
                let lock = identity::lock(path)?;
                (Arc::new(disk) as Arc<dyn Disk>, Some(lock), true)
            }
            Directory::Disk(disk) => (disk.clone(), None, false),
        };
        let place = disk.place();
        let (ready, started) = oneshot::channel();
        let (stop, stopped) = mpsc::channel(1);
        let node = live(options, disk, threaded, ready, stopped);
        let thread = portolan_environment::dedicate("portolan-raft", node).map_err(|source| {
            StartError::Io {
                place: place.clone(),
                doing: "start a thread",
                source,
            }
        })?;
        let parts = started.await.map_err(|_| StartError::Raft {
            place,
            what: "its thread ended".to_owned(),
        })??;
        let mut threads = vec![thread];
        threads.extend(parts.threads);
        let replica = Replica {
            identity: parts.identity,
            log: parts.log,
            history: parts.history,
            stats: parts.stats,
            fatal: parts.fatal,
            raft: parts.raft,
            wish: parts.wish,
            members: parts.members,
            supervisor: parts.supervisor,
            stop,
            threads: Mutex::new(threads),
            lock: Mutex::new(lock),
        };
        Ok((replica, parts.registry))
    }

    /// Who this node is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The figures.
    #[must_use]
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Whether a disk error has ended this replica.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.fatal.fired()
    }

    /// What protocols show.
    #[must_use]
    pub fn status(&self) -> Status {
        let status = self.raft.status();
        Status {
            term: status.term,
            node_id: self.identity.node_id,
            leader: status.leader.filter(|_| self.stats.leader_lost.get() == 0),
            cluster_id: self.identity.cluster_id,
            last_index: status.last_index,
            applied_index: self.stats.applied_index.get(),
            log_bytes: self.stats.log_bytes.get(),
            snapshot_bytes: self.stats.snapshot_bytes.get(),
            snapshot_index: self.stats.snapshot_index.get(),
            disk_full: self.log.space().full(),
        }
    }

    /// Writes a snapshot now, so that the log before it can go, and waits for it.
    ///
    /// # Errors
    /// Why that was not possible: a full disk, or the end of the server.
    pub fn compact_storage(&self) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let wish = self.wish.clone();
        async move { wish.granted().await }
    }

    /// The members of the cluster, this one included, as this one knows them.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        portolan_registry::Cluster::members(self.members.as_ref())
    }

    /// Resolves when this server has left its cluster by [`portolan_registry::MemberChange::Leave`]: the process is to stop.
    pub async fn left(&self) {
        self.members.left().await;
    }

    /// Before a stop: hands leadership over if this server leads and another can.
    pub async fn hand_over(&self) {
        let voters = self.raft.membership();
        let others = voters
            .iter()
            .any(|member| member.voter && member.node != self.identity.node_id);
        if others
            && self.members.leads()
            && let Err(why) = self.members.hand_over(None).await
        {
            tracing::warn!(why, "leadership could not be handed over before the stop");
        }
    }

    /// Stops in order: no further proposals, a snapshot if a restart would have much to replay, then the log. Waits for the threads.
    pub async fn shutdown(&self) {
        let (done, finished) = oneshot::channel();
        if self.stop.send(done).await.is_ok() {
            // The thread ends either way.
            let _ended = finished.await;
        }
        self.supervisor.stop();
        self.log.space().stop();
        self.history.stop();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if let Err(error) = thread.join().await {
                tracing::error!(%error, "a thread of the replica panicked");
            }
        }
        let _unlocked = self
            .lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}
