//! Closing a connection whose peer is still sending, so that the peer reads the answer and not a reset.
//!
//! A system that closes a socket with bytes unread tells the peer so at once, and the peer's system throws away the answer that it had
//! received: programs see `broken pipe` instead of 413. So the server stops sending, which the peer sees as the end of the answer, and
//! reads on, into nothing, until the peer is done or a bound is met (the manner of RFC 9112 section 9.6).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::acceptor::Acceptor;
use crate::connection_timeouts::ConnectionTimer;
use crate::forwarded_writes::forwarded_writes;

/// Bytes that are read at once.
const BUFFER: usize = 16 << 10;

/// A socket that lingers when it is shut down while something that was sent has not been read.
#[derive(Debug)]
pub(crate) struct LingeringClose<T> {
    io: T,
    timer: Arc<ConnectionTimer>,
    acceptor: Arc<Acceptor>,
    state: State,
}

#[derive(Debug)]
enum State {
    Open,
    Lingering {
        until: Pin<Box<Sleep>>,
        buffer: Box<[u8]>,
        read: usize,
    },
    Done,
}

impl<T> LingeringClose<T> {
    pub(crate) fn new(io: T, timer: Arc<ConnectionTimer>, acceptor: Arc<Acceptor>) -> Self {
        LingeringClose {
            io,
            timer,
            acceptor,
            state: State::Open,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for LingeringClose<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for LingeringClose<T> {
    forwarded_writes!();

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                State::Open => {
                    ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
                    this.state = match this.timer.is_sending() {
                        false => State::Done,
                        true => State::Lingering {
                            until: Box::pin(sleep(this.acceptor.limits.linger_timeout)),
                            buffer: vec![0; BUFFER].into(),
                            read: 0,
                        },
                    };
                }
                State::Lingering {
                    until,
                    buffer,
                    read,
                } => {
                    let over = if until.as_mut().poll(cx).is_ready() {
                        Some("linger_timeout")
                    } else {
                        let mut into = ReadBuf::new(buffer);
                        // An error is the end of it as well: nobody is left to tell.
                        let polled = ready!(Pin::new(&mut this.io).poll_read(cx, &mut into));
                        let count = into.filled().len();
                        *read += count;
                        let largest = &this.acceptor.largest_linger;
                        largest.fetch_max(*read, Ordering::Relaxed);
                        if polled.is_err() || count == 0 {
                            this.state = State::Done;
                            continue;
                        }
                        (*read > this.acceptor.limits.linger_bytes).then_some("linger_bytes")
                    };
                    if let Some(limit) = over {
                        this.acceptor.limited(limit);
                        this.state = State::Done;
                    }
                }
                State::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}
