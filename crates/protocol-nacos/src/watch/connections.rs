//! gRPC connections that were set up: what each follows, what it is owed, and the lease that keeps what it registered.
//!
//! Invariants
//! - A connection is the TCP connection: calls and stream share it, and it is found by its peer's address.
//! - What it registered hangs on one lease. The lease ends when the connection does; while the connection lives, the server renews it.
//!   When a server ends, its connections do not end their leases: clients have time to come back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portolan_catalog::{Key, LeaseId, ServiceKey, Timestamp};
use portolan_listener::Caller;
use portolan_registry::{Registry, Renewed};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::lock;
use crate::config::listen::Listen;
use crate::names::ServiceName;
use crate::read::Hosts;
use crate::rpc::fuzzy::Patterns;
use crate::translate::CONNECTION_LEASE_MS;

/// Something a connection is owed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// A service that it subscribes to may be different.
    Service(ServiceKey),
    /// A configuration that it listens to may be different.
    Config(Key),
    /// Services or configurations that match its patterns came or went.
    Patterns,
}

/// A service that a connection subscribes to.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    /// As the client spells it.
    pub(crate) name: ServiceName,
    /// Clusters, comma separated.
    pub(crate) clusters: String,
    /// What the client was told last.
    pub(crate) told: Option<Hosts>,
    /// A push is on its way: what changes meanwhile is pushed when that is acknowledged.
    pub(crate) under_way: bool,
}

/// What a connection follows, and what of it is due.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    pub(crate) services: HashMap<ServiceKey, Subscription>,
    pub(crate) configs: BTreeMap<Key, Listen>,
    pub(crate) patterns: Patterns,
    pub(crate) due: BTreeSet<Due>,
}

/// What the client said when it set the connection up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Introduced {
    pub(crate) version: String,
    pub(crate) client_ip: String,
    pub(crate) labels: BTreeMap<String, String>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: String,
    /// Unique on this server, and in its lease.
    pub(crate) number: u64,
    pub(crate) peer: SocketAddr,
    pub(crate) caller: Caller,
    pub(crate) introduced: Introduced,
    pub(crate) since: Timestamp,
    followed: Mutex<Followed>,
    wake: Notify,
    seen: Mutex<Instant>,
    /// It registered something, so that there is a lease.
    registers: AtomicBool,
    /// Its registrations are lost: the client has to come again.
    lost: AtomicBool,
}

impl Connection {
    pub(crate) fn new(caller: Caller, introduced: Introduced, since: Timestamp) -> Connection {
        let peer = caller.peer();
        Connection {
            id: connection_id(since, peer),
            number: portolan_environment::random_u64(),
            peer,
            caller,
            introduced,
            since,
            followed: Mutex::default(),
            wake: Notify::new(),
            seen: Mutex::new(Instant::now()),
            registers: AtomicBool::new(false),
            lost: AtomicBool::new(false),
        }
    }

    /// What keeps its registrations.
    pub(crate) fn lease(&self) -> LeaseId {
        LeaseId::Connection(self.number)
    }

    /// Says that a lease is about to be granted.
    pub(crate) fn registers(&self) {
        self.registers.store(true, Ordering::Release);
    }

    pub(crate) fn has_registered(&self) -> bool {
        self.registers.load(Ordering::Acquire)
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// The application's name, as the client says.
    pub(crate) fn app(&self) -> &str {
        let label = self.introduced.labels.get("AppName");
        label.map_or("unknown", String::as_str)
    }

    /// Which version of which client.
    pub(crate) fn agent(&self) -> &str {
        &self.introduced.version
    }

    /// The address of the client: its peer's, which it cannot choose.
    pub(crate) fn ip(&self) -> String {
        self.peer.ip().to_canonical().to_string()
    }

    /// Notes that something came from the client.
    pub(crate) fn touch(&self) {
        *lock(&self.seen) = Instant::now();
    }

    pub(crate) fn seen(&self) -> Instant {
        *lock(&self.seen)
    }

    /// Reads or changes what it follows.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Followed) -> T) -> T {
        work(&mut lock(&self.followed))
    }

    /// Services and configurations that it follows.
    pub(crate) fn followed(&self) -> (Vec<ServiceKey>, Vec<Key>) {
        self.with(|held| {
            let services = held.services.keys().cloned().collect();
            (services, held.configs.keys().cloned().collect())
        })
    }

    /// Has the stream look at something.
    pub(crate) fn mark(&self, due: Due) {
        let fresh = self.with(|held| held.due.insert(due));
        if fresh {
            self.wake.notify_one();
        }
    }

    pub(crate) fn mark_service_pattern(&self, service: &ServiceKey) {
        if self.with(|held| held.patterns.note_service(service)) {
            self.mark(Due::Patterns);
        }
    }

    pub(crate) fn mark_config_pattern(&self, key: &Key) {
        if self.with(|held| held.patterns.note_config(key)) {
            self.mark(Due::Patterns);
        }
    }

    pub(crate) fn mark_patterns(&self) {
        self.with(|held| held.patterns.note_everything());
        self.mark(Due::Patterns);
    }

    /// Resolves when something is due, or was.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }
}

/// `1795193278780_127.0.0.1_37294`
pub(crate) fn connection_id(since: Timestamp, peer: SocketAddr) -> String {
    format!("{}_{}_{}", since.0, peer.ip().to_canonical(), peer.port())
}

/// The connections of this server.
#[derive(Debug, Default)]
pub(crate) struct Connections(Mutex<HashMap<SocketAddr, Arc<Connection>>>);

impl Connections {
    /// The connection that a call came over.
    pub(crate) fn of(&self, peer: SocketAddr) -> Option<Arc<Connection>> {
        lock(&self.0).get(&peer).cloned()
    }

    /// Adds one unless there are `most` already; gives back the one that was under its address.
    ///
    /// # Errors
    /// When there are too many.
    pub(crate) fn add(
        &self,
        connection: &Arc<Connection>,
        most: usize,
    ) -> Result<Option<Arc<Connection>>, ()> {
        let mut held = lock(&self.0);
        if held.len() >= most && !held.contains_key(&connection.peer) {
            return Err(());
        }
        Ok(held.insert(connection.peer, connection.clone()))
    }

    /// Removes one, if it is still the one under its address.
    pub(crate) fn remove(&self, connection: &Connection) {
        let mut held = lock(&self.0);
        let same = held
            .get(&connection.peer)
            .is_some_and(|it| it.number == connection.number);
        if same {
            held.remove(&connection.peer);
        }
    }

    /// All of them, by id.
    pub(crate) fn all(&self) -> Vec<Arc<Connection>> {
        let mut all: Vec<_> = lock(&self.0).values().cloned().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// Renews the leases of the connections for ever. One whose lease is gone, which a server learns that was cut off for long, is lost:
    /// its stream ends, and the client registers everything anew over another.
    pub(crate) async fn keep(&self, registry: &Registry) {
        let mut tick = interval(Duration::from_millis(CONNECTION_LEASE_MS / 6));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            for connection in self.all() {
                if !connection.has_registered() {
                    continue;
                }
                let lease = connection.lease();
                let granted = registry.read(|state| state.lease(&lease).is_some());
                match registry.renew(&lease).await {
                    Ok(Renewed::Unknown) if granted => {
                        connection.lost.store(true, Ordering::Release);
                        connection.wake.notify_one();
                    }
                    // Not granted yet, or nobody decides at the moment: asked again soon, long before the lease is over.
                    Ok(Renewed::For(_) | Renewed::Unknown) | Err(_) => {}
                }
            }
        }
    }
}
