//! One server: its runtime, its disk, its environment, and the clients that write at it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use portolan_catalog::{
    Bootstrap, Cause, CheckFacts, CheckKey, Command, Endpoint, Host, InstanceKey, Key, Keyspace,
    LeaseId, NodeFacts, Op, Protocol, Put, Registration, ServiceKey, State, Terms, Timestamp,
    Write,
};
use portolan_environment::{Answer, Channel, Environment, Peer, Transport};
use portolan_registry::{Registry, Unavailable};
use portolan_replica::disk::{Crash, MemoryDisk};
use portolan_replica::space::SpaceOptions;
use portolan_replica::{Cluster, Directory, Options, Replica};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::Plan;
use crate::world::{Reply, World};

/// A lease that somebody renews at whichever server leads.
pub(crate) const LEASE: i64 = 77;
const LEASE_MS: u64 = 5000;
const CLUSTER: u64 = 99;
/// The wall clock at the beginning.
const BEGINNING: u64 = 1_700_000_000_000;

/// Randomness and wall clock of one server.
struct Outside {
    rng: Mutex<StdRng>,
    world: Arc<World>,
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outside")
    }
}

impl Environment for Outside {
    fn fill(&self, bytes: &mut [u8]) {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        rng.fill_bytes(bytes);
    }

    fn wall_ms(&self) -> u64 {
        BEGINNING + self.world.now()
    }
}

/// What answers at this server, once it has started.
type Served = Arc<Mutex<BTreeMap<Channel, Arc<dyn Peer>>>>;

/// The network as one server has it.
struct Wire {
    me: u64,
    world: Arc<World>,
    served: Served,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire of {}", self.me)
    }
}

impl Transport for Wire {
    fn call<'a>(
        &'a self,
        to: u64,
        _: &'a str,
        channel: Channel,
        request: Vec<u8>,
        limit: Duration,
    ) -> Answer<'a> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.world.request(self.me, to, channel, request, reply);
            match tokio::time::timeout(limit, answer).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(_)) | Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        })
    }

    fn serve(&self, channel: Channel, peer: Arc<dyn Peer>) {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.insert(channel, peer);
    }
}

type Started = Arc<Mutex<Option<Result<(Replica, Registry), String>>>>;

/// A running process.
struct Life {
    runtime: Runtime,
    started: Started,
    served: Served,
    /// Writes of its clients that are not answered.
    asked: Arc<AtomicU64>,
}

pub(crate) struct Server {
    id: u64,
    clients: u64,
    members: BTreeMap<u64, String>,
    world: Arc<World>,
    outside: Arc<dyn Environment>,
    disk: MemoryDisk,
    life: Option<Life>,
    lives: u64,
    crash: Option<Crash>,
    fatal: Arc<Mutex<Option<String>>>,
}

impl Server {
    pub(crate) fn new(id: u64, plan: &Plan, world: &Arc<World>, seed: u64) -> Server {
        Server {
            id,
            clients: plan.clients,
            members: (1..=plan.servers)
                .map(|id| (id, format!("server-{id}")))
                .collect(),
            world: world.clone(),
            outside: Arc::new(Outside {
                rng: Mutex::new(StdRng::seed_from_u64(seed)),
                world: world.clone(),
            }),
            disk: MemoryDisk::new(),
            life: None,
            lives: 0,
            crash: None,
            fatal: Arc::default(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Starts the process unless it runs.
    pub(crate) fn start(&mut self) {
        if self.life.is_some() {
            return;
        }
        self.lives += 1;
        self.world.note("start", &[self.id, self.lives], &[]);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        let Ok(runtime) = runtime else {
            *self.fatal.lock().unwrap_or_else(PoisonError::into_inner) =
                Some("no runtime".to_owned());
            return;
        };
        let (started, served) = (Started::default(), Served::default());
        let asked = Arc::new(AtomicU64::new(0));
        let options = self.options(&served);
        let slot = started.clone();
        let clients: Vec<Client> = (0..self.clients)
            .map(|number| Client {
                name: format!("{}-{}-{number}", self.id, self.lives),
                world: self.world.clone(),
                asked: asked.clone(),
            })
            .collect();
        let _entered = portolan_environment::enter(self.outside.clone());
        runtime.spawn(async move {
            let begun = Replica::start(options).await;
            let begun = begun.map_err(|error| error.to_string());
            if let Ok((_, registry)) = &begun {
                tokio::spawn(keep_lease(registry.clone()));
                for client in clients {
                    tokio::spawn(client.run(registry.clone()));
                }
            }
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun);
        });
        self.life = Some(Life {
            runtime,
            started,
            served,
            asked,
        });
    }

    fn options(&self, served: &Served) -> Options {
        let outside = self.outside.clone();
        let mut options = Options::new(
            Directory::Disk(Arc::new(self.disk.clone())),
            &format!("server-{}", self.id),
            bootstrap(self.id),
            Arc::new(move || Timestamp(outside.wall_ms())),
        );
        options.space = SpaceOptions {
            segment_bytes: 64 << 10,
            first_segment_bytes: 32 << 10,
            reserve_bytes: 16 << 10,
            margin_bytes: 4 << 10,
        };
        // Small, so that a server that was gone needs one.
        options.snapshot_bytes = 16 << 10;
        options.cluster = Some(Cluster {
            cluster_id: CLUSTER,
            node_id: self.id,
            members: self.members.clone(),
        });
        options.transport = Arc::new(Wire {
            me: self.id,
            world: self.world.clone(),
            served: served.clone(),
        });
        let fatal = self.fatal.clone();
        options.fatal = Box::new(move |error| {
            *fatal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        });
        options
    }

    /// Loses power in the middle of the `call`-th change of the disk from now on.
    pub(crate) fn crash_soon(&mut self, call: u64, seed: u64) {
        let how = Crash::Tear(seed);
        self.disk.crash_at(call, how);
        self.crash = Some(how);
    }

    fn die(&mut self, how: Crash) {
        self.world.note("crash", &[self.id], &[]);
        let _entered = portolan_environment::enter(self.outside.clone());
        if let Some(life) = self.life.take() {
            let waiting = life.asked.load(Ordering::Relaxed);
            // Everything it had spawned goes with the runtime.
            drop(life);
            self.world.clients_died(waiting);
        }
        self.disk.restart(how);
        self.fatal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// One millisecond.
    ///
    /// # Errors
    /// When the server did not start, or ended although its disk was sound.
    pub(crate) fn step(&mut self) -> Result<(), String> {
        if let Some(how) = self.crash.filter(|_| self.disk.crashed()) {
            self.crash = None;
            self.die(how);
        }
        if let Some(error) = self
            .fatal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
        {
            return Err(format!("server {}: {error}", self.id));
        }
        let Some(life) = &self.life else {
            return Ok(());
        };
        let _entered = portolan_environment::enter(self.outside.clone());
        life.runtime
            .block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
        let started = life.started.lock().unwrap_or_else(PoisonError::into_inner);
        match &*started {
            Some(Err(error)) if !self.disk.crashed() => {
                Err(format!("server {} did not start: {error}", self.id))
            }
            _ => Ok(()),
        }
    }

    /// A request from another server arrives.
    pub(crate) fn deliver(&self, from: u64, channel: Channel, request: Vec<u8>, reply: Reply) {
        let served = self.life.as_ref().and_then(|life| {
            let served = life.served.lock().unwrap_or_else(PoisonError::into_inner);
            Some((life, served.get(&channel)?.clone()))
        });
        let Some((life, peer)) = served else {
            return self.world.silence(reply);
        };
        let (world, me) = (self.world.clone(), self.id);
        let _entered = portolan_environment::enter(self.outside.clone());
        life.runtime.spawn(async move {
            match peer.answer(from, request).await {
                Ok(answer) => world.answer(me, from, answer, reply),
                Err(_) => world.silence(reply),
            }
        });
    }

    fn with<T>(&self, look: impl FnOnce(&Replica, &Registry) -> T) -> Option<T> {
        let life = self.life.as_ref()?;
        let started = life.started.lock().unwrap_or_else(PoisonError::into_inner);
        match &*started {
            Some(Ok((replica, registry))) => Some(look(replica, registry)),
            _ => None,
        }
    }

    pub(crate) fn leads(&self) -> bool {
        self.with(|_, registry| registry.leads()).unwrap_or(false)
    }

    pub(crate) fn term(&self) -> u64 {
        self.with(|replica, _| replica.status().term).unwrap_or(0)
    }

    pub(crate) fn revision(&self) -> Option<u64> {
        self.with(|_, registry| registry.snapshot().revision().0)
    }

    pub(crate) fn state(&self) -> Option<Arc<State>> {
        self.with(|_, registry| registry.snapshot())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _entered = portolan_environment::enter(self.outside.clone());
        drop(self.life.take());
    }
}

fn bootstrap(id: u64) -> Bootstrap {
    let node = NodeFacts::new(&format!("server-{id}"), Host::new("127.0.0.1"));
    let mut service = Registration::new(
        InstanceKey::new(Protocol::Portolan, format!("server-{id}/consul")),
        ServiceKey::plain("consul"),
        Endpoint::new(Host::new("127.0.0.1"), 8300),
    );
    service.node = node.name.clone();
    let check = CheckFacts::new(
        CheckKey::new(&node.name, "serfHealth"),
        "Serf Health Status",
    );
    Bootstrap {
        node: Arc::new(node),
        service: Arc::new(service),
        checks: vec![Arc::new(check)],
        layouts: Vec::new(),
    }
}

/// Grants the lease where it is missing at the beginning, and renews it.
async fn keep_lease(registry: Registry) {
    let lease = LeaseId::Etcd(LEASE);
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        if !registry.leads() {
            continue;
        }
        let cause = Cause::call(Protocol::Etcd, None);
        let granted =
            registry.read(|state| state.lease(&lease).is_some() || state.revision().0 > 50);
        if !granted {
            let command = Command::Grant {
                lease: lease.clone(),
                terms: Some(Terms::strict(LEASE_MS)),
                session: None,
            };
            // It is tried again, and missed at the end.
            drop(registry.propose(cause, command).await);
            continue;
        }
        // A leader that has just lost its place refuses; the next one is asked.
        let _refused = registry.renew(&lease).await;
    }
}

/// Writes keys, each once.
struct Client {
    name: String,
    world: Arc<World>,
    asked: Arc<AtomicU64>,
}

impl Client {
    async fn run(self, registry: Registry) {
        for number in 0.. {
            let wait = portolan_environment::generator().random_range(5..40);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            if !self.world.writing() {
                return;
            }
            let key = format!("{}/{number}", self.name);
            let value = Bytes::from(portolan_environment::random_bytes::<64>().to_vec());
            let put = Put::new(Keyspace::Etcd, Key::from(key.as_str()), value);
            let command = Command::Write(Write::one(Op::Put(Box::new(put))));
            self.world.client_asks();
            self.asked.fetch_add(1, Ordering::Relaxed);
            let answer = registry
                .propose(Cause::call(Protocol::Etcd, None), command)
                .await;
            self.asked.fetch_sub(1, Ordering::Relaxed);
            let revision = match &answer {
                Ok(settled) if settled.outcome.is_ok() => Some(settled.revision.0),
                _ => None,
            };
            let unknown = matches!(answer, Err(Unavailable::Unknown));
            self.world.client_heard(&key, revision, unknown);
        }
    }
}
