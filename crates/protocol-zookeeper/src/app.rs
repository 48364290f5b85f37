//! What every connection of the port holds.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portolan_catalog::{Cause, Command, Key, KeyRange, Keyspace, State, Why};
use portolan_listener::ServerContext;
use portolan_registry::Registry;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::counts::Counts;
use crate::path;
use crate::routes::Routes;
use crate::watch::Watches;

/// What is told of this server where it is asked for its role.
#[derive(Clone)]
pub struct Ask<T>(Arc<dyn Fn() -> T + Send + Sync>);

impl<T> Ask<T> {
    /// Asks `answer`.
    pub fn new(answer: impl Fn() -> T + Send + Sync + 'static) -> Ask<T> {
        Ask(Arc::new(answer))
    }

    pub(crate) fn ask(&self) -> T {
        (self.0)()
    }
}

impl<T> fmt::Debug for Ask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ask")
    }
}

/// A server's part in its cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The only one.
    #[default]
    Standalone,
    /// It decides.
    Leader,
    /// It follows.
    Follower,
    /// Nobody decides.
    Lost,
}

impl Mode {
    /// As four-letter words and monitoring know it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Mode::Standalone => "standalone",
            Mode::Leader => "leader",
            Mode::Follower => "follower",
            Mode::Lost => "read-only",
        }
    }
}

/// How the port differs from its defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Connections from one address; 0 for no limit. ZooKeeper's `maxClientCnxns`, 60.
    pub connections_per_address: usize,
    /// Bytes of one message of a client; ZooKeeper's `jute.maxbuffer`, 1,048,575. More ends the connection.
    pub frame_bytes: usize,
    /// Four-letter words that are answered; `*` is all. ZooKeeper's `4lw.commands.whitelist`, `srvr`.
    pub words: Vec<String>,
    /// This server's part in its cluster.
    pub mode: Ask<Mode>,
    /// This server's name.
    pub node: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            connections_per_address: 60,
            frame_bytes: 0xf_ffff,
            words: vec!["srvr".into()],
            mode: Ask::new(Mode::default),
            node: "portolan".into(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct App {
    pub(crate) registry: Registry,
    pub(crate) context: ServerContext,
    pub(crate) settings: Settings,
    pub(crate) routes: Routes,
    pub(crate) watches: Watches,
    pub(crate) counts: Counts,
    pub(crate) started: Instant,
    pub(crate) port: u16,
    connections: Mutex<Connections>,
    next_id: AtomicU64,
}

#[derive(Debug, Default)]
struct Connections {
    all: HashMap<u64, Arc<Connection>>,
    by_session: HashMap<i64, u64>,
}

impl App {
    pub(crate) fn new(
        registry: Registry,
        context: ServerContext,
        settings: Settings,
        port: u16,
    ) -> App {
        App {
            routes: Routes::new(context.metrics()),
            watches: Watches::new(registry.clone()),
            registry,
            context,
            settings,
            counts: Counts::default(),
            started: Instant::now(),
            port,
            connections: Mutex::default(),
            next_id: AtomicU64::new(1),
        }
    }

    fn table(&self) -> MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// A connection has a session; another one that had it is closed.
    pub(crate) fn join(&self, connection: &Arc<Connection>) {
        let mut table = self.table();
        let before = table.by_session.insert(connection.session, connection.id);
        table.all.insert(connection.id, connection.clone());
        if let Some(before) = before.and_then(|id| table.all.get(&id)) {
            before.close();
        }
    }

    pub(crate) async fn leave(&self, connection: &Connection) {
        {
            let mut table = self.table();
            table.all.remove(&connection.id);
            if table.by_session.get(&connection.session) == Some(&connection.id) {
                table.by_session.remove(&connection.session);
            }
        }
        if connection.is_watching() {
            self.watches.lock().await.inner.table.leave(connection.id);
        }
    }

    /// Connections with a session, in the order of their ids.
    pub(crate) fn connections(&self) -> Vec<Arc<Connection>> {
        let mut all: Vec<_> = self.table().all.values().cloned().collect();
        all.sort_unstable_by_key(|connection| connection.id);
        all
    }

    /// Wakes the layout whose nodes are asked for, if it sleeps. Without a leader it sleeps on, and the reader gets what there is.
    pub(crate) async fn wake(&self, path: &str, children: bool) {
        let range = |state: &State| {
            let sleeps = |name: &Arc<str>| Command::Wake {
                layout: name.clone(),
            };
            let key = path::key(path)?;
            let range = if children {
                KeyRange::prefix(format!("{}\0", path.trim_end_matches('/')).as_bytes())
            } else {
                KeyRange::One(Key::clone(&key))
            };
            state.sleeping_layout(Keyspace::Znodes, &range).map(sleeps)
        };
        // A layout with very many endpoints takes several commands.
        while let Some(command) = self.registry.read(range) {
            let cause = Cause::own(Why::Layout);
            if self.registry.propose(cause, command).await.is_err() {
                return;
            }
        }
    }
}
