//! The inside of the replica's thread: start, wiring and end.

mod leader_tasks;
mod lost_leader;
pub(crate) mod members;
mod membership;
mod presence;
mod published;
mod snapshot_policy;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use portolan_catalog::stored::LEVEL;
use portolan_catalog::{Bootstrap, Cause, Command, State, Why};
use portolan_cluster::answers::Answers;
use portolan_cluster::forward::{Forward, Leader};
use portolan_cluster::members::Server;
use portolan_environment::watch;
use portolan_environment::{Channel, Dedicated, Transport};
use portolan_history::{History, Retention};
use portolan_registry::{Backend, Publisher, Registry, WallClock};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::broken::Broken;
use crate::consensus::{
    Asker, Forwards, Machine, Member, Network, Proposer, RaftNode, Store, is_new, node_text,
};
use crate::consistency;
use crate::departure;
use crate::disk::Disk;
use crate::fatal::Fatal;
use crate::history_files::{self, DiskFiles};
use crate::identity::{self, Identity};
use crate::lease::GuardOptions;
use crate::log::Log;
use crate::proposal_time::ProposalTime;
use crate::replica::{Options, StartError};
use crate::snapshot::{ReadError, SnapshotError, Snapshots};
use crate::snapshot_wish::SnapshotWish;
use crate::space::Space;
use crate::stats::Stats;
use crate::supervisor::Supervisor;
use members::Members;
use presence::Presence;
use published::Published;

/// What the thread hands out once it is up.
pub(crate) struct Parts {
    pub(crate) identity: Identity,
    pub(crate) log: Arc<Log>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) fatal: Fatal,
    pub(crate) raft: RaftNode,
    pub(crate) registry: Registry,
    pub(crate) supervisor: Supervisor,
    pub(crate) threads: Vec<Dedicated>,
    pub(crate) history: Arc<History>,
    pub(crate) wish: Arc<SnapshotWish>,
    pub(crate) members: Arc<Members>,
}

pub(crate) type Ready = oneshot::Sender<Result<Parts, StartError>>;

/// The whole node as one future. It ends when `stopped` is asked, or closed, as a crash would.
///
/// It may block on the disk, so it wants a thread of its own; where a simulation entered an environment, it runs like any task.
pub(crate) async fn live(
    options: Options,
    disk: Arc<dyn Disk>,
    threaded: bool,
    ready: Ready,
    mut stopped: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let bootstrap = options.bootstrap.clone();
    let (node, backend, parts) = match Node::open(options, disk, threaded).await {
        Ok(open) => open,
        Err(error) => {
            // Whoever started us may have gone.
            let _gone = ready.send(Err(error));
            return;
        }
    };
    // What takes proposals and confirms reads goes on until the log is closed; the rest ends before.
    let (mut serving, mut tasks) = (JoinSet::new(), JoinSet::new());
    let (stop_clock, clock_stopped) = oneshot::channel();
    node.serve(backend, &mut serving);
    let begun = match node.begin(&bootstrap).await {
        Ok(term) => node
            .clone()
            .spawn_clock(clock_stopped)
            .map(|()| term)
            .map_err(|source| StartError::Io {
                place: node.place.clone(),
                doing: "start a thread",
                source,
            }),
        Err(what) => Err(StartError::Raft {
            place: node.place.clone(),
            what,
        }),
    };
    let stop = StopNode(node.clone());
    match begun {
        Ok(term) => node.spawn(bootstrap, term, &mut tasks),
        Err(error) => {
            // Whoever started us may have gone.
            let _gone = ready.send(Err(error));
            return;
        }
    }
    if ready.send(Ok(parts)).is_err() {
        return;
    }
    let done = stopped.recv().await;
    node.supervisor.stop();
    tasks.shutdown().await;
    // The clock may be waiting for an answer from this very thread, so it is not waited for here.
    drop(stop_clock);
    if let Some(done) = done {
        node.close().await;
        drop(stop);
        // Whoever asked may have gone.
        let _gone = done.send(());
    }
}

/// The inside of the thread.
struct Node {
    raft: RaftNode,
    registry: Registry,
    publisher: Publisher,
    supervisor: Supervisor,
    node_id: u64,
    place: String,
    log: Arc<Log>,
    stats: Arc<Stats>,
    fatal: Fatal,
    wall: WallClock,
    snapshot_bytes: u64,
    retention: Retention,
    guard: GuardOptions,
    saving: Arc<tokio::sync::Mutex<()>>,
    wish: Arc<SnapshotWish>,
    threaded: bool,
    transport: Arc<dyn Transport>,
    leader: watch::Receiver<Option<Leader>>,
    answers: Arc<Answers>,
    members: Arc<Members>,
    join: Vec<String>,
    dead_after: Duration,
}

impl Node {
    async fn open(
        mut options: Options,
        disk: Arc<dyn Disk>,
        threaded: bool,
    ) -> Result<(Arc<Node>, Backend, Parts), StartError> {
        let place = disk.place();
        let io = |doing| {
            let place = place.clone();
            move |source| StartError::Io {
                place,
                doing,
                source,
            }
        };
        let identity = match &options.cluster {
            None => {
                let name = &options.node_name;
                identity::establish(disk.as_ref(), name, false, &mut options.random)?
            }
            Some(cluster) => {
                let mut ids = [cluster.node_id, cluster.cluster_id].into_iter();
                let mut draw = || ids.next().unwrap_or_default();
                identity::establish(disk.as_ref(), &options.node_name, true, &mut draw)?
            }
        };
        if departure::has_left(disk.as_ref()).map_err(io("read the file \"left\""))? {
            if options.member.join.is_empty() && !options.member.rejoin {
                return Err(StartError::Left { place });
            }
            departure::forget(disk.as_ref()).map_err(io("remove the file \"left\""))?;
        }
        let members = match options.cluster {
            // Who came to others waits for them to tell it who there is.
            None if identity.joins => BTreeMap::new(),
            None => {
                let own = node_text(&options.member.address, &options.node_name);
                BTreeMap::from([(identity.node_id, own)])
            }
            Some(cluster) => cluster.members,
        };
        identity::note_version(disk.as_ref(), &options.version).map_err(io("write the version"))?;
        let fatal = Fatal::new(place.clone(), options.fatal);
        let supervisor = Supervisor::new(fatal.clone());
        let stats = Arc::new(Stats::default());
        let free = disk.free_bytes().map_err(io("ask for free space"))?;
        let space = options.space.for_free(free);
        let incomplete = |what| StartError::Incomplete {
            place: disk.place(),
            what,
        };
        let snapshots = Snapshots::open(disk.clone(), fatal.clone())?;
        if consistency::log_is_missing(disk.as_ref()).map_err(io("list the files"))? {
            return Err(incomplete(consistency::LOG_MISSING.to_owned()));
        }
        let log = Log::open(
            disk.clone(),
            fatal.clone(),
            identity.node_id,
            space,
            stats.clone(),
        )?;
        identity::note_log(disk.as_ref(), &options.version).map_err(io("write the version"))?;
        let (purged, last) = log.ends();
        let head = snapshots.current().map(|file| file.head);
        if let Some((_, what)) = consistency::misfit(purged, last, head.as_ref()) {
            return Err(incomplete(what));
        }
        let (snapshots, log) = (Arc::new(snapshots), Arc::new(log));
        let space_thread = if threaded {
            let space = log.space().clone();
            let work =
                supervisor.watch_thread("the preparation of log segments", move || space.run());
            let thread = portolan_environment::thread("portolan-space", work);
            Some(thread.map_err(io("start a thread"))?)
        } else {
            log.space().work().map_err(io("prepare the log"))?;
            None
        };
        let files = DiskFiles::open(disk.clone()).map_err(io("list the history of"))?;
        let memory_bytes = options.retention.memory_bytes;
        let history =
            History::open(Arc::new(files), memory_bytes).map_err(io("open the history of"))?;
        let history = Arc::new(history);
        let kept = history.view().through();
        // Until the node is up, a failure must end the thread that prepares segments.
        let guard = StopWorkers(Some((
            log.space().clone(),
            history.clone(),
            supervisor.clone(),
        )));
        let (registry, backend) = Backend::with_history(
            State::default(),
            options.wall.clone(),
            options.limits,
            history.clone(),
        );
        let publisher = backend.publisher();
        publisher.set_leads(false);
        let answers = Arc::<Answers>::default();
        let machine = Machine::open(
            identity.cluster_id,
            snapshots.clone(),
            log.clone(),
            fatal.clone(),
            stats.clone(),
            Box::new(Published(publisher.clone())),
            answers.clone(),
        )
        .map_err(|error| damaged_snapshot(error, &snapshots))?;
        let broken = Arc::<Broken>::default();
        let member = Arc::new(Member::new(snapshots.clone(), broken.clone(), log.clone()));
        let raft = RaftNode::start(
            &identity,
            &members,
            Network(options.transport.clone()),
            Store::new(log.clone()),
            machine,
        )
        .await
        .map_err(|what| StartError::Raft {
            place: place.clone(),
            what,
        })?;
        if let Some(why) = options.member.displaced
            && raft.members() > 1
        {
            let members = raft.members();
            return Err(StartError::Displaced {
                place,
                why,
                members,
            });
        }
        // What is in a file of the history was in the log first. A member of a cluster may still have to be told what was decided.
        let reached = publisher.state().revision();
        if raft.members() == 1
            && let Some(what) = consistency::lost_after(reached.0, kept.0)
        {
            return Err(incomplete(what));
        }
        member.begin(raft.raft());
        options.transport.serve(Channel::Raft, member);
        let (tell_leader, leader) = watch::channel(None);
        tokio::spawn(raft.clone().tell_leader(tell_leader));
        let members = Arc::new(Members {
            own: Server {
                node: identity.node_id,
                name: identity.node_name.clone(),
                address: options.member.address,
                level: LEVEL,
            },
            version: options.version.clone(),
            cluster: identity.cluster_id,
            raft: raft.clone(),
            registry: registry.clone(),
            stats: stats.clone(),
            log: log.clone(),
            disk: disk.clone(),
            transport: options.transport.clone(),
            leader: leader.clone(),
            broken,
            presence: Presence::default(),
            changing: tokio::sync::Mutex::default(),
            leaving: watch::Sender::default(),
        });
        let known: Arc<dyn portolan_registry::Cluster> = members.clone();
        publisher.set_cluster(Arc::downgrade(&known));
        options.transport.serve(Channel::Members, members.clone());
        log.release();
        if let Some(last) = snapshots.current().and_then(|file| file.head.last) {
            let after = log.bytes_after(last.index);
            let covered = stats.log_written.get().saturating_sub(after);
            stats.written_at_snapshot.set(covered);
        }
        let wish = Arc::<SnapshotWish>::default();
        let node = Arc::new(Node {
            raft: raft.clone(),
            registry: registry.clone(),
            publisher,
            supervisor: supervisor.clone(),
            node_id: identity.node_id,
            place,
            log: log.clone(),
            stats: stats.clone(),
            fatal: fatal.clone(),
            wall: options.wall,
            snapshot_bytes: options.snapshot_bytes,
            retention: options.retention,
            guard: options.guard,
            saving: Arc::default(),
            wish: wish.clone(),
            threaded,
            transport: options.transport,
            leader,
            answers,
            members: members.clone(),
            join: options.member.join,
            dead_after: options.member.dead_after,
        });
        let mut threads: Vec<Dedicated> = space_thread.into_iter().collect();
        if threaded {
            let (space, fatal) = (log.space().clone(), fatal.clone());
            let disk_bytes = options.retention.disk_bytes;
            let work = history_files::worker(history.clone(), space, fatal, disk_bytes);
            let work = supervisor.watch_thread("the writing of the history", work);
            let worker = portolan_environment::thread("portolan-history", work);
            let worker = worker.map_err(|source| StartError::Io {
                place: disk.place(),
                doing: "start a thread",
                source,
            })?;
            threads.push(worker);
        }
        guard.disarm();
        let parts = Parts {
            identity,
            log,
            stats,
            fatal,
            raft,
            registry,
            supervisor,
            threads,
            history,
            wish,
            members,
        };
        Ok((node, backend, parts))
    }

    /// Takes proposals and confirms reads from now on.
    fn serve(&self, backend: Backend, serving: &mut JoinSet<()>) {
        let forward = Forward::new(self.transport.clone(), self.leader.clone());
        let proposer = Proposer {
            node_id: self.node_id,
            raft: self.raft.clone(),
            space: self.log.space().clone(),
            publisher: self.publisher.clone(),
            time: ProposalTime::new(
                (self.wall)(),
                self.publisher.state().last_at(),
                Instant::now(),
            ),
            wall: self.wall.clone(),
            stats: self.stats.clone(),
            leader: self.leader.clone(),
            forward: forward.clone(),
            answers: self.answers.clone(),
        };
        let Backend {
            proposals,
            barriers,
            leases,
            ..
        } = backend;
        let (queue, forwarded) = mpsc::channel(FORWARDED);
        let asker = Asker {
            node_id: self.node_id,
            raft: self.raft.clone(),
            stats: self.stats.clone(),
            forward,
            leader: self.leader.clone(),
            answers: self.answers.clone(),
        };
        let forwards = Forwards {
            node_id: self.node_id,
            raft: self.raft.clone(),
            registry: self.registry.clone(),
            queue,
            leader: self.leader.clone(),
        };
        self.transport.serve(Channel::Forward, Arc::new(forwards));
        let watch = |name, work| self.supervisor.watch(name, work);
        let proposing = Box::pin(proposer.run(proposals, forwarded)) as Task;
        serving.spawn(watch("the proposer", proposing));
        let confirming = Box::pin(asker.clone().confirm_reads(barriers));
        serving.spawn(watch("the confirmation of reads", confirming));
        let asking = Box::pin(asker.ask_about_leases(leases));
        serving.spawn(watch("the forwarding of renewals", asking));
        let delivering = Box::pin(self.registry.deliver_changes());
        serving.spawn(watch("the delivery of changes", delivering));
    }

    /// The only voter leads before the start is over; gives back its term. A member of a cluster waits for an election.
    async fn begin(&self, bootstrap: &Bootstrap) -> Result<Option<u64>, String> {
        let status = self.raft.status();
        if status.leader != Some(self.node_id) {
            return Ok(None);
        }
        if self.registry.read(is_new) {
            let command = Command::Bootstrap(Box::new(bootstrap.clone()));
            self.registry
                .propose(Cause::own(Why::Start), command)
                .await
                .map_err(|error| format!("the first entry was not decided: {error}"))?
                .outcome
                .map_err(|refusal| format!("the first entry was refused: {refusal:?}"))?;
        }
        // The only member knows what it knows. Members of a cluster have to be asked first, which `membership` does.
        if self.raft.members() == 1 && self.registry.read(State::level) < LEVEL {
            let command = Command::RaiseLevel { level: LEVEL };
            self.registry
                .propose(Cause::own(Why::Start), command)
                .await
                .map_err(|error| format!("the feature level was not raised: {error}"))?;
        }
        self.publisher
            .deadlines()
            .reset(&self.publisher.state(), Instant::now());
        self.publisher.set_leads(true);
        Ok(Some(status.term))
    }

    fn spawn(self: &Arc<Self>, bootstrap: Bootstrap, term: Option<u64>, tasks: &mut JoinSet<()>) {
        let watch = |name, work| self.supervisor.watch(name, work);
        let node = self.clone();
        tasks.spawn(watch(
            "the taking of snapshots",
            Box::pin(node.keep_snapshots()) as Task,
        ));
        let node = self.clone();
        tasks.spawn(watch(
            "the watch over the leader",
            Box::pin(node.watch_leadership(bootstrap, term)),
        ));
        let keeper = membership::Keeper {
            members: self.members.clone(),
            join: self.join.clone(),
            dead_after: self.dead_after,
        };
        let keeping = Box::pin(keeper.run());
        tasks.spawn(watch("the keeping of the members", keeping));
        let present = Box::pin(presence::watch(self.members.clone()));
        tasks.spawn(watch("the watch over the members", present));
        let lost = Box::pin(lost_leader::watch(self.members.clone()));
        tasks.spawn(watch("the watch over the connection to the leader", lost));
        let node = self.clone();
        tasks.spawn(watch(
            "the watch over disk and load",
            Box::pin(node.watch_conditions()),
        ));
    }

    async fn close(&self) {
        self.snapshot_at_stop().await;
        self.raft.shutdown().await;
        // Only saves work at the next start.
        if self.log.flush_committed().is_err() {
            tracing::warn!("the log could not be closed");
        }
    }
}

/// Batches of other servers that wait to be decided.
const FORWARDED: usize = 256;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Has the node's threads end with it, however it ends.
struct StopNode(Arc<Node>);

impl Drop for StopNode {
    fn drop(&mut self) {
        self.0.supervisor.stop();
        self.0.log.space().stop();
        self.0.publisher.history().stop();
    }
}

/// Stops the workers of the disk's space and of the history unless the start succeeded.
struct StopWorkers(Option<(Arc<Space>, Arc<History>, Supervisor)>);

impl StopWorkers {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for StopWorkers {
    fn drop(&mut self) {
        if let Some((space, history, supervisor)) = &self.0 {
            supervisor.stop();
            space.stop();
            history.stop();
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
