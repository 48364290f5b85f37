//! The transport over TCP: a listener, and one connection to each server that is asked.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use portolan_environment::watch;
use portolan_environment::{ANYBODY, Answer, Channel, Peer, Transport};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::connection::{self, Call, GREETING, Stream, Traffic, refused};
use crate::frame::{Hello, PAYLOAD_BYTES, Role};
use crate::tls::Tls;

/// How long making a connection may take.
const CONNECTING: Duration = Duration::from_secs(2);
/// After a failed attempt nobody tries again for this long, twice as long each time, up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_millis(500);
/// A connection that nobody used for so long is closed.
const IDLE: Duration = Duration::from_secs(300);
/// Calls that wait to be sent to one server.
const QUEUE: usize = 1024;
/// Servers and agents that are asked at most.
const WAYS: usize = 4096;

/// Who this server is on the wire, and how much it takes.
#[derive(Debug)]
pub struct Options {
    /// What it says of itself. The cluster may be 0 until [`Tcp::adopt`].
    pub hello: Hello,
    /// Mutual TLS; without it bytes go in the clear.
    pub tls: Option<Tls>,
    /// Connections of others at most; default 4096.
    pub connections: usize,
    /// The datacenter whose servers are asked, for [`Role::Datacenter`]; others ask those of their own.
    pub follows: Option<String>,
}

struct Shared {
    hello: Hello,
    follows: Option<String>,
    cluster: AtomicU64,
    tls: Option<Tls>,
    /// Where connections live, whichever runtime asks.
    runtime: Handle,
    peers: RwLock<BTreeMap<Channel, Arc<dyn Peer>>>,
    ways: Mutex<BTreeMap<(u64, String), mpsc::Sender<Call>>>,
    places: Arc<Semaphore>,
    /// Counts up when every connection has to say hello anew.
    epoch: watch::Sender<u64>,
    traffic: Traffic,
}

/// The transport. Clones share it; its tasks end when the last is gone or [`Tcp::close`] is called.
#[derive(Clone)]
pub struct Tcp(Arc<Shared>);

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tcp of {}", self.0.hello.name)
    }
}

/// Opens the cluster port.
///
/// # Errors
/// The system's, when the address is taken or not there.
#[allow(
    clippy::disallowed_methods,
    reason = "the cluster port is between servers and has none of what protocols share"
)]
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

impl Tcp {
    /// A transport whose connections live in the runtime this is called in.
    #[must_use]
    pub fn new(options: Options) -> Tcp {
        let Options {
            hello,
            tls,
            connections,
            follows,
        } = options;
        Tcp(Arc::new(Shared {
            cluster: AtomicU64::new(hello.cluster),
            hello,
            follows,
            tls,
            runtime: Handle::current(),
            peers: RwLock::default(),
            ways: Mutex::default(),
            places: Arc::new(Semaphore::new(connections)),
            epoch: watch::Sender::new(0),
            traffic: Traffic::default(),
        }))
    }

    /// Takes connections from now on.
    pub fn listen(&self, listener: TcpListener) {
        let shared = self.0.clone();
        self.0.runtime.spawn(async move {
            let mut epoch = shared.epoch.subscribe();
            loop {
                let accepted = tokio::select! {
                    biased;
                    () = closed(&mut epoch) => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((stream, remote)) = accepted else {
                    // No more files: others have to end first.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                let Ok(place) = shared.places.clone().try_acquire_owned() else {
                    shared.traffic.refused.fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                let shared = shared.clone();
                tokio::spawn(async move {
                    let _place = place;
                    take(&shared, stream, remote).await;
                });
            }
        });
    }

    /// From now on this server belongs to `cluster`. Every connection says hello anew.
    pub fn adopt(&self, cluster: u64) {
        self.0.cluster.store(cluster, Ordering::Release);
        self.0.epoch.send_modify(|epoch| *epoch += 1);
    }

    /// The cluster this server belongs to; 0 while it belongs to none.
    #[must_use]
    pub fn cluster(&self) -> u64 {
        self.0.cluster.load(Ordering::Acquire)
    }

    /// Ends every connection and takes no more.
    pub fn close(&self) {
        self.0.epoch.send_replace(CLOSED);
    }

    /// The figures.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.0.traffic
    }

    fn way(&self, to: u64, address: &str) -> io::Result<mpsc::Sender<Call>> {
        let mut ways = self.0.ways.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (to, address.to_owned());
        if let Some(way) = ways.get(&key) {
            return Ok(way.clone());
        }
        if ways.len() >= WAYS {
            return Err(refused("too many servers are asked already"));
        }
        let (way, calls) = mpsc::channel(QUEUE);
        ways.insert(key, way.clone());
        let keeper = Keeper {
            shared: self.0.clone(),
            to,
            address: address.to_owned(),
        };
        self.0.runtime.spawn(keeper.run(calls));
        Ok(way)
    }
}

/// The epoch of a transport that is closed.
const CLOSED: u64 = u64::MAX;

async fn closed(epoch: &mut watch::Receiver<u64>) {
    // An error says that the transport is gone.
    let _gone = epoch.wait_for(|epoch| *epoch == CLOSED).await;
}

impl Transport for Tcp {
    fn call<'a>(
        &'a self,
        to: u64,
        address: &'a str,
        channel: Channel,
        request: Vec<u8>,
        limit: Duration,
    ) -> Answer<'a> {
        Box::pin(async move {
            if request.len() > PAYLOAD_BYTES {
                return Err(refused("the request is longer than a frame may be"));
            }
            let (answer, answered) = oneshot::channel();
            let call = Call {
                channel,
                request,
                answer,
            };
            let asked = async {
                if self.way(to, address)?.send(call).await.is_err() {
                    return Err(refused("this server is stopping"));
                }
                answered
                    .await
                    .unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
            };
            timeout(limit, asked)
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        })
    }

    fn serve(&self, channel: Channel, peer: Arc<dyn Peer>) {
        let mut peers = self.0.peers.write().unwrap_or_else(PoisonError::into_inner);
        peers.insert(channel, peer);
    }
}

impl Shared {
    fn hello(&self) -> Hello {
        Hello {
            cluster: self.cluster.load(Ordering::Acquire),
            ..self.hello.clone()
        }
    }

    /// Why this server has nothing to do with whoever said this.
    fn objection(&self, other: &Hello) -> Option<String> {
        let own = self.hello();
        if other.role == Role::Datacenter {
            return None;
        }
        if let Some(wanted) = &self.follows {
            let is_it = other.datacenter.eq_ignore_ascii_case(wanted);
            return (!is_it).then(|| {
                format!(
                    "server {} is in datacenter \"{}\", not in \"{wanted}\"",
                    other.name, other.datacenter
                )
            });
        }
        if own.cluster != 0 && other.cluster != 0 && own.cluster != other.cluster {
            return Some(format!(
                "server {} belongs to cluster {:016x}, server {} to cluster {:016x}: two clusters do not mix, start one of them with an empty data directory",
                own.name, own.cluster, other.name, other.cluster
            ));
        }
        if own.datacenter != other.datacenter {
            return Some(format!(
                "server {} is in datacenter \"{}\", server {} in \"{}\": the members of a cluster are in one",
                own.name, own.datacenter, other.name, other.datacenter
            ));
        }
        None
    }

    /// Whoever serves a channel to a peer that said this.
    fn peer(&self, channel: Channel, other: &Hello) -> Result<Arc<dyn Peer>, String> {
        let allowed = match (other.role, channel) {
            (Role::Server, _) | (_, Channel::Feed) => true,
            (Role::Agent, Channel::Forward | Channel::Members) => true,
            // What somebody there asks for by the name of this datacenter is decided here.
            (Role::Datacenter, Channel::Forward) => true,
            (Role::Agent | Role::Datacenter, _) => false,
        };
        if !allowed {
            return Err("that is between servers".to_owned());
        }
        // One that belongs to no cluster may ask who is there, and no more.
        let strange = other.cluster != self.cluster.load(Ordering::Acquire);
        if strange && other.role != Role::Datacenter && channel != Channel::Members {
            return Err("the servers do not belong to one cluster yet".to_owned());
        }
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers
            .get(&channel)
            .cloned()
            .ok_or_else(|| "the server is starting".to_owned())
    }
}

/// Answers one connection until it ends.
async fn take(shared: &Arc<Shared>, stream: TcpStream, remote: SocketAddr) {
    let mut epoch = shared.epoch.subscribe();
    epoch.mark_unchanged();
    let greeting = async {
        stream.set_nodelay(true)?;
        let (mut stream, may_be_server): (Stream, bool) = match &shared.tls {
            Some(tls) => tls.accept(stream).await?,
            None => (Box::new(stream), true),
        };
        let other = connection::read_hello(&mut stream).await?;
        connection::send_hello(&mut stream, &shared.hello()).await?;
        // Neither an agent nor another datacenter is a member, whatever its certificate says.
        let objection = match may_be_server || other.role != Role::Server {
            true => shared.objection(&other),
            false => Some("its certificate is not a server's".to_owned()),
        };
        if let Some(why) = objection {
            connection::refuse(&mut stream, &why).await?;
            return Err(io::Error::other(why));
        }
        Ok((stream, other))
    };
    let greeted = timeout(GREETING, greeting)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let (stream, other) = match greeted {
        Ok(greeted) => greeted,
        Err(error) => {
            shared.traffic.refused.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%remote, %error, "a connection to the cluster port was refused");
            return;
        }
    };
    shared.traffic.incoming.fetch_add(1, Ordering::Relaxed);
    // An agent may ask who is there and is no member, whatever id it claims.
    let seen_as = |channel| match (other.role, channel) {
        (Role::Agent, Channel::Members) => ANYBODY,
        _ => other.node,
    };
    let peer = |channel| Ok((seen_as(channel), shared.peer(channel, &other)?));
    let answering = connection::answer(stream, peer, &shared.traffic);
    let error = tokio::select! {
        error = answering => Some(error),
        // The transport is gone, or hello has to be said anew.
        _ = epoch.changed() => None,
    };
    shared.traffic.incoming.fetch_sub(1, Ordering::Relaxed);
    if let Some(error) = error {
        tracing::debug!(%remote, name = other.name, %error, "a connection to the cluster port ended");
    }
}

/// Keeps the way to one server.
struct Keeper {
    shared: Arc<Shared>,
    to: u64,
    address: String,
}

impl Keeper {
    async fn run(self, mut calls: mpsc::Receiver<Call>) {
        let mut wait = SHORTEST;
        let mut not_before = Instant::now();
        let mut last = String::new();
        let mut closing = self.shared.epoch.subscribe();
        loop {
            let next = tokio::select! {
                biased;
                () = closed(&mut closing) => None,
                next = calls.recv() => next,
            };
            let Some(call) = next else {
                return;
            };
            if call.answer.is_closed() {
                continue;
            }
            if Instant::now() < not_before {
                call.refuse(&last);
                continue;
            }
            let mut epoch = self.shared.epoch.subscribe();
            epoch.mark_unchanged();
            let connected = timeout(CONNECTING, self.connect())
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let error = match connected {
                Ok(stream) => {
                    let outgoing = &self.shared.traffic.outgoing;
                    outgoing.fetch_add(1, Ordering::Relaxed);
                    let begun = Instant::now();
                    let end = async {
                        tokio::select! {
                            // The transport is gone, or hello has to be said anew.
                            _ = epoch.changed() => {}
                            () = tokio::time::sleep(IDLE * 12) => {}
                        }
                    };
                    let traffic = &self.shared.traffic;
                    let error = connection::ask(stream, call, &mut calls, traffic, end).await;
                    outgoing.fetch_sub(1, Ordering::Relaxed);
                    tracing::debug!(address = self.address, %error, "a connection to a server ended");
                    let ended_here = error.kind() == io::ErrorKind::Interrupted;
                    if begun.elapsed() > LONGEST || ended_here {
                        // It was good for a while: the next one is tried at once.
                        (wait, not_before) = (SHORTEST, Instant::now());
                        continue;
                    }
                    error
                }
                Err(error) => {
                    call.refuse(&error.to_string());
                    error
                }
            };
            last = format!("server {} cannot be reached: {error}", self.address);
            not_before = Instant::now() + wait;
            wait = (wait * 2).min(LONGEST);
            while let Ok(call) = calls.try_recv() {
                call.refuse(&last);
            }
        }
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "this is the way to other servers"
    )]
    async fn connect(&self) -> io::Result<Stream> {
        let stream = TcpStream::connect(&*self.address).await?;
        stream.set_nodelay(true)?;
        let mut stream: Stream = match &self.shared.tls {
            Some(tls) => tls.connect(stream).await?,
            None => Box::new(stream),
        };
        connection::send_hello(&mut stream, &self.shared.hello()).await?;
        let other = connection::read_hello(&mut stream).await?;
        if self.to != ANYBODY && other.node != self.to {
            return Err(io::Error::other(format!(
                "another server, {}, listens there now",
                other.name
            )));
        }
        if let Some(why) = self.shared.objection(&other) {
            return Err(io::Error::other(why));
        }
        Ok(stream)
    }
}

#[cfg(test)]
mod tests;
