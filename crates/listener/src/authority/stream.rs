//! A socket whose reader sees what [`Rewriter`] makes of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Rewriter;
use crate::forwarded_writes::forwarded_writes;

/// A socket on which HTTP/2 requests may have any `:authority`.
#[derive(Debug)]
pub(crate) struct AnyAuthority<T> {
    io: T,
    rewriter: Rewriter,
    ended: bool,
}

impl<T> AnyAuthority<T> {
    /// `header_bytes` bounds the header blocks that are looked at, and so what is held back of one connection.
    pub(crate) fn new(io: T, header_bytes: usize) -> AnyAuthority<T> {
        AnyAuthority {
            io,
            rewriter: Rewriter::new(header_bytes),
            ended: false,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for AnyAuthority<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let ready = this.rewriter.ready();
            if !ready.is_empty() {
                let count = ready.len().min(buf.remaining());
                buf.put_slice(&ready[..count]);
                this.rewriter.used(count);
                return Poll::Ready(Ok(()));
            }
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
            let received = &buf.filled()[before..];
            if received.is_empty() {
                this.ended = true;
                this.rewriter.finish();
                continue;
            }
            let passed = this.rewriter.receive(received);
            buf.set_filled(before + passed);
            if passed > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for AnyAuthority<T> {
    forwarded_writes!();

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
