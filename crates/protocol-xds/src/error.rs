//! Refusals, as statuses of gRPC.

use portolan_grpc::{Code, Status};
use portolan_listener::Denied;

/// The server is going down; clients come back, here or elsewhere.
pub(crate) const STOPPED: Status = Status::new(Code::Unavailable, "the server is shutting down");

pub(crate) const TOO_MANY_STREAMS: Status = Status::new(
    Code::ResourceExhausted,
    "too many streams are open; --xds-streams allows more",
);

pub(crate) const TOO_MANY_NAMES: Status = Status::new(
    Code::ResourceExhausted,
    "the stream asks for too many resources by name; --xds-names allows more",
);

pub(crate) fn denied(refused: &Denied) -> Status {
    Status::saying(Code::PermissionDenied, refused.to_string())
}

/// A stream about one kind was asked for another.
pub(crate) fn mistyped(asked: &str, served: &str) -> Status {
    Status::saying(
        Code::InvalidArgument,
        format!("this stream is about {served}, not about {asked:?}"),
    )
}

pub(crate) fn unimplemented(path: &str) -> Status {
    let (service, method) = path
        .trim_start_matches('/')
        .rsplit_once('/')
        .unwrap_or(("", path));
    Status::saying(
        Code::Unimplemented,
        format!("unknown method {method} for service {service}"),
    )
}
