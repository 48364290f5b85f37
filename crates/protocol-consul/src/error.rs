//! What goes wrong, as Consul says it: a status and one line of plain text. The one place that knows status codes of refusals.

use crate::wire::Malformed;
use http::StatusCode;
use portolan_catalog::Refusal;
use portolan_listener::{BodyError, Denied};
use portolan_registry::Unavailable;
use std::borrow::Cow;

/// An answer that is not the one the client hoped for. Bodies are plain text; clients match on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) text: Cow<'static, str>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            text: text.into(),
        }
    }

    /// 400: the client must change its request.
    pub(crate) fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// 404: there is no such thing.
    pub(crate) fn missing(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// 500: Consul's status for whatever its servers refuse.
    pub(crate) fn server(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }
}

impl From<Malformed> for Failure {
    fn from(error: Malformed) -> Self {
        Self::bad(format!("Request decode failed: {}", error.0))
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            format!("Permission denied: {denied}"),
        )
    }
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Self {
        let status = match &error {
            BodyError::TooLarge { .. } | BodyError::UnpacksTooLarge { .. } => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            BodyError::TooSlow => StatusCode::REQUEST_TIMEOUT,
            BodyError::NotGzip | BodyError::Broken(_) => StatusCode::BAD_REQUEST,
            BodyError::Encoding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        };
        match error {
            BodyError::TooLarge { limit } | BodyError::UnpacksTooLarge { limit } => Self::new(
                status,
                format!("Request body too large, max size: {limit} bytes."),
            ),
            other => Self::new(status, other.to_string()),
        }
    }
}

impl From<Unavailable> for Failure {
    fn from(unavailable: Unavailable) -> Self {
        match unavailable {
            Unavailable::NoLeader => Self::server("No cluster leader"),
            Unavailable::Full => {
                Self::server("the disk is full, nothing can be written until there is room again")
            }
            Unavailable::Busy => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "RPC rate limit exceeded: too many requests are waiting",
            ),
            Unavailable::Unknown => {
                Self::server("the outcome is unknown: leadership lost while committing log")
            }
            Unavailable::Stopping => Self::server("No cluster leader: the server is stopping"),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::server(say(&refusal))
    }
}

/// What a refusal is called where a handler has no better words for it.
pub(crate) fn say(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Changed(_) | Refusal::BadVersion => "failed to set: index is stale".to_owned(),
        Refusal::Kind => "the service's instances are of another kind".to_owned(),
        Refusal::Limit(what) => format!("limit reached: {what}"),
        Refusal::Reserved(name) => format!("the name {name:?} is reserved"),
        Refusal::NoNode(_) => "Missing node registration".to_owned(),
        Refusal::NodeTaken { id } => format!("Node name is reserved by node {id}"),
        Refusal::NoInstance | Refusal::NoService => "Missing service registration".to_owned(),
        Refusal::NoCheck(key) => format!("Missing check '{}' registration", key.id()),
        Refusal::CheckCritical(key) => format!("Check '{}' is in critical state", key.id()),
        Refusal::NotEmpty => "it is not empty".to_owned(),
        Refusal::Exists => "it already exists".to_owned(),
        Refusal::NoLease => "there is no such session".to_owned(),
        Refusal::LeaseExists => "the session already exists".to_owned(),
        Refusal::Stale => "it was renewed in the meantime".to_owned(),
        Refusal::NoKey => "the key doesn't exist".to_owned(),
        Refusal::Compacted(floor) => format!("the history begins at {floor}"),
        Refusal::Future(now) => format!("the revision is not reached, now is {now}"),
        Refusal::EphemeralParent => "an ephemeral parent has no children".to_owned(),
        Refusal::Locked => "lock is already held".to_owned(),
        Refusal::NoSession(id) => format!("invalid session {:?}", id.to_string()),
        Refusal::Denied => "Permission denied".to_owned(),
        Refusal::OwnService => {
            "it belongs to the servers of this cluster: nobody else joins it, and it cannot be deregistered".to_owned()
        }
        Refusal::NoLayout => "there is no such layout".to_owned(),
        Refusal::BadValue(value) => format!("the value {value:?} is not allowed"),
        Refusal::Ops(failed) => failed
            .iter()
            .map(|(at, why)| format!("operation {at}: {}", say(why)))
            .collect::<Vec<_>>()
            .join("; "),
    }
}
