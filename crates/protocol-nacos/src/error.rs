//! Everything that can go wrong, as Nacos says it in each of its three forms: text (v1), an envelope (v2 and v3), a gRPC response.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use portolan_catalog::{Refusal, Timestamp};
use portolan_listener::{BodyError, Denied, Response};
use portolan_registry::Unavailable;
use serde::Serialize;

use crate::names::BadName;
use crate::wire::payload::Payload;

/// Why a request is not answered as it wished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// A parameter that has to be there.
    #[error("Param '{0}' is required.")]
    Missing(&'static str),
    /// A parameter that cannot be meant.
    #[error("{0}")]
    Invalid(Cow<'static, str>),
    /// One of Nacos' own codes.
    #[error("{text}")]
    Coded { code: Code, text: Cow<'static, str> },
    /// Of the service's instances some are of the other kind.
    #[error("Current service {grouped} is {is} service, can't register {wanted} instance.")]
    Kind {
        grouped: String,
        is: &'static str,
        wanted: &'static str,
    },
    /// The catalog said no.
    #[error("{}", worded(.0))]
    Refused(Refusal),
    /// The row kept changing under every attempt.
    #[error("the instance changed too often to be written; try again")]
    Contended,
    /// Nobody could decide now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The body did not arrive.
    #[error(transparent)]
    Body(#[from] BodyError),
}

/// Nacos' numbered errors: the number, its HTTP status, its fixed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    AccessDenied,
    ParameterMissing,
    ParameterInvalid,
    NotFound,
    Conflict,
    InstanceNotFound,
    ServiceExists,
    ServiceNotExist,
    ServiceNotEmpty,
    HealthyMissing,
    CheckRunning,
    IllegalNamespace,
    NamespaceNotExist,
    NamespaceExists,
    ServerError,
    NotServed,
}

impl Code {
    pub(crate) fn number(self) -> i32 {
        match self {
            Code::AccessDenied => 10_001,
            Code::ParameterMissing => 10_000,
            Code::ParameterInvalid => 20_002,
            Code::NotFound => 20_004,
            Code::Conflict => 20_005,
            Code::InstanceNotFound => 21_003,
            Code::ServiceExists => 21_007,
            Code::ServiceNotExist => 21_008,
            Code::ServiceNotEmpty => 21_009,
            Code::HealthyMissing => 21_010,
            Code::CheckRunning => 21_011,
            Code::IllegalNamespace => 22_000,
            Code::NamespaceNotExist => 22_001,
            Code::NamespaceExists => 22_002,
            Code::ServerError | Code::NotServed => 30_000,
        }
    }

    fn message(self) -> &'static str {
        match self {
            Code::AccessDenied => "access denied",
            Code::ParameterMissing => "parameter missing",
            Code::ParameterInvalid => "parameter validate error",
            Code::NotFound => "resource not found",
            Code::Conflict => "resource conflict",
            Code::InstanceNotFound => "instance not found",
            Code::ServiceExists => "service already exist",
            Code::ServiceNotExist => "service not exist",
            Code::ServiceNotEmpty => "service delete failure",
            Code::HealthyMissing => "healthy param miss",
            Code::CheckRunning => "health check still running",
            Code::IllegalNamespace => "illegal namespace",
            Code::NamespaceNotExist => "namespace not exist",
            Code::NamespaceExists => "namespace already exist",
            Code::ServerError | Code::NotServed => "server error",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Code::AccessDenied => StatusCode::FORBIDDEN,
            Code::NotFound | Code::InstanceNotFound | Code::NamespaceNotExist => {
                StatusCode::NOT_FOUND
            }
            Code::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
            Code::NotServed => StatusCode::NOT_IMPLEMENTED,
            Code::ParameterMissing
            | Code::ParameterInvalid
            | Code::Conflict
            | Code::ServiceExists
            | Code::ServiceNotExist
            | Code::ServiceNotEmpty
            | Code::HealthyMissing
            | Code::CheckRunning
            | Code::IllegalNamespace
            | Code::NamespaceExists => StatusCode::BAD_REQUEST,
        }
    }
}

impl From<BadName> for Problem {
    fn from(BadName(text): BadName) -> Problem {
        Problem::Invalid(text.into())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        Problem::Refused(refusal)
    }
}

/// The answer of v2 and v3.
#[derive(Serialize)]
struct Envelope<'a, T: Serialize> {
    code: i32,
    message: &'a str,
    data: T,
}

/// A good answer of v2 and v3.
pub(crate) fn success(data: impl Serialize) -> Response {
    json(&Envelope {
        code: 0,
        message: "success",
        data,
    })
}

/// An answer of v2 and v3 that is good HTTP and says no all the same.
pub(crate) fn failure(code: Code) -> Response {
    json(&Envelope {
        code: code.number(),
        message: code.message(),
        data: (),
    })
}

/// A JSON answer.
pub(crate) fn json(body: &impl Serialize) -> Response {
    // What is written are our own types, of text and numbers.
    json_bytes(serde_json::to_vec(body).unwrap_or_default())
}

/// A JSON answer that is encoded already.
pub(crate) fn json_bytes(body: impl Into<Bytes>) -> Response {
    with_type(StatusCode::OK, "application/json", body.into())
}

/// A plain answer of v1.
pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Response {
    with_type(status, "text/plain;charset=UTF-8", body.into())
}

fn with_type(status: StatusCode, kind: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

impl Problem {
    pub(crate) fn invalid(text: impl Into<Cow<'static, str>>) -> Problem {
        Problem::Invalid(text.into())
    }

    pub(crate) fn coded(code: Code, text: impl Into<Cow<'static, str>>) -> Problem {
        Problem::Coded {
            code,
            text: text.into(),
        }
    }

    /// What this server does not serve, said clearly.
    pub(crate) fn not_served(what: &str) -> Problem {
        Problem::coded(
            Code::NotServed,
            format!("{what} is not served by this server"),
        )
    }

    fn code(&self) -> Code {
        match self {
            Problem::Missing(_) => Code::ParameterMissing,
            Problem::Invalid(_) | Problem::Kind { .. } => Code::ParameterInvalid,
            Problem::Coded { code, .. } => *code,
            Problem::Refused(refusal) => refusal_code(refusal),
            Problem::Contended | Problem::Unavailable(_) => Code::ServerError,
            Problem::Denied(_) => Code::AccessDenied,
            Problem::Body(_) => Code::ParameterInvalid,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Problem::Contended | Problem::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Problem::Body(error) => match error {
                BodyError::TooLarge { .. } | BodyError::UnpacksTooLarge { .. } => {
                    StatusCode::PAYLOAD_TOO_LARGE
                }
                BodyError::TooSlow => StatusCode::REQUEST_TIMEOUT,
                BodyError::Encoding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
                BodyError::NotGzip | BodyError::Broken(_) => StatusCode::BAD_REQUEST,
            },
            other => other.code().status(),
        }
    }

    /// As v1 answers it: the status, and the text alone.
    pub(crate) fn as_text(&self) -> Response {
        let body = match self {
            Problem::Kind { .. } => format!("errCode: 400, errMsg: {self} "),
            other => other.to_string(),
        };
        text(self.status(), body)
    }

    /// As v2 and v3 answer it.
    pub(crate) fn as_envelope(&self) -> Response {
        let code = self.code();
        let data = match self {
            Problem::Missing(what) => {
                format!("Required parameter '{what}' type String is not present")
            }
            other => other.to_string(),
        };
        let mut response = json(&Envelope {
            code: code.number(),
            message: code.message(),
            data,
        });
        *response.status_mut() = self.status();
        response
    }

    /// As gRPC answers it. The client sees a failed call, and tries again where that makes sense.
    pub(crate) fn as_response(&self) -> Payload {
        let (result, error) = match self.code() {
            Code::AccessDenied => (500, 403),
            Code::ServerError | Code::NotServed => (500, 500),
            Code::NotFound | Code::InstanceNotFound | Code::NamespaceNotExist => (500, 404),
            Code::Conflict => (500, 409),
            _ => (500, 400),
        };
        error_response(result, error, &self.to_string())
    }
}

/// A gRPC `ErrorResponse`.
pub(crate) fn error_response(result: i32, code: i32, message: &str) -> Payload {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct ErrorResponse<'a> {
        result_code: i32,
        error_code: i32,
        message: &'a str,
        success: bool,
    }
    let body = serde_json::to_vec(&ErrorResponse {
        result_code: result,
        error_code: code,
        message,
        success: false,
    });
    Payload::new("ErrorResponse", body.unwrap_or_default())
}

/// The answer to a path that there is not, as Spring gives it.
pub(crate) fn no_such_api(method: &str, path: &str, now: Timestamp) -> Response {
    #[derive(Serialize)]
    struct Spring<'a> {
        timestamp: String,
        status: u16,
        error: &'static str,
        message: String,
        path: &'a str,
    }
    let mut response = json(&Spring {
        timestamp: time(now),
        status: 501,
        error: "Not Implemented",
        message: format!("no such api:{method}:{path}"),
        path,
    });
    *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
    response
}

/// `2026-11-20T16:08:45.996+00:00`
pub(crate) fn time(at: Timestamp) -> String {
    let time = i64::try_from(at.0)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%S.%3f+00:00")
        .to_string()
}

fn worded(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Changed(_) => "the row was changed by somebody else meanwhile".into(),
        Refusal::Kind => "the service's instances are of the other kind".into(),
        Refusal::Limit(what) => format!("more {what} than this server keeps"),
        Refusal::Reserved(name) => {
            format!(
                "{name:?} cannot be used as a name: it begins or ends with '-', or has \"--\" in it"
            )
        }
        Refusal::NoNode(name) => format!("no node {name:?}"),
        Refusal::NodeTaken { id } => format!("the node belongs to {id:?}"),
        Refusal::NoInstance => "no such instance".into(),
        Refusal::NoService => "no such service".into(),
        Refusal::NoCheck(key) => format!("no check {:?}", key.id()),
        Refusal::CheckCritical(key) => format!("check {:?} is critical", key.id()),
        Refusal::NotEmpty => "it is not empty".into(),
        Refusal::Exists => "it is there already".into(),
        Refusal::NoLease => "no such lease".into(),
        Refusal::LeaseExists => "the lease is there already".into(),
        Refusal::Stale => "the lease was renewed meanwhile".into(),
        Refusal::NoKey => "no such record".into(),
        Refusal::Compacted(floor) => format!("the history begins at revision {floor}"),
        Refusal::Future(now) => format!("the revision is not reached, it is {now} now"),
        Refusal::EphemeralParent => "an ephemeral node has no children".into(),
        Refusal::BadVersion => "the version is another one".into(),
        Refusal::Locked => "it is locked".into(),
        Refusal::NoSession(id) => format!("no session {id}"),
        Refusal::Denied => "its own access list forbids it".into(),
        Refusal::OwnService => "it is a server's own registration".into(),
        Refusal::NoLayout => "no such layout".into(),
        Refusal::BadValue(value) => format!("{value:?} is not one of its values"),
        Refusal::Ops(_) => "some of the operations failed".into(),
    }
}

fn refusal_code(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::Kind
        | Refusal::Limit(_)
        | Refusal::Reserved(_)
        | Refusal::BadValue(_)
        | Refusal::NoNode(_)
        | Refusal::NodeTaken { .. }
        | Refusal::Compacted(_)
        | Refusal::Future(_) => Code::ParameterInvalid,
        Refusal::NoInstance => Code::InstanceNotFound,
        Refusal::NoService => Code::ServiceNotExist,
        Refusal::NotEmpty => Code::ServiceNotEmpty,
        Refusal::Exists => Code::ServiceExists,
        Refusal::NoKey | Refusal::NoCheck(_) | Refusal::NoLease | Refusal::NoSession(_) => {
            Code::NotFound
        }
        Refusal::Changed(_) | Refusal::Stale | Refusal::BadVersion | Refusal::LeaseExists => {
            Code::Conflict
        }
        Refusal::Denied | Refusal::OwnService => Code::AccessDenied,
        Refusal::CheckCritical(_)
        | Refusal::EphemeralParent
        | Refusal::Locked
        | Refusal::NoLayout
        | Refusal::Ops(_) => Code::ServerError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(response: &Response) -> String {
        String::from_utf8_lossy(response.body().as_bytes().unwrap()).into_owned()
    }

    #[test]
    fn the_three_forms() {
        let missing = Problem::Missing("port");
        let text = missing.as_text();
        assert_eq!(
            (text.status().as_u16(), body(&text)),
            (400, "Param 'port' is required.".into())
        );
        let envelope = missing.as_envelope();
        assert_eq!(envelope.status(), 400);
        assert_eq!(
            body(&envelope),
            r#"{"code":10000,"message":"parameter missing","data":"Required parameter 'port' type String is not present"}"#
        );
        let kind = Problem::Kind {
            grouped: "DEFAULT_GROUP@@s1".into(),
            is: "ephemeral",
            wanted: "persistent",
        };
        assert_eq!(
            body(&kind.as_text()),
            "errCode: 400, errMsg: Current service DEFAULT_GROUP@@s1 is ephemeral service, can't register persistent instance. "
        );
        let rpc = kind.as_response();
        assert_eq!(rpc.kind(), "ErrorResponse");
        assert_eq!(
            std::str::from_utf8(rpc.json()).unwrap(),
            r#"{"resultCode":500,"errorCode":400,"message":"Current service DEFAULT_GROUP@@s1 is ephemeral service, can't register persistent instance.","success":false}"#
        );
        let nothing = no_such_api("GET", "/nacos/v1/ns/nothing", Timestamp(1_795_190_925_996));
        assert_eq!(nothing.status(), 501);
        assert_eq!(
            body(&nothing),
            r#"{"timestamp":"2026-11-20T16:08:45.996+00:00","status":501,"error":"Not Implemented","message":"no such api:GET:/nacos/v1/ns/nothing","path":"/nacos/v1/ns/nothing"}"#
        );
    }
}
