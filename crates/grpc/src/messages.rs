//! The messages of one request, as they come.

use std::{
    future::{Future, poll_fn},
    io::Read,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use hyper::body::Body as _;
use portolan_listener::{BodyError, RequestBody};
use prost::Message;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    answer::PREFIX,
    head::Head,
    status::{Code, Status},
};

/// A sender of at least so many bytes each second is not slow.
const BYTES_PER_SECOND: usize = 16 << 10;

/// What bounds the messages of a call.
#[derive(Clone, Copy, Debug)]
pub struct MessageLimits {
    /// Bytes of one message, unpacked. A larger one ends the call with `RESOURCE_EXHAUSTED`.
    pub bytes: usize,
    /// Time for a message that has begun, plus one second per 16 KiB of it:
    /// [`Limits::body_timeout`](portolan_listener::Limits::body_timeout).
    pub patience: Duration,
}

/// Reads the messages of a call within its [`MessageLimits`].
#[derive(Debug)]
pub struct Messages {
    body: RequestBody,
    /// Received and not yet decoded.
    buffer: Bytes,
    /// Messages may be packed with gzip.
    packed: bool,
    ended: bool,
    limits: MessageLimits,
    /// Since when a message is waited for, and the timer. Only while one is late.
    late: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Messages {
    /// The messages of `body`, of the call that `head` is of.
    pub fn new(body: RequestBody, head: &Head, limits: MessageLimits) -> Messages {
        Messages {
            body,
            buffer: Bytes::new(),
            packed: head.packed,
            ended: false,
            limits,
            late: None,
        }
    }

    /// The next message; `None` when the client has finished sending. Waits for ever for one to begin. Safe to drop half-way.
    pub async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, Status> {
        poll_fn(|cx| self.poll_next(cx, false)).await
    }

    /// The one message of a request that has one, which has to come in time.
    pub async fn only<M: Message + Default>(&mut self) -> Result<M, Status> {
        poll_fn(|cx| self.poll_next(cx, true))
            .await?
            .ok_or(Status::new(
                Code::Internal,
                "grpc: a request without a message",
            ))
    }

    /// Whether a whole message is here already.
    pub fn has_next(&self) -> bool {
        self.announced()
            .is_some_and(|length| self.buffer.len() - PREFIX >= length)
    }

    fn poll_next<M: Message + Default>(
        &mut self,
        cx: &mut Context<'_>,
        expected: bool,
    ) -> Poll<Result<Option<M>, Status>> {
        loop {
            if let Some(message) = self.take()? {
                self.late = None;
                return Poll::Ready(
                    M::decode(message)
                        .map(Some)
                        .map_err(|error| undecodable(&error)),
                );
            }
            if self.ended {
                return Poll::Ready(if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(Status::new(
                        Code::Internal,
                        "grpc: the request ended in the middle of a message",
                    ))
                });
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.append(data);
                    }
                }
                Poll::Ready(Some(Err(BodyError::TooLarge { limit }))) => {
                    return Poll::Ready(Err(too_large(limit, self.limits.bytes)));
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(Status::saying(
                        Code::Cancelled,
                        format!("the request was not read: {error}"),
                    )));
                }
                Poll::Ready(None) => self.ended = true,
                Poll::Pending if expected || !self.buffer.is_empty() => {
                    ready!(self.poll_late(cx));
                    return Poll::Ready(Err(Status::new(
                        Code::Cancelled,
                        "the request did not arrive in time",
                    )));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Ready when the message that is waited for has taken too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let bytes = self.announced().unwrap_or(0);
        let allowed = self.limits.patience + Duration::from_secs((bytes / BYTES_PER_SECOND) as u64);
        let (since, timer) = self.late.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(sleep_until(now + allowed)))
        });
        let due = *since + allowed;
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx)
    }

    /// Bytes of the next message, once its prefix is here.
    fn announced(&self) -> Option<usize> {
        let length = self.buffer.get(1..PREFIX)?;
        Some(
            length
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
        )
    }

    fn take(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(length) = self.announced() else {
            return Ok(None);
        };
        let packed = match self.buffer[0] {
            0 => false,
            1 if self.packed => true,
            1 => {
                return Err(Status::new(
                    Code::Internal,
                    "grpc: compressed flag set with identity or empty encoding",
                ));
            }
            other => {
                return Err(Status::saying(
                    Code::Internal,
                    format!("grpc: received unexpected payload format {other}"),
                ));
            }
        };
        if length > self.limits.bytes {
            return Err(too_large(length, self.limits.bytes));
        }
        if self.buffer.len() - PREFIX < length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        let message = self.buffer.split_to(length);
        if packed {
            unpack(&message, self.limits.bytes).map(Some)
        } else {
            Ok(Some(message))
        }
    }

    fn append(&mut self, data: Bytes) {
        if self.buffer.is_empty() {
            self.buffer = data;
            return;
        }
        // A message in several frames. What is announced saves growing in steps, but is not believed far ahead of what has come.
        let announced = self.announced().map_or(0, |length| PREFIX + length);
        let announced = announced.min(4 * (self.buffer.len() + data.len()));
        let mut joined = match std::mem::take(&mut self.buffer).try_into_mut() {
            Ok(buffer) => buffer,
            Err(buffer) => {
                let mut joined = BytesMut::with_capacity(announced.max(buffer.len() + data.len()));
                joined.put(buffer);
                joined
            }
        };
        joined.put(data);
        self.buffer = joined.freeze();
    }
}

/// Stops one byte after the bound, however much more there would be.
fn unpack(message: &[u8], limit: usize) -> Result<Bytes, Status> {
    let mut out = Vec::new();
    MultiGzDecoder::new(message)
        .take(limit as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|error| {
            Status::saying(
                Code::Internal,
                format!("grpc: failed to decompress the message: {error}"),
            )
        })?;
    if out.len() > limit {
        return Err(Status::saying(
            Code::ResourceExhausted,
            format!("grpc: received message after decompression larger than max {limit}"),
        ));
    }
    Ok(out.into())
}

fn too_large(length: usize, limit: usize) -> Status {
    Status::saying(
        Code::ResourceExhausted,
        format!("grpc: received message larger than max ({length} vs. {limit})"),
    )
}

/// What is said of bytes that are no message.
fn undecodable(error: &prost::DecodeError) -> Status {
    let text = error.to_string();
    if text.ends_with("recursion limit reached") {
        // The decoder's own bound.
        return Status::new(
            Code::InvalidArgument,
            "grpc: the request holds more than 100 messages in each other, which is as deep as is read",
        );
    }
    Status::saying(
        Code::Internal,
        format!("grpc: failed to decode the request: {text}"),
    )
}
