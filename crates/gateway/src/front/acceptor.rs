//! The port: one task accepts, and hands each connection to the next thread in turn.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use portolan_listener::{Handshake, ServerContext, TcpPort};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc::Sender;

use crate::gateway::Gateway;

/// What is done to a connection before anything is read: TLS, where the port speaks it.
pub(crate) type Before = Option<Arc<dyn Handshake>>;

/// A connection on its way to a thread.
pub(crate) type Accepted = (TcpStream, SocketAddr, Before);

/// Pause after the system has no file descriptors left.
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(50);

const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nx-portolan-error: too many connections\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Accepts until the server drains. What the system had accepted by then is still taken.
pub(crate) async fn accept(
    gateway: Arc<Gateway>,
    context: ServerContext,
    port: TcpPort,
    workers: Vec<Sender<Accepted>>,
) {
    let before = port.options.handshake;
    let listener = match tokio::net::TcpListener::from_std(port.listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the gateway cannot accept connections");
            return;
        }
    };
    let mut turn = 0;
    let draining = context.draining();
    tokio::pin!(draining);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut draining => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => hand_over(&gateway, &workers, &mut turn, accepted, &before).await,
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(DESCRIPTOR_PAUSE).await;
            }
        }
    }
    let waiting = || tokio::time::timeout(Duration::from_millis(1), listener.accept());
    while let Ok(Ok(accepted)) = waiting().await {
        hand_over(&gateway, &workers, &mut turn, accepted, &before).await;
    }
}

async fn hand_over(
    gateway: &Gateway,
    workers: &[Sender<Accepted>],
    turn: &mut usize,
    (mut stream, peer): (tokio::net::TcpStream, SocketAddr),
    before: &Before,
) {
    let open = gateway.figures.connections().get();
    if usize::try_from(open).unwrap_or(0) >= gateway.limits.connections {
        gateway.figures.refused();
        if before.is_none() {
            let said = tokio::time::timeout(Duration::from_millis(100), stream.write_all(BUSY));
            let _gone = said.await;
        }
        return;
    }
    // Answers are written whole; waiting for more to send only delays them.
    let _best_effort = stream.set_nodelay(true);
    *turn = (*turn + 1) % workers.len().max(1);
    if let (Ok(stream), Some(worker)) = (stream.into_std(), workers.get(*turn)) {
        gateway.figures.connections().inc();
        if worker.send((stream, peer, before.clone())).await.is_err() {
            gateway.figures.connections().dec();
        }
    }
}
