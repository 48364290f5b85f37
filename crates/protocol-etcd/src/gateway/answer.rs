//! Answers of gRPC methods as those of the gateway.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use hyper::body::Frame;
use percent_encoding::percent_decode_str;
use portolan_grpc::{Code, Status};
use portolan_listener::{Body, BoxError, Response};

use super::encode;
use crate::wire::shape::MessageShape;

/// Flag and length in front of a message.
const PREFIX: usize = 5;

/// The answer of a method with one reply.
pub(super) async fn one(response: Response, shape: &'static MessageShape) -> Response {
    if let Some(status) = status(response.headers()) {
        return failed(&status);
    }
    let mut body = response.into_body();
    let mut json = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return failed(&Status::new(Code::Internal, "the answer broke off"));
        };
        match frame.into_data() {
            Ok(messages) => {
                for message in each(messages) {
                    json.reserve(message.len() * 2);
                    encode::message(&message, shape, &mut json);
                }
            }
            Err(frame) => {
                if let Some(status) = frame.trailers_ref().and_then(status) {
                    return failed(&status);
                }
            }
        }
    }
    succeeded(json)
}

/// The answer of a method with many replies: `{"result":...}` and a line's end for each.
pub(super) fn lines(response: Response, shape: &'static MessageShape) -> Response {
    if let Some(status) = status(response.headers()) {
        let mut json = Vec::new();
        failure_line(&status, &mut json);
        return with_status(http_status(status.code), json);
    }
    succeeded(Body::new(Lines {
        body: Some(response.into_body()),
        shape,
    }))
}

/// What went wrong, as every generation of etcd's gateway says it.
pub(super) fn failed(status: &Status) -> Response {
    let mut json = b"{\"error\":".to_vec();
    encode::text(&status.text, &mut json);
    json.extend_from_slice(format!(",\"code\":{},\"message\":", status.code as u16).as_bytes());
    encode::text(&status.text, &mut json);
    json.push(b'}');
    with_status(http_status(status.code), json)
}

/// The last line of a stream that failed.
fn failure_line(status: &Status, json: &mut Vec<u8>) {
    let http = http_status(status.code);
    let (code, number) = (status.code as u16, http.as_u16());
    json.extend_from_slice(
        format!("{{\"error\":{{\"grpc_code\":{code},\"http_code\":{number},\"message\":")
            .as_bytes(),
    );
    encode::text(&status.text, json);
    json.extend_from_slice(b",\"http_status\":");
    encode::text(reason(http), json);
    json.extend_from_slice(format!(",\"code\":{code}}}}}").as_bytes());
}

fn reason(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Client Closed Request")
}

fn succeeded(body: impl Into<Body>) -> Response {
    let mut response = with_status(StatusCode::OK, body);
    response.headers_mut().insert(
        "grpc-metadata-content-type",
        HeaderValue::from_static("application/grpc"),
    );
    response
}

fn with_status(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The failure that headers or trailers tell of.
fn status(headers: &HeaderMap) -> Option<Status> {
    let number = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let code = match number {
        0 => return None,
        1 => Code::Cancelled,
        3 => Code::InvalidArgument,
        4 => Code::DeadlineExceeded,
        5 => Code::NotFound,
        6 => Code::AlreadyExists,
        7 => Code::PermissionDenied,
        8 => Code::ResourceExhausted,
        9 => Code::FailedPrecondition,
        10 => Code::Aborted,
        11 => Code::OutOfRange,
        12 => Code::Unimplemented,
        13 => Code::Internal,
        14 => Code::Unavailable,
        15 => Code::DataLoss,
        16 => Code::Unauthenticated,
        _ => Code::Unknown,
    };
    let text = headers
        .get("grpc-message")
        .and_then(|text| text.to_str().ok())
        .unwrap_or_default();
    let text = percent_decode_str(text).decode_utf8_lossy().into_owned();
    Some(Status::saying(code, text))
}

fn http_status(code: Code) -> StatusCode {
    let number = match code {
        Code::Cancelled => 499,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::DeadlineExceeded => 504,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::PermissionDenied => 403,
        Code::ResourceExhausted => 429,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::Unauthenticated => 401,
    };
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The messages of a frame, which carries whole ones, as all of ours do.
fn each(mut messages: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        if messages.len() < PREFIX {
            return None;
        }
        messages.advance(1);
        let length = messages.get_u32() as usize;
        Some(messages.split_to(length.min(messages.len())))
    })
}

/// Messages as lines.
struct Lines {
    /// None when it is over.
    body: Option<Body>,
    shape: &'static MessageShape,
}

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let shape = self.shape;
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = match ready!(Pin::new(body).poll_frame(context)) {
            None => None,
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            Some(Ok(frame)) => Some(frame.into_data()),
        };
        let mut json = Vec::new();
        match frame {
            Some(Ok(messages)) => {
                for message in each(messages) {
                    json.reserve(message.len() * 2);
                    json.extend_from_slice(b"{\"result\":");
                    encode::message(&message, shape, &mut json);
                    json.extend_from_slice(b"}\n");
                }
            }
            Some(Err(frame)) => {
                self.body = None;
                match frame.trailers_ref().and_then(status) {
                    Some(status) => failure_line(&status, &mut json),
                    None => return Poll::Ready(None),
                }
            }
            None => {
                self.body = None;
                return Poll::Ready(None);
            }
        }
        Poll::Ready(Some(Ok(Frame::data(json.into()))))
    }
}
