//! Bodies on their way: requests to endpoints, answers to clients. Streamed, never held as a whole.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// How far a request's body is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Parts that went through.
    pub(crate) frames: Cell<u64>,
    pub(crate) bytes: Cell<u64>,
    /// Somebody began to read it: it cannot be sent again.
    pub(crate) begun: Cell<bool>,
    /// It is through.
    pub(crate) done: Cell<bool>,
    /// The client broke it off, or what came is no body.
    pub(crate) broken: Cell<bool>,
}

/// The body of a request to an endpoint.
#[derive(Debug)]
pub(crate) enum Outbound {
    /// None.
    Empty,
    /// Already there as a whole.
    Whole(Bytes),
    /// As it comes.
    Streamed(Incoming, Rc<Progress>),
}

type Error = Box<dyn std::error::Error + Send + Sync>;

impl Body for Outbound {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut *self {
            Outbound::Empty => Poll::Ready(None),
            Outbound::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Outbound::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Outbound::Streamed(body, progress) => {
                progress.begun.set(true);
                let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
                progress.frames.set(progress.frames.get() + 1);
                Poll::Ready(match frame {
                    None => {
                        progress.done.set(true);
                        None
                    }
                    Some(Err(error)) => {
                        progress.broken.set(true);
                        Some(Err(error.into()))
                    }
                    Some(Ok(frame)) => {
                        let count = frame.data_ref().map_or(0, Bytes::len) as u64;
                        progress.bytes.set(progress.bytes.get() + count);
                        if body.is_end_stream() {
                            progress.done.set(true);
                        }
                        Some(Ok(frame))
                    }
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Outbound::Empty => true,
            Outbound::Whole(bytes) => bytes.is_empty(),
            Outbound::Streamed(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Outbound::Empty => SizeHint::with_exact(0),
            Outbound::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Outbound::Streamed(body, _) => body.size_hint(),
        }
    }
}

/// What has to be done when an answer is through, or given up.
pub(crate) trait Finish {
    /// The whole body went through.
    fn through(self: Box<Self>, bytes: u64);
    /// It did not: the client went, or the endpoint broke it off.
    fn broken(self: Box<Self>, bytes: u64);
}

/// The body of an answer to a client.
pub(crate) enum Answer {
    /// Our own.
    Own(Bytes, Option<Box<dyn Finish>>),
    /// An endpoint's.
    Streamed {
        body: Incoming,
        bytes: u64,
        finish: Option<Box<dyn Finish>>,
    },
}

impl Answer {
    /// An endpoint's answer, with what is to be done when it is through.
    pub(crate) fn streamed(body: Incoming, finish: Box<dyn Finish>) -> Answer {
        let mut answer = Answer::Streamed {
            body,
            bytes: 0,
            finish: Some(finish),
        };
        if answer.is_end_stream() {
            answer.over(true);
        }
        answer
    }

    fn over(&mut self, through: bool) {
        let (finish, bytes) = match self {
            Answer::Own(_, finish) => (finish.take(), 0),
            Answer::Streamed { finish, bytes, .. } => (finish.take(), *bytes),
        };
        match finish {
            Some(finish) if through => finish.through(bytes),
            Some(finish) => finish.broken(bytes),
            None => {}
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let through = matches!(self, Answer::Own(..));
        self.over(through);
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        match this {
            Answer::Own(bytes, _) if bytes.is_empty() => Poll::Ready(None),
            Answer::Own(bytes, _) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Answer::Streamed { body, bytes, .. } => {
                let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
                match frame {
                    None => {
                        this.over(true);
                        Poll::Ready(None)
                    }
                    Some(Err(error)) => {
                        this.over(false);
                        Poll::Ready(Some(Err(error.into())))
                    }
                    Some(Ok(frame)) => {
                        *bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                        if body.is_end_stream() {
                            this.over(true);
                        }
                        Poll::Ready(Some(Ok(frame)))
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Own(bytes, _) => bytes.is_empty(),
            Answer::Streamed { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Own(bytes, _) => SizeHint::with_exact(bytes.len() as u64),
            Answer::Streamed { body, .. } => body.size_hint(),
        }
    }
}
