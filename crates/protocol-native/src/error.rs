//! What can go wrong, and with which status and code it is said: the one place that knows them.

use http::StatusCode;
use portolan_api::Error;
use portolan_catalog::Refusal;
use portolan_listener::{BodyError, Denied, Response};
use portolan_registry::{NotThen, Unavailable};

use crate::reply::json_with;

/// What a handler gives back.
pub(crate) type Answer = Result<Response, Failure>;

/// An answer that is not the one hoped for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    status: StatusCode,
    code: &'static str,
    text: String,
}

impl Failure {
    fn new(status: StatusCode, code: &'static str, text: impl Into<String>) -> Failure {
        Failure {
            status,
            code,
            text: text.into(),
        }
    }

    /// 400: the request cannot be read.
    pub(crate) fn bad(text: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, "bad_request", text)
    }

    /// 404.
    pub(crate) fn not_found(text: impl Into<String>) -> Failure {
        Failure::new(StatusCode::NOT_FOUND, "not_found", text)
    }

    /// 409: the facts are in the way.
    pub(crate) fn conflict(code: &'static str, text: impl Into<String>) -> Failure {
        Failure::new(StatusCode::CONFLICT, code, text)
    }

    /// 405.
    pub(crate) fn method(text: impl Into<String>) -> Failure {
        Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text)
    }

    /// 503.
    pub(crate) fn unavailable(text: impl Into<String>) -> Failure {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", text)
    }

    /// As it is sent.
    pub(crate) fn render(&self) -> Response {
        let body = Error {
            error: self.text.clone(),
            code: self.code.to_owned(),
        };
        json_with(self.status, &body)
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Failure {
        Failure::new(StatusCode::FORBIDDEN, "denied", denied.to_string())
    }
}

impl From<Unavailable> for Failure {
    fn from(unavailable: Unavailable) -> Failure {
        let (status, code) = match unavailable {
            Unavailable::NoLeader => (StatusCode::SERVICE_UNAVAILABLE, "no_leader"),
            Unavailable::Full => (StatusCode::INSUFFICIENT_STORAGE, "disk_full"),
            Unavailable::Busy => (StatusCode::TOO_MANY_REQUESTS, "busy"),
            Unavailable::Unknown => (StatusCode::INTERNAL_SERVER_ERROR, "unknown"),
            Unavailable::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        };
        Failure::new(status, code, unavailable.to_string())
    }
}

impl From<NotThen> for Failure {
    fn from(not_then: NotThen) -> Failure {
        match not_then {
            NotThen::Compacted(floor) => compacted(floor.0),
            NotThen::Future(revision) => Failure::not_found(format!(
                "that has not happened yet: the catalog is at revision {revision}"
            )),
            NotThen::Damaged(damage) => damage.into(),
        }
    }
}

fn compacted(floor: u64) -> Failure {
    Failure::new(
        StatusCode::GONE,
        "compacted",
        format!(
            "the history no longer reaches back that far: it begins at revision {floor}; --history-age and --history-bytes keep more"
        ),
    )
}

impl From<portolan_registry::Damage> for Failure {
    fn from(damage: portolan_registry::Damage) -> Failure {
        Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "damaged",
            damage.to_string(),
        )
    }
}

impl From<portolan_catalog::Compacted> for Failure {
    fn from(found: portolan_catalog::Compacted) -> Failure {
        match found.space {
            None => compacted(found.floor.0),
            Some(space) => Failure::new(
                StatusCode::GONE,
                "compacted",
                format!(
                    "the history of the records in the keyspace {} was compacted and begins at revision {}; without them changes can be \
                     followed from earlier on",
                    space.as_str(),
                    found.floor
                ),
            ),
        }
    }
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Failure {
        let (status, code) = match &error {
            BodyError::TooLarge { .. } | BodyError::UnpacksTooLarge { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too_large")
            }
            BodyError::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too_slow"),
            BodyError::NotGzip | BodyError::Broken(_) => (StatusCode::BAD_REQUEST, "bad_request"),
            BodyError::Encoding { .. } => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding"),
        };
        Failure::new(status, code, error.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        let bad = Failure::bad;
        match refusal {
            Refusal::Changed(revision) => Failure::conflict(
                "changed",
                format!("it was changed meanwhile, at revision {revision}"),
            ),
            Refusal::Kind => Failure::conflict(
                "kind",
                "the service's instances are of the other kind (with or without a lease)",
            ),
            Refusal::Limit(name) => Failure::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "limit",
                format!("the limit on {name} is exceeded"),
            ),
            Refusal::Reserved(name) => bad(format!("the name {name:?} cannot be used")),
            Refusal::NoNode(name) => Failure::not_found(format!("there is no node {name:?}")),
            Refusal::NodeTaken { id } => Failure::conflict(
                "node_taken",
                format!("the node's name belongs to the id {id}"),
            ),
            Refusal::NoInstance => Failure::not_found("there is no such instance"),
            Refusal::NoService => Failure::not_found("there is no such service"),
            Refusal::NoCheck(key) => Failure::not_found(format!(
                "there is no check {:?} on node {}",
                key.id(),
                key.node()
            )),
            Refusal::CheckCritical(key) => Failure::conflict(
                "check_critical",
                format!("check {:?} on node {} is critical", key.id(), key.node()),
            ),
            Refusal::NotEmpty => Failure::conflict("not_empty", "it is not empty"),
            Refusal::Exists => Failure::conflict("exists", "it is there already"),
            Refusal::NoLease => Failure::not_found("there is no such lease"),
            Refusal::LeaseExists => Failure::conflict("exists", "the lease is there already"),
            Refusal::Stale => Failure::conflict("stale", "the lease was renewed meanwhile"),
            Refusal::NoKey => Failure::not_found("there is no such key"),
            Refusal::Compacted(floor) => compacted(floor.0),
            Refusal::Future(revision) => {
                Failure::not_found(format!("the catalog is at revision {revision} only"))
            }
            Refusal::EphemeralParent => {
                Failure::conflict("ephemeral_parent", "an ephemeral node has no children")
            }
            Refusal::BadVersion => Failure::conflict("changed", "the record has another version"),
            Refusal::Locked => Failure::conflict("locked", "the record is locked"),
            Refusal::NoSession(id) => Failure::not_found(format!("there is no session {id}")),
            Refusal::Denied => Failure::new(
                StatusCode::FORBIDDEN,
                "denied",
                "the record's own access list forbids it",
            ),
            Refusal::OwnService => Failure::new(
                StatusCode::FORBIDDEN,
                "own_service",
                "it belongs to the servers of this cluster: nobody else joins it, and it cannot be deregistered or put into maintenance",
            ),
            Refusal::NoLayout => Failure::not_found("there is no such layout"),
            Refusal::BadValue(text) => bad(format!("{text:?} is not a value of this setting")),
            Refusal::Ops(failed) => match failed.into_iter().next() {
                Some((_, refusal)) => Failure::from(refusal),
                None => Failure::bad("an operation failed"),
            },
        }
    }
}
