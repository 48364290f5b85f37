//! One server: its runtime, its disk and its clocks; how it starts, stands still and ends.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portolan_agent::FeedServer;
use portolan_catalog::{Batch, Revision, State};
use portolan_environment::{ANYBODY, Channel, Transport};
use portolan_registry::{MemberChange, Registry, Selector};
use portolan_replica::disk::Crash;
use portolan_replica::{Options, Replica, identity};
use tokio::runtime::Runtime;

use crate::disk::SimDisk;
use crate::front::{Ask, Front, Told};
use crate::history::Listing;
use crate::network::Letter;
use crate::plan::Plan;
use crate::setup;
use crate::traffic::{Meter, Traffic};
use crate::wire::{Outside, Served, Wire};
use crate::world::{Reply, ToldReply, World};

/// How far apart the ids of a server are that begins anew.
const NEXT_NODE: u64 = 1000;
/// Batches read from the history in one go.
const BATCHES: usize = 4096;

/// What a start gave.
struct Up {
    replica: Arc<Replica>,
    registry: Registry,
    front: Arc<Front>,
}

type Started = Arc<Mutex<Option<Result<Up, String>>>>;

/// A running process.
struct Life {
    runtime: Runtime,
    started: Started,
    served: Served,
    /// It was told to stop, and has stopped.
    stopped: Arc<AtomicBool>,
    /// It was told to leave its cluster, in this life.
    leaves: bool,
}

/// Where a server stands to its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// One of those it was founded with.
    Founder,
    /// It came later, or came back with an empty disk, and asks the others to take it in.
    Joins,
    /// It is to leave, and asks for that until it may.
    Leaves,
    /// It is no member and does not run.
    Outside,
}

/// What a server says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) term: u64,
    pub(crate) leader: Option<u64>,
    pub(crate) leads: bool,
    pub(crate) applied: u64,
    pub(crate) revision: u64,
}

pub(crate) struct Server {
    id: u64,
    /// Its id in the cluster: another one each time it begins anew.
    node: u64,
    standing: Standing,
    servers: u64,
    snapshot_bytes: u64,
    world: Arc<World>,
    outside: Arc<Outside>,
    disk: SimDisk,
    life: Option<Life>,
    lives: u64,
    /// Power is to be lost in a call of the disk.
    crash: Option<Crash>,
    /// A call of the disk is to fail, which ends the process.
    breaks: bool,
    /// It could not begin, since it has nothing yet and its disk is full; it is started again when there is space.
    awaits_space: bool,
    paused_until: u64,
    /// Milliseconds by which its clocks went on while it stood still.
    behind_ms: u64,
    drift_ppm: i64,
    /// Millionths of a millisecond by which its clock is ahead of its steps.
    ahead: i64,
    fatal: Arc<Mutex<Option<String>>>,
    meter: Meter,
    /// Everything up to this revision was collected from its history.
    collected: u64,
    /// What it published in the step in which it ended.
    rest: Vec<Arc<Batch>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    pub(crate) fn new(id: u64, plan: &Plan, world: &Arc<World>, seed: u64) -> Server {
        let nth = usize::try_from(id - 1).unwrap_or(usize::MAX);
        let founder = id <= plan.servers;
        Server {
            id,
            node: id,
            standing: if founder {
                Standing::Founder
            } else {
                Standing::Outside
            },
            servers: plan.servers,
            snapshot_bytes: plan.snapshot_bytes,
            world: world.clone(),
            outside: Arc::new(Outside::new(seed, world)),
            disk: SimDisk::new(id, world),
            life: None,
            lives: 0,
            crash: None,
            breaks: false,
            awaits_space: false,
            paused_until: 0,
            behind_ms: 0,
            drift_ppm: plan.drift_ppm.get(nth).copied().unwrap_or(0),
            ahead: 0,
            fatal: Arc::default(),
            meter: Meter::default(),
            collected: 0,
            rest: Vec::new(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The id by which its cluster knows it.
    pub(crate) fn node(&self) -> u64 {
        self.node
    }

    /// Whether it is a member and is to stay one.
    pub(crate) fn belongs(&self) -> bool {
        matches!(self.standing, Standing::Founder | Standing::Joins)
    }

    /// Takes its disk away: what starts next is another server of the same name, which the others have to take in.
    pub(crate) fn begin_anew(&mut self) {
        self.disk = SimDisk::new(self.id, &self.world);
        self.node += NEXT_NODE;
        self.standing = Standing::Joins;
    }

    /// Has it leave its cluster, now or when it can.
    pub(crate) fn leave(&mut self) {
        if self.standing == Standing::Joins {
            self.standing = Standing::Leaves;
        }
    }

    pub(crate) fn disk(&self) -> &SimDisk {
        &self.disk
    }

    pub(crate) fn outside(&self) -> &Outside {
        &self.outside
    }

    /// Which of its lives this is.
    pub(crate) fn number_of_life(&self) -> u64 {
        self.lives
    }

    /// Whether it runs and is about to end.
    pub(crate) fn awaits_end(&self) -> bool {
        self.life.is_some() && (self.crash.is_some() || self.breaks)
    }

    /// Nothing is the matter with it any more.
    pub(crate) fn heal(&mut self) {
        self.disk.set_full(false);
        self.disk.set_sync_ms(0);
        self.disk.forget_faults();
        self.paused_until = 0;
        if !self.disk.crashed() {
            self.crash = None;
        }
    }

    /// Whether it runs.
    pub(crate) fn lives(&self) -> bool {
        self.life.is_some()
    }

    /// Starts the process unless it runs.
    ///
    /// # Errors
    /// When the system gives no runtime.
    pub(crate) fn start(&mut self) -> Result<(), String> {
        if self.life.is_some() || self.standing == Standing::Outside {
            return Ok(());
        }
        self.lives += 1;
        self.awaits_space = false;
        self.collected = 0;
        self.behind_ms = 0;
        self.world.started(self.id);
        self.world.note("start", &[self.id, self.lives], &[]);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .map_err(|error| format!("no runtime: {error}"))?;
        let (started, served) = (Started::default(), Served::default());
        let (options, wire) = self.options(&served);
        let slot = started.clone();
        let name = format!("server-{}", self.id);
        let _entered = portolan_environment::enter(self.outside.clone());
        runtime.spawn(async move {
            let begun = Replica::start(options).await;
            let begun = begun.map_err(|error| error.to_string());
            // As the binary does, whose start ends with an entry of its own: front ends come when the catalog is there.
            if let Ok((_, registry)) = &begun {
                while registry.read(|state| state.nodes().next().is_none()) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            let up = begun.map(|(replica, registry)| {
                tokio::spawn(registry.deliver_changes());
                wire.serve(Channel::Feed, Arc::new(FeedServer::new(registry.clone())));
                Up {
                    replica: Arc::new(replica),
                    front: Arc::new(Front::new(registry.clone(), &name)),
                    registry,
                }
            });
            *lock(&slot) = Some(up);
        });
        self.life = Some(Life {
            runtime,
            started,
            served,
            stopped: Arc::default(),
            leaves: false,
        });
        Ok(())
    }

    fn options(&self, served: &Served) -> (Options, Arc<Wire>) {
        let wire = Arc::new(Wire {
            me: self.id,
            node: self.node,
            world: self.world.clone(),
            served: served.clone(),
        });
        let own = setup::Own {
            id: self.id,
            node: self.node,
            founds: self.standing == Standing::Founder,
            servers: self.servers,
            snapshot_bytes: self.snapshot_bytes,
        };
        let disk = Arc::new(self.disk.clone());
        let mut options = setup::options(&own, disk, self.outside.clone(), wire.clone());
        let fatal = self.fatal.clone();
        options.fatal = Box::new(move |error| {
            *lock(&fatal) = Some(error.to_string());
        });
        (options, wire)
    }

    /// Loses power in the middle of the `call`-th change of the disk from now on.
    pub(crate) fn crash_soon(&mut self, call: u64, left: Crash) {
        if self.life.is_some() && self.crash.is_none() {
            self.disk.crash_at(call, left);
            self.crash = Some(left);
        }
    }

    /// Has the `call`-th change of the disk from now on fail.
    pub(crate) fn break_soon(&mut self, call: u64) {
        if self.life.is_some() {
            self.disk.fail_at(call);
            self.breaks = true;
        }
    }

    pub(crate) fn pause(&mut self, until: u64) {
        self.paused_until = self.paused_until.max(until);
    }

    /// Tells the process to stop in order; it starts again when it has.
    pub(crate) fn stop(&mut self) {
        let Some(life) = &self.life else { return };
        let started = lock(&life.started);
        let Some(Ok(up)) = &*started else { return };
        let (replica, stopped) = (up.replica.clone(), life.stopped.clone());
        let _entered = portolan_environment::enter(self.outside.clone());
        life.runtime.spawn(async move {
            replica.hand_over().await;
            replica.shutdown().await;
            stopped.store(true, Ordering::Relaxed);
        });
    }

    /// Has whoever leads change the members; what comes of it is seen by its effect.
    pub(crate) fn change_members(&self, change: MemberChange) {
        let registry = self.registry();
        let (Some(registry), Some(life)) = (registry, &self.life) else {
            return;
        };
        let _entered = portolan_environment::enter(self.outside.clone());
        life.runtime.spawn(async move {
            let _refused = registry.change_members(change).await;
        });
    }

    /// Begins to leave, once for each life, and again and again until it may; then the process stops.
    fn begin_to_leave(&mut self) {
        let replica = self.up(|up| up.replica.clone());
        let registry = self.registry();
        let (Some(life), Some(replica), Some(registry)) = (&mut self.life, replica, registry)
        else {
            return;
        };
        if std::mem::replace(&mut life.leaves, true) {
            return;
        }
        let stopped = life.stopped.clone();
        let _entered = portolan_environment::enter(self.outside.clone());
        life.runtime.spawn(async move {
            while registry.change_members(MemberChange::Leave).await.is_err() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            replica.shutdown().await;
            stopped.store(true, Ordering::Relaxed);
        });
    }

    /// Ends the process, and with it its machine or not.
    pub(crate) fn die(&mut self, left: Crash, with_machine: bool) {
        // What cannot be read any more was seen before.
        self.rest = self.collect().unwrap_or_default();
        let Some(life) = self.life.take() else { return };
        self.world.note("end", &[self.id], &[]);
        self.world.ended(self.id, with_machine);
        let _entered = portolan_environment::enter(self.outside.clone());
        // Everything it had spawned goes with the runtime.
        drop(life);
        self.disk.restart(left);
        (self.crash, self.breaks) = (None, false);
        (self.paused_until, self.behind_ms) = (0, 0);
        lock(&self.fatal).take();
    }

    /// Whether it does nothing now: it was stopped, or its disk holds it up.
    pub(crate) fn stands_still(&self) -> bool {
        self.paused_until > self.world.now() || self.world.is_held_up(self.id)
    }

    /// One millisecond.
    ///
    /// # Errors
    /// When the server did not start, or ended although its disk was sound.
    pub(crate) fn step(&mut self) -> Result<(), String> {
        self.look_at_disk()?;
        if self.awaits_space && !self.disk.is_full() {
            self.start()?;
        }
        if self.life.is_none() {
            return Ok(());
        }
        if self.stands_still() {
            self.behind_ms += 1;
            return Ok(());
        }
        self.ahead += 1_000_000 + self.drift_ppm;
        let step_ms = u64::try_from(self.ahead / 1_000_000).unwrap_or(0);
        self.ahead %= 1_000_000;
        if self.standing == Standing::Leaves {
            self.begin_to_leave();
        }
        let behind = std::mem::take(&mut self.behind_ms);
        let Some(life) = &self.life else {
            return Ok(());
        };
        let _entered = portolan_environment::enter(self.outside.clone());
        life.runtime.block_on(async {
            if behind > 0 {
                tokio::time::advance(Duration::from_millis(behind)).await;
            }
            if step_ms > 0 {
                tokio::time::sleep(Duration::from_millis(step_ms)).await;
            }
        });
        let failed = match &*lock(&life.started) {
            Some(Err(error)) => Some(error.clone()),
            _ => None,
        };
        if let Some(error) = failed {
            self.look_at_disk()?;
            if self.life.is_some() && self.disk.is_full() && self.has_nothing() {
                self.die(Crash::KeepAll, false);
                self.awaits_space = true;
                self.world
                    .say(format!("server {} has no space to begin", self.id));
                return Ok(());
            }
            if self.life.is_some() {
                return Err(format!("server {} did not start: {error}", self.id));
            }
        }
        if self
            .life
            .as_ref()
            .is_some_and(|life| life.stopped.load(Ordering::Relaxed))
        {
            self.die(Crash::KeepAll, false);
            if self.standing == Standing::Leaves {
                self.standing = Standing::Outside;
                self.world.say(format!("server {} has left", self.id));
            }
            self.start()?;
        }
        Ok(())
    }

    /// Whether it never began: its directory has neither an identity nor a log.
    fn has_nothing(&self) -> bool {
        matches!(identity::read(&self.disk), Ok(None))
    }

    /// Ends the server where its disk did.
    fn look_at_disk(&mut self) -> Result<(), String> {
        if let Some(left) = self.crash.filter(|_| self.disk.crashed()) {
            self.die(left, true);
        }
        let error = lock(&self.fatal).clone();
        match error {
            Some(_) if self.breaks => {
                self.die(Crash::KeepAll, false);
                Ok(())
            }
            Some(error) if self.life.is_some() => Err(format!("server {}: {error}", self.id)),
            _ => Ok(()),
        }
    }

    /// A request from another server arrives.
    pub(crate) fn deliver(&self, from: u64, letter: Letter, reply: Reply) {
        let Letter {
            node,
            wanted,
            channel,
            request,
        } = letter;
        // Whoever wants another server than the one that has this address now is told so before it asks.
        let served = self.life.as_ref().and_then(|life| {
            let peer = lock(&life.served).get(&channel)?.clone();
            (wanted == ANYBODY || wanted == self.node).then_some((life, peer))
        });
        let Some((life, peer)) = served else {
            if self.life.is_some() || self.world.is_closed(self.id) {
                let refused = Err(io::ErrorKind::ConnectionRefused);
                return self.world.answer(self.id, from, refused, reply);
            }
            return self.world.silence(reply);
        };
        let (world, me) = (self.world.clone(), self.id);
        let number = world.opens(me, from, reply);
        let meter = self.meter.clone();
        meter.asked(channel, request.len());
        let _entered = portolan_environment::enter(self.outside.clone());
        life.runtime.spawn(async move {
            let answer = peer.answer(node, request).await.ok();
            meter.answered(channel, answer.as_ref().map_or(0, Vec::len));
            world.settle(me, number, answer);
        });
    }

    /// What it was asked since the last time.
    pub(crate) fn take_traffic(&self) -> Vec<(Channel, Traffic)> {
        self.meter.take()
    }

    /// A client's question arrives.
    pub(crate) fn serve(&self, ask: Ask, reply: ToldReply) {
        let front = self.up(|up| up.front.clone());
        let (Some(front), Some(life)) = (front, &self.life) else {
            return self.world.tell(self.id, Told::Refused, reply);
        };
        let (world, me) = (self.world.clone(), self.id);
        let number = world.opens_to_client(me, reply);
        let _entered = portolan_environment::enter(self.outside.clone());
        life.runtime.spawn(async move {
            let told = front.answer(ask).await;
            world.settle_client(me, number, told);
        });
    }

    /// Looks at a server that is up, in its own time: outside of its runtime a clock would be read that goes on by itself.
    fn up<T>(&self, look: impl FnOnce(&Up) -> T) -> Option<T> {
        let life = self.life.as_ref()?;
        let _own_time = life.runtime.enter();
        let _entered = portolan_environment::enter(self.outside.clone());
        match &*lock(&life.started) {
            Some(Ok(up)) => Some(look(up)),
            _ => None,
        }
    }

    pub(crate) fn registry(&self) -> Option<Registry> {
        self.up(|up| up.registry.clone())
    }

    pub(crate) fn state(&self) -> Option<Arc<State>> {
        self.up(|up| up.registry.snapshot())
    }

    /// What it says of itself; none while it is down or starting.
    pub(crate) fn seen(&self) -> Option<Seen> {
        self.up(|up| {
            let status = up.replica.status();
            Seen {
                term: status.term,
                leader: status.leader,
                leads: up.registry.leads(),
                applied: status.applied_index,
                revision: up.registry.read(|state| state.revision().0),
            }
        })
    }

    /// What every protocol lists now.
    pub(crate) fn list(&self) -> Option<Listing> {
        let front = self.up(|up| up.front.clone())?;
        let life = self.life.as_ref()?;
        let _entered = portolan_environment::enter(self.outside.clone());
        let (revision, lists) = life.runtime.block_on(front.list())?;
        Some(Listing {
            server: self.id,
            revision,
            lists,
        })
    }

    /// The batches that it published since the last time.
    ///
    /// # Errors
    /// When its history cannot be read.
    pub(crate) fn collect(&mut self) -> Result<Vec<Arc<Batch>>, String> {
        let mut found = std::mem::take(&mut self.rest);
        let Some(registry) = self.registry() else {
            return Ok(found);
        };
        let now = registry.read(State::revision).0;
        if now <= self.collected {
            return Ok(found);
        }
        // What came before a snapshot is not here.
        let first = registry.history().first().0;
        self.collected = self.collected.max(first.saturating_sub(1));
        while self.collected < now {
            let (after, until) = (Revision(self.collected), Revision(now));
            let piece = match registry.batches(&[Selector::Everything], after, until, BATCHES) {
                Ok(piece) => piece,
                // The power went in this very step: a file that was not in memory cannot be looked at any more.
                Err(_) if self.disk.crashed() => break,
                Err(damage) => return Err(format!("server {}: {damage:?}", self.id)),
            };
            if piece.through.0 <= self.collected {
                break;
            }
            self.collected = piece.through.0;
            found.extend(piece.batches);
        }
        Ok(found)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _entered = portolan_environment::enter(self.outside.clone());
        drop(self.life.take());
    }
}
