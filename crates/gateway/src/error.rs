//! Why the gateway answers itself, and how: the one place that knows the codes.

use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Response, StatusCode};

/// Where the reason of an answer of the gateway's own stands.
pub(crate) const REASON: &str = "x-portolan-error";

/// Why there is no answer of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The request is not one.
    Bad(&'static str),
    /// A method that is not passed on.
    Method,
    /// No route, no service of that name.
    NoRoute,
    /// No endpoint may be asked.
    NoEndpoint(String),
    /// Too much is under way.
    Full(String),
    /// No connection.
    Connect(String),
    /// The connection broke, or what came is not HTTP.
    Broken(String),
    /// The endpoint speaks TLS.
    Secure(String),
    /// No answer in time.
    Timeout(String),
}

impl Failure {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Failure::Bad(_) => StatusCode::BAD_REQUEST,
            Failure::Method => StatusCode::METHOD_NOT_ALLOWED,
            Failure::NoRoute => StatusCode::NOT_FOUND,
            Failure::NoEndpoint(_) | Failure::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
            Failure::Connect(_) | Failure::Broken(_) | Failure::Secure(_) => {
                StatusCode::BAD_GATEWAY
            }
            Failure::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The word for metrics and the log.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Failure::Bad(_) => "bad_request",
            Failure::Method => "method",
            Failure::NoRoute => "no_route",
            Failure::NoEndpoint(_) => "no_endpoint",
            Failure::Full(_) => "full",
            Failure::Connect(_) => "connect",
            Failure::Broken(_) => "broken",
            Failure::Secure(_) => "secure",
            Failure::Timeout(_) => "timeout",
        }
    }

    /// gRPC's number for it.
    fn grpc(&self) -> &'static str {
        match self {
            Failure::Bad(_) => "13",
            Failure::Method | Failure::NoRoute => "12",
            Failure::Timeout(_) => "4",
            Failure::NoEndpoint(_)
            | Failure::Full(_)
            | Failure::Connect(_)
            | Failure::Broken(_)
            | Failure::Secure(_) => "14",
        }
    }

    /// The answer: in gRPC's own form to callers that speak it.
    pub(crate) fn render(&self, grpc: bool) -> Response<Bytes> {
        let reason = self.to_string();
        let mut response = Response::new(Bytes::new());
        let mut headers = HeaderMap::new();
        let text = HeaderValue::try_from(printable(&reason));
        if let Ok(text) = &text {
            headers.insert(REASON, text.clone());
        }
        if grpc {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", HeaderValue::from_static(self.grpc()));
            if let Ok(text) = text {
                headers.insert("grpc-message", text);
            }
        } else {
            *response.status_mut() = self.status();
            let plain = HeaderValue::from_static("text/plain; charset=utf-8");
            headers.insert(CONTENT_TYPE, plain);
            if self.status() == StatusCode::SERVICE_UNAVAILABLE {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            *response.body_mut() = format!("{reason}\n").into();
        }
        *response.headers_mut() = headers;
        response
    }
}

/// A text as a field of a head may carry it, and `grpc-message` as well.
fn printable(text: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && c != '%' || c == ' ';
    text.chars()
        .map(|c| if plain(c) { c } else { '?' })
        .collect()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Bad(why) => f.write_str(why),
            Failure::Method => f.write_str("this method is not passed on"),
            Failure::NoRoute => f.write_str("no route and no service matches this host and path"),
            Failure::NoEndpoint(service) => {
                write!(f, "service {service} has no endpoint that may be asked")
            }
            Failure::Full(service) => {
                write!(f, "too many requests to service {service} are under way")
            }
            Failure::Connect(service) => {
                write!(f, "no endpoint of service {service} could be reached")
            }
            Failure::Broken(service) => {
                write!(
                    f,
                    "an endpoint of service {service} ended the connection without an answer"
                )
            }
            Failure::Secure(service) => write!(
                f,
                "the endpoint of service {service} speaks TLS, which this gateway does not speak to endpoints"
            ),
            Failure::Timeout(service) => {
                write!(f, "no answer of service {service} in time")
            }
        }
    }
}
