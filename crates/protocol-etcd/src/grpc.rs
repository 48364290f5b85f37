//! gRPC over HTTP/2 requests and answers: length-prefixed messages in, the same and trailers out.
//!
//! Written out instead of taken from a library, for the hot path's sake: a message that arrived in one piece is decoded where it lies, an
//! answer is one allocation, and every call goes through the listener's router like any other request.
//!
//! Invariants
//! - A message is never larger than the bound it is read with; the length is believed only after it was compared.
//! - Whatever is wrong with a request is a status, never a panic.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use hyper::body::{Body as _, Frame};
use portolan_listener::{Body, BodyError, BoxError, RequestBody, Response};
use prost::Message;

use crate::error::{Code, Failure};

/// Flag and length in front of every message.
const PREFIX: usize = 5;
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// The messages of one request, as they come.
#[derive(Debug)]
pub(crate) struct Messages {
    body: RequestBody,
    /// Received and not yet decoded.
    buffer: Bytes,
    /// The bound on one message.
    largest: usize,
    ended: bool,
}

impl Messages {
    /// Reads messages of at most `largest` bytes.
    pub(crate) fn new(body: RequestBody, largest: usize) -> Messages {
        Messages {
            body,
            buffer: Bytes::new(),
            largest,
            ended: false,
        }
    }

    /// The next message; `None` when the client has finished sending. Safe to drop half-way.
    pub(crate) async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, Failure> {
        loop {
            if let Some(message) = self.take()? {
                return M::decode(message).map(Some).map_err(|error| {
                    Failure::saying(
                        Code::Internal,
                        format!("grpc: failed to decode the request: {error}"),
                    )
                });
            }
            if self.ended {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(Failure::new(
                        Code::Internal,
                        "grpc: the request ended in the middle of a message",
                    ))
                };
            }
            match poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.append(data);
                    }
                }
                Some(Err(BodyError::TooLarge { limit })) => return Err(too_large(limit, limit)),
                Some(Err(error)) => {
                    return Err(Failure::saying(
                        Code::Cancelled,
                        format!("the request was not read: {error}"),
                    ));
                }
                None => self.ended = true,
            }
        }
    }

    /// The one message of a request that has one.
    pub(crate) async fn only<M: Message + Default>(&mut self) -> Result<M, Failure> {
        self.next().await?.ok_or(Failure::new(
            Code::Internal,
            "grpc: a request without a message",
        ))
    }

    /// As [`Messages::only`], if that is decided already.
    pub(crate) async fn only_here<M: Message + Default>(&mut self) -> Option<Result<M, Failure>> {
        poll_fn(|context| {
            let only = pin!(self.only::<M>());
            Poll::Ready(match only.poll(context) {
                Poll::Ready(message) => Some(message),
                Poll::Pending => None,
            })
        })
        .await
    }

    /// Whether a whole message is here already.
    pub(crate) fn has_next(&self) -> bool {
        self.buffer.len() >= PREFIX && self.buffer.len() - PREFIX >= self.announced()
    }

    fn announced(&self) -> usize {
        u32::from_be_bytes([
            self.buffer[1],
            self.buffer[2],
            self.buffer[3],
            self.buffer[4],
        ]) as usize
    }

    fn take(&mut self) -> Result<Option<Bytes>, Failure> {
        if self.buffer.len() < PREFIX {
            return Ok(None);
        }
        if self.buffer[0] != 0 {
            return Err(Failure::new(
                Code::Unimplemented,
                "grpc: compressed messages are not supported; send them as they are",
            ));
        }
        let length = self.announced();
        if length > self.largest {
            return Err(too_large(length, self.largest));
        }
        if self.buffer.len() - PREFIX < length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        Ok(Some(self.buffer.split_to(length)))
    }

    fn append(&mut self, data: Bytes) {
        if self.buffer.is_empty() {
            self.buffer = data;
            return;
        }
        // A message in several frames. What is announced saves growing in steps, but is not believed far ahead of what has come.
        let known = self.buffer.len() >= PREFIX;
        let announced = if known { PREFIX + self.announced() } else { 0 };
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

fn too_large(length: usize, limit: usize) -> Failure {
    Failure::saying(
        Code::ResourceExhausted,
        format!("grpc: received message larger than max ({length} vs. {limit})"),
    )
}

/// Appends a message with its prefix, encoded by `encode` into exactly `length` bytes.
pub(crate) fn frame_into(buffer: &mut BytesMut, length: usize, encode: impl FnOnce(&mut BytesMut)) {
    buffer.reserve(PREFIX + length);
    let end = buffer.len() + PREFIX + length;
    buffer.put_u8(0);
    buffer.put_u32(length as u32);
    encode(buffer);
    debug_assert_eq!(buffer.len(), end);
}

/// A message with its prefix, encoded by `encode` into exactly `length` bytes.
pub(crate) fn framed(length: usize, encode: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut buffer = BytesMut::with_capacity(PREFIX + length);
    frame_into(&mut buffer, length, encode);
    buffer.freeze()
}

/// A message with its prefix.
pub(crate) fn frame(message: &impl Message) -> Bytes {
    framed(message.encoded_len(), |buffer| message.encode_raw(buffer))
}

/// The answer to a call with one reply, already framed.
pub(crate) fn unary(reply: Result<Bytes, Failure>) -> Response {
    match reply {
        Ok(message) => answer(Body::new(Unary {
            message: Some(message),
            trailers: true,
        })),
        Err(failure) => {
            // Nothing was sent yet, so the status can ride in the headers.
            let mut response = answer(Body::empty());
            *response.headers_mut() = trailers(&failure);
            response.headers_mut().insert(CONTENT_TYPE, GRPC);
            response
        }
    }
}

/// The answer to a call with many replies: framed messages until `None`, or until a failure ends it.
///
/// The pieces are asked for only when the connection can take them: a client that does not read is not written for.
pub(crate) fn streaming<S, F, N>(state: S, next: F) -> Response
where
    S: Send + Unpin + 'static,
    F: Fn(S) -> N + Send + Unpin + 'static,
    N: Future<Output = Option<(Result<Bytes, Failure>, S)>> + Send + 'static,
{
    answer(Body::new(Streaming {
        next,
        step: Step::Ready(Some(state)),
    }))
}

fn answer(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

fn trailers(failure: &Failure) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(3);
    headers.insert("grpc-status", HeaderValue::from(failure.code as u16));
    if !failure.text.is_empty()
        && let Ok(text) = HeaderValue::try_from(escaped(&failure.text))
    {
        headers.insert("grpc-message", text);
    }
    headers
}

/// The text of a status as a header carries it: everything outside of printable ASCII, and `%`, by its hexadecimal bytes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | 0..=0x1f | 0x7f.. => {
                use std::fmt::Write;
                let _ = write!(out, "%{byte:02X}");
            }
            _ => out.push(byte as char),
        }
    }
    out
}

/// One message, then the trailers of success.
struct Unary {
    message: Option<Bytes>,
    trailers: bool,
}

impl hyper::body::Body for Unary {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(message) = self.message.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        Poll::Ready(std::mem::take(&mut self.trailers).then(|| Ok(Frame::trailers(fine()))))
    }

    fn is_end_stream(&self) -> bool {
        !self.trailers
    }
}

fn fine() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(1);
    headers.insert("grpc-status", HeaderValue::from_static("0"));
    headers
}

struct Streaming<S, F, N> {
    next: F,
    step: Step<S, N>,
}

enum Step<S, N> {
    Ready(Option<S>),
    Waiting(Pin<Box<N>>),
    Ended,
}

impl<S, F, N> hyper::body::Body for Streaming<S, F, N>
where
    S: Send + Unpin + 'static,
    F: Fn(S) -> N + Send + Unpin + 'static,
    N: Future<Output = Option<(Result<Bytes, Failure>, S)>> + Send + 'static,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            match &mut this.step {
                Step::Ready(state) => {
                    let Some(state) = state.take() else {
                        return Poll::Ready(None);
                    };
                    this.step = Step::Waiting(Box::pin((this.next)(state)));
                }
                Step::Waiting(future) => {
                    let Poll::Ready(output) = future.as_mut().poll(cx) else {
                        return Poll::Pending;
                    };
                    let (frame, step) = match output {
                        Some((Ok(message), state)) => {
                            (Frame::data(message), Step::Ready(Some(state)))
                        }
                        Some((Err(failure), _)) => {
                            (Frame::trailers(trailers(&failure)), Step::Ended)
                        }
                        None => (Frame::trailers(fine()), Step::Ended),
                    };
                    this.step = step;
                    return Poll::Ready(Some(Ok(frame)));
                }
                Step::Ended => return Poll::Ready(None),
            }
        }
    }
}
