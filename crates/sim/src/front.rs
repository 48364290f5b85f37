//! What clients ask a server, and how its front ends answer in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use portolan_catalog::{Batch, Cause, Command, Keyspace, LeaseId, Protocol, Revision, Settled};
use portolan_registry::{Cut, Feed, Registry, Renewed, Selector, Unavailable};

use crate::protocols::{Place, Protocols, Spoken};

/// How long a question for news waits.
const NEWS: Duration = Duration::from_millis(700);
/// Batches in one answer at most.
const BATCHES: usize = 64;

/// A question.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// Decide this.
    Propose(Box<Command>),
    /// Renew a lease.
    Renew(LeaseId),
    /// A key of etcd's keyspace.
    Read {
        key: String,
        /// No older than the question; otherwise whatever the server has.
        linearizable: bool,
    },
    /// What matches and is later; waits a little when there is nothing.
    Follow {
        /// The watcher: its feed stays open from one question to the next.
        watcher: u64,
        selectors: Vec<Selector>,
        after: u64,
    },
    /// The revision, to begin watching at.
    Revision,
    /// Register or remove an instance through a protocol.
    Speak {
        spoken: Spoken,
        place: Place,
        register: bool,
    },
    /// What every protocol lists.
    List,
    /// Register an instance at this node, or remove it there.
    Own { place: Place, register: bool },
    /// What is registered at nodes.
    Owned,
}

/// A key as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Of the state it was found in.
    pub(crate) revision: u64,
    /// Value and revision of the last put.
    pub(crate) record: Option<(Bytes, u64)>,
}

/// An answer.
#[derive(Debug)]
pub(crate) enum Told {
    Settled(Result<Settled, Unavailable>),
    Renewed(Result<Renewed, Unavailable>),
    Found(Result<Found, Unavailable>),
    News {
        batches: Vec<Arc<Batch>>,
        /// Nothing that matches up to here is missing.
        through: u64,
    },
    /// The history does not reach back to where the watcher stood; this is the oldest revision that can be followed from.
    Cut(u64),
    Revision(u64),
    /// Whether the protocol said that it did.
    Spoke(bool),
    /// The revision, and what is listed at it.
    Listed(u64, BTreeMap<Spoken, BTreeSet<Place>>),
    /// What is registered at nodes; none where the node did not answer.
    Owned(Option<BTreeSet<Place>>),
    /// There was a change meanwhile, or no list.
    NotListed,
    /// Nobody listens there: it was not asked.
    Refused,
}

impl Told {
    /// A number for the trace.
    pub(crate) fn digest(&self) -> u64 {
        match self {
            Told::Settled(Ok(settled)) => {
                settled.revision.0 * 2 + u64::from(settled.outcome.is_ok())
            }
            Told::Found(Ok(found)) => {
                let modified = found.record.as_ref().map_or(0, |(_, modified)| *modified);
                found.revision * 31 + modified
            }
            Told::Renewed(Ok(Renewed::For(_))) => 1,
            Told::Renewed(Ok(Renewed::Unknown)) => 2,
            Told::News { batches, through } => through * 31 + batches.len() as u64,
            Told::Cut(floor) => *floor,
            Told::Revision(revision) => *revision,
            Told::Refused => 3,
            Told::NotListed => 4,
            Told::Spoke(done) => 5 + u64::from(*done),
            Told::Owned(owned) => owned.as_ref().map_or(8, |owned| 9 + owned.len() as u64),
            Told::Listed(revision, lists) => {
                let count: usize = lists.values().map(BTreeSet::len).sum();
                revision * 31 + count as u64
            }
            Told::Settled(Err(error)) | Told::Renewed(Err(error)) | Told::Found(Err(error)) => {
                u64::MAX - *error as u64
            }
        }
    }
}

/// The front ends of one life of a server.
pub(crate) struct Front {
    registry: Registry,
    protocols: Protocols,
    feeds: Mutex<BTreeMap<u64, (u64, Feed)>>,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Front")
    }
}

impl Front {
    /// Must be called in the server's runtime. `name` is the server's.
    pub(crate) fn new(registry: Registry, name: &str) -> Front {
        Front {
            protocols: Protocols::new(&registry, name),
            registry,
            feeds: Mutex::default(),
        }
    }

    pub(crate) async fn answer(&self, ask: Ask) -> Told {
        match ask {
            Ask::Propose(command) => {
                let cause = Cause::call(Protocol::Etcd, None);
                Told::Settled(self.registry.propose(cause, *command).await)
            }
            Ask::Renew(lease) => Told::Renewed(self.registry.renew(&lease).await),
            Ask::Read { key, linearizable } => Told::Found(self.read(&key, linearizable).await),
            Ask::Follow {
                watcher,
                selectors,
                after,
            } => self.follow(watcher, selectors, after).await,
            Ask::Revision => Told::Revision(self.revision()),
            Ask::Speak {
                spoken,
                place,
                register,
            } => Told::Spoke(match register {
                true => self.protocols.register(spoken, &place).await,
                false => self.protocols.deregister(spoken, &place).await,
            }),
            Ask::Own { place, register } => Told::Spoke(self.protocols.own(&place, register).await),
            Ask::Owned => Told::Owned(self.protocols.owned().await),
            Ask::List => match self.list().await {
                Some((revision, lists)) => Told::Listed(revision, lists),
                None => Told::NotListed,
            },
        }
    }

    fn revision(&self) -> u64 {
        self.registry.read(|state| state.revision().0)
    }

    /// What every protocol lists, if nothing changed meanwhile.
    pub(crate) async fn list(&self) -> Option<(u64, BTreeMap<Spoken, BTreeSet<Place>>)> {
        let before = self.revision();
        let mut lists = BTreeMap::new();
        for spoken in Spoken::ALL {
            lists.insert(spoken, self.protocols.list(spoken).await?);
        }
        (self.revision() == before).then_some((before, lists))
    }

    async fn read(&self, key: &str, linearizable: bool) -> Result<Found, Unavailable> {
        let state = match linearizable {
            true => self.registry.linearized().await?,
            false => self.registry.snapshot(),
        };
        let record = state.record(Keyspace::Etcd, key.as_bytes());
        Ok(Found {
            revision: state.revision().0,
            record: record.map(|record| {
                let value = record.value.clone().unwrap_or_default();
                (value, record.modified.0)
            }),
        })
    }

    /// Goes on with the watcher's feed where it stands at `after`, and opens one where it does not: its last answer may have been lost.
    async fn follow(&self, watcher: u64, selectors: Vec<Selector>, after: u64) -> Told {
        let open = {
            let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
            feeds.remove(&watcher).filter(|(at, _)| *at == after)
        };
        let mut feed = match open {
            Some((_, feed)) => feed,
            None => match self.registry.follow(selectors, Revision(after)) {
                Ok(feed) => feed,
                Err(compacted) => return Told::Cut(compacted.floor.0),
            },
        };
        let mut batches = Vec::new();
        match tokio::time::timeout(NEWS, feed.next()).await {
            Ok(Ok(batch)) => batches.push(batch),
            Ok(Err(Cut { floor, .. })) => return Told::Cut(floor.0),
            Err(_) => {}
        }
        while !batches.is_empty() && batches.len() < BATCHES {
            match feed.try_next() {
                Ok(Some(batch)) => batches.push(batch),
                Ok(None) => break,
                // Said with the next question: what was found so far is good.
                Err(_) => {
                    let through = batches.last().map_or(after, |batch| batch.revision.0);
                    return Told::News { batches, through };
                }
            }
        }
        let through = feed.frontier().0.max(after);
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.insert(watcher, (through, feed));
        Told::News { batches, through }
    }
}
