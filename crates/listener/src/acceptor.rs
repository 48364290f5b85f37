//! The accept loop of every TCP port: admission, the connection's task, and what ends it from outside.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use portolan_catalog::Protocol;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, error, warn};

use crate::access::Principal;
use crate::admission::{Admission, Full};
use crate::authenticator::Credentials;
use crate::bind::{TcpPort, is_loopback};
use crate::connection_timeouts::{ConnectionTimers, Expired, TimerEntry};
use crate::limits::Limits;
use crate::meter::Meter;
use crate::metrics::{Bound, Bounded};
use crate::port_options::PortOptions;
use crate::server_context::ServerContext;
use crate::transport::Transport;

/// Pause after the system has no file descriptors left.
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(50);
/// A port that strangers can reach says so this often.
const EXPOSED_WARNING_INTERVAL: Duration = Duration::from_secs(3600);
/// Connections being told why they are turned away, at most.
const REFUSALS: usize = 64;

/// One accepted connection: its stream, and who is at the other end.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) stream: Transport,
    pub(crate) address: SocketAddr,
    pub(crate) principal: Principal,
    pub(crate) certificate: Option<Arc<[u8]>>,
}

/// Accepts the connections of one port, and holds what they share.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) context: ServerContext,
    pub(crate) protocol: Protocol,
    pub(crate) address: SocketAddr,
    pub(crate) loopback: bool,
    pub(crate) limits: Limits,
    /// Bytes of the largest request body seen.
    pub(crate) largest_body: Arc<AtomicUsize>,
    /// Most bytes that were read of one peer after its connection had been given up.
    pub(crate) largest_linger: AtomicUsize,
    /// Bytes and fields of the largest request heads seen.
    largest_head: (AtomicUsize, AtomicUsize),
    /// What is plugged into the port; its limits are `limits`.
    pub(crate) options: PortOptions,
    refusal_form: RefusalForm,
    /// For requests that met no route.
    pub(crate) unrouted: Meter,
    admission: Arc<Admission>,
    timers: Arc<ConnectionTimers>,
    accepted: Counter,
    refusals: Arc<Semaphore>,
}

impl Acceptor {
    pub(crate) fn new(
        context: &ServerContext,
        port: &TcpPort,
        limits: Limits,
        options: PortOptions,
        refusal_form: RefusalForm,
    ) -> Arc<Acceptor> {
        let metrics = context.metrics();
        let acceptor = Arc::new(Acceptor {
            context: context.clone(),
            protocol: port.protocol,
            address: port.address,
            loopback: is_loopback(port.address.ip()),
            largest_body: Arc::default(),
            largest_linger: AtomicUsize::default(),
            largest_head: Default::default(),
            options,
            refusal_form,
            unrouted: metrics.meter(port.protocol, "unrouted"),
            admission: Admission::new(limits.connections, limits.connections_per_peer),
            timers: ConnectionTimers::new(),
            accepted: metrics.accepted(port.protocol),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
            limits,
        });
        let bounded: Arc<dyn Bounded> = acceptor.clone();
        metrics.watch_port(Arc::downgrade(&bounded));
        acceptor
    }

    pub(crate) fn limited(&self, limit: &'static str) {
        self.context.metrics().limited(self.protocol, limit);
    }

    /// Keeps the record of how large heads are, as HTTP/1.1 would write them.
    pub(crate) fn note_head<B>(&self, request: &http::Request<B>) {
        let (bytes, fields) = &self.largest_head;
        let line = request.method().as_str().len() + request.uri().path().len();
        let query = request.uri().query().map_or(0, |query| query.len() + 1);
        let named = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
        let headers: usize = request.headers().iter().map(|pair| named(pair) + 4).sum();
        // A load is shared by all cores, a store is not: only a new largest is stored.
        for (largest, seen) in [
            (bytes, line + query + headers),
            (fields, request.headers().len()),
        ] {
            if seen > largest.load(Ordering::Relaxed) {
                largest.fetch_max(seen, Ordering::Relaxed);
            }
        }
    }

    /// Notes that a connection is closed because a time limit expired.
    pub(crate) fn ended(&self, peer: SocketAddr, expired: Expired) {
        self.limited(expired.limit());
        debug!(protocol = %self.protocol, %peer, limit = expired.limit(), "connection closed");
    }

    /// Runs `work`; a panic in it is counted, logged, and ends nothing else.
    pub(crate) async fn not_panicking<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.context.not_panicking(self.protocol, work).await
    }

    /// Does to a new connection what the port's handshake says; `None` when that failed.
    async fn secure(&self, socket: TcpStream, address: SocketAddr) -> Option<Peer> {
        let Some(handshake) = &self.options.handshake else {
            return Some(Peer {
                stream: socket.into(),
                address,
                principal: Principal::Anonymous,
                certificate: None,
            });
        };
        let limit = self.limits.header_timeout;
        match timeout(limit, handshake.handshake(socket, address)).await {
            Ok(Ok(secured)) => Some(Peer {
                stream: secured.stream.into(),
                address,
                principal: secured.principal,
                certificate: secured.certificate,
            }),
            Ok(Err(error)) => {
                self.limited("handshake");
                debug!(protocol = %self.protocol, peer = %address, %error, "handshake failed");
                None
            }
            Err(_) => {
                self.ended(address, Expired::SlowHead);
                None
            }
        }
    }

    /// Who is at the other end of a connection without HTTP; `None` when the authenticator does not let it in.
    pub(crate) fn authenticate(&self, peer: SocketAddr, principal: Principal) -> Option<Principal> {
        let Some(authenticator) = &self.options.authenticator else {
            return Some(principal);
        };
        let credentials = Credentials {
            peer,
            connection: &principal,
            headers: None,
            uri: None,
        };
        match authenticator.authenticate(&credentials) {
            Ok(principal) => Some(principal),
            Err(refused) => {
                self.limited("authentication");
                debug!(protocol = %self.protocol, %peer, %refused, "connection refused");
                None
            }
        }
    }

    /// Refuses a connection, telling why where the protocol has a way to.
    fn refuse(&self, stream: TcpStream, peer: SocketAddr, full: Full) {
        self.limited(full.limit());
        debug!(protocol = %self.protocol, %peer, limit = full.limit(), "connection refused");
        let RefusalForm::Http = self.refusal_form else {
            return;
        };
        if self.options.handshake.is_some() {
            // Plain words would be noise to a peer that expects a handshake.
            return;
        }
        let Ok(permit) = self.refusals.clone().try_acquire_owned() else {
            return;
        };
        let words = match full {
            Full::Total => (
                "503 Service Unavailable",
                "too many connections to this port (limit \"connections\")\n",
            ),
            Full::Peer => (
                "429 Too Many Requests",
                "too many connections from your address (limit \"connections_per_peer\")\n",
            ),
        };
        self.context.tasks().spawn(async move {
            let _ = timeout(Duration::from_secs(1), say(stream, words)).await;
            drop(permit);
        });
    }

    async fn warn_exposed(self: Arc<Self>) {
        loop {
            warn!(
                protocol = %self.protocol,
                address = %self.address,
                "other machines can reach this port and nobody has to prove who they are (--insecure-listen)"
            );
            tokio::select! {
                () = self.context.draining() => return,
                () = sleep(EXPOSED_WARNING_INTERVAL) => {}
            }
        }
    }
}

/// How a port refuses a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RefusalForm {
    /// An HTTP/1.1 answer.
    Http,
    /// A closed connection.
    Silent,
}

/// Ends when all of these loops have.
pub(crate) fn all(mut loops: Vec<JoinHandle<()>>) -> JoinHandle<()> {
    match (loops.pop(), loops.is_empty()) {
        (Some(one), true) => one,
        (last, _) => tokio::spawn(async move {
            for one in loops.into_iter().chain(last) {
                // A panic was told where it happened.
                let _ended = one.await;
            }
        }),
    }
}

/// Accepts connections until the server drains; each runs `serve` in a task of its own, which ends at the latest when the server cuts what is left.
pub(crate) fn accept_loop<F, Fut>(
    acceptor: Arc<Acceptor>,
    listener: TcpListener,
    serve: F,
) -> JoinHandle<()>
where
    F: Fn(Arc<Acceptor>, Peer, TimerEntry) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let tasks = acceptor.context.tasks().clone();
    let serve = Arc::new(serve);
    tokio::spawn(ConnectionTimers::sweep(
        Arc::downgrade(&acceptor.timers),
        acceptor.limits.clone(),
        acceptor.context.clone(),
    ));
    let guarded = acceptor.context.guarded() || acceptor.options.guarded;
    if !acceptor.loopback && !guarded {
        tasks.spawn(acceptor.clone().warn_exposed());
    }
    tasks.clone().spawn(async move {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                error!(protocol = %acceptor.protocol, address = %acceptor.address, %error, "cannot accept connections");
                return;
            }
        };
        let mut last_warned: Option<Instant> = None;
        let draining = acceptor.context.draining();
        tokio::pin!(draining);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut draining => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if is_the_peers(&error) => continue,
                Err(error) => {
                    acceptor.limited("open_files");
                    if last_warned.is_none_or(|at| at.elapsed() > Duration::from_secs(10)) {
                        last_warned = Some(Instant::now());
                        warn!(protocol = %acceptor.protocol, %error, "cannot accept a connection; raise the limit of open files");
                    }
                    sleep(DESCRIPTOR_PAUSE).await;
                    continue;
                }
            };
            let ticket = match acceptor.admission.admit(peer.ip()) {
                Ok(ticket) => ticket,
                Err(full) => {
                    acceptor.refuse(stream, peer, full);
                    continue;
                }
            };
            acceptor.accepted.inc();
            // Answers are written whole; waiting for more to send only delays them.
            let _ = stream.set_nodelay(true);
            let entry = acceptor.timers.start();
            let timer = entry.timer.clone();
            let (acceptor, serve) = (acceptor.clone(), serve.clone());
            tasks.spawn(async move {
                let _ticket = ticket;
                let connection = async {
                    if let Some(peer) = acceptor.secure(stream, peer).await {
                        serve(acceptor.clone(), peer, entry).await;
                    }
                };
                let guarded = async {
                    acceptor.not_panicking(connection).await;
                };
                timer.until_aborted(guarded).await;
            });
        }
    })
}

/// Errors of one connection that ended before it was accepted.
fn is_the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Sends a short HTTP answer, and reads what the peer sent before it knew: closing at once would make the system drop the answer.
async fn say(mut stream: TcpStream, (status, text): (&str, &str)) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    let mut ignored = vec![0; 16 << 10];
    // Bounded in time by the caller.
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

impl Bounded for Acceptor {
    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn bounds(&self) -> Vec<Bound> {
        let limits = &self.limits;
        let (total, per_peer) = self.admission.held();
        let waits = self.timers.longest();
        let count = |limit, bound: usize, used: Option<usize>| Bound {
            limit,
            bound: bound as f64,
            used: used.map(|used| used as f64),
        };
        let time = |limit, bound: Duration, used: Option<Duration>| Bound {
            limit,
            bound: bound.as_secs_f64(),
            used: used.map(|used| used.as_secs_f64()),
        };
        let mut rows = vec![
            count("connections", limits.connections, Some(total)),
            count(
                "connections_per_peer",
                limits.connections_per_peer,
                Some(per_peer),
            ),
            time("header_timeout", limits.header_timeout, Some(waits.head)),
            time("write_timeout", limits.write_timeout, Some(waits.blocked)),
            time("idle_timeout", limits.idle_timeout, Some(waits.quiet)),
            time("drain_timeout", limits.drain_timeout, None),
        ];
        if let RefusalForm::Http = self.refusal_form {
            let (bytes, fields) = &self.largest_head;
            let seen = |largest: &AtomicUsize| Some(largest.load(Ordering::Relaxed));
            rows.extend([
                count(
                    "streams_per_connection",
                    limits.streams_per_connection as usize,
                    Some(self.timers.busiest() as usize),
                ),
                count("header_bytes", limits.header_bytes, seen(bytes)),
                count("header_count", limits.header_count, seen(fields)),
                count("body_bytes", limits.body_bytes, seen(&self.largest_body)),
                count("snapshot_bytes", limits.snapshot_bytes, None),
                count("decompressed_bytes", limits.decompressed_bytes, None),
                count("json_depth", limits.json_depth, None),
                count("pending_reset_streams", limits.pending_reset_streams, None),
                time("body_timeout", limits.body_timeout, None),
                count(
                    "linger_bytes",
                    limits.linger_bytes,
                    seen(&self.largest_linger),
                ),
                time("linger_timeout", limits.linger_timeout, None),
                time("keepalive_interval", limits.keepalive_interval, None),
                time("keepalive_timeout", limits.keepalive_timeout, None),
            ]);
        }
        rows
    }
}
