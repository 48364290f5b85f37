//! A server that belongs to no cluster yet: it joins one, or founds one with others like it.
//!
//! Two can never found, because the founder needs the promise of every server it founds with, each promises itself to one cluster only, and
//! keeps that promise on its disk. A promise ends when the founder says so, or when it is seen to have given up: it is there and has promised
//! itself to another cluster or to none. A founder that has died keeps the others waiting; they say so.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use portolan_environment::{ANYBODY, Answer, Channel, Peer, Transport};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::members::{About, Request, Response, Server, ask};
use crate::message::{decode, encode};

/// How often others are asked.
const ROUND: Duration = Duration::from_millis(250);
/// How long one of them may take.
const LIMIT: Duration = Duration::from_secs(2);
/// A server that was not heard of for so long is not counted.
const FORGOTTEN: Duration = Duration::from_secs(3);
/// How often it is said what this server waits for.
const SAID: Duration = Duration::from_secs(10);
/// Servers that a cluster is founded with at most.
pub const MOST: usize = 7;

/// A promise to belong to a cluster, as it is kept on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// Who promised, under the id that the founder counts on.
    pub own: Server,
    /// The cluster.
    pub cluster: u64,
    /// Who founds it.
    pub founder: u64,
    /// All of its servers.
    pub servers: Vec<Server>,
}

impl Promise {
    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads one.
    ///
    /// # Errors
    /// `InvalidData`.
    pub fn from_bytes(bytes: &[u8]) -> io::Result<Promise> {
        decode(bytes)
    }
}

/// Where the promise is kept.
pub trait Keep: Send + Sync {
    /// The promise that was kept last.
    ///
    /// # Errors
    /// The disk's.
    fn load(&self) -> io::Result<Option<Promise>>;

    /// Keeps a promise, or none. When this returns, it is on the disk.
    ///
    /// # Errors
    /// The disk's.
    fn save(&self, promise: Option<&Promise>) -> io::Result<()>;
}

/// What a server needs to find its place.
pub struct Options {
    /// The server. Where a promise is kept, its id is the promised one, here and in the hello of the transport.
    pub own: Server,
    /// Its version, for people.
    pub version: String,
    /// How many servers it waits for before it founds a cluster; 0 when it only joins one.
    pub expect: usize,
    /// Addresses to ask.
    pub join: Vec<String>,
    /// The way to others.
    pub transport: Arc<dyn Transport>,
    /// The disk.
    pub keep: Arc<dyn Keep>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("own", &self.own)
            .field("expect", &self.expect)
            .field("join", &self.join)
            .finish_non_exhaustive()
    }
}

/// The cluster that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub cluster: u64,
    /// This server, under the id it has there.
    pub own: Server,
    /// The first members, when this server founds it; empty when it waits to be told.
    pub founders: Vec<Server>,
}

struct Inner {
    own: Server,
    version: String,
    expect: usize,
    known: BTreeMap<u64, (About, Instant)>,
    join: Vec<String>,
    promise: Option<Promise>,
    /// The cluster that this server is about to found.
    founding: u64,
    keep: Arc<dyn Keep>,
}

struct Fresh(Mutex<Inner>);

impl Fresh {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn about(&self) -> About {
        About {
            server: self.own.clone(),
            promised: self.promise.as_ref().map_or(self.founding, |p| p.cluster),
            expect: u32::try_from(self.expect).unwrap_or(u32::MAX),
            version: self.version.clone(),
            ..About::default()
        }
    }

    fn note(&mut self, about: About) {
        let fresh = about.cluster == 0 && about.server.node != 0;
        if !fresh || about.server.node == self.own.node || about.server.address.is_empty() {
            return;
        }
        // A server that was started anew has another id at the same address.
        self.known.retain(|node, (known, _)| {
            *node == about.server.node || known.server.address != about.server.address
        });
        if self.known.len() < 64 || self.known.contains_key(&about.server.node) {
            self.known
                .insert(about.server.node, (about, Instant::now()));
        }
    }

    fn present(&mut self) -> Vec<About> {
        self.known
            .retain(|_, (_, heard)| heard.elapsed() < FORGOTTEN);
        self.known
            .values()
            .map(|(about, _)| about.clone())
            .collect()
    }

    fn reply(&mut self, request: Request) -> io::Result<Response> {
        Ok(match request {
            Request::Meet(about) => {
                self.note(about);
                Response::Met {
                    about: Box::new(self.about()),
                    others: self.present(),
                }
            }
            Request::Promise {
                cluster,
                founder,
                servers,
            } => self.promise(cluster, founder, servers)?,
            Request::Release { cluster } => {
                if self.promise.as_ref().is_some_and(|p| p.cluster == cluster) {
                    self.keep.save(None)?;
                    self.promise = None;
                }
                Response::Done
            }
            Request::Invite { address } => {
                if !self.join.contains(&address) && self.join.len() < 64 {
                    self.join.push(address);
                }
                Response::Done
            }
            Request::Join(_) | Request::Broken { .. } | Request::Hold | Request::Change(_) => {
                Response::Refused(format!(
                    "server {} belongs to no cluster yet",
                    self.own.name
                ))
            }
        })
    }

    fn promise(
        &mut self,
        cluster: u64,
        founder: u64,
        servers: Vec<Server>,
    ) -> io::Result<Response> {
        let counted = servers.contains(&self.own);
        let bound = match &self.promise {
            Some(promise) => promise.cluster != cluster,
            None => self.founding != 0,
        };
        if !counted || cluster == 0 || bound {
            let why = format!("server {} is promised to another cluster", self.own.name);
            return Ok(Response::Refused(why));
        }
        let promise = Promise {
            own: self.own.clone(),
            cluster,
            founder,
            servers,
        };
        self.keep.save(Some(&promise))?;
        self.promise = Some(promise);
        Ok(Response::Welcome { cluster })
    }
}

impl Peer for Fresh {
    fn answer(&self, _: u64, request: Vec<u8>) -> Answer<'_> {
        let response = decode(&request).and_then(|request| self.inner().reply(request));
        Box::pin(async move { response.map(|response| encode(&response)) })
    }
}

/// Finds this server's cluster; takes as long as it takes.
///
/// # Errors
/// The disk's.
pub async fn find(options: Options) -> io::Result<Found> {
    let Options {
        own,
        version,
        expect,
        join,
        transport,
        keep,
    } = options;
    let promise = keep.load()?;
    if let Some(promise) = promise
        .as_ref()
        .filter(|promise| promise.founder == own.node)
    {
        // It had every promise, and was stopped before it began.
        return Ok(Found {
            cluster: promise.cluster,
            founders: promise.servers.clone(),
            own: promise.own.clone(),
        });
    }
    let fresh = Arc::new(Fresh(Mutex::new(Inner {
        own,
        version,
        expect,
        known: BTreeMap::new(),
        join,
        promise,
        founding: 0,
        keep: keep.clone(),
    })));
    transport.serve(Channel::Members, fresh.clone());
    let mut seeker = Seeker {
        fresh,
        transport,
        keep,
        said: None,
        refused: None,
    };
    loop {
        if let Some(found) = seeker.round().await? {
            return Ok(found);
        }
        sleep(ROUND).await;
    }
}

struct Seeker {
    fresh: Arc<Fresh>,
    transport: Arc<dyn Transport>,
    keep: Arc<dyn Keep>,
    said: Option<Instant>,
    refused: Option<String>,
}

impl Seeker {
    async fn ask(&self, to: u64, address: &str, request: &Request) -> io::Result<Response> {
        ask(self.transport.as_ref(), to, address, request, LIMIT).await
    }

    async fn round(&mut self) -> io::Result<Option<Found>> {
        let (about, targets) = {
            let mut inner = self.fresh.inner();
            let mut targets: Vec<(u64, String)> =
                inner.join.iter().map(|a| (ANYBODY, a.clone())).collect();
            let mut known: Vec<Server> = inner.present().into_iter().map(|a| a.server).collect();
            known.extend(
                inner
                    .promise
                    .iter()
                    .flat_map(|promise| promise.servers.clone()),
            );
            let own = inner.own.node;
            for server in known {
                let there = targets.iter().any(|(_, a)| *a == server.address);
                if server.node != own && !there {
                    targets.push((ANYBODY, server.address));
                }
            }
            (inner.about(), targets)
        };
        let request = Request::Meet(about);
        let meeting = targets
            .iter()
            .map(|(to, address)| self.ask(*to, address, &request));
        let met = join_all(meeting).await;
        for ((_, address), met) in targets.into_iter().zip(met) {
            let (about, others) = match met {
                Ok(Response::Met { about, others }) => (about, others),
                Ok(_) => continue,
                Err(error) => {
                    self.refused = Some(error.to_string());
                    continue;
                }
            };
            if about.server.node == self.fresh.inner().own.node {
                continue;
            }
            if about.cluster != 0 {
                if let Some(found) = self.join(&address, &about).await? {
                    return Ok(Some(found));
                }
                continue;
            }
            self.check_founder(&about)?;
            let mut inner = self.fresh.inner();
            // Others may be gone by now: whoever told of them is asked, and they themselves count when they answer.
            let unknown: Vec<String> = others
                .into_iter()
                .filter(|other| !inner.known.contains_key(&other.server.node))
                .filter(|other| other.server.node != inner.own.node)
                .map(|other| other.server.address)
                .collect();
            inner.note(*about);
            // They come from the network: a bounded number.
            for address in unknown {
                if !inner.join.contains(&address) && inner.join.len() < 64 {
                    inner.join.push(address);
                }
            }
        }
        let found = self.found().await?;
        if found.is_none() {
            self.say();
        }
        Ok(found)
    }

    /// Asks a member of a cluster, and whom it names, to be taken in.
    async fn join(&mut self, address: &str, about: &About) -> io::Result<Option<Found>> {
        let own = {
            let inner = self.fresh.inner();
            let promised = inner.promise.as_ref().map(|promise| promise.cluster);
            if promised == Some(about.cluster) {
                // The founder counts this server already.
                return Ok(Some(Found {
                    cluster: about.cluster,
                    own: inner.own.clone(),
                    founders: Vec::new(),
                }));
            }
            if promised.is_some() {
                return Ok(None);
            }
            inner.own.clone()
        };
        let mut place = (ANYBODY, address.to_owned());
        for _ in 0..3 {
            let request = Request::Join(own.clone());
            match self.ask(place.0, &place.1, &request).await {
                Ok(Response::Welcome { cluster }) => {
                    return Ok(Some(Found {
                        cluster,
                        own,
                        founders: Vec::new(),
                    }));
                }
                Ok(Response::Elsewhere(leader)) => place = (leader.node, leader.address),
                Ok(Response::Refused(why)) => {
                    self.refused = Some(why);
                    return Ok(None);
                }
                Ok(_) => return Ok(None),
                Err(error) => {
                    self.refused = Some(error.to_string());
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    /// A founder that is promised to something else, or to nothing, has given up.
    fn check_founder(&self, about: &About) -> io::Result<()> {
        let mut inner = self.fresh.inner();
        let given_up = inner.promise.as_ref().is_some_and(|promise| {
            let founder = promise
                .servers
                .iter()
                .find(|server| server.node == promise.founder);
            let there = founder.is_some_and(|founder| {
                founder.node == about.server.node || founder.address == about.server.address
            });
            there && about.promised != promise.cluster
        });
        if given_up {
            self.keep.save(None)?;
            inner.promise = None;
        }
        Ok(())
    }

    /// Founds a cluster when enough servers are there and none of them comes before this one.
    async fn found(&self) -> io::Result<Option<Found>> {
        let (own, servers, cluster) = {
            let mut inner = self.fresh.inner();
            let present = inner.present();
            let first = present
                .iter()
                .filter(|about| about.expect > 0)
                .all(|about| about.server.node > inner.own.node);
            let enough = inner.expect > 0 && present.len() + 1 >= inner.expect;
            if !first || !enough || inner.promise.is_some() {
                return Ok(None);
            }
            let mut servers: Vec<Server> = present.into_iter().map(|about| about.server).collect();
            servers.truncate(MOST - 1);
            servers.push(inner.own.clone());
            servers.sort();
            let cluster = portolan_environment::random_u64().max(1);
            inner.founding = cluster;
            (inner.own.clone(), servers, cluster)
        };
        let mut agreed = Vec::new();
        for server in servers.iter().filter(|server| server.node != own.node) {
            let request = Request::Promise {
                cluster,
                founder: own.node,
                servers: servers.clone(),
            };
            // One whose answer was lost may have promised.
            agreed.push(server);
            let answer = self.ask(server.node, &server.address, &request).await;
            if !matches!(answer, Ok(Response::Welcome { .. })) {
                break;
            }
            if agreed.len() + 1 == servers.len() {
                let promise = Promise {
                    own: own.clone(),
                    cluster,
                    founder: own.node,
                    servers: servers.clone(),
                };
                self.keep.save(Some(&promise))?;
                self.fresh.inner().promise = Some(promise);
                return Ok(Some(Found {
                    cluster,
                    own,
                    founders: servers,
                }));
            }
        }
        if servers.len() == 1 {
            return Ok(Some(Found {
                cluster,
                own,
                founders: servers,
            }));
        }
        self.fresh.inner().founding = 0;
        for server in agreed {
            // One that does not hear it sees that this server gave up.
            let _lost = self
                .ask(server.node, &server.address, &Request::Release { cluster })
                .await;
        }
        let wait = portolan_environment::generator().random_range(50..500);
        sleep(Duration::from_millis(wait)).await;
        Ok(None)
    }

    /// Says now and then what this server waits for.
    fn say(&mut self) {
        if self.said.is_some_and(|said| said.elapsed() < SAID) {
            return;
        }
        self.said = Some(Instant::now());
        let mut inner = self.fresh.inner();
        let there = inner.present().len() + 1;
        let why = self.refused.take().unwrap_or_default();
        match &inner.promise {
            Some(promise) => tracing::warn!(
                cluster = format!("{:016x}", promise.cluster),
                founder = promise.founder,
                "waiting for the server that founds the cluster this one is promised to; if it is gone for good, empty the data directories"
            ),
            None if inner.expect > 0 => tracing::info!(
                there,
                expected = inner.expect,
                last_error = why,
                "waiting for other servers before a cluster is founded"
            ),
            None => tracing::info!(
                join = inner.join.join(" "),
                last_error = why,
                "waiting for a cluster to join"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
