//! What a connection's bytes go through: the bare socket, or whatever a handshake has put around it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::access::Principal;

/// A handler's future.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A stream of bytes both ways.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for T {}

/// What is done to a port's connections before anything is read from them ([`PortOptions::handshake`](crate::PortOptions::handshake)):
/// TLS, for example.
///
/// It has [`Limits::header_timeout`](crate::Limits::header_timeout); an error or a panic ends that connection only.
pub trait Handshake: fmt::Debug + Send + Sync {
    /// Turns a socket into the stream that carries the protocol, and tells whom it found at the other end.
    fn handshake(&self, socket: TcpStream, peer: SocketAddr) -> BoxFuture<io::Result<Secured>>;
}

/// What a [`Handshake`] made of a socket.
pub struct Secured {
    /// The protocol's bytes.
    pub stream: Box<dyn ByteStream>,
    /// Who is at the other end.
    pub principal: Principal,
    /// The certificate that the other end showed and the port trusts, in DER.
    pub certificate: Option<Arc<[u8]>>,
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secured")
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
}

/// A connection's stream. The bare socket is no box, so that ports without a handshake pay for none.
pub struct Transport(Kind);

enum Kind {
    Socket(TcpStream),
    Boxed(Box<dyn ByteStream>),
}

impl From<TcpStream> for Transport {
    fn from(socket: TcpStream) -> Transport {
        Transport(Kind::Socket(socket))
    }
}

impl From<Box<dyn ByteStream>> for Transport {
    fn from(stream: Box<dyn ByteStream>) -> Transport {
        Transport(Kind::Boxed(stream))
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::Socket(_) => "Transport(socket)",
            Kind::Boxed(_) => "Transport(boxed)",
        })
    }
}

macro_rules! either {
    ($self:ident.$call:ident($($argument:expr),*)) => {
        match &mut $self.0 {
            Kind::Socket(stream) => Pin::new(stream).$call($($argument),*),
            Kind::Boxed(stream) => Pin::new(stream).$call($($argument),*),
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self.poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Kind::Socket(stream) => stream.is_write_vectored(),
            Kind::Boxed(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.poll_shutdown(cx))
    }
}
