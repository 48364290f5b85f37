//! The JSON gateway: `POST /v3/...` for everything that speaks no gRPC.
//!
//! It serves nothing itself. A request's JSON becomes the message that the gRPC method takes, the call goes through the same table, and
//! the messages of the answer become JSON again: one object, or for streams one line each. What a method does, refuses and decides is
//! therefore the same in both forms.
//!
//! Errors have the fields of every generation of etcd's gateway at once: `error` of etcd up to 3.5, `code` and `message` of all.

mod answer;
mod decode;
mod encode;
mod methods;
mod requests;
mod scalars;
mod scan;

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, LOCATION},
};
use portolan_grpc::{Code, Status};
use portolan_listener::{Action, Body, Caller, Request, RequestBody, Resource, Response, Router};

use self::{
    methods::{Calls, Row},
    requests::{JsonMessages, Unread},
};
use crate::{
    app::{App, allow},
    error::Failure,
};

/// Bytes of a request's JSON: base64 takes four thirds of the largest message, names and white space the rest.
pub(crate) const BODY_BYTES: usize = 2 * crate::RECEIVE_BYTES;

/// Metadata of gRPC rides in headers with this prefix.
const METADATA: &str = "grpc-metadata-";

/// What of a path is the gateway's: the part behind `/v3/`, or behind `/v3beta/`, which etcd takes for the same.
pub(crate) fn method_of(path: &str) -> Option<&str> {
    path.strip_prefix("/v3/")
        .or_else(|| path.strip_prefix("/v3beta/"))
}

/// Paths behind `/v3/`, and the gRPC methods they lead to.
pub(crate) fn paths() -> impl Iterator<Item = (&'static str, &'static str)> {
    methods::all()
}

/// The answer to `/v3`, with which etcd's own multiplexer sends people to `/v3/`.
pub(crate) fn to_the_root(caller: &Caller) -> Response {
    if let Err(failure) = allow(caller, Action::Read, Resource::Public) {
        return answer::failed(&failure.into());
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response
        .headers_mut()
        .insert(LOCATION, HeaderValue::from_static("/v3/"));
    response
}

/// Answers a request of the gateway through the table of gRPC methods.
pub(crate) async fn answer(table: &Router<App>, app: Arc<App>, mut request: Request) -> Response {
    let caller = Caller::of(&request);
    let found = row(&request).and_then(|row| Ok((row, headers(request.headers())?)));
    let mut body = std::mem::replace(request.body_mut(), RequestBody::full(Vec::new()));
    let (row, headers) = match found {
        Ok(found) => found,
        Err(status) => {
            // The connection goes on, as in etcd, which needs the body out of the way.
            let _ = requests::pass(&mut body).await;
            return turned_away(&caller, &status);
        }
    };
    let mut messages = JsonMessages::new(body, row.asks);
    let first = match messages.next().await {
        Ok(first) => first,
        Err(unread) => {
            let _ = messages.pass().await;
            return turned_away(&caller, &unread.into());
        }
    };
    let body = match row.calls {
        Calls::One | Calls::Replies => {
            // Nothing at all is an empty message, and what follows the first is not looked at.
            if let Err(unread) = messages.pass().await {
                return turned_away(&caller, &unread.into());
            }
            RequestBody::full(first.unwrap_or_else(requests::nothing))
        }
        Calls::Both => match first {
            Some(first) => RequestBody::made(messages.after(first)),
            None => RequestBody::full(Vec::new()),
        },
    };
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(row.path);
    *request.headers_mut() = headers;
    *request.body_mut() = body;
    match table.dispatch(app, request).await {
        Ok(response) if row.calls == Calls::One => answer::one(response, row.replies).await,
        Ok(response) => answer::lines(response, row.replies),
        // A row without a method in the table; a test keeps them together.
        Err(_) => turned_away(
            &caller,
            &Status::new(Code::Unimplemented, "Not Implemented"),
        ),
    }
}

fn row(request: &Request) -> Result<&'static Row, Status> {
    let path = method_of(request.uri().path()).unwrap_or_default();
    let row = methods::find(path).ok_or(Status::new(Code::NotFound, "Not Found"))?;
    if *request.method() != Method::POST {
        return Err(Status::new(Code::Unimplemented, "Method Not Allowed"));
    }
    Ok(row)
}

/// The headers of the gRPC call: metadata, who asks, and how long it may take.
fn headers(of: &HeaderMap) -> Result<HeaderMap, Status> {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    for (name, value) in of {
        if let Some(name) = name.as_str().strip_prefix(METADATA) {
            // The rest of a name is a name, unless nothing is left of it.
            if let Ok(name) = HeaderName::try_from(name)
                && !name.as_str().starts_with("grpc-")
                && name != CONTENT_TYPE
            {
                headers.append(name, value.clone());
            }
        } else if name == AUTHORIZATION {
            headers.append(AUTHORIZATION, value.clone());
        } else if name == "grpc-timeout" && !is_zero(value)? {
            headers.insert("grpc-timeout", value.clone());
        }
    }
    Ok(headers)
}

/// A timeout of zero is none.
///
/// # Errors
/// What is no timeout.
fn is_zero(timeout: &HeaderValue) -> Result<bool, Status> {
    let text = timeout.as_bytes();
    let (digits, unit) = text.split_at(text.len().saturating_sub(1));
    let units = [b"H", b"M", b"S", b"m", b"u", b"n"];
    let fine = (1..=8).contains(&digits.len())
        && digits.iter().all(u8::is_ascii_digit)
        && units.iter().any(|known| unit == *known);
    if !fine {
        let text = String::from_utf8_lossy(text);
        let text = format!("invalid grpc-timeout: {text}");
        return Err(Status::saying(Code::InvalidArgument, text));
    }
    Ok(digits.iter().all(|digit| *digit == b'0'))
}

/// The answer to what does not get as far as a method. Everybody may know that.
fn turned_away(caller: &Caller, status: &Status) -> Response {
    match allow(caller, Action::Read, Resource::Public) {
        Ok(()) => answer::failed(status),
        Err(failure) => answer::failed(&failure.into()),
    }
}

impl From<Unread> for Status {
    fn from(unread: Unread) -> Status {
        match unread {
            Unread::Meaning(text) => Status::saying(Code::InvalidArgument, text),
            Unread::Body(error) => Status::saying(Code::Cancelled, error.to_string()),
            Unread::TooLarge(length) => Failure::saying(
                Code::ResourceExhausted,
                format!(
                    "grpc: received message larger than max ({length} vs. {})",
                    crate::RECEIVE_BYTES
                ),
            )
            .into(),
        }
    }
}

/// For the fuzz target: a body of JSON as the messages of the method that `choice` picks.
pub(crate) fn fuzz(choice: u8, text: &[u8]) {
    let row = methods::any(choice);
    let mut scanner = scan::Scanner::new();
    let mut out = Vec::new();
    if let Ok(scan::Scanned::Value { start, end }) = scanner.push(text)
        && let Some(value) = text.get(start..end)
        && decode::message(value, row.asks, &mut out).is_ok()
    {
        let mut json = Vec::new();
        encode::message(&out, row.asks, &mut json);
        // What was written is JSON, and says the same again.
        let (mut scanner, mut again) = (scan::Scanner::new(), Vec::new());
        let scanned = scanner.push(&json);
        let whole = scan::Scanned::Value {
            start: 0,
            end: json.len(),
        };
        assert_eq!(scanned, Ok(whole), "{json:?}");
        assert_eq!(
            decode::message(&json, row.asks, &mut again),
            Ok(()),
            "{json:?}"
        );
    }
}
