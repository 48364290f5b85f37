//! TCP protocols without HTTP: DNS over TCP, ZooKeeper.

use std::future::Future;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::acceptor::{Acceptor, Peer, RefusalForm, accept_loop, all};
use crate::bind::TcpPort;
use crate::caller::Caller;
use crate::connection_timeouts::{Busy, TimerEntry};
use crate::monitored_stream::MonitoredStream;
use crate::server_context::ServerContext;
use crate::transport::Transport;

/// How a port without HTTP differs from the others.
#[derive(Clone, Debug, Default)]
pub struct StreamOptions {
    /// How long a connection may stay open without a message in flight, if not [`Limits::idle_timeout`](crate::Limits::idle_timeout).
    pub idle_timeout: Option<Duration>,
}

/// One accepted connection.
#[derive(Debug)]
pub struct StreamConnection {
    /// The socket, under the port's time limits.
    pub stream: MonitoredStream<Transport>,
    /// The caller of the first message; [`Caller::renew`] it for each further one, and call [`Caller::answered`] after each.
    pub caller: Caller,
    /// The certificate that the other end showed, in DER, where the port speaks TLS and names authorities of clients.
    pub certificate: Option<Arc<[u8]>>,
    entry: Arc<TimerEntry>,
}

impl StreamConnection {
    /// Call when a whole message was read, and keep the guard until it is answered. From the first byte of a message to this call
    /// counts against [`Limits::header_timeout`](crate::Limits::header_timeout), from its drop to the next message against the idle timeout.
    pub fn busy(&self) -> Busy {
        self.entry.timer.begin()
    }

    /// Stream, caller and what [`StreamConnection::busy`] is asked of, for a handler that reads and writes at the same time.
    pub fn into_parts(self) -> (MonitoredStream<Transport>, Caller, Messages) {
        (self.stream, self.caller, Messages { entry: self.entry })
    }
}

/// See [`StreamConnection::into_parts`].
#[derive(Debug)]
pub struct Messages {
    entry: Arc<TimerEntry>,
}

impl Messages {
    /// As [`StreamConnection::busy`].
    pub fn busy(&self) -> Busy {
        self.entry.timer.begin()
    }
}

/// Accepts connections from `port` until the server drains, and runs `handler` for each, in a task of its own.
///
/// The handler returns when the peer is done, when [`Caller::draining`] resolves, or on a fault of the peer; it is dropped when
/// a time limit is crossed and when draining takes too long. Must be called inside a Tokio runtime.
pub fn serve_stream<F, Fut>(
    context: &ServerContext,
    port: TcpPort,
    options: StreamOptions,
    handler: F,
) -> JoinHandle<()>
where
    F: Fn(StreamConnection) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let limits = port.options.limits.as_ref().unwrap_or(context.limits());
    let mut limits = limits.clone();
    if let Some(idle) = options.idle_timeout {
        limits.idle_timeout = idle;
    }
    let loops = port.alone().into_iter().map(|port| {
        let plugged = port.options.clone();
        let acceptor = Acceptor::new(context, &port, limits.clone(), plugged, RefusalForm::Silent);
        serve_one_port(acceptor, port.listener, handler.clone())
    });
    all(loops.collect())
}

fn serve_one_port<F, Fut>(
    acceptor: Arc<Acceptor>,
    listener: TcpListener,
    handler: F,
) -> JoinHandle<()>
where
    F: Fn(StreamConnection) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    accept_loop(acceptor, listener, move |acceptor, peer, entry| {
        let handler = handler.clone();
        async move {
            let Peer {
                stream,
                address,
                principal,
                certificate,
            } = peer;
            let entry = Arc::new(entry);
            let Some(principal) = acceptor.authenticate(address, principal) else {
                return;
            };
            let connection = StreamConnection {
                stream: MonitoredStream::messages(stream, entry.timer.clone()),
                caller: acceptor
                    .context
                    .caller_as(acceptor.protocol, address, principal),
                certificate,
                entry: entry.clone(),
            };
            tokio::select! {
                () = handler(connection) => {}
                expired = entry.timer.expired() => acceptor.ended(address, expired),
            }
        }
    })
}
