//! Answers: framed messages, then a status in the trailers.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE};
use hyper::body::Frame;
use portolan_listener::{Body, BoxError, Response};
use prost::Message;

use crate::status::Status;

/// Flag and length in front of every message.
pub(crate) const PREFIX: usize = 5;
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
pub(crate) const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
pub(crate) const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// Appends a message with its prefix, encoded by `encode` into exactly `length` bytes.
pub fn frame_into(buffer: &mut BytesMut, length: usize, encode: impl FnOnce(&mut BytesMut)) {
    buffer.reserve(PREFIX + length);
    let end = buffer.len() + PREFIX + length;
    buffer.put_u8(0);
    buffer.put_u32(length as u32);
    encode(buffer);
    debug_assert_eq!(buffer.len(), end);
}

/// A message with its prefix, encoded by `encode` into exactly `length` bytes.
pub fn framed(length: usize, encode: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut buffer = BytesMut::with_capacity(PREFIX + length);
    frame_into(&mut buffer, length, encode);
    buffer.freeze()
}

/// A message with its prefix.
pub fn frame(message: &impl Message) -> Bytes {
    framed(message.encoded_len(), |buffer| message.encode_raw(buffer))
}

/// The answer to a call with one reply, already framed.
pub fn unary(reply: Result<Bytes, impl Into<Status>>) -> Response {
    match reply {
        Ok(message) => answer(Body::new(Unary {
            message: Some(message),
            trailers: true,
        })),
        Err(failure) => refused(StatusCode::OK, &failure.into()),
    }
}

/// A failure before anything else was sent: its status rides in the headers. gRPC knows no HTTP status but 200, except for what is not
/// gRPC at all.
pub fn refused(status: StatusCode, failure: &Status) -> Response {
    let mut response = answer(Body::empty());
    *response.status_mut() = status;
    status_into(response.headers_mut(), failure);
    response
}

/// The answer to a call with many replies: framed messages until `None`, or until a failure ends it.
///
/// The pieces are asked for only when the connection can take them: a client that does not read is not written for.
pub fn streaming<S, E, F, N>(state: S, next: F) -> Response
where
    S: Send + Unpin + 'static,
    E: Into<Status> + 'static,
    F: Fn(S) -> N + Send + Unpin + 'static,
    N: Future<Output = Option<(Result<Bytes, E>, S)>> + Send + 'static,
{
    answer(Body::new(Streaming {
        next,
        step: Step::Ready(state),
        future: None,
    }))
}

fn answer(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

pub(crate) fn trailers(failure: &Status) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(2);
    status_into(&mut headers, failure);
    headers
}

fn status_into(headers: &mut HeaderMap, failure: &Status) {
    headers.insert(STATUS, HeaderValue::from(failure.code as u16));
    if !failure.text.is_empty()
        && let Ok(text) = HeaderValue::try_from(escaped(&failure.text))
    {
        headers.insert(MESSAGE, text);
    }
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
    headers.insert(STATUS, HeaderValue::from_static("0"));
    headers
}

struct Streaming<S, F, N> {
    next: F,
    step: Step<S>,
    /// The future of the piece under way; its place is used again for the next one.
    future: Option<Pin<Box<N>>>,
}

enum Step<S> {
    Ready(S),
    Waiting,
    Ended,
}

impl<S, E, F, N> hyper::body::Body for Streaming<S, F, N>
where
    S: Send + Unpin + 'static,
    E: Into<Status> + 'static,
    F: Fn(S) -> N + Send + Unpin + 'static,
    N: Future<Output = Option<(Result<Bytes, E>, S)>> + Send + 'static,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            match std::mem::replace(&mut this.step, Step::Ended) {
                Step::Ready(state) => {
                    let piece = (this.next)(state);
                    match &mut this.future {
                        Some(place) => place.set(piece),
                        none => *none = Some(Box::pin(piece)),
                    }
                    this.step = Step::Waiting;
                }
                Step::Waiting => {
                    let Some(future) = &mut this.future else {
                        return Poll::Ready(None);
                    };
                    let Poll::Ready(output) = future.as_mut().poll(cx) else {
                        this.step = Step::Waiting;
                        return Poll::Pending;
                    };
                    let frame = match output {
                        Some((Ok(message), state)) => {
                            this.step = Step::Ready(state);
                            Frame::data(message)
                        }
                        Some((Err(failure), _)) => Frame::trailers(trailers(&failure.into())),
                        None => Frame::trailers(fine()),
                    };
                    return Poll::Ready(Some(Ok(frame)));
                }
                Step::Ended => return Poll::Ready(None),
            }
        }
    }
}
