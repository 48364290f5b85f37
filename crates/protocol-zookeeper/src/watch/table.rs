//! Who watches what.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use portolan_catalog::{Acl, Permission, Revision};

use crate::connection::Connection;
use crate::wire::replies::{Event, notification};

/// A kind of watch, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Once, of the data.
    Data,
    /// Once, of the children.
    Child,
    /// Of both, until it is removed.
    Persistent,
    /// Of the data of everything below as well, until it is removed.
    Recursive,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Data, Kind::Child, Kind::Persistent, Kind::Recursive];

    /// The kinds that a client means when it asks about watches or removes them.
    pub(crate) fn meant(number: i32) -> &'static [Kind] {
        match number {
            1 => &[Kind::Child],
            2 => &[Kind::Data],
            4 => &[Kind::Persistent],
            5 => &[Kind::Recursive],
            _ => &Kind::ALL,
        }
    }
}

/// What one connection watches at one path: since which revision, 0 for not at all, by kind.
#[derive(Debug)]
struct Watcher {
    connection: Arc<Connection>,
    since: [u64; 4],
}

impl Watcher {
    fn has(&self, kind: Kind) -> bool {
        self.since[kind as usize] != 0
    }

    fn hears(&self, kind: Kind, revision: Revision) -> bool {
        self.has(kind) && self.since[kind as usize] <= revision.0
    }

    fn is_over(&self) -> bool {
        self.since == [0; 4]
    }
}

/// What happened to one node.
pub(super) struct Happened<'a> {
    pub(super) event: Event,
    pub(super) path: &'a str,
    pub(super) revision: Revision,
    /// Of the node, as far as the event shows it.
    pub(super) acl: &'a Acl,
}

/// Watchers by path, sorted by connection, and paths by connection.
#[derive(Debug, Default)]
pub(crate) struct Table {
    paths: HashMap<Arc<str>, Vec<Watcher>>,
    connections: HashMap<u64, HashSet<Arc<str>>>,
    recursive: usize,
}

impl Table {
    pub(crate) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Whether anybody watches at a path itself.
    pub(super) fn is_watched(&self, path: &str) -> bool {
        self.paths.contains_key(path)
    }

    /// Has `connection` told of what happens after `revision`.
    pub(crate) fn register(
        &mut self,
        connection: &Arc<Connection>,
        path: &str,
        kind: Kind,
        revision: Revision,
    ) {
        connection.watches();
        let path = match self.paths.get_key_value(path) {
            Some((path, _)) => path.clone(),
            None => Arc::from(path),
        };
        let of_connection = self.connections.entry(connection.id).or_default();
        of_connection.insert(path.clone());
        let watchers = self.paths.entry(path).or_default();
        let at = match watchers.binary_search_by_key(&connection.id, |w| w.connection.id) {
            Ok(at) => at,
            Err(at) => {
                watchers.insert(
                    at,
                    Watcher {
                        connection: connection.clone(),
                        since: [0; 4],
                    },
                );
                at
            }
        };
        let since = &mut watchers[at].since[kind as usize];
        if *since == 0 {
            *since = revision.0 + 1;
            self.recursive += usize::from(kind == Kind::Recursive);
        }
    }

    /// Whether a connection has any watch of these kinds at a path.
    pub(crate) fn has(&self, connection: u64, path: &str, kinds: &[Kind]) -> bool {
        let watchers = self.paths.get(path).map(Vec::as_slice).unwrap_or_default();
        let own = watchers.binary_search_by_key(&connection, |w| w.connection.id);
        own.is_ok_and(|at| kinds.iter().any(|kind| watchers[at].has(*kind)))
    }

    /// Removes a connection's watches of these kinds at a path; false when there are none.
    pub(crate) fn remove(&mut self, connection: u64, path: &str, kinds: &[Kind]) -> bool {
        let Some(watchers) = self.paths.get_mut(path) else {
            return false;
        };
        let Ok(at) = watchers.binary_search_by_key(&connection, |w| w.connection.id) else {
            return false;
        };
        let mut found = false;
        for kind in kinds {
            if watchers[at].has(*kind) {
                found = true;
                watchers[at].since[*kind as usize] = 0;
                self.recursive -= usize::from(*kind == Kind::Recursive);
            }
        }
        if watchers[at].is_over() {
            watchers.remove(at);
            self.forget(connection, path);
        }
        found
    }

    fn forget(&mut self, connection: u64, path: &str) {
        if self.paths.get(path).is_some_and(Vec::is_empty) {
            self.paths.remove(path);
        }
        if let Some(paths) = self.connections.get_mut(&connection) {
            paths.remove(path);
            if paths.is_empty() {
                self.connections.remove(&connection);
            }
        }
    }

    /// A connection is gone.
    pub(crate) fn leave(&mut self, connection: u64) {
        for path in self.connections.remove(&connection).unwrap_or_default() {
            let Some(watchers) = self.paths.get_mut(&path) else {
                continue;
            };
            if let Ok(at) = watchers.binary_search_by_key(&connection, |w| w.connection.id) {
                let gone = watchers.remove(at);
                self.recursive -= usize::from(gone.has(Kind::Recursive));
            }
            if watchers.is_empty() {
                self.paths.remove(&path);
            }
        }
    }

    /// Every connection that watches has missed something: their clients come back and ask.
    pub(super) fn close_all(&mut self) {
        for watcher in self.paths.values().flatten() {
            watcher.connection.close();
        }
    }

    /// Connections that watch the data of paths, how many such paths, and how many watches: what `wchs` shows.
    pub(crate) fn summary(&self) -> (usize, usize, usize) {
        let (mut paths, mut watches) = (0, 0);
        let mut connections = HashSet::new();
        for watchers in self.paths.values() {
            let mut of_path = 0;
            for watcher in watchers {
                let data = [Kind::Data, Kind::Persistent, Kind::Recursive];
                if data.iter().any(|kind| watcher.has(*kind)) {
                    of_path += 1;
                    connections.insert(watcher.connection.id);
                }
            }
            paths += usize::from(of_path > 0);
            watches += of_path;
        }
        (connections.len(), paths, watches)
    }

    /// How many watches there are, each path of each connection once.
    pub(crate) fn count(&self) -> usize {
        self.connections.values().map(HashSet::len).sum()
    }

    /// Paths by session and the other way round, for `wchc` and `wchp`.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, i64)> {
        self.paths.iter().flat_map(|(path, watchers)| {
            watchers
                .iter()
                .map(|watcher| (&**path, watcher.connection.session))
        })
    }

    /// Tells everybody whom it concerns, each once; how many were told.
    pub(super) fn fire(&mut self, happened: &Happened<'_>) -> u64 {
        let mut telling = Telling {
            happened,
            frame: None,
            told: HashSet::new(),
            sent: 0,
        };
        let (hearing, spent): (&[Kind], &[Kind]) = match happened.event {
            Event::NodeCreated | Event::NodeDataChanged => (
                &[Kind::Data, Kind::Persistent, Kind::Recursive],
                &[Kind::Data],
            ),
            Event::NodeDeleted => (&Kind::ALL, &[Kind::Data, Kind::Child]),
            Event::NodeChildrenChanged => (&[Kind::Child, Kind::Persistent], &[Kind::Child]),
        };
        let mut over = Vec::new();
        if let Some(watchers) = self.paths.get_mut(happened.path) {
            for watcher in watchers.iter_mut() {
                if hearing
                    .iter()
                    .any(|kind| watcher.hears(*kind, happened.revision))
                {
                    telling.tell(&watcher.connection);
                    for kind in spent {
                        if watcher.hears(*kind, happened.revision) {
                            watcher.since[*kind as usize] = 0;
                        }
                    }
                    if watcher.is_over() {
                        over.push(watcher.connection.id);
                    }
                }
            }
            watchers.retain(|watcher| !watcher.is_over());
        }
        for connection in over {
            self.forget(connection, happened.path);
        }
        if self.recursive > 0 && happened.event != Event::NodeChildrenChanged {
            let mut above = happened.path;
            while let Some((parent, _)) = above.rsplit_once('/') {
                let path = if parent.is_empty() { "/" } else { parent };
                if happened.path == "/" {
                    break;
                }
                for watcher in self.paths.get(path).into_iter().flatten() {
                    if watcher.hears(Kind::Recursive, happened.revision) {
                        telling.tell(&watcher.connection);
                    }
                }
                above = parent;
            }
        }
        telling.sent
    }
}

struct Telling<'a> {
    happened: &'a Happened<'a>,
    /// One for all.
    frame: Option<Bytes>,
    told: HashSet<u64>,
    sent: u64,
}

impl Telling<'_> {
    fn tell(&mut self, connection: &Arc<Connection>) {
        // Whoever watches at several levels is told once.
        if !self.told.insert(connection.id) {
            return;
        }
        let Happened {
            event,
            path,
            revision,
            acl,
        } = self.happened;
        let shut = !acl.entries().is_empty() && !acl.allows(Permission::Read, &connection.who());
        if shut || !connection.may_watch(path) {
            return;
        }
        let frame = self
            .frame
            .get_or_insert_with(|| notification(*event, crate::read::zxid(*revision), path));
        connection.out.event(frame.clone());
        self.sent += 1;
    }
}
