//! Opening ports. Loopback by default; anything else only when it was asked for.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use portolan_catalog::Protocol;
use socket2::{Domain, Socket, Type};

use crate::port_options::PortOptions;
use crate::server_context::ServerContext;

/// Connections that the kernel holds while the accept loop is busy.
const BACKLOG: i32 = 4096;
/// How often a free port for both UDP and TCP is looked for.
const PAIR_ATTEMPTS: usize = 32;

/// Why a port was not opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Other machines could reach the address, and nothing would ask them who they are.
    #[error(
        "{protocol} port {address} can be reached from other machines and has no authentication; listen on 127.0.0.1, or pass --insecure-listen to allow it"
    )]
    Exposed {
        /// Whose port.
        protocol: Protocol,
        /// The address asked for.
        address: SocketAddr,
    },
    /// The operating system said no.
    #[error("cannot listen on {address} for {protocol}")]
    Os {
        /// Whose port.
        protocol: Protocol,
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// A bound TCP port that nobody accepts from yet.
#[derive(Debug)]
pub struct TcpPort {
    /// Whose port.
    pub protocol: Protocol,
    /// The address it got (the port is never 0).
    pub address: SocketAddr,
    /// The socket, non-blocking.
    pub listener: TcpListener,
    /// What is plugged into the port; nothing, when it was just opened.
    pub options: PortOptions,
    /// Another port on which the same is served, by the same handler and within the same limits: the one that speaks TLS.
    pub beside: Option<Box<TcpPort>>,
}

impl TcpPort {
    /// This port, and those beside it, each by itself.
    pub(crate) fn alone(mut self) -> Vec<TcpPort> {
        let beside = self.beside.take();
        let mut ports = vec![self];
        ports.extend(beside.map(|port| port.alone()).unwrap_or_default());
        ports
    }
}

/// A bound UDP port: one socket, or several that share the port so that each worker has its own queue.
#[derive(Debug)]
pub struct UdpPort {
    /// Whose port.
    pub protocol: Protocol,
    /// The address it got (the port is never 0).
    pub address: SocketAddr,
    /// The sockets, non-blocking; never empty.
    pub sockets: Vec<UdpSocket>,
}

/// Opens a TCP port; port 0 takes any free one.
pub fn bind_tcp(
    context: &ServerContext,
    protocol: Protocol,
    address: SocketAddr,
) -> Result<TcpPort, BindError> {
    check(context, protocol, address)?;
    tcp(protocol, address).map_err(|source| BindError::Os {
        protocol,
        address,
        source,
    })
}

/// As [`bind_tcp`], for a port whose handshake asks whoever comes who they are.
pub fn bind_tcp_guarded(protocol: Protocol, address: SocketAddr) -> Result<TcpPort, BindError> {
    let port = tcp(protocol, address);
    let mut port = port.map_err(|source| BindError::Os {
        protocol,
        address,
        source,
    })?;
    port.options.guarded = true;
    Ok(port)
}

/// Opens a UDP port with `sockets` sockets on it (at least one; more than one share it with `SO_REUSEPORT`); port 0 takes any free one.
pub fn bind_udp(
    context: &ServerContext,
    protocol: Protocol,
    address: SocketAddr,
    sockets: usize,
) -> Result<UdpPort, BindError> {
    check(context, protocol, address)?;
    udp(protocol, address, sockets).map_err(|source| BindError::Os {
        protocol,
        address,
        source,
    })
}

/// Opens the same port number for UDP and TCP, as DNS needs it; port 0 takes one that is free in both.
pub fn bind_udp_and_tcp(
    context: &ServerContext,
    protocol: Protocol,
    address: SocketAddr,
    sockets: usize,
) -> Result<(UdpPort, TcpPort), BindError> {
    check(context, protocol, address)?;
    let os = |source| BindError::Os {
        protocol,
        address,
        source,
    };
    let mut attempt = 1;
    loop {
        let stream = tcp(protocol, address).map_err(os)?;
        match udp(protocol, stream.address, sockets) {
            Ok(datagrams) => return Ok((datagrams, stream)),
            Err(taken)
                if address.port() == 0
                    && attempt < PAIR_ATTEMPTS
                    && taken.kind() == io::ErrorKind::AddrInUse =>
            {
                attempt += 1;
            }
            Err(source) => return Err(os(source)),
        }
    }
}

fn check(
    context: &ServerContext,
    protocol: Protocol,
    address: SocketAddr,
) -> Result<(), BindError> {
    if is_loopback(address.ip()) || context.guarded() {
        return Ok(());
    }
    if !context.insecure_listen() {
        return Err(BindError::Exposed { protocol, address });
    }
    context.metrics().exposed(protocol, address);
    Ok(())
}

/// Whether only this machine can reach `ip`, also when it is an IPv4 address mapped into IPv6.
pub(crate) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn tcp(protocol: Protocol, address: SocketAddr) -> io::Result<TcpPort> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restarted server takes its port back at once, although old connections linger.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener: TcpListener = socket.into();
    Ok(TcpPort {
        protocol,
        address: listener.local_addr()?,
        listener,
        options: PortOptions::default(),
        beside: None,
    })
}

fn udp(protocol: Protocol, mut address: SocketAddr, count: usize) -> io::Result<UdpPort> {
    let mut sockets = Vec::with_capacity(count.max(1));
    for _ in 0..count.max(1) {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        if count > 1 {
            socket.set_reuse_port(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let socket: UdpSocket = socket.into();
        address = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok(UdpPort {
        protocol,
        address,
        sockets,
    })
}
