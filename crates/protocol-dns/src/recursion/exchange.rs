//! One question to one recursor: a datagram from a port of its own, TCP for what does not fit, no EDNS for who does not know it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::counts::Counts;
use crate::wire::{Asking, Rcode, Reading, Response, read_response};

/// Datagrams that are no answer after which one more is not waited for: somebody is guessing.
const MOST_FOREIGN: u32 = 64;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Nothing came in time.
    #[error("no answer in time")]
    Silent,
    /// It cannot be reached.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What came cannot be read, or is not the answer.
    #[error("an answer that cannot be read")]
    Malformed,
    /// It says that it cannot answer.
    #[error("code {0}")]
    Code(u16),
}

/// Asks `recursor`, which has `patience` for an answer over each transport.
pub(crate) async fn ask(
    recursor: SocketAddr,
    asking: &Asking,
    patience: Duration,
    counts: &Counts,
) -> Result<Response, Failure> {
    let mut edns = true;
    loop {
        let id = portolan_environment::random_u64() as u16;
        let message = asking.message(id, edns);
        let within = timeout(patience, datagram(recursor, &message, id, asking, counts));
        let mut response = within.await.map_err(|_| Failure::Silent)??;
        if response.truncated {
            counts.over_tcp.fetch_add(1, Ordering::Relaxed);
            let within = timeout(patience, stream(recursor, &message, id, asking));
            response = within.await.map_err(|_| Failure::Silent)??;
        }
        let unknown = [Rcode::FormErr, Rcode::NotImp, Rcode::BadVers].map(|code| code as u16);
        if edns && unknown.contains(&response.rcode) {
            // Servers from before EDNS answer it so (RFC 6891 section 7).
            counts.without_edns.fetch_add(1, Ordering::Relaxed);
            edns = false;
            continue;
        }
        return match response.settled() {
            Some(_) => Ok(response),
            None => Err(Failure::Code(response.rcode)),
        };
    }
}

async fn datagram(
    recursor: SocketAddr,
    message: &[u8],
    id: u16,
    asking: &Asking,
    counts: &Counts,
) -> Result<Response, Failure> {
    let any: SocketAddr = match recursor {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    #[allow(
        clippy::disallowed_methods,
        reason = "a port of its own, which the system draws, is half of what a forger has to guess"
    )]
    let socket = UdpSocket::bind(any).await?;
    // Datagrams of nobody else are then taken.
    socket.connect(recursor).await?;
    socket.send(message).await?;
    let mut buffer = vec![0; 4096];
    for _ in 0..MOST_FOREIGN {
        let length = socket.recv(&mut buffer).await?;
        match read_response(buffer.get(..length).unwrap_or_default(), id, asking) {
            Reading::Response(response) => return Ok(response),
            Reading::Malformed => return Err(Failure::Malformed),
            Reading::Foreign => {
                counts.foreign.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    Err(Failure::Malformed)
}

async fn stream(
    recursor: SocketAddr,
    message: &[u8],
    id: u16,
    asking: &Asking,
) -> Result<Response, Failure> {
    #[allow(
        clippy::disallowed_methods,
        reason = "a recursor is a server of somebody else"
    )]
    let mut stream = TcpStream::connect(recursor).await?;
    let mut framed = (message.len() as u16).to_be_bytes().to_vec();
    framed.extend(message);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut body = vec![0; usize::from(length)];
    stream.read_exact(&mut body).await?;
    match read_response(&body, id, asking) {
        Reading::Response(response) if !response.truncated => Ok(response),
        _ => Err(Failure::Malformed),
    }
}
