//! A running replica: everything wired together, in its own threads.
//!
//! Threads: `portolan-raft` runs openraft, the proposer, the apply loop and the leader's clock in a runtime of its own, because an append
//! blocks it until the disk has the entry; `portolan-space` prepares segments. Readers and renewals need neither.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{BasicNode, Config, SnapshotPolicy};
use portolan_catalog::{
    Batch as Changes, Bootstrap, Cause, Command, LeaseId, Retention, State, Why,
};
use portolan_registry::{Publisher, Registry, Seam, WallClock};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use crate::consensus::{Machine, Nowhere, Proposer, Publish, Raft, Store, confirm, is_new};
use crate::disk::{Disk, RealDisk, is_full};
use crate::duties::{self, Duties};
use crate::fatal::{Fatal, FatalError};
use crate::full::{Space, SpaceOptions};
use crate::identity::{self, DirectoryLock, Identity, IdentityError};
use crate::lease::{Clock, GuardOptions, TICK};
use crate::log::{Log, LogError};
use crate::snapshot::{ReadError, SnapshotError, Snapshots};
use crate::stats::Stats;

/// A restart must not replay more than this; a clean stop writes a snapshot first.
const REPLAY: u64 = 4 << 20;
/// How often it is looked whether a snapshot is due.
const SNAPSHOT_ROUND: Duration = Duration::from_millis(500);
/// On a full disk a snapshot is tried at most this often.
const SNAPSHOT_FULL: Duration = Duration::from_secs(10);

/// Where a replica keeps its files.
#[derive(Clone, Debug)]
pub enum Directory {
    /// A real directory, created if missing and locked against other processes.
    Path(PathBuf),
    /// Any other disk, for tests and simulation. Segments are prepared inline, without a thread.
    Disk(Arc<dyn Disk>),
}

/// Called with the first disk error; see [`Fatal`].
pub type FatalHook = Box<dyn Fn(&FatalError) + Send + Sync>;

/// How a replica starts. Time, disk and randomness come in from here.
pub struct Options {
    /// The data directory.
    pub directory: Directory,
    /// This node's name; must be the one the directory was made with.
    pub node_name: String,
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
    /// Proposals that wait at most; default 16,384.
    pub queue: usize,
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
            bootstrap,
            wall,
            random: Box::new(|| getrandom::u64().unwrap_or(1)),
            fatal: Box::new(|error| tracing::error!(%error, "the node stops")),
            space: SpaceOptions::default(),
            snapshot_bytes: 64 << 20,
            retention: Retention::default(),
            guard: GuardOptions::default(),
            queue: 16 << 10,
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
        "{0}; restore the data directory from a copy, or an empty one with `portolan snapshot restore`"
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
    /// Raft did not come up.
    #[error("the log of data directory \"{place}\" could not be taken up: {what}")]
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
    /// Raft id of the leader, if there is one.
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
    stats: Arc<Stats>,
    fatal: Fatal,
    raft: Raft,
    stop: mpsc::Sender<oneshot::Sender<()>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
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
        self.log.space().stop();
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
        let thread = std::thread::Builder::new()
            .name("portolan-raft".to_owned())
            .spawn(move || run(options, disk, threaded, ready, stopped))
            .map_err(|source| StartError::Io {
                place: place.clone(),
                doing: "start a thread",
                source,
            })?;
        let parts = started.await.map_err(|_| StartError::Raft {
            place,
            what: "its thread ended".to_owned(),
        })??;
        let mut threads = vec![thread];
        threads.extend(parts.space_thread);
        let replica = Replica {
            identity: parts.identity,
            log: parts.log,
            stats: parts.stats,
            fatal: parts.fatal,
            raft: parts.raft,
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
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        Status {
            term: metrics.current_term,
            node_id: self.identity.node_id,
            leader: metrics.current_leader,
            cluster_id: self.identity.cluster_id,
            last_index: metrics.last_log_index.unwrap_or(0),
            applied_index: self.stats.applied_index.get(),
            log_bytes: self.stats.log_bytes.get(),
            snapshot_bytes: self.stats.snapshot_bytes.get(),
            snapshot_index: self.stats.snapshot_index.get(),
            disk_full: self.log.space().full(),
        }
    }

    /// Stops in order: no further proposals, a snapshot if a restart would have much to replay, then the log. Waits for the threads.
    pub async fn shutdown(&self) {
        let (done, finished) = oneshot::channel();
        if self.stop.send(done).await.is_ok() {
            // The thread ends either way.
            let _ended = finished.await;
        }
        self.log.space().stop();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a thread of the replica panicked");
                }
            }
        });
        if joined.await.is_err() {
            tracing::error!("waiting for the replica's threads failed");
        }
        let _unlocked = self
            .lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}

/// What the thread hands out once it is up.
struct Parts {
    identity: Identity,
    log: Arc<Log>,
    stats: Arc<Stats>,
    fatal: Fatal,
    raft: Raft,
    registry: Registry,
    space_thread: Option<JoinHandle<()>>,
}

type Ready = oneshot::Sender<Result<Parts, StartError>>;

fn run(
    options: Options,
    disk: Arc<dyn Disk>,
    threaded: bool,
    ready: Ready,
    stopped: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(live(options, disk, threaded, ready, stopped)),
        Err(source) => {
            let error = StartError::Io {
                place: disk.place(),
                doing: "start a runtime",
                source,
            };
            // Whoever started us may have gone.
            let _gone = ready.send(Err(error));
        }
    }
}

async fn live(
    options: Options,
    disk: Arc<dyn Disk>,
    threaded: bool,
    ready: Ready,
    mut stopped: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let (node, parts) = match Node::open(options, disk, threaded).await {
        Ok(open) => open,
        Err(error) => {
            // Whoever started us may have gone.
            let _gone = ready.send(Err(error));
            return;
        }
    };
    let space = node.log.space().clone();
    let tasks = node.spawn();
    let (stop_clock, clock_stopped) = oneshot::channel();
    node.clone().spawn_clock(clock_stopped);
    if ready.send(Ok(parts)).is_err() {
        space.stop();
        return;
    }
    let done = stopped.recv().await;
    for task in &tasks {
        task.abort();
    }
    // The clock may be waiting for an answer from this very thread, so it is not waited for here.
    drop(stop_clock);
    if let Some(done) = done {
        node.close().await;
        // Whoever asked may have gone.
        let _gone = done.send(());
    }
}

/// The inside of the thread.
struct Node {
    raft: Raft,
    registry: Registry,
    publisher: Publisher,
    seam: Mutex<Option<Seam>>,
    log: Arc<Log>,
    stats: Arc<Stats>,
    wall: WallClock,
    snapshot_bytes: u64,
    retention: Retention,
    guard: GuardOptions,
    announced: Arc<std::sync::atomic::AtomicBool>,
    saving: Arc<tokio::sync::Mutex<()>>,
    threaded: bool,
}

impl Node {
    async fn open(
        mut options: Options,
        disk: Arc<dyn Disk>,
        threaded: bool,
    ) -> Result<(Arc<Node>, Parts), StartError> {
        let place = disk.place();
        let io = |doing| {
            let place = place.clone();
            move |source| StartError::Io {
                place,
                doing,
                source,
            }
        };
        let identity = identity::establish(disk.as_ref(), &options.node_name, &mut options.random)?;
        let fatal = Fatal::new(place.clone(), options.fatal);
        let stats = Arc::new(Stats::default());
        let free = disk.free_bytes().map_err(io("ask for free space"))?;
        let space = options.space.for_free(free);
        let snapshots = Snapshots::open(disk.clone(), fatal.clone())?;
        let log = Log::open(
            disk.clone(),
            fatal.clone(),
            identity.node_id,
            space,
            stats.clone(),
        )?;
        let (snapshots, log) = (Arc::new(snapshots), Arc::new(log));
        let space_thread = if threaded {
            let space = log.space().clone();
            let thread = std::thread::Builder::new()
                .name("portolan-space".to_owned())
                .spawn(move || space.run())
                .map_err(io("start a thread"))?;
            Some(thread)
        } else {
            log.space().work().map_err(io("prepare the log"))?;
            None
        };
        // Until the node is up, a failure must end the thread that prepares segments.
        let guard = StopSpace(Some(log.space().clone()));
        let (registry, seam) = Seam::new(State::default(), options.wall.clone(), options.queue);
        let publisher = seam.publisher();
        let machine = Machine::open(
            identity.cluster_id,
            snapshots.clone(),
            log.clone(),
            fatal.clone(),
            stats.clone(),
            Box::new(Published(publisher.clone())),
        )
        .map_err(|error| damaged_snapshot(error, &snapshots))?;
        let announced = machine.announced();
        let raft = take_up(&identity, Store::new(log.clone()), machine)
            .await
            .map_err(|what| StartError::Raft {
                place: place.clone(),
                what,
            })?;
        log.release();
        let node = Arc::new(Node {
            raft: raft.clone(),
            registry: registry.clone(),
            publisher,
            seam: Mutex::new(Some(seam)),
            log: log.clone(),
            stats: stats.clone(),
            wall: options.wall,
            snapshot_bytes: options.snapshot_bytes,
            retention: options.retention,
            guard: options.guard,
            announced,
            saving: Arc::default(),
            threaded,
        });
        node.begin(options.bootstrap)
            .await
            .map_err(|what| StartError::Raft { place, what })?;
        guard.disarm();
        let parts = Parts {
            identity,
            log,
            stats,
            fatal,
            raft,
            registry,
            space_thread,
        };
        Ok((node, parts))
    }

    /// Starts the proposer and gives a new catalog its first entry.
    async fn begin(&self, bootstrap: Bootstrap) -> Result<(), String> {
        let seam = self
            .seam
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(seam) = seam else {
            return Ok(());
        };
        let proposer = Proposer {
            raft: self.raft.clone(),
            space: self.log.space().clone(),
            wall: self.wall.clone(),
            stats: self.stats.clone(),
        };
        let Seam {
            proposals,
            barriers,
            ..
        } = seam;
        tokio::spawn(proposer.run(proposals));
        tokio::spawn(confirm(self.raft.clone(), barriers));
        if self.registry.read(is_new) {
            let command = Command::Bootstrap(Box::new(bootstrap));
            self.registry
                .propose(Cause::own(Why::Start), command)
                .await
                .map_err(|error| format!("the first entry was not decided: {error}"))?
                .outcome
                .map_err(|refusal| format!("the first entry was refused: {refusal:?}"))?;
        }
        self.publisher
            .deadlines()
            .reset(&self.publisher.state(), Instant::now());
        Ok(())
    }

    fn spawn(self: &Arc<Self>) -> Vec<tokio::task::JoinHandle<()>> {
        vec![tokio::spawn(self.clone().keep_snapshots())]
    }

    /// The leader's clock has a thread of its own, so that a stalled disk is not taken for a stopped process. On a disk that is not real
    /// it shares the runtime.
    fn spawn_clock(self: Arc<Self>, stopped: oneshot::Receiver<()>) {
        let threaded = self.threaded;
        let work = async move {
            tokio::select! {
                _ = stopped => {}
                () = self.clone().keep_time() => {}
                () = self.clone().keep_house() => {}
            }
        };
        if !threaded {
            tokio::spawn(work);
            return;
        }
        let spawned = std::thread::Builder::new()
            .name("portolan-clock".to_owned())
            .spawn(move || {
                match tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                {
                    Ok(runtime) => runtime.block_on(work),
                    Err(error) => tracing::error!(%error, "no runtime for the lease clock"),
                }
            });
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread for the lease clock, no lease will expire");
        }
    }

    async fn keep_time(self: Arc<Self>) {
        let now = Instant::now();
        let mut clock = Clock::new(
            self.registry.clone(),
            self.publisher.clone(),
            self.stats.clone(),
            self.guard,
            now,
        );
        clock.begin(now);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            clock.tick(Instant::now()).await;
        }
    }

    async fn keep_house(self: Arc<Self>) {
        let mut duties = Duties::new(self.retention, self.guard);
        let mut round = tokio::time::interval(duties::ROUND);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            round.tick().await;
            let state = self.registry.snapshot();
            let commands = duties.round(&state, (self.wall)(), Instant::now());
            let proposed = commands
                .into_iter()
                .map(|(cause, command)| self.registry.propose(cause, command));
            for answer in futures_util::future::join_all(proposed).await {
                if let Err(error) = answer {
                    tracing::debug!(%error, "a duty has to wait");
                }
            }
        }
    }

    async fn keep_snapshots(self: Arc<Self>) {
        let mut round = tokio::time::interval(SNAPSHOT_ROUND);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut full_until = Instant::now();
        loop {
            round.tick().await;
            if !self.threaded && self.log.space().work().is_err() {
                return;
            }
            self.stats.disk_full.set(u64::from(self.log.space().full()));
            let grown = self.grown();
            let bound = self.snapshot_bytes.max(self.stats.snapshot_bytes.get());
            let now = Instant::now();
            let squeezed =
                self.log.space().full() && grown > self.snapshot_bytes / 16 && now >= full_until;
            if grown < bound && !squeezed {
                continue;
            }
            if squeezed {
                full_until = now + SNAPSHOT_FULL;
            }
            if let Err(error) = self.snapshot().await {
                if !is_full(&error) {
                    return;
                }
                self.stats.snapshots_failed.add(1);
                full_until = now + SNAPSHOT_FULL;
            }
        }
    }

    /// Bytes of log since the last snapshot.
    fn grown(&self) -> u64 {
        let written = self.stats.log_written.get();
        written.saturating_sub(self.stats.written_at_snapshot.get())
    }

    /// Writes a snapshot outside openraft, where a full disk is no fatal error, then has openraft take note and purge.
    async fn snapshot(&self) -> io::Result<()> {
        let _one = self.saving.lock().await;
        let builder = self
            .raft
            .with_state_machine(|machine: &mut Machine| {
                let builder = machine.builder();
                Box::pin(async move { builder })
            })
            .await
            .map_err(|error| io::Error::other(error.to_string()))?;
        let space = self.log.space().clone();
        tokio::task::spawn_blocking(move || match builder.save() {
            Err(error) if is_full(&error) => {
                space.give_up_reserve()?;
                builder.save()
            }
            other => other,
        })
        .await
        .map_err(io::Error::other)??;
        self.announced.store(true, Ordering::Release);
        self.raft
            .trigger()
            .snapshot()
            .await
            .map_err(|error| io::Error::other(error.to_string()))
    }

    async fn close(&self) {
        if self.grown() > REPLAY
            && let Err(error) = self.snapshot().await
        {
            tracing::warn!(%error, "no snapshot at the stop, the next start takes longer");
        }
        if self.raft.shutdown().await.is_err() {
            tracing::warn!("raft did not end in order");
        }
        // Only saves work at the next start.
        if self.log.flush_committed().is_err() {
            tracing::warn!("the log could not be closed");
        }
    }
}

/// Stops the worker of the disk's space unless the start succeeded.
struct StopSpace(Option<Arc<Space>>);

impl StopSpace {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for StopSpace {
    fn drop(&mut self) {
        if let Some(space) = &self.0 {
            space.stop();
        }
    }
}

fn damaged_snapshot(error: ReadError, snapshots: &Snapshots) -> StartError {
    let name = snapshots.name().unwrap_or_default();
    StartError::Snapshot(match error {
        ReadError::Damaged(what) => SnapshotError::Damaged { name, what },
        ReadError::Io(source) => SnapshotError::Io {
            name,
            doing: "read",
            source,
        },
    })
}

/// Starts openraft and waits until this node leads and its state is what it was.
async fn take_up(identity: &Identity, store: Store, machine: Machine) -> Result<Raft, String> {
    let config = Config {
        cluster_name: format!("{:016x}", identity.cluster_id),
        heartbeat_interval: 100,
        election_timeout_min: 500,
        election_timeout_max: 1000,
        max_payload_entries: 1024,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        enable_pre_vote: Some(true),
        ..Config::default()
    };
    let config = config.validate().map_err(|error| error.to_string())?;
    let id = identity.node_id;
    let raft = Raft::new(id, Arc::new(config), Nowhere, store, machine)
        .await
        .map_err(|error| error.to_string())?;
    if raft
        .is_initialized()
        .await
        .map_err(|error| error.to_string())?
    {
        let leads = raft.metrics().borrow_watched().current_leader == Some(id);
        if !leads {
            raft.trigger()
                .elect(false)
                .await
                .map_err(|error| error.to_string())?;
        }
    } else {
        let members = std::collections::BTreeMap::from([(id, BasicNode::default())]);
        raft.initialize(members)
            .await
            .map_err(|error| error.to_string())?;
    }
    let patience = Some(Duration::from_secs(60));
    raft.wait(patience)
        .current_leader(id, "the only voter leads")
        .await
        .map_err(|error| error.to_string())?;
    raft.wait_for_recovery(patience)
        .await
        .map_err(|error| error.to_string())?;
    raft.ensure_linearizable(openraft::ReadPolicy::ReadIndex)
        .await
        .map_err(|error| error.to_string())?;
    Ok(raft)
}

/// Publishes through the registry's seam and keeps the deadlines true.
struct Published(Publisher);

impl Publish for Published {
    fn publish(&mut self, state: &State, changes: Vec<Arc<Changes>>, leases: Vec<LeaseId>) {
        self.0.publish(state.clone(), &changes);
        let now = Instant::now();
        for lease in &leases {
            self.0.deadlines().update(state, lease, now);
        }
    }

    fn replace(&mut self, state: &State) {
        self.0.publish(state.clone(), &[]);
        self.0.deadlines().reset(state, Instant::now());
    }
}
