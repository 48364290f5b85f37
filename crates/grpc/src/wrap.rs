//! What is put around an answer for a call that asked for more than most do.

use std::{
    future::Future,
    io::Write,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderValue, header::CONTENT_TYPE};
use hyper::body::Frame;
use portolan_listener::{Body, BoxError, Response};

use crate::{
    answer::{ENCODING, PREFIX, STATUS, trailers},
    head::Head,
    status::Status,
};

/// Why an answer ends before its end: resolves when it does.
pub type Ending = Pin<Box<dyn Future<Output = Status> + Send>>;

impl Head {
    /// Gives an answer the form that the call asked for. `ending` ends it early.
    pub fn wrap(&self, mut response: Response, ending: Option<Ending>) -> Response {
        if let Some(kind) = &self.named {
            response.headers_mut().insert(CONTENT_TYPE, kind.clone());
        }
        // A status in the headers: there is nothing else to come.
        if response.headers().contains_key(&STATUS) {
            return response;
        }
        if let Some(ending) = ending {
            response = response.map(|body| {
                Body::new(Ended {
                    body,
                    ending: Some(ending),
                })
            });
        }
        if self.packed {
            response
                .headers_mut()
                .insert(ENCODING, HeaderValue::from_static("gzip"));
            response = response.map(|body| Body::new(Packed { body }));
        }
        response
    }
}

/// An answer that something may end.
struct Ended {
    body: Body,
    /// None when it is over.
    ending: Option<Ending>,
}

impl hyper::body::Body for Ended {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(ending) = &mut this.ending else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(failure) = ending.as_mut().poll(cx) {
            this.ending = None;
            // What is left of the answer holds feeds and a request: it goes now.
            this.body = Body::empty();
            return Poll::Ready(Some(Ok(Frame::trailers(trailers(&failure)))));
        }
        Pin::new(&mut this.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.ending.is_none() || self.body.is_end_stream()
    }
}

/// An answer whose messages are packed one by one. Its frames carry whole messages, as all of ours do.
struct Packed {
    body: Body,
}

impl hyper::body::Body for Packed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body)
            .poll_frame(cx)
            .map_ok(|frame| match frame.into_data() {
                Ok(messages) => Frame::data(pack(messages)),
                Err(trailers) => trailers,
            })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// Packs each of some framed messages.
fn pack(mut messages: Bytes) -> Bytes {
    let mut out = BytesMut::with_capacity(messages.len() / 2 + 64);
    while messages.len() >= PREFIX {
        messages.advance(1);
        let length = messages.get_u32() as usize;
        let message = messages.split_to(length.min(messages.len()));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        // Writing to a `Vec` does not fail.
        let _ = encoder.write_all(&message);
        let packed = encoder.finish().unwrap_or_default();
        // A message that packing would not make smaller leaves as it is.
        let (flag, payload) = if packed.len() < message.len() {
            (1, &packed[..])
        } else {
            (0, &message[..])
        };
        out.reserve(PREFIX + payload.len());
        out.put_u8(flag);
        out.put_u32(payload.len() as u32);
        out.put_slice(payload);
    }
    out.freeze()
}
