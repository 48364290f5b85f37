//! UDP: one thread and one socket per core, messages taken and sent in batches, no async and no allocation per query.
//!
//! A socket bound to one address receives with `recvmmsg` and sends with `sendmmsg`. On a wildcard address each reply must leave from the
//! address that was asked, so there the datagrams carry control messages and replies are sent one by one.

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use portolan_catalog::{Protocol, State};
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::answer::{Answered, Transport, Worker};
use crate::recursion::Pending;

/// Messages taken from the socket at once; the most that the library takes.
const BATCH: usize = quinn_udp::BATCH_SIZE;

/// Bytes kept of one message. A query is a name and a few options; what fills the buffer is dropped.
const INPUT: usize = 2048;

/// The kernel may join datagrams of one sender on sockets with control messages; they need the room of the largest.
const JOINED_INPUT: usize = 1 << 16;

/// How long a quiet worker sleeps before it looks whether the server drains.
const IDLE_WAIT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

/// What the kernel may hold for a busy worker, in bytes; it may give less.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Replies up to this size pass every link whole (the least MTU of IPv6 is 1280 bytes).
const UNFRAGMENTED: usize = 1232;

/// A socket with its buffers.
struct Port {
    socket: Arc<UdpSocket>,
    state: Arc<UdpSocketState>,
    /// Whether datagrams tell which address they were sent to, and replies must say which they come from.
    wildcard: bool,
    input: Vec<u8>,
    outputs: Vec<Vec<u8>>,
    peers: Vec<SocketAddr>,
}

impl Port {
    fn new(socket: UdpSocket) -> io::Result<Self> {
        let wildcard = socket.local_addr()?.ip().is_unspecified();
        // The system may allow less than a larger buffer.
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER);
        // Making the state switches control messages on, which cost time for each datagram. A socket with one address needs none of them,
        // so its state is made on another socket, which is then closed.
        let state = if wildcard {
            UdpSocketState::new((&socket).into())?
        } else {
            let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            UdpSocketState::new((&other).into())?
        };
        socket.set_nonblocking(true)?;
        allow_fragments(&socket, false);
        let each = if wildcard { JOINED_INPUT } else { INPUT };
        Ok(Self {
            socket: Arc::new(socket),
            state: Arc::new(state),
            wildcard,
            input: vec![0; each * BATCH],
            outputs: (0..BATCH)
                .map(|_| Vec::with_capacity(UNFRAGMENTED))
                .collect(),
            peers: Vec::with_capacity(BATCH),
        })
    }

    /// Waits until something can be read, or the idle time is over.
    fn wait(&self) {
        let _ = poll(
            &mut [PollFd::new(&*self.socket, PollFlags::IN)],
            Some(&IDLE_WAIT),
        );
    }

    /// Takes one batch, answers it and sends the replies; whether more may be waiting. An error is that nothing is there, or the socket's.
    fn serve_batch(&mut self, worker: &mut Worker) -> io::Result<bool> {
        let each = self.input.len() / BATCH;
        let mut metas = [RecvMeta::default(); BATCH];
        let count = {
            let mut slices = self.input.chunks_exact_mut(each);
            let mut slices: [IoSliceMut<'_>; BATCH] =
                std::array::from_fn(|_| IoSliceMut::new(slices.next().unwrap_or_default()));
            self.state
                .recv((&*self.socket).into(), &mut slices, &mut metas)?
        };
        // One snapshot for the batch; it is let go before the worker sleeps.
        let state = worker.look();
        let filled = self.input.chunks_exact(each).zip(&metas).take(count);
        if self.wildcard {
            for (input, meta) in filled {
                reply_singly(
                    &self.socket,
                    &self.state,
                    worker,
                    &state,
                    input,
                    meta,
                    &mut self.outputs,
                );
            }
            return Ok(count == BATCH);
        }
        let mut ready = 0;
        self.peers.clear();
        for (input, meta) in filled {
            // A message that fills the buffer was cut.
            let Some(packet) = input.get(..meta.len).filter(|packet| packet.len() < each) else {
                worker.counts.ignored();
                continue;
            };
            let Some(out) = self.outputs.get_mut(ready) else {
                break;
            };
            match worker.answer(&state, packet, meta.addr, Transport::Udp, out) {
                Answered::Reply => {}
                Answered::Nothing => continue,
                Answered::Later(pending) => {
                    reply_later(
                        &self.socket,
                        &self.state,
                        worker,
                        pending,
                        (meta.addr, None),
                    );
                    continue;
                }
            }
            if out.len() > UNFRAGMENTED {
                // Alone, so that all others leave as one batch of whole datagrams.
                let alone = std::slice::from_ref(&*out);
                allow_fragments(&self.socket, true);
                let unsent = send(&self.socket, &self.state, alone, &[meta.addr]);
                allow_fragments(&self.socket, false);
                worker.counts.unsent(unsent as u64);
                out.clear();
                out.shrink_to(UNFRAGMENTED);
                continue;
            }
            self.peers.push(meta.addr);
            ready += 1;
        }
        let unsent = send(
            &self.socket,
            &self.state,
            self.outputs.get(..ready).unwrap_or_default(),
            &self.peers,
        );
        if unsent > 0 {
            worker.counts.unsent(unsent as u64);
        }
        Ok(count == BATCH)
    }
}

/// Lets the kernel send what is larger than a link takes in fragments, whatever the path is said to take; or whole or not at all, which
/// is the rule: fragments are lost and forged, and whole datagrams need no number. Best effort; not every system knows it.
#[cfg(target_os = "linux")]
fn allow_fragments(socket: &UdpSocket, allowed: bool) {
    use rustix::net::sockopt::{
        Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
    };

    let (v4, v6) = if allowed {
        (Ipv4PathMtuDiscovery::OMIT, Ipv6PathMtuDiscovery::OMIT)
    } else {
        (Ipv4PathMtuDiscovery::PROBE, Ipv6PathMtuDiscovery::PROBE)
    };
    let _ = set_ip_mtu_discover(socket, v4);
    let _ = set_ipv6_mtu_discover(socket, v6);
}

#[cfg(not(target_os = "linux"))]
fn allow_fragments(_socket: &UdpSocket, _allowed: bool) {}

/// Serves one socket until the server drains. Runs on a thread of its own.
pub(crate) fn run(socket: UdpSocket, mut worker: Worker) -> io::Result<()> {
    let mut port = Port::new(socket)?;
    let context = worker.common.context.clone();
    while !context.is_draining() {
        // A panic is counted and loses one batch; clients ask again.
        match context.guard(Protocol::Dns, || port.serve_batch(&mut worker)) {
            Some(Ok(true)) => {}
            // The queue is empty. Whoever wants the processor gets it, clients among them; what has come by then is one batch. Sleeping at
            // once would cost a wake-up for every few queries: a third of all processor time under load.
            Some(Ok(false)) => thread::yield_now(),
            Some(Err(error)) if error.kind() == ErrorKind::WouldBlock => port.wait(),
            // What came back from the network about an earlier reply.
            Some(Err(error))
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
                ) => {}
            Some(Err(error)) => {
                tracing::warn!(%error, "dns: receiving over udp failed");
                #[allow(
                    clippy::disallowed_methods,
                    reason = "this thread waits for datagrams, outside any runtime"
                )]
                thread::sleep(Duration::from_millis(100));
            }
            None => {}
        }
    }
    Ok(())
}

/// Answers the datagrams of one buffer, each from the address it was sent to.
fn reply_singly(
    socket: &Arc<UdpSocket>,
    io: &Arc<UdpSocketState>,
    worker: &mut Worker,
    state: &State,
    input: &[u8],
    meta: &RecvMeta,
    outputs: &mut [Vec<u8>],
) {
    let Some(out) = outputs.first_mut() else {
        return;
    };
    let joined = input.get(..meta.len).unwrap_or_default();
    for packet in joined.chunks(meta.stride.max(1)) {
        match worker.answer(state, packet, meta.addr, Transport::Udp, out) {
            Answered::Reply => {}
            Answered::Nothing => continue,
            Answered::Later(pending) => {
                reply_later(socket, io, worker, pending, (meta.addr, meta.dst_ip));
                continue;
            }
        }
        let transmit = Transmit {
            destination: meta.addr,
            ecn: None,
            contents: out,
            segment_size: None,
            src_ip: meta.dst_ip,
        };
        let large = out.len() > UNFRAGMENTED;
        if large {
            allow_fragments(socket, true);
        }
        if io.try_send((&**socket).into(), &transmit).is_err() {
            worker.counts.unsent(1);
        }
        if large {
            allow_fragments(socket, false);
        }
    }
}

/// Sends a reply when it is there, from the address that was asked, where datagrams tell it.
fn reply_later(
    socket: &Arc<UdpSocket>,
    io: &Arc<UdpSocketState>,
    worker: &Worker,
    pending: Box<Pending>,
    (peer, from): (SocketAddr, Option<IpAddr>),
) {
    let (socket, io) = (Arc::clone(socket), Arc::clone(io));
    let context = worker.common.context.clone();
    let _entered = worker.common.runtime.enter();
    context.spawn(Protocol::Dns, async move {
        let reply = pending.finish().await;
        let transmit = Transmit {
            destination: peer,
            ecn: None,
            contents: &reply,
            segment_size: None,
            src_ip: from,
        };
        if let Err(error) = io.try_send((&*socket).into(), &transmit) {
            tracing::debug!(%error, %peer, "dns: a reply was not sent");
        }
    });
}

/// Sends one reply to each peer; how many could not be sent.
#[cfg(target_os = "linux")]
fn send(
    socket: &UdpSocket,
    _io: &UdpSocketState,
    replies: &[Vec<u8>],
    peers: &[SocketAddr],
) -> usize {
    use std::io::IoSlice;

    use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
    use smallvec::SmallVec;

    let addresses: SmallVec<[SocketAddrAny; BATCH]> = peers
        .iter()
        .map(|peer| SocketAddrAny::from(*peer))
        .collect();
    let contents: SmallVec<[IoSlice<'_>; BATCH]> =
        replies.iter().map(|reply| IoSlice::new(reply)).collect();
    let mut controls: [SendAncillaryBuffer<'_, '_, '_>; BATCH] =
        std::array::from_fn(|_| SendAncillaryBuffer::default());
    let parts = addresses.iter().zip(&contents).zip(&mut controls);
    let mut messages: SmallVec<[MMsgHdr<'_>; BATCH]> = parts
        .map(|((address, content), control)| {
            MMsgHdr::new_with_addr(address, std::slice::from_ref(content), control)
        })
        .collect();
    let mut rest = &mut messages[..];
    let mut unsent = 0;
    let mut waited = false;
    while !rest.is_empty() {
        match sendmmsg(socket, rest, SendFlags::DONTWAIT) {
            Ok(sent) => rest = rest.get_mut(sent.max(1)..).unwrap_or_default(),
            Err(error) if error == rustix::io::Errno::INTR => {}
            Err(error) if error == rustix::io::Errno::AGAIN && !waited => {
                // The send buffer drains in microseconds or not at all.
                waited = true;
                let short = Timespec {
                    tv_sec: 0,
                    tv_nsec: 5_000_000,
                };
                let _ = poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&short));
            }
            Err(_) => {
                // The first of the rest cannot be sent (no route, a firewall); the others may.
                unsent += 1;
                rest = rest.get_mut(1..).unwrap_or_default();
            }
        }
    }
    unsent
}

/// Sends one reply to each peer; how many could not be sent.
#[cfg(not(target_os = "linux"))]
fn send(
    socket: &UdpSocket,
    io: &UdpSocketState,
    replies: &[Vec<u8>],
    peers: &[SocketAddr],
) -> usize {
    let failed = |(contents, destination): (&Vec<u8>, &SocketAddr)| {
        let transmit = Transmit {
            destination: *destination,
            ecn: None,
            contents,
            segment_size: None,
            src_ip: None,
        };
        io.try_send(socket.into(), &transmit).is_err()
    };
    replies
        .iter()
        .zip(peers)
        .filter(|pair| failed(*pair))
        .count()
}
