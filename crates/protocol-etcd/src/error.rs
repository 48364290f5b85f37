//! Refusals and the like as gRPC statuses, in etcd's exact words.
//!
//! Clients compare texts: clientv3 looks the text up in a table, others match code or text. Source: the etcd sheet, section 10.

use std::borrow::Cow;

use portolan_catalog::Refusal;
pub(crate) use portolan_grpc::Code;
use portolan_grpc::{Refused, Status};
use portolan_registry::{Damage, NotThen, Unavailable};

use crate::wire::SERVICES;

/// Why a call was not answered with a reply: a code and etcd's text for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The code.
    pub(crate) code: Code,
    /// The text.
    pub(crate) text: Cow<'static, str>,
}

impl Failure {
    /// A failure with a fixed text.
    pub(crate) const fn new(code: Code, text: &'static str) -> Failure {
        Failure {
            code,
            text: Cow::Borrowed(text),
        }
    }

    /// A failure with a text made for the occasion.
    pub(crate) fn saying(code: Code, text: String) -> Failure {
        Failure {
            code,
            text: Cow::Owned(text),
        }
    }

    /// The text in the form etcd gives it inside a watch response: as Go prints a status.
    pub(crate) fn in_go(&self) -> String {
        let name = self.code.go_name();
        format!("rpc error: code = {name} desc = {}", self.text)
    }
}

impl From<Damage> for Failure {
    fn from(damage: Damage) -> Failure {
        Failure::saying(Code::DataLoss, format!("etcdserver: {damage}"))
    }
}

impl From<NotThen> for Failure {
    fn from(not_then: NotThen) -> Failure {
        match not_then {
            NotThen::Compacted(_) => COMPACTED,
            NotThen::Future(_) => FUTURE_REVISION,
            NotThen::Damaged(damage) => damage.into(),
        }
    }
}

pub(crate) const EMPTY_KEY: Failure =
    Failure::new(Code::InvalidArgument, "etcdserver: key is not provided");
pub(crate) const KEY_NOT_FOUND: Failure =
    Failure::new(Code::InvalidArgument, "etcdserver: key not found");
pub(crate) const VALUE_PROVIDED: Failure =
    Failure::new(Code::InvalidArgument, "etcdserver: value is provided");
pub(crate) const LEASE_PROVIDED: Failure =
    Failure::new(Code::InvalidArgument, "etcdserver: lease is provided");
pub(crate) const TOO_MANY_OPS: Failure = Failure::new(
    Code::InvalidArgument,
    "etcdserver: too many operations in txn request",
);
pub(crate) const DUPLICATE_KEY: Failure = Failure::new(
    Code::InvalidArgument,
    "etcdserver: duplicate key given in txn request",
);
pub(crate) const INVALID_SORT: Failure =
    Failure::new(Code::InvalidArgument, "etcdserver: invalid sort option");
pub(crate) const INVALID_CLIENT_VERSION: Failure = Failure::new(
    Code::InvalidArgument,
    "etcdserver: invalid client api version",
);
pub(crate) const DEADLINE_EXCEEDED: Failure =
    Failure::new(Code::DeadlineExceeded, "context deadline exceeded");
pub(crate) const REQUEST_TOO_LARGE: Failure =
    Failure::new(Code::InvalidArgument, "etcdserver: request is too large");
pub(crate) const COMPACTED: Failure = Failure::new(
    Code::OutOfRange,
    "etcdserver: mvcc: required revision has been compacted",
);
pub(crate) const FUTURE_REVISION: Failure = Failure::new(
    Code::OutOfRange,
    "etcdserver: mvcc: required revision is a future revision",
);
pub(crate) const TTL_TOO_LARGE: Failure =
    Failure::new(Code::OutOfRange, "etcdserver: too large lease TTL");
pub(crate) const NO_SPACE: Failure = Failure::new(
    Code::ResourceExhausted,
    "etcdserver: mvcc: database space exceeded",
);
pub(crate) const TOO_MANY_REQUESTS: Failure =
    Failure::new(Code::ResourceExhausted, "etcdserver: too many requests");
pub(crate) const LEASE_NOT_FOUND: Failure =
    Failure::new(Code::NotFound, "etcdserver: requested lease not found");
pub(crate) const LEASE_EXISTS: Failure =
    Failure::new(Code::FailedPrecondition, "etcdserver: lease already exists");
pub(crate) const AUTH_NOT_ENABLED: Failure = Failure::new(
    Code::FailedPrecondition,
    "etcdserver: authentication is not enabled",
);
pub(crate) const ROOT_USER_MISSING: Failure = Failure::new(
    Code::FailedPrecondition,
    "etcdserver: root user does not exist",
);
pub(crate) const USER_NOT_FOUND: Failure =
    Failure::new(Code::FailedPrecondition, "etcdserver: user name not found");
pub(crate) const USER_EMPTY: Failure =
    Failure::new(Code::InvalidArgument, "etcdserver: user name is empty");
pub(crate) const ROLE_EMPTY: Failure =
    Failure::new(Code::InvalidArgument, "etcdserver: role name is empty");
pub(crate) const PERMISSION_NOT_GIVEN: Failure =
    Failure::new(Code::InvalidArgument, "etcdserver: permission not given");
pub(crate) const ROLE_NOT_FOUND: Failure =
    Failure::new(Code::FailedPrecondition, "etcdserver: role name not found");
pub(crate) const PERMISSION_DENIED: Failure =
    Failure::new(Code::PermissionDenied, "etcdserver: permission denied");
pub(crate) const INVALID_TOKEN: Failure =
    Failure::new(Code::Unauthenticated, "etcdserver: invalid auth token");
pub(crate) const OLD_AUTH_REVISION: Failure = Failure::new(
    Code::InvalidArgument,
    "etcdserver: revision of auth store is old",
);
pub(crate) const AUTH_FAILED: Failure = Failure::new(
    Code::InvalidArgument,
    "etcdserver: authentication failed, invalid user ID or password",
);
/// etcd has no code for it.
pub(crate) const NO_PASSWORD_USER: Failure = Failure::new(
    Code::Unknown,
    "auth: authentication failed, password was given for no password user",
);
pub(crate) const ROOT_ROLE_MISSING: Failure = Failure::new(
    Code::FailedPrecondition,
    "etcdserver: root user does not have root role",
);
pub(crate) const USER_EXISTS: Failure = Failure::new(
    Code::FailedPrecondition,
    "etcdserver: user name already exists",
);
pub(crate) const ROLE_EXISTS: Failure = Failure::new(
    Code::FailedPrecondition,
    "etcdserver: role name already exists",
);
pub(crate) const ROLE_NOT_GRANTED: Failure = Failure::new(
    Code::FailedPrecondition,
    "etcdserver: role is not granted to the user",
);
pub(crate) const PERMISSION_NOT_GRANTED: Failure = Failure::new(
    Code::FailedPrecondition,
    "etcdserver: permission is not granted to the role",
);
pub(crate) const INVALID_MANAGEMENT: Failure =
    Failure::new(Code::InvalidArgument, "etcdserver: invalid auth management");
pub(crate) const NO_LEADER: Failure = Failure::new(Code::Unavailable, "etcdserver: no leader");
pub(crate) const TIMED_OUT: Failure =
    Failure::new(Code::Unavailable, "etcdserver: request timed out");
pub(crate) const CORRUPT: Failure = Failure::new(Code::DataLoss, "etcdserver: corrupt cluster");
pub(crate) const STOPPED: Failure = Failure::new(Code::Unavailable, "etcdserver: server stopped");

pub(crate) const NO_ELECTED: Failure = Failure::new(Code::Unknown, "election: no leader");
pub(crate) const NOT_ELECTED: Failure = Failure::new(Code::Unknown, "election: not leader");
pub(crate) const LEADER_MISSING: Failure =
    Failure::new(Code::Unknown, "\"leader\" field must be provided");
pub(crate) const SESSION_EXPIRED: Failure =
    Failure::new(Code::Unknown, "mutex: session is expired");

impl From<Failure> for Status {
    fn from(failure: Failure) -> Status {
        Status {
            code: failure.code,
            text: failure.text,
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        Failure {
            code: status.code,
            text: status.text,
        }
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Refused {
        Status::from(failure).into()
    }
}

impl From<Unavailable> for Failure {
    fn from(unavailable: Unavailable) -> Failure {
        match unavailable {
            Unavailable::NoLeader => NO_LEADER,
            // Clients must not take a write of which nothing is known for one that was refused: they retry `UNAVAILABLE` by themselves
            // only for calls that may be repeated.
            Unavailable::Unknown => TIMED_OUT,
            Unavailable::Full => NO_SPACE,
            Unavailable::Busy => TOO_MANY_REQUESTS,
            Unavailable::Stopping => STOPPED,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        match refusal {
            Refusal::NoLease => LEASE_NOT_FOUND,
            Refusal::LeaseExists => LEASE_EXISTS,
            Refusal::NoKey => KEY_NOT_FOUND,
            Refusal::Compacted(_) => COMPACTED,
            Refusal::Future(_) => FUTURE_REVISION,
            Refusal::Denied => PERMISSION_DENIED,
            Refusal::OwnService => Failure::new(
                Code::FailedPrecondition,
                "etcdserver: the key shows a server of this cluster, which cannot be deregistered",
            ),
            Refusal::Limit("operations in one write") => TOO_MANY_OPS,
            Refusal::Limit("record key") => REQUEST_TOO_LARGE,
            Refusal::Limit(limit) => Failure::saying(
                Code::ResourceExhausted,
                format!("etcdserver: the limit of {limit} is reached"),
            ),
            Refusal::Reserved(name) => Failure::saying(
                Code::InvalidArgument,
                format!("etcdserver: the name {name:?} is reserved"),
            ),
            Refusal::Ops(refusals) => refusals
                .into_iter()
                .next()
                .map_or(KEY_NOT_FOUND, |(_, refusal)| refusal.into()),
            // No command of this protocol is refused so. Should one be, the client learns what was in the way.
            refusal @ (Refusal::Changed(_)
            | Refusal::Kind
            | Refusal::NoNode(_)
            | Refusal::NodeTaken { .. }
            | Refusal::NoInstance
            | Refusal::NoService
            | Refusal::NoCheck(_)
            | Refusal::CheckCritical(_)
            | Refusal::NotEmpty
            | Refusal::Exists
            | Refusal::Stale
            | Refusal::EphemeralParent
            | Refusal::BadVersion
            | Refusal::Locked
            | Refusal::NoSession(_)
            | Refusal::NoLayout
            | Refusal::BadValue(_)) => Failure::saying(
                Code::FailedPrecondition,
                format!("etcdserver: the catalog refused: {refusal:?}"),
            ),
        }
    }
}

/// What a server says that does not have the method, or not the service.
pub(crate) fn unimplemented(path: &str) -> Failure {
    let text = match path.strip_prefix('/').unwrap_or(path).rsplit_once('/') {
        None => format!("malformed method name: {path:?}"),
        Some((service, method)) if SERVICES.contains(&service) => {
            format!("unknown method {method} for service {service}")
        }
        Some((service, _)) => format!("unknown service {service}"),
    };
    Failure::saying(Code::Unimplemented, text)
}
