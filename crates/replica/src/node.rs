//! The inside of the replica's thread: start, the tasks, the end.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use portolan_catalog::{
    Batch as Changes, Bootstrap, Cause, Command, LeaseId, Retention, State, Why,
};
use portolan_registry::{Publisher, Registry, Seam, WallClock};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use crate::consensus::{Machine, Proposer, Publish, Store, Voter, confirm, is_new};
use crate::disk::{Disk, is_full};
use crate::duties::{self, Duties};
use crate::fatal::Fatal;
use crate::full::Space;
use crate::identity::{self, Identity};
use crate::lease::{Clock, GuardOptions, TICK};
use crate::log::Log;
use crate::replica::{Options, StartError};
use crate::snapshot::{ReadError, SnapshotError, Snapshots};
use crate::stats::Stats;

/// A restart must not replay more than this; a clean stop writes a snapshot first.
const REPLAY: u64 = 4 << 20;
/// How often it is looked whether a snapshot is due.
const SNAPSHOT_ROUND: Duration = Duration::from_millis(500);
/// On a full disk a snapshot is tried at most this often.
const SNAPSHOT_FULL: Duration = Duration::from_secs(10);

/// What the thread hands out once it is up.
pub(crate) struct Parts {
    pub(crate) identity: Identity,
    pub(crate) log: Arc<Log>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) fatal: Fatal,
    pub(crate) voter: Voter,
    pub(crate) registry: Registry,
    pub(crate) space_thread: Option<JoinHandle<()>>,
}

pub(crate) type Ready = oneshot::Sender<Result<Parts, StartError>>;

pub(crate) fn run(
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
    voter: Voter,
    registry: Registry,
    publisher: Publisher,
    seam: Mutex<Option<Seam>>,
    log: Arc<Log>,
    stats: Arc<Stats>,
    fatal: Fatal,
    wall: WallClock,
    snapshot_bytes: u64,
    retention: Retention,
    guard: GuardOptions,
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
        let voter = Voter::take_up(&identity, Store::new(log.clone()), machine)
            .await
            .map_err(|what| StartError::Raft {
                place: place.clone(),
                what,
            })?;
        log.release();
        if let Some(last) = snapshots.current().and_then(|file| file.head.last) {
            let after = log.bytes_after(last.index);
            let covered = stats.log_written.get().saturating_sub(after);
            stats.written_at_snapshot.set(covered);
        }
        let node = Arc::new(Node {
            voter: voter.clone(),
            registry: registry.clone(),
            publisher,
            seam: Mutex::new(Some(seam)),
            log: log.clone(),
            stats: stats.clone(),
            fatal: fatal.clone(),
            wall: options.wall,
            snapshot_bytes: options.snapshot_bytes,
            retention: options.retention,
            guard: options.guard,
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
            voter,
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
            voter: self.voter.clone(),
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
        tokio::spawn(confirm(self.voter.clone(), barriers));
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
        let mut duties = Duties::new(self.retention, self.guard, self.stats.clone());
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
            if let Some(why) = self.voter.standing().stopped {
                // A disk error was reported where it happened; anything else, a panic of the state machine included, ends the node too.
                let _reported = self.fatal.raise("running raft", io::Error::other(why));
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
        let builder = self.voter.builder().await?;
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
        self.voter.announce_snapshot().await
    }

    async fn close(&self) {
        if self.grown() > REPLAY
            && let Err(error) = self.snapshot().await
        {
            tracing::warn!(%error, "no snapshot at the stop, the next start takes longer");
        }
        self.voter.shutdown().await;
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
