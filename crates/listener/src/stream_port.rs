//! TCP protocols without HTTP: DNS over TCP, ZooKeeper.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::bind::TcpPort;
use crate::caller::Caller;
use crate::gate::{Farewell, Gate, accept_loop};
use crate::house::House;
use crate::pulse::{Beating, Busy};
use crate::watched::Watched;

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
    pub stream: Watched<TcpStream>,
    /// The caller of the first message; [`Caller::renew`] it for each further one, and call [`Caller::answered`] after each.
    pub caller: Caller,
    beating: Arc<Beating>,
}

impl StreamConnection {
    /// Call when a whole message was read, and keep the guard until it is answered. From the first byte of a message to this call
    /// counts against [`Limits::header_timeout`](crate::Limits::header_timeout), from its drop to the next message against the idle timeout.
    pub fn busy(&self) -> Busy {
        self.beating.pulse.begin()
    }
}

/// Accepts connections from `port` until the house drains, and runs `handler` for each, in a task of its own.
///
/// The handler returns when the peer is done, when [`Caller::draining`] resolves, or on a fault of the peer; it is dropped when
/// a time limit is crossed and when draining takes too long. Must be called inside a Tokio runtime.
pub fn serve_stream<F, Fut>(
    house: &House,
    port: TcpPort,
    options: StreamOptions,
    handler: F,
) -> JoinHandle<()>
where
    F: Fn(StreamConnection) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut limits = house.limits().clone();
    if let Some(idle) = options.idle_timeout {
        limits.idle_timeout = idle;
    }
    let gate = Gate::new(house, &port, limits, Farewell::Silent);
    accept_loop(gate, port.listener, move |gate, stream, peer, beating| {
        let handler = handler.clone();
        async move {
            let beating = Arc::new(beating);
            let connection = StreamConnection {
                stream: Watched::messages(stream, beating.pulse.clone()),
                caller: gate.house.caller(gate.protocol, peer),
                beating: beating.clone(),
            };
            tokio::select! {
                () = handler(connection) => {}
                verdict = beating.pulse.verdict() => gate.ended(peer, verdict),
            }
        }
    })
}
