//! Answers: JSON, always with a length and never sniffed.

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use portolan_listener::{Body, Response};
use serde::Serialize;

/// 200 with a JSON body.
pub(crate) fn json(body: &impl Serialize) -> Response {
    json_with(StatusCode::OK, body)
}

/// A JSON body.
pub(crate) fn json_with(status: StatusCode, body: &impl Serialize) -> Response {
    // The types of the API have text keys and no maps of floats: they can always be written.
    let bytes = serde_json::to_vec(body).unwrap_or_else(|_| b"{}".to_vec());
    of(status, "application/json", bytes)
}

/// Any body.
pub(crate) fn of(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
