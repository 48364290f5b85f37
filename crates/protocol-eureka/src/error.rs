//! Everything that can go wrong, as Spring's server says it. The one place that knows status codes of failures.

use http::StatusCode;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use portolan_catalog::{Refusal, Timestamp};
use portolan_listener::{BodyError, Denied, Methods, Response};
use portolan_registry::Unavailable;

use crate::wire::encode::append;
use crate::wire::{Detail, Format, Malformed, Shape, Unregistrable};

/// Why a request is not answered as it wished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// 404 with Spring's error body.
    #[error("not found")]
    NotFound,
    /// 404 without a body: the answer to a renewal. Netflix' own client reads any other body as an instance, fails,
    /// and never registers again.
    #[error("not registered")]
    NotRegistered,
    /// 403: what the peers have is on its way here, and there is nothing else yet.
    #[error("the peers' registry is being taken over")]
    NotYet,
    /// 405, naming the methods there are.
    #[error("method not allowed")]
    Method(Methods),
    /// 406: neither JSON nor XML is accepted.
    #[error("not acceptable")]
    NotAcceptable,
    /// 415: the body is neither JSON nor XML.
    #[error("unsupported media type")]
    NotReadable,
    /// 400 in the server's fixed words, spelled as the body was.
    #[error("body not understood: {1}")]
    Malformed(Format, Malformed),
    /// 400 with a text of its own.
    #[error("{0}")]
    Unregistrable(#[from] Unregistrable),
    /// 400: something in the path or query cannot be meant.
    #[error("bad request: {0}")]
    Bad(String),
    /// 500, as Java answers an unknown status name.
    #[error("no status is called {0:?}; there are UP, DOWN, STARTING, OUT_OF_SERVICE and UNKNOWN")]
    NoSuchStatus(String),
    /// The body did not arrive.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// 403.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The catalog said no.
    #[error("{}", worded(.0))]
    Refused(Refusal),
    /// 503: the row kept changing under every attempt.
    #[error("the instance changed too often to be written")]
    Contended,
    /// 503: nobody could decide now; clients go to another server.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        Problem::Refused(refusal)
    }
}

impl Problem {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Problem::NotFound | Problem::NotRegistered => StatusCode::NOT_FOUND,
            Problem::NotYet => StatusCode::FORBIDDEN,
            Problem::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Problem::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Problem::NotReadable => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Problem::Malformed(..) | Problem::Unregistrable(_) | Problem::Bad(_) => {
                StatusCode::BAD_REQUEST
            }
            Problem::NoSuchStatus(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Problem::Body(error) => body_status(error),
            Problem::Denied(_) => StatusCode::FORBIDDEN,
            Problem::Refused(refusal) => refusal_status(refusal),
            Problem::Contended | Problem::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What the status does not say by itself.
    fn message(&self) -> Option<String> {
        match self {
            Problem::NotFound
            | Problem::NotRegistered
            | Problem::Method(_)
            | Problem::NotAcceptable
            | Problem::NotReadable
            | Problem::Malformed(..)
            | Problem::Unregistrable(_)
            | Problem::Refused(
                Refusal::NoInstance | Refusal::NoService | Refusal::NoLease | Refusal::NoKey,
            ) => None,
            Problem::NotYet
            | Problem::Bad(_)
            | Problem::NoSuchStatus(_)
            | Problem::Body(_)
            | Problem::Denied(_)
            | Problem::Refused(_)
            | Problem::Contended
            | Problem::Unavailable(_) => Some(self.to_string()),
        }
    }

    /// The answer. `path` is as the client wrote it, `accept` its `Accept` header.
    pub(crate) fn answer(&self, path: &str, accept: Option<&str>, now: Timestamp) -> Response {
        let status = self.status();
        let (content_type, body) = match self {
            Problem::NotRegistered => (None, Vec::new()),
            Problem::Malformed(format, _) => (Some(format.content_type()), unread(*format)),
            Problem::Unregistrable(why) => {
                let format = Format::accepted(accept).unwrap_or(Format::Xml);
                (Some(format.content_type()), why.to_string().into_bytes())
            }
            _ => {
                let (format, content_type) = asked(accept);
                let message = self.message();
                let body = spring(format, status, message.as_deref(), path, now);
                (Some(content_type), body)
            }
        };
        let mut response = Response::new(body.into());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if let Problem::Method(methods) = self
            && let Ok(value) = HeaderValue::from_str(&methods.to_string())
        {
            headers.insert(ALLOW, value);
        }
        response
    }
}

/// The answer to a body that cannot be read, as the server's two decoders word it.
fn unread(format: Format) -> Vec<u8> {
    match format {
        Format::Json => br#"{"error": "cannot parse request body"}"#.to_vec(),
        Format::Xml => b"<error><message>cannot parse request body</message></error>".to_vec(),
    }
}

/// The spelling of Spring's error body and its content type: XML for those who ask for it and nothing else.
fn asked(accept: Option<&str>) -> (Format, &'static str) {
    let accepts = |what| accept.is_some_and(|accept| accept.contains(what));
    if accepts("xml") && !accepts("json") && !accepts("html") {
        (Format::Xml, "application/xml;charset=UTF-8")
    } else {
        (Format::Json, Format::Json.content_type())
    }
}

/// Spring Boot's error body. The message stands where Spring writes it when it is told to.
fn spring(
    format: Format,
    status: StatusCode,
    message: Option<&str>,
    path: &str,
    now: Timestamp,
) -> Vec<u8> {
    let mut out = Vec::new();
    // It has no white space in either spelling.
    let shape = Shape::new(format, Detail::Compact);
    append(&mut out, shape, 0, |writer| {
        writer.open_item("Map");
        writer.text("timestamp", &spring_time(now));
        writer.number("status", i64::from(status.as_u16()));
        writer.text("error", status.canonical_reason().unwrap_or("Error"));
        writer.optional("message", message);
        writer.text("path", path);
        writer.close_item("Map");
    });
    out
}

/// `2026-11-20T16:08:45.996+00:00`
fn spring_time(now: Timestamp) -> String {
    let time = i64::try_from(now.0)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%S.%3f+00:00")
        .to_string()
}

fn body_status(error: &BodyError) -> StatusCode {
    match error {
        BodyError::TooLarge { .. } | BodyError::UnpacksTooLarge { .. } => {
            StatusCode::PAYLOAD_TOO_LARGE
        }
        BodyError::TooSlow => StatusCode::REQUEST_TIMEOUT,
        BodyError::NotGzip | BodyError::Broken(_) => StatusCode::BAD_REQUEST,
        BodyError::Encoding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
    }
}

/// A refusal in words; those that name nothing a client wrote are for the log.
fn worded(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Limit(what) => format!("limit reached: {what}"),
        Refusal::Reserved(name) => format!("the name {name:?} is reserved"),
        Refusal::BadValue(value) => format!("the value {value:?} is not allowed"),
        Refusal::OwnService => {
            "it belongs to the servers of this cluster: nobody else joins it, and it cannot be deregistered".to_owned()
        }
        other => format!("refused by the catalog: {other:?}"),
    }
}

fn refusal_status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Limit(_) | Refusal::Reserved(_) | Refusal::BadValue(_) | Refusal::Kind => {
            StatusCode::BAD_REQUEST
        }
        Refusal::NoInstance | Refusal::NoService | Refusal::NoLease | Refusal::NoKey => {
            StatusCode::NOT_FOUND
        }
        Refusal::Changed(_) | Refusal::Stale => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Denied | Refusal::OwnService => StatusCode::FORBIDDEN,
        // None of these answers a command that Eureka sends.
        Refusal::NoNode(_)
        | Refusal::NodeTaken { .. }
        | Refusal::NoCheck(_)
        | Refusal::CheckCritical(_)
        | Refusal::NotEmpty
        | Refusal::Exists
        | Refusal::LeaseExists
        | Refusal::Compacted(_)
        | Refusal::Future(_)
        | Refusal::EphemeralParent
        | Refusal::BadVersion
        | Refusal::Locked
        | Refusal::NoSession(_)
        | Refusal::NoLayout
        | Refusal::Ops(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_look_like_springs() {
        let at = Timestamp(1_795_190_925_996);
        let answer = Problem::NotFound.answer("/eureka/apps/NOPE", None, at);
        assert_eq!(answer.status(), 404);
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(
            answer.body().as_bytes().unwrap(),
            br#"{"timestamp":"2026-11-20T16:08:45.996+00:00","status":404,"error":"Not Found","path":"/eureka/apps/NOPE"}"#
        );
        let answer = Problem::NotFound.answer("/a", Some("application/xml"), at);
        assert_eq!(
            answer.headers()["content-type"],
            "application/xml;charset=UTF-8"
        );
        assert_eq!(
            answer.body().as_bytes().unwrap(),
            b"<Map><timestamp>2026-11-20T16:08:45.996+00:00</timestamp><status>404</status><error>Not Found</error><path>/a</path></Map>"
        );
        let empty = Problem::NotRegistered.answer("/", None, at);
        assert_eq!(
            (empty.status().as_u16(), empty.body().as_bytes()),
            (404, Some(&[][..]))
        );
        assert!(!empty.headers().contains_key("content-type"));
    }
}
