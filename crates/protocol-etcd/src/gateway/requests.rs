//! The messages of a request's body, which is one JSON value after the other.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as _, Frame};
use portolan_listener::{BodyError, RequestBody};

use super::{
    decode,
    scan::{Scanned, Scanner},
};
use crate::{RECEIVE_BYTES, wire::shape::MessageShape};

/// Flag and length in front of a message.
const PREFIX: usize = 5;

/// Why there is no message.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is no JSON, or does not say what the message says.
    Meaning(String),
    /// The message has this many bytes.
    TooLarge(usize),
    /// It did not arrive.
    Body(BodyError),
}

/// Reads values from a body as they come, and gives messages as gRPC frames them.
#[derive(Debug)]
pub(super) struct JsonMessages {
    body: RequestBody,
    shape: &'static MessageShape,
    scanner: Scanner,
    /// What has come and is not used up; the scanner has seen `scanned` of it.
    buffer: BytesMut,
    scanned: usize,
    ended: bool,
}

impl JsonMessages {
    pub(super) fn new(body: RequestBody, shape: &'static MessageShape) -> JsonMessages {
        JsonMessages {
            body,
            shape,
            scanner: Scanner::new(),
            buffer: BytesMut::new(),
            scanned: 0,
            ended: false,
        }
    }

    /// The next message, framed; `None` when there is nothing more.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Unread> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Reads what is left of the body, and does not look at it.
    pub(super) async fn pass(&mut self) -> Result<(), Unread> {
        self.buffer.clear();
        pass(&mut self.body).await
    }

    /// A body of the messages from here on, with one in front.
    pub(super) fn after(self, first: Bytes) -> Following {
        Following {
            first: Some(first),
            messages: Some(self),
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Unread>> {
        loop {
            let fresh = &self.buffer[self.scanned..];
            let scanned = match self.scanner.push(fresh).map_err(Unread::Meaning)? {
                Scanned::More if self.ended => match self.scanner.end().map_err(Unread::Meaning)? {
                    None => return Poll::Ready(Ok(None)),
                    Some(scanned) => scanned,
                },
                other => other,
            };
            self.scanned = self.buffer.len();
            if let Scanned::Value { start, end } = scanned {
                return Poll::Ready(self.take(start, end).map(Some));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => self.ended = true,
                Some(Err(error)) => return Poll::Ready(Err(Unread::Body(error))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    fn take(&mut self, start: usize, end: usize) -> Result<Bytes, Unread> {
        let value = self.buffer.split_to(end);
        self.scanner = Scanner::new();
        self.scanned = 0;
        let mut out = vec![0; PREFIX];
        decode::message(&value[start..], self.shape, &mut out).map_err(Unread::Meaning)?;
        let length = out.len() - PREFIX;
        if length > RECEIVE_BYTES {
            return Err(Unread::TooLarge(length));
        }
        // Bounded just now.
        out[1..PREFIX].copy_from_slice(&(length as u32).to_be_bytes());
        Ok(out.into())
    }
}

/// Reads what is left of a body, within its bounds, and does not look at it.
pub(super) async fn pass(body: &mut RequestBody) -> Result<(), Unread> {
    while let Some(frame) = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
        frame.map_err(Unread::Body)?;
    }
    Ok(())
}

/// An empty message, framed.
pub(super) fn nothing() -> Bytes {
    Bytes::from_static(&[0; PREFIX])
}

/// Messages as the body of a gRPC call. One that cannot be read ends them, as in etcd: the call goes on without further requests.
pub(super) struct Following {
    first: Option<Bytes>,
    /// None when they have ended.
    messages: Option<JsonMessages>,
}

impl hyper::body::Body for Following {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Some(messages) = &mut self.messages else {
            return Poll::Ready(None);
        };
        match ready!(messages.poll_next(context)) {
            Ok(Some(message)) => Poll::Ready(Some(Ok(Frame::data(message)))),
            ended => {
                if let Err(unread) = ended {
                    tracing::debug!(?unread, "requests of a stream end in the middle");
                }
                self.messages = None;
                Poll::Ready(None)
            }
        }
    }
}
