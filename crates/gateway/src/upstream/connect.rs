//! Connections to endpoints.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use portolan_catalog::Host;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::cluster::Cluster;
use crate::body::Outbound;
use crate::local::Local;

/// Bytes of a window of HTTP/2: what may be on its way at a time.
const WINDOW: u32 = 1 << 20;

/// A connection of HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Http1 {
    pub(crate) sender: http1::SendRequest<Outbound>,
}

/// A connection of HTTP/2, shared by its requests.
#[derive(Clone, Debug)]
pub(crate) struct Http2 {
    pub(crate) sender: http2::SendRequest<Outbound>,
    used: Rc<Cell<Instant>>,
}

impl Http2 {
    /// Takes note of a request.
    pub(crate) fn touch(&self) {
        self.used.set(Instant::now());
    }

    /// Whether there was no request for so long, and none is under way.
    pub(crate) fn is_unused(&self, longest: Duration) -> bool {
        Rc::strong_count(&self.used) == 1 && self.used.get().elapsed() >= longest
    }
}

/// Counts an open connection until it is closed.
struct Counted(Rc<Cluster>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.breaker.borrow_mut().disconnect();
    }
}

async fn tcp(host: &Host, port: u16, limit: Duration) -> io::Result<TcpStream> {
    let connecting = async {
        #[allow(
            clippy::disallowed_methods,
            reason = "a gateway opens connections to endpoints"
        )]
        match host {
            Host::Ip(ip) => TcpStream::connect(SocketAddr::new(*ip, port)).await,
            Host::Name(name) => TcpStream::connect((&**name, port)).await,
        }
    };
    let stream = tokio::time::timeout(limit, connecting).await??;
    // A head and its body are written whole; waiting for more to send only delays them.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Opens a connection of HTTP/1.1.
pub(crate) async fn http1(
    cluster: &Rc<Cluster>,
    host: &Host,
    port: u16,
    limit: Duration,
) -> io::Result<Http1> {
    let counted = Counted(cluster.clone());
    let stream = tcp(host, port, limit).await?;
    let io = TokioIo::new(stream);
    let mut builder = http1::Builder::new();
    builder.max_headers(256);
    let shaken = builder.handshake(io).await;
    let (sender, connection) = shaken.map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        // Whoever sent a request is told of errors by their own.
        let _ended = connection.with_upgrades().await;
        drop(counted);
    });
    Ok(Http1 { sender })
}

/// Opens a connection of HTTP/2, without asking first.
pub(crate) async fn http2(
    cluster: &Rc<Cluster>,
    host: &Host,
    port: u16,
    limit: Duration,
) -> io::Result<Http2> {
    let counted = Counted(cluster.clone());
    let stream = tcp(host, port, limit).await?;
    let mut builder = http2::Builder::new(Local);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10));
    let shaken = builder.handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        let _ended = connection.await;
        drop(counted);
    });
    Ok(Http2 {
        sender,
        used: Rc::new(Cell::new(Instant::now())),
    })
}
