//! A socket that reports to its connection's timer: bytes that complete nothing, and a peer that takes nothing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection_timeouts::ConnectionTimer;

/// An accepted socket under the port's time limits.
#[derive(Debug)]
pub struct MonitoredStream<T> {
    io: T,
    timer: Arc<ConnectionTimer>,
    reading: Reading,
    /// The write that is under way has waited for its turn; see [`MonitoredStream::waits`].
    waited: bool,
}

impl<T> MonitoredStream<T> {
    /// Watches an HTTP connection, whose first bytes tell the version.
    pub(crate) fn http(io: T, timer: Arc<ConnectionTimer>) -> MonitoredStream<T> {
        MonitoredStream {
            io,
            timer,
            reading: Reading::Unknown { matched: 0 },
            waited: false,
        }
    }

    /// Watches a connection whose messages are told apart by their handler.
    pub(crate) fn messages(io: T, timer: Arc<ConnectionTimer>) -> MonitoredStream<T> {
        MonitoredStream {
            io,
            timer,
            reading: Reading::Messages,
            waited: false,
        }
    }

    /// The socket.
    pub fn get_ref(&self) -> &T {
        &self.io
    }
}

/// What the bytes that come are.
#[derive(Debug)]
enum Reading {
    /// The first `matched` bytes are those of the HTTP/2 preface.
    Unknown { matched: usize },
    /// HTTP/1.1, or a protocol of messages.
    Messages,
    /// HTTP/2.
    Frames(Frames),
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Reading {
    fn received(&mut self, mut bytes: &[u8], timer: &ConnectionTimer) {
        if let Reading::Unknown { matched } = self {
            let expected = &PREFACE[*matched..];
            let same = expected
                .iter()
                .zip(bytes)
                .take_while(|(a, b)| a == b)
                .count();
            if same == expected.len() {
                timer.multiplexed();
                timer.whole();
                bytes = &bytes[same..];
                *self = Reading::Frames(Frames::default());
            } else if same == bytes.len() {
                *matched += same;
                return timer.partial();
            } else {
                *self = Reading::Messages;
            }
        }
        match self {
            Reading::Unknown { .. } => {}
            Reading::Messages if timer.in_flight() == 0 => timer.partial(),
            Reading::Messages => {}
            Reading::Frames(frames) => {
                frames.received(bytes);
                if frames.between() {
                    timer.whole();
                } else {
                    timer.partial();
                }
            }
        }
    }
}

/// Where in HTTP/2's frames a connection stands (RFC 9113 sections 4.1 and 6.10). Payloads are skipped, not looked at.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; 9],
    filled: usize,
    payload_left: usize,
    headers_open: bool,
}

const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;

impl Frames {
    fn received(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let skipped = self.payload_left.min(bytes.len());
                self.payload_left -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let wanted = (self.head.len() - self.filled).min(bytes.len());
            self.head[self.filled..self.filled + wanted].copy_from_slice(&bytes[..wanted]);
            self.filled += wanted;
            bytes = &bytes[wanted..];
            if self.filled == self.head.len() {
                self.filled = 0;
                let [a, b, c, kind, flags, ..] = self.head;
                self.payload_left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                if kind == HEADERS || kind == CONTINUATION {
                    self.headers_open = flags & END_HEADERS == 0;
                }
            }
        }
    }

    /// Whether nothing is begun and unfinished.
    fn between(&self) -> bool {
        self.filled == 0 && self.payload_left == 0 && !self.headers_open
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for MonitoredStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(cx, buf);
        let bytes = &buf.filled()[before..];
        if !bytes.is_empty() {
            this.reading.received(bytes, &this.timer);
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> MonitoredStream<T> {
    /// Whether a write has to wait until the tasks that are ready have run. The streams of an HTTP/2 connection are tasks that wake the
    /// connection one after the other; writing at each wake would be a system call for each of them, so the first write after a flush lets
    /// the others add theirs.
    fn waits(&mut self, cx: &Context<'_>) -> bool {
        if self.waited || !matches!(self.reading, Reading::Frames(_)) {
            return false;
        }
        self.waited = true;
        // A task that wakes itself goes behind all others.
        cx.waker().wake_by_ref();
        true
    }

    fn noted<R>(&self, polled: Poll<R>) -> Poll<R> {
        if polled.is_pending() {
            self.timer.blocked();
        } else {
            self.timer.flowing();
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for MonitoredStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.waits(cx) {
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.noted(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.waits(cx) {
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.noted(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.waited &= polled.is_pending();
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::*;
    use crate::connection_timeouts::ConnectionTimers;

    #[test]
    fn frames_are_told_apart_however_they_are_cut() {
        let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        let headers = [0, 0, 2, HEADERS, 0, 0, 0, 0, 1, 0, 0];
        let rest = [0, 0, 1, CONTINUATION, END_HEADERS, 0, 0, 0, 1, 0];
        let all: Vec<u8> = [&ping[..], &headers, &rest, &ping].concat();
        let whole_after = [17, 17 + 11 + 10, 17 + 11 + 10 + 17];
        for piece in 1..=all.len() {
            let mut frames = Frames::default();
            let mut at = 0;
            for chunk in all.chunks(piece) {
                frames.received(chunk);
                at += chunk.len();
                assert_eq!(
                    frames.between(),
                    whole_after.contains(&at),
                    "after {at} bytes in pieces of {piece}"
                );
            }
        }
    }

    #[test]
    fn http2_writes_once_behind_the_tasks_that_are_ready() {
        struct Wakes(AtomicUsize);
        impl Wake for Wakes {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let wakes = Arc::new(Wakes(AtomicUsize::new(0)));
        let waker = Waker::from(wakes.clone());
        let mut cx = Context::from_waker(&waker);
        let timers = ConnectionTimers::new();
        let entry = timers.start();
        let mut stream = MonitoredStream::http(Vec::new(), entry.timer.clone());
        let mut write = |stream: &mut MonitoredStream<Vec<u8>>| {
            let written = Pin::new(&mut *stream).poll_write(&mut cx, b"ab");
            let flushed = Pin::new(stream).poll_flush(&mut cx);
            (written.is_ready(), flushed.is_ready())
        };
        assert_eq!(write(&mut stream), (true, true), "not HTTP/2 yet");
        stream.reading = Reading::Frames(Frames::default());
        for wakes_before in 0..2 {
            assert_eq!(wakes.0.load(Ordering::Relaxed), wakes_before);
            let mut cx = Context::from_waker(&waker);
            let first = Pin::new(&mut stream).poll_write(&mut cx, b"ab");
            assert!(first.is_pending(), "others first");
            assert_eq!(wakes.0.load(Ordering::Relaxed), wakes_before + 1);
            for _ in 0..2 {
                let next = Pin::new(&mut stream).poll_write(&mut cx, b"ab");
                assert!(next.is_ready(), "once a flush");
            }
            assert!(Pin::new(&mut stream).poll_flush(&mut cx).is_ready());
        }
        assert_eq!(stream.io.len(), 2 + 2 * 4);
    }
}
