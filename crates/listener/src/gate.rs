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

use crate::admission::{Admission, Full};
use crate::bind::{TcpPort, is_loopback};
use crate::house::House;
use crate::limits::Limits;
use crate::meter::Meter;
use crate::metrics::{Bound, Bounded};
use crate::pulse::{Beating, Pulses, Verdict};

/// Pause after the system has no file descriptors left.
const BREATHER: Duration = Duration::from_millis(50);
/// A port that strangers can reach says so this often.
const REMINDER: Duration = Duration::from_secs(3600);
/// Connections being told why they are turned away, at most.
const FAREWELLS: usize = 64;

/// One port's doorkeeper: what its connections share.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) house: House,
    pub(crate) protocol: Protocol,
    pub(crate) address: SocketAddr,
    pub(crate) loopback: bool,
    pub(crate) limits: Limits,
    /// Bytes of the largest request body seen.
    pub(crate) largest_body: Arc<AtomicUsize>,
    /// Bytes and fields of the largest request heads seen.
    largest_head: (AtomicUsize, AtomicUsize),
    farewell: Farewell,
    /// For requests that met no route.
    pub(crate) unrouted: Meter,
    admission: Arc<Admission>,
    pulses: Arc<Pulses>,
    accepted: Counter,
    farewells: Arc<Semaphore>,
}

impl Gate {
    pub(crate) fn new(
        house: &House,
        port: &TcpPort,
        limits: Limits,
        farewell: Farewell,
    ) -> Arc<Gate> {
        let metrics = house.metrics();
        let gate = Arc::new(Gate {
            house: house.clone(),
            protocol: port.protocol,
            address: port.address,
            loopback: is_loopback(port.address.ip()),
            largest_body: Arc::default(),
            largest_head: Default::default(),
            farewell,
            unrouted: metrics.meter(port.protocol, "unrouted"),
            admission: Admission::new(limits.connections, limits.connections_per_peer),
            pulses: Pulses::new(),
            accepted: metrics.accepted(port.protocol),
            farewells: Arc::new(Semaphore::new(FAREWELLS)),
            limits,
        });
        let bounded: Arc<dyn Bounded> = gate.clone();
        metrics.watch_port(Arc::downgrade(&bounded));
        gate
    }

    pub(crate) fn limited(&self, limit: &'static str) {
        self.house.metrics().limited(self.protocol, limit);
    }

    /// Keeps the account of how large heads are, as HTTP/1.1 would write them.
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

    /// Notes that a connection is ended for its verdict.
    pub(crate) fn ended(&self, peer: SocketAddr, verdict: Verdict) {
        self.limited(verdict.limit());
        debug!(protocol = %self.protocol, %peer, limit = verdict.limit(), "connection closed");
    }

    /// Runs `work`; a panic in it is counted, logged, and ends nothing else.
    pub(crate) async fn not_panicking<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.house.not_panicking(self.protocol, work).await
    }

    /// Turns a connection away, telling why where the protocol has a way to.
    fn turn_away(&self, stream: TcpStream, peer: SocketAddr, full: Full) {
        self.limited(full.limit());
        debug!(protocol = %self.protocol, %peer, limit = full.limit(), "connection refused");
        let Farewell::Http = self.farewell else {
            return;
        };
        let Ok(permit) = self.farewells.clone().try_acquire_owned() else {
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
        self.house.tasks().spawn(async move {
            let _ = timeout(Duration::from_secs(1), say(stream, words)).await;
            drop(permit);
        });
    }

    async fn remind(self: Arc<Self>) {
        loop {
            warn!(
                protocol = %self.protocol,
                address = %self.address,
                "other machines can reach this port and nobody has to prove who they are (--insecure-listen)"
            );
            tokio::select! {
                () = self.house.draining() => return,
                () = sleep(REMINDER) => {}
            }
        }
    }
}

/// How a port takes leave of a connection it cannot serve.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Farewell {
    /// An HTTP/1.1 answer.
    Http,
    /// A closed connection.
    Silent,
}

/// Accepts connections until the house drains; each runs `serve` in a task of its own, which ends at the latest when the house is cut.
pub(crate) fn accept_loop<F, Fut>(
    gate: Arc<Gate>,
    listener: TcpListener,
    serve: F,
) -> JoinHandle<()>
where
    F: Fn(Arc<Gate>, TcpStream, SocketAddr, Beating) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let tasks = gate.house.tasks().clone();
    tokio::spawn(Pulses::sweep(
        Arc::downgrade(&gate.pulses),
        gate.limits.clone(),
        gate.house.clone(),
    ));
    if !gate.loopback {
        tasks.spawn(gate.clone().remind());
    }
    tasks.clone().spawn(async move {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                error!(protocol = %gate.protocol, address = %gate.address, %error, "cannot accept connections");
                return;
            }
        };
        let mut complained: Option<Instant> = None;
        let draining = gate.house.draining();
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
                    gate.limited("open_files");
                    if complained.is_none_or(|at| at.elapsed() > Duration::from_secs(10)) {
                        complained = Some(Instant::now());
                        warn!(protocol = %gate.protocol, %error, "cannot accept a connection; raise the limit of open files");
                    }
                    sleep(BREATHER).await;
                    continue;
                }
            };
            let ticket = match gate.admission.admit(peer.ip()) {
                Ok(ticket) => ticket,
                Err(full) => {
                    gate.turn_away(stream, peer, full);
                    continue;
                }
            };
            gate.accepted.inc();
            // Answers are written whole; waiting for more to send only delays them.
            let _ = stream.set_nodelay(true);
            let beating = gate.pulses.start();
            let pulse = beating.pulse.clone();
            let connection = serve(gate.clone(), stream, peer, beating);
            let gate = gate.clone();
            tasks.spawn(async move {
                let _ticket = ticket;
                let guarded = async {
                    gate.not_panicking(connection).await;
                };
                pulse.until_cut(guarded).await;
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
    let mut ignored = [0; 1024];
    for _ in 0..64 {
        if stream.read(&mut ignored).await? == 0 {
            break;
        }
    }
    Ok(())
}

impl Bounded for Gate {
    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn bounds(&self) -> Vec<Bound> {
        let limits = &self.limits;
        let (total, per_peer) = self.admission.held();
        let waits = self.pulses.longest();
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
        if let Farewell::Http = self.farewell {
            let (bytes, fields) = &self.largest_head;
            let seen = |largest: &AtomicUsize| Some(largest.load(Ordering::Relaxed));
            rows.extend([
                count(
                    "streams_per_connection",
                    limits.streams_per_connection as usize,
                    Some(self.pulses.busiest() as usize),
                ),
                count("header_bytes", limits.header_bytes, seen(bytes)),
                count("header_count", limits.header_count, seen(fields)),
                count("body_bytes", limits.body_bytes, seen(&self.largest_body)),
                count("decompressed_bytes", limits.decompressed_bytes, None),
                count("json_depth", limits.json_depth, None),
                count("pending_reset_streams", limits.pending_reset_streams, None),
                time("body_timeout", limits.body_timeout, None),
                time("keepalive_interval", limits.keepalive_interval, None),
                time("keepalive_timeout", limits.keepalive_timeout, None),
            ]);
        }
        rows
    }
}
