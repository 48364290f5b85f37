//! Outcomes: what a command did, or why it was refused. Data, the same on every replica.

use std::sync::Arc;

use crate::check::Check;
use crate::ids::{CheckKey, Keyspace, LeaseId, Revision, SessionId};
use crate::instance::Instance;
use crate::record::{Key, Record};

/// The answer to one command, with the command's own revision: the one it made, or the current one if it changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The command's revision.
    pub revision: Revision,
    /// What it did.
    pub outcome: Outcome,
}

/// A refusal is an answer that every replica computes alike, not an error.
pub type Outcome = Result<Done, Refusal>;

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// What was asked for, with nothing to tell; also when there was nothing to do.
    Nothing,
    /// The instance as it is now.
    Registered(Arc<Instance>),
    /// How many instances went.
    Deregistered(usize),
    /// The check as it is now.
    Reported(Arc<Check>),
    /// A granted lease, its generation.
    Granted {
        /// The lease.
        lease: LeaseId,
        /// Its generation.
        generation: u64,
    },
    /// What a write did.
    Written(Written),
}

/// What a [`crate::Write`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Whether the comparisons held.
    pub succeeded: bool,
    /// One result per operation of the branch taken.
    pub results: Vec<OpDone>,
}

/// What one operation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpDone {
    /// A put (also acquire and release).
    Put {
        /// The final key (ZooKeeper's sequence numbers).
        key: Key,
        /// The record before.
        before: Option<Arc<Record>>,
        /// The record now.
        after: Arc<Record>,
    },
    /// A delete: what went, in key order.
    Deleted(Vec<(Key, Arc<Record>)>),
    /// A read.
    Read(ReadDone),
    /// A condition held.
    Held(Option<Arc<Record>>),
    /// A nested write.
    Nested(Written),
    /// A command of the catalog.
    Command(Done),
}

/// What a read found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadDone {
    /// The rows, in key order, at most as many as asked for.
    pub rows: Vec<(Key, Arc<Record>)>,
    /// How many there are in the range.
    pub count: usize,
    /// The revision the read saw: the command's own once something before it changed.
    pub revision: Revision,
    /// The rows are those of this earlier revision, which can be read but was not: `apply` does not depend on the history,
    /// and the past cannot change. Whoever asked fills in `rows` and `count`.
    pub at: Option<Revision>,
}

/// A no. Each protocol maps these to its own codes in one exhaustive `match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The row is not as expected; it was last modified at the revision (0: there is none).
    Changed(Revision),
    /// The service's instances are of the other kind (Nacos ephemeral or persistent).
    Kind,
    /// A limit, by its name.
    Limit(&'static str),
    /// A name that cannot be used.
    Reserved(Arc<str>),
    /// No such node.
    NoNode(Arc<str>),
    /// The node's name belongs to another id.
    NodeTaken {
        /// The id it belongs to.
        id: Arc<str>,
    },
    /// No such instance.
    NoInstance,
    /// No such service.
    NoService,
    /// No such check.
    NoCheck(CheckKey),
    /// The check a session wants to be bound to is critical.
    CheckCritical(CheckKey),
    /// It has members, children or declarations.
    NotEmpty,
    /// It is there already.
    Exists,
    /// No such lease.
    NoLease,
    /// The lease is there already.
    LeaseExists,
    /// The lease was renewed or granted again in the meantime.
    Stale,
    /// No such record.
    NoKey,
    /// The revision is below the floor of the history, which is given.
    Compacted(Revision),
    /// The revision has not been reached.
    Future(Revision),
    /// An ephemeral znode has no children.
    EphemeralParent,
    /// The record's version is another one.
    BadVersion,
    /// The record is locked by somebody else, not locked, or its lock delay runs.
    Locked,
    /// No such session.
    NoSession(SessionId),
    /// The record's own access list forbids it.
    Denied,
    /// It is a server's own registration, which only servers remove.
    OwnService,
    /// No such layout.
    NoLayout,
    /// A setting's value is not one of its values.
    BadValue(Arc<str>),
    /// Operations that failed, of a write that reports all of them: (index, why).
    Ops(Vec<(usize, Refusal)>),
}

/// The history does not go back that far: the oldest revision that can be followed from is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// The floor.
    pub floor: Revision,
    /// Of which keyspace, if only of one.
    pub space: Option<Keyspace>,
}
