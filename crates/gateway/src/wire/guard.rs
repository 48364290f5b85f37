//! A connection's stream that lets through nothing but whole, good requests.

use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::{Framing, Violation};

/// Bytes that are read at a time while a head is not whole.
const CHUNK: usize = 8 << 10;

/// What the stream, the requests on it and whoever watches the connection tell each other. All of them are on one thread; a stream that was
/// handed over to another protocol must be able to say that it could leave it.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Requests that are being answered.
    in_flight: AtomicU32,
    /// Requests that were let through, and those that were answered.
    passed: AtomicU32,
    answered: AtomicU32,
    /// The request behind these bytes is none: to be answered when those before it are.
    violation: OnceLock<Violation>,
    /// A body was broken off for this.
    broken: OnceLock<Violation>,
    /// The connection is another protocol's.
    tunnel: AtomicBool,
    /// Part of a head is there and the rest is not.
    in_head: AtomicBool,
    /// The peer does not take what is sent.
    blocked: AtomicBool,
    /// Nothing comes any more.
    ended: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Shared {
    /// A request begins.
    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// A request is answered.
    pub(crate) fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
        self.answered.fetch_add(1, Relaxed);
        if self.violation.get().is_some() {
            let waker = self
                .waker
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Whether a request that was let through is not answered yet, whoever has it.
    fn owes(&self) -> bool {
        self.passed.load(Relaxed) != self.answered.load(Relaxed)
    }

    pub(crate) fn violation(&self) -> Option<Violation> {
        self.violation.get().copied()
    }

    pub(crate) fn broken(&self) -> Option<Violation> {
        self.broken.get().copied()
    }

    /// Nothing is looked at from here on.
    pub(crate) fn open_tunnel(&self) {
        self.tunnel.store(true, Relaxed);
    }

    pub(crate) fn is_tunnel(&self) -> bool {
        self.tunnel.load(Relaxed)
    }

    pub(crate) fn in_head(&self) -> bool {
        self.in_head.load(Relaxed)
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Relaxed)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    fn note(&self, framing: &Framing, violation: Option<Violation>) {
        self.in_head.store(framing.is_inside_head(), Relaxed);
        self.passed.store(framing.heads(), Relaxed);
        if let Some(violation) = violation {
            let place = match framing.is_between_requests() {
                true => &self.violation,
                false => &self.broken,
            };
            place.get_or_init(|| violation);
        }
    }
}

/// The stream.
#[derive(Debug)]
pub(crate) struct Guard<S> {
    stream: S,
    /// Looks at requests; none for HTTP/2, whose frames say where they end.
    framing: Option<Framing>,
    /// Bytes that were read; so many of them from the first on may be read on.
    held: BytesMut,
    released: usize,
    shared: Arc<Shared>,
}

impl<S> Guard<S> {
    /// A stream of which `held` was read already.
    pub(crate) fn new(
        stream: S,
        held: BytesMut,
        mut framing: Option<Framing>,
        shared: Arc<Shared>,
    ) -> Guard<S> {
        let mut released = held.len();
        if let Some(framing) = &mut framing {
            let advance = framing.advance(&held);
            released = advance.released;
            shared.note(framing, advance.violation);
        }
        Guard {
            stream,
            framing,
            held,
            released,
            shared,
        }
    }

    /// The stream itself.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    /// Looks at what is held and was not released.
    fn look(&mut self) {
        if self.shared.is_tunnel()
            && let Some(framing) = &mut self.framing
        {
            framing.open_tunnel();
        }
        let Some(framing) = &mut self.framing else {
            self.released = self.held.len();
            return;
        };
        let advance = framing.advance(&self.held[self.released..]);
        self.released += advance.released;
        self.shared.note(framing, advance.violation);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.released > 0 {
                let taken = this.released.min(out.remaining());
                out.put_slice(&this.held[..taken]);
                this.held.advance(taken);
                this.released -= taken;
                return Poll::Ready(Ok(()));
            }
            if this.shared.is_tunnel() && !this.held.is_empty() {
                this.look();
                continue;
            }
            if let Some(broken) = this.shared.broken() {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    broken.reason,
                )));
            }
            if this.shared.violation().is_some() {
                // Who asked before is answered first.
                if this.shared.owes() {
                    let mut waker = this
                        .shared
                        .waker
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    *waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                return Poll::Ready(Ok(()));
            }
            if this.held.is_empty() {
                // The ordinary case: straight to the reader, and what may not be read on yet is taken back.
                let before = out.filled().len();
                ready!(Pin::new(&mut this.stream).poll_read(cx, out))?;
                let new = &out.filled()[before..];
                if new.is_empty() {
                    this.shared.ended.store(true, Relaxed);
                    return Poll::Ready(Ok(()));
                }
                let count = new.len();
                let Some(framing) = &mut this.framing else {
                    return Poll::Ready(Ok(()));
                };
                if this.shared.is_tunnel() {
                    framing.open_tunnel();
                }
                let advance = framing.advance(new);
                this.shared.note(framing, advance.violation);
                if advance.released < count {
                    let back = &out.filled()[before + advance.released..];
                    this.held.extend_from_slice(back);
                    out.set_filled(before + advance.released);
                    if advance.released == 0 {
                        continue;
                    }
                }
                return Poll::Ready(Ok(()));
            }
            let held = this.held.len();
            this.held.resize(held + CHUNK, 0);
            let mut room = ReadBuf::new(&mut this.held[held..]);
            let read = Pin::new(&mut this.stream).poll_read(cx, &mut room);
            let count = room.filled().len();
            this.held.truncate(held + count);
            ready!(read)?;
            if count == 0 {
                this.shared.ended.store(true, Relaxed);
                return Poll::Ready(Ok(()));
            }
            this.look();
        }
    }
}

impl<S: AsyncWrite + Unpin> Guard<S> {
    fn wrote<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.shared.blocked.store(result.is_pending(), Relaxed);
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // HTTP/1.1 is closed by whoever runs the connection, after the last word and what the peer still sends.
        match self.framing.is_some() && !self.shared.is_tunnel() {
            true => Poll::Ready(Ok(())),
            false => Pin::new(&mut self.stream).poll_shutdown(cx),
        }
    }
}
