//! What went wrong, as the API says it: always a `Status`, of which clients read the reason.

use http::header::{ALLOW, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use portolan_catalog::Refusal;
use portolan_listener::{BodyError, Denied, Response};
use portolan_registry::{NotThen, Unavailable};
use serde_json::{Value, json};

use crate::kind::Kind;
use crate::media::Media;

/// A failure.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) code: StatusCode,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    details: Value,
    /// A token that goes on with a list whose revision is gone.
    pub(crate) go_on: Option<String>,
    retry_after: Option<u32>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.reason)
    }
}

/// One thing that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    reason: &'static str,
    message: String,
    field: String,
}

impl Cause {
    /// A value that is not allowed.
    pub(crate) fn invalid(field: impl Into<String>, value: &Value, why: &str) -> Cause {
        let message = format!("Invalid value: {value}: {why}");
        Cause::of("FieldValueInvalid", field, message)
    }

    /// A value that is missing.
    pub(crate) fn required(field: impl Into<String>, why: &str) -> Cause {
        let message = match why {
            "" => "Required value".to_owned(),
            why => format!("Required value: {why}"),
        };
        Cause::of("FieldValueRequired", field, message)
    }

    /// A value that is there twice.
    pub(crate) fn duplicate(field: impl Into<String>, value: &Value) -> Cause {
        Cause::of(
            "FieldValueDuplicate",
            field,
            format!("Duplicate value: {value}"),
        )
    }

    /// A value that is none of those there are.
    pub(crate) fn unsupported(field: impl Into<String>, value: &Value, of: &[&str]) -> Cause {
        let of: Vec<String> = of.iter().map(|one| format!("{one:?}")).collect();
        let message = format!(
            "Unsupported value: {value}: supported values: {}",
            of.join(", ")
        );
        Cause::of("FieldValueNotSupported", field, message)
    }

    /// A value that must not be there.
    pub(crate) fn forbidden(field: impl Into<String>, why: &str) -> Cause {
        Cause::of("FieldValueForbidden", field, format!("Forbidden: {why}"))
    }

    /// A value that is too long.
    pub(crate) fn too_long(field: impl Into<String>, why: &str) -> Cause {
        Cause::of("FieldValueTooLong", field, format!("Too long: {why}"))
    }

    fn of(reason: &'static str, field: impl Into<String>, message: String) -> Cause {
        Cause {
            reason,
            message,
            field: field.into(),
        }
    }
}

impl Failure {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Failure {
        Failure {
            code,
            reason,
            message: message.into(),
            details: Value::Null,
            go_on: None,
            retry_after: None,
        }
    }

    fn about(mut self, kind: &Kind, name: &str) -> Failure {
        let mut details = json!({"name": name, "kind": kind.plural});
        if !kind.group.is_empty() {
            details["group"] = kind.group.into();
        }
        self.details = details;
        self
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> Failure {
        let message = format!("{} {name:?} not found", kind.resource());
        Failure::new(StatusCode::NOT_FOUND, "NotFound", message).about(kind, name)
    }

    /// No such subresource, or no such resource below a path that there is.
    pub(crate) fn no_resource() -> Failure {
        let message = "the server could not find the requested resource";
        let mut failure = Failure::new(StatusCode::NOT_FOUND, "NotFound", message);
        failure.details = json!({});
        failure
    }

    pub(crate) fn exists(kind: &Kind, name: &str) -> Failure {
        let message = format!("{} {name:?} already exists", kind.resource());
        Failure::new(StatusCode::CONFLICT, "AlreadyExists", message).about(kind, name)
    }

    pub(crate) fn conflict(kind: &Kind, name: &str, why: &str) -> Failure {
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: {why}",
            kind.resource()
        );
        Failure::new(StatusCode::CONFLICT, "Conflict", message).about(kind, name)
    }

    /// What a removal is on condition of is not so.
    pub(crate) fn precondition(kind: &Kind, name: &str, why: &str) -> Failure {
        let mut failure = Failure::conflict(kind, name, why);
        failure.message = format!(
            "Operation cannot be fulfilled on {} {name:?}: {why}",
            kind.kind
        );
        failure.details["kind"] = kind.kind.into();
        failure
    }

    /// A patch that cannot be applied, which the API server says without saying why.
    pub(crate) fn unpatchable() -> Failure {
        let message = "the server rejected our request due to an error in our request";
        let mut failure = Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
        failure.details = json!({});
        failure
    }

    /// Another version is there.
    pub(crate) fn modified(kind: &Kind, name: &str) -> Failure {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Failure::conflict(kind, name, why)
    }

    pub(crate) fn forbidden(kind: &Kind, name: &str, why: &str) -> Failure {
        let message = format!("{} {name:?} is forbidden: {why}", kind.resource());
        Failure::new(StatusCode::FORBIDDEN, "Forbidden", message).about(kind, name)
    }

    /// An object with something wrong in it. `causes` is not empty.
    pub(crate) fn invalid(kind: &Kind, name: &str, causes: &[Cause]) -> Failure {
        Failure::invalid_of(kind.kind, kind.group, name, causes)
    }

    /// As [`Failure::invalid`], of something that is not an object: the options of a list, a patch.
    pub(crate) fn invalid_of(kind: &str, group: &str, name: &str, causes: &[Cause]) -> Failure {
        let qualified = match group {
            "" => kind.to_owned(),
            group => format!("{kind}.{group}"),
        };
        let all: Vec<String> = causes
            .iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect();
        let all = match &all[..] {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{qualified} {name:?} is invalid: {all}");
        let causes = causes.iter().map(
            |cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field}),
        );
        let mut failure = Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
        failure.details = json!({"kind": kind, "causes": causes.collect::<Vec<_>>()});
        if !name.is_empty() {
            failure.details["name"] = name.into();
        }
        if !group.is_empty() {
            failure.details["group"] = group.into();
        }
        failure
    }

    /// Options of a list or a watch that contradict each other.
    pub(crate) fn list_options(causes: &[Cause]) -> Failure {
        Failure::invalid_of("ListOptions", "meta.k8s.io", "", causes)
    }

    /// The revision is no longer kept.
    pub(crate) fn expired(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::GONE, "Expired", message)
    }

    /// The revision has not been reached.
    pub(crate) fn too_large(asked: u64, current: u64) -> Failure {
        let message = format!("Too large resource version: {asked}, current: {current}");
        let mut failure = Failure::new(
            StatusCode::GATEWAY_TIMEOUT,
            "Timeout",
            format!("Timeout: {message}"),
        );
        failure.details = json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        });
        failure.retry_after = Some(1);
        failure
    }

    pub(crate) fn method_not_allowed() -> Failure {
        let message = "the server does not allow this method on the requested resource";
        let mut failure = Failure::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message);
        failure.details = json!({});
        failure
    }

    pub(crate) fn not_acceptable(accepted: &[&str]) -> Failure {
        let message = format!(
            "only the following media types are accepted: {}",
            accepted.join(", ")
        );
        Failure::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    /// No type of what a client accepts is one that there is.
    pub(crate) fn nothing_acceptable(there_is: &[&str]) -> Failure {
        let message = format!(
            "406: Not Acceptable\n\nAvailable representations: {}",
            there_is.join(", ")
        );
        let mut failure = Failure::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message);
        failure.details = json!({});
        failure
    }

    /// A patch of a type that there is not.
    pub(crate) fn unknown_patch() -> Failure {
        let mut failure = Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            "415: Unsupported Media Type",
        );
        failure.details = json!({});
        failure
    }

    /// A body that cannot be read at all.
    pub(crate) fn unrecognized(kind: &str, why: &str, body: &[u8]) -> Failure {
        const SHOWN: usize = 30;
        let shown = &body[..body.len().min(SHOWN)];
        let mut summary: String = match body.first() {
            None => "<empty>".into(),
            Some(b'{') => String::from_utf8_lossy(shown).into_owned(),
            Some(_) => shown.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        if body.len() > SHOWN {
            summary.push_str(" ...");
        }
        Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): {why} ({summary})"
        ))
    }

    pub(crate) fn unsupported_media(accepted: &[&str]) -> Failure {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            message,
        )
    }

    pub(crate) fn too_many(message: &str) -> Failure {
        let mut failure = Failure::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message);
        failure.details = json!({"retryAfterSeconds": 1});
        failure.retry_after = Some(1);
        failure
    }

    pub(crate) fn too_large_body(message: impl Into<String>) -> Failure {
        Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            message,
        )
    }

    pub(crate) fn internal(message: impl Into<String>) -> Failure {
        let message = format!("Internal error occurred: {}", message.into());
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    /// What the API server did not foresee, and so answers without a reason.
    pub(crate) fn unexpected(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "", message)
    }

    /// Fields that other managers own. `causes`: who, and which field.
    pub(crate) fn apply_conflict(message: &str, causes: &[(String, String)]) -> Failure {
        let mut failure = Failure::new(StatusCode::CONFLICT, "Conflict", message);
        let causes = causes.iter().map(|(message, field)| {
            json!({"reason": "FieldManagerConflict", "message": message, "field": field})
        });
        failure.details = json!({"causes": causes.collect::<Vec<_>>()});
        failure
    }

    /// The `Status` object.
    pub(crate) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code.as_u16(),
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(token) = &self.go_on {
            status["metadata"]["continue"] = token.as_str().into();
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }

    /// The answer, in JSON.
    pub(crate) fn respond(&self) -> Response {
        self.respond_as(Media::Json)
    }

    /// The answer, in the encoding that a client accepts.
    pub(crate) fn respond_as(&self, media: Media) -> Response {
        let mut response = media.answer(self.code, &self.status(), "Status");
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == StatusCode::METHOD_NOT_ALLOWED {
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET"));
        }
        response
    }

    /// What a refused write of an object says.
    pub(crate) fn refused(refusal: &Refusal, kind: &Kind, name: &str) -> Failure {
        match refusal {
            Refusal::Exists => Failure::exists(kind, name),
            Refusal::Changed(_) | Refusal::NoKey | Refusal::BadVersion | Refusal::Stale => {
                Failure::modified(kind, name)
            }
            Refusal::Limit(limit) => {
                let cause = Cause::of("FieldValueTooLong", "", format!("Too long: {limit}"));
                Failure::invalid(kind, name, &[cause])
            }
            Refusal::Reserved(what) => {
                Failure::conflict(kind, name, &format!("{what} is in use by another object"))
            }
            Refusal::OwnService | Refusal::Denied => {
                Failure::forbidden(kind, name, "it is the servers' own")
            }
            Refusal::Compacted(_) | Refusal::Future(_) => Failure::expired("the revision is gone"),
            Refusal::Ops(failed) => match failed.first() {
                Some((_, refusal)) => Failure::refused(refusal, kind, name),
                None => Failure::internal("nothing failed"),
            },
            other @ (Refusal::Kind
            | Refusal::NoNode(_)
            | Refusal::NodeTaken { .. }
            | Refusal::NoInstance
            | Refusal::NoService
            | Refusal::NoCheck(_)
            | Refusal::CheckCritical(_)
            | Refusal::NotEmpty
            | Refusal::NoLease
            | Refusal::LeaseExists
            | Refusal::EphemeralParent
            | Refusal::Locked
            | Refusal::NoSession(_)
            | Refusal::NoLayout
            | Refusal::BadValue(_)) => Failure::internal(format!("{other:?}")),
        }
    }
}

impl From<Unavailable> for Failure {
    fn from(unavailable: Unavailable) -> Failure {
        match unavailable {
            Unavailable::Busy => Failure::too_many("Too many requests, please try again later."),
            // It may have been done: clients look before they try again.
            Unavailable::Unknown => {
                let message = format!("Timeout: {unavailable}");
                Failure::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message)
            }
            Unavailable::NoLeader | Unavailable::Full | Unavailable::Stopping => {
                let mut failure = Failure::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "ServiceUnavailable",
                    unavailable.to_string(),
                );
                failure.retry_after = Some(1);
                failure
            }
        }
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Failure {
        let message = format!("forbidden: {denied}");
        let mut failure = Failure::new(StatusCode::FORBIDDEN, "Forbidden", message);
        failure.details = json!({});
        failure
    }
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Failure {
        match error {
            BodyError::TooLarge { .. } | BodyError::UnpacksTooLarge { .. } => {
                Failure::too_large_body(error.to_string())
            }
            BodyError::TooSlow => {
                Failure::new(StatusCode::REQUEST_TIMEOUT, "Timeout", error.to_string())
            }
            BodyError::Encoding { .. } => Failure::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UnsupportedMediaType",
                error.to_string(),
            ),
            BodyError::NotGzip | BodyError::Broken(_) => Failure::bad_request(error.to_string()),
        }
    }
}

impl From<NotThen> for Failure {
    fn from(not: NotThen) -> Failure {
        match not {
            NotThen::Compacted(floor) => Failure::expired(format!(
                "The resourceVersion for the provided list is too old: the oldest is {floor}."
            )),
            NotThen::Future(current) => Failure::too_large(current.0 + 1, current.0),
            NotThen::Damaged(damage) => Failure::internal(format!("{damage:?}")),
        }
    }
}

impl From<portolan_registry::Damage> for Failure {
    fn from(damage: portolan_registry::Damage) -> Failure {
        Failure::internal(format!("{damage:?}"))
    }
}
