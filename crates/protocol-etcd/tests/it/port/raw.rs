//! gRPC by hand: requests that no client library would send, and everything that comes back.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{BufMut, Bytes};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use hyper_util::{client::legacy::Client as Http, rt::TokioExecutor};
use prost::Message;

use super::super::support::Server;

/// A request's body: these bytes, and then its end, or nothing more for ever.
pub(super) struct Sent {
    pub(super) bytes: Option<Bytes>,
    pub(super) open: bool,
}

impl Sent {
    pub(super) fn all(bytes: impl Into<Bytes>) -> Sent {
        Sent {
            bytes: Some(bytes.into()),
            open: false,
        }
    }

    pub(super) fn begun(bytes: &'static [u8]) -> Sent {
        Sent {
            bytes: Some(Bytes::from_static(bytes)),
            open: true,
        }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.bytes.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None if self.open => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

/// What came back.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) http: u16,
    pub(super) kind: String,
    pub(super) encoding: Option<String>,
    pub(super) data: Bytes,
    /// `grpc-status`, from the head or from the trailers; empty without.
    pub(super) status: String,
    pub(super) message: String,
    /// The status came in the head.
    pub(super) at_once: bool,
}

/// A message behind its prefix.
pub(super) fn framed(flag: u8, message: &[u8]) -> Bytes {
    let mut out = vec![flag];
    out.put_u32(message.len() as u32);
    out.put_slice(message);
    out.into()
}

/// A message as it is.
pub(super) fn plain(message: &impl Message) -> Bytes {
    framed(0, &message.encode_to_vec())
}

/// Posts to a method as gRPC clients do, with further headers; an empty value leaves a header away.
pub(super) async fn post(
    server: &Server,
    path: &str,
    headers: &[(&str, &str)],
    body: Sent,
) -> Answer {
    ask(&server.url, "POST", path, headers, body).await
}

/// As [`post`], with any method.
pub(super) async fn ask(
    url: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Sent,
) -> Answer {
    let client: Http<_, Sent> = Http::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let mut request = http::Request::builder()
        .method(method)
        .uri(format!("{url}{path}"))
        .body(body)
        .unwrap();
    request
        .headers_mut()
        .insert("content-type", "application/grpc".parse().unwrap());
    for (name, value) in headers {
        let name: http::HeaderName = name.parse().unwrap();
        if value.is_empty() {
            request.headers_mut().remove(&name);
        } else {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
    }
    let response = tokio::time::timeout(Duration::from_secs(10), client.request(request))
        .await
        .expect("an answer in time")
        .expect("an answer");
    let text = |headers: &http::HeaderMap, name: &str| {
        let value = headers.get(name);
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    let (head, body) = response.into_parts();
    let body = tokio::time::timeout(Duration::from_secs(10), body.collect())
        .await
        .expect("the end in time")
        .expect("the end");
    let none = http::HeaderMap::new();
    let trailers = body.trailers().unwrap_or(&none);
    let either = |name| text(&head.headers, name).or_else(|| text(trailers, name));
    Answer {
        http: head.status.as_u16(),
        kind: text(&head.headers, "content-type").unwrap_or_default(),
        encoding: text(&head.headers, "grpc-encoding"),
        status: either("grpc-status").unwrap_or_default(),
        message: either("grpc-message").unwrap_or_default(),
        at_once: head.headers.contains_key("grpc-status"),
        data: body.to_bytes(),
    }
}
