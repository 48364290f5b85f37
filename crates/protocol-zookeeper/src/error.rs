//! ZooKeeper's error codes, and what the catalog's refusals are among them.

use portolan_catalog::Refusal;
use portolan_registry::Unavailable;

/// An error code of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Code {
    SystemError = -1,
    /// In the results of a transaction: not done, because of another operation.
    RuntimeInconsistency = -2,
    Marshalling = -5,
    Unimplemented = -6,
    BadArguments = -8,
    NoNode = -101,
    NoAuth = -102,
    BadVersion = -103,
    NoChildrenForEphemerals = -108,
    NodeExists = -110,
    NotEmpty = -111,
    SessionExpired = -112,
    InvalidAcl = -114,
    AuthFailed = -115,
    NoWatcher = -121,
}

/// Why a write has no reply: ZooKeeper's clients take a closed connection for "it may have happened", and go to another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Undecided;

impl From<Unavailable> for Undecided {
    fn from(unavailable: Unavailable) -> Undecided {
        match unavailable {
            Unavailable::NoLeader
            | Unavailable::Full
            | Unavailable::Busy
            | Unavailable::Unknown
            | Unavailable::Stopping => Undecided,
        }
    }
}

/// The code of a refusal, and the operation it is about when it came from one of several.
pub(crate) fn refused(refusal: &Refusal) -> (usize, Code) {
    let code = match refusal {
        Refusal::NoKey => Code::NoNode,
        Refusal::Exists => Code::NodeExists,
        Refusal::NotEmpty => Code::NotEmpty,
        Refusal::EphemeralParent => Code::NoChildrenForEphemerals,
        Refusal::BadVersion | Refusal::Changed(_) => Code::BadVersion,
        Refusal::Denied => Code::NoAuth,
        Refusal::NoLease => Code::SessionExpired,
        Refusal::Ops(failed) => {
            return match failed.first() {
                Some((index, refusal)) => (*index, refused(refusal).1),
                None => (0, Code::SystemError),
            };
        }
        // Names and sizes that the tree or an instance in it cannot have.
        Refusal::Limit(_) | Refusal::Reserved(_) | Refusal::BadValue(_) => Code::BadArguments,
        // A server's own registration, deleted by the node that shows it.
        Refusal::OwnService => Code::NoAuth,
        // No operation on the tree is refused like this.
        Refusal::Kind
        | Refusal::NoNode(_)
        | Refusal::NodeTaken { .. }
        | Refusal::NoInstance
        | Refusal::NoService
        | Refusal::NoCheck(_)
        | Refusal::CheckCritical(_)
        | Refusal::LeaseExists
        | Refusal::Stale
        | Refusal::Compacted(_)
        | Refusal::Future(_)
        | Refusal::Locked
        | Refusal::NoSession(_)
        | Refusal::NoLayout => Code::SystemError,
    };
    (0, code)
}
