//! Commands: everything that can change the catalog, with all that could differ between replicas already settled.
//!
//! Clock readings, generated ids and parsed bodies are decided once by the proposer and carried in the entry. What
//! depends on the state that a command meets (a sequence number, a label) is decided in `apply`.

use std::sync::Arc;

use bytes::Bytes;

use crate::acl::{Acl, Identity};
use crate::check::{CheckFacts, Status};
use crate::endpoint::EndpointKey;
use crate::ids::{
    CheckKey, InstanceKey, Keyspace, LeaseId, NodeName, Protocol, Revision, ServiceKey, SessionId,
};
use crate::instance::{Admin, Registration};
use crate::layout::LayoutState;
use crate::lease::{Session, Terms};
use crate::node::NodeFacts;
use crate::record::{Extension, Key, KeyRange, ZnodeKind};
use crate::service::ServiceSettings;

/// Everything that can be asked of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The first entry of a catalog's life: the first node, its service, its checks. Moves no revision.
    Bootstrap(Box<Bootstrap>),
    /// Registers an instance. Refusals: `Changed`, `Kind`, `Limit`, `NoNode`, `Reserved`.
    Register(Box<Register>),
    /// Exactly these instances of a service belong to a connection from now on (Nacos batch).
    RegisterSet {
        /// The connection's lease.
        lease: LeaseId,
        /// The service.
        service: ServiceKey,
        /// All of them.
        instances: Vec<Register>,
    },
    /// Removes an instance, or every member of an endpoint. Absent is `Done::Nothing`. Refusal: `Changed`.
    Deregister {
        /// What.
        target: Target,
        /// Only if the row was last modified then.
        expect: Option<Revision>,
    },
    /// Sets or clears an administrative status, on an instance with all its twins, or on a node. Refusals: `NoInstance`, `NoNode`.
    SetAdmin {
        /// Whose.
        target: AdminTarget,
        /// The status; none clears.
        admin: Option<Arc<Admin>>,
        /// Also sets what the instance declares (Eureka's removal of an override).
        declared: Option<crate::instance::Declared>,
    },
    /// Declares a service that stays without instances, or changes its settings.
    Declare {
        /// The service.
        service: ServiceKey,
        /// Its spelling, if it is new.
        spelling: Arc<str>,
        /// By which protocol.
        protocol: Protocol,
        /// Its settings; none leaves them.
        settings: Option<Arc<ServiceSettings>>,
        /// Nacos: whether instances are ephemeral.
        ephemeral: Option<bool>,
        /// Refuse (`Exists`) when the protocol declared it already.
        create_only: bool,
    },
    /// Takes back a declaration, or drops a service that has been empty long enough. Refusals: `NotEmpty`, `NoService`.
    Forget {
        /// The service.
        service: ServiceKey,
        /// Whose declaration; none: the service is empty and nobody declares it, drop it.
        protocol: Option<Protocol>,
    },
    /// Declares a namespace or changes its texts.
    DeclareNamespace {
        /// Spelling; folded for identity.
        name: Arc<str>,
        /// Title.
        title: Arc<str>,
        /// Description.
        description: Arc<str>,
        /// By which protocol.
        protocol: Protocol,
    },
    /// Takes back the declaration of a namespace. Refusal: `NotEmpty`.
    ForgetNamespace {
        /// Name.
        name: Arc<str>,
        /// Whose declaration.
        protocol: Protocol,
    },
    /// Registers a node. Refusals: `NodeTaken`, `Reserved`.
    PutNode {
        /// The node.
        node: Arc<NodeFacts>,
        /// Terms of its lease, if it has one.
        terms: Option<Terms>,
        /// Only if the row was last modified then.
        expect: Option<Revision>,
    },
    /// Removes a node with its instances, checks and sessions.
    DropNode {
        /// Name.
        name: NodeName,
        /// Only if the row was last modified then.
        expect: Option<Revision>,
    },
    /// Registers a check; status and output stay if the id exists. Refusals: `NoNode`, `NoInstance`.
    PutCheck(Box<PutCheck>),
    /// Removes a check. Refusal: `NoCheck`.
    DropCheck {
        /// Which.
        key: CheckKey,
        /// Only if the row was last modified then.
        expect: Option<Revision>,
    },
    /// A check's result. Refusal: `NoCheck`.
    Report {
        /// Which.
        check: CheckKey,
        /// Status.
        status: Status,
        /// Output, at most 4096 bytes.
        output: Arc<str>,
    },
    /// Grants a lease; with `session` a Consul session. Refusals: `LeaseExists`, `NoNode`, `NoCheck`, `CheckCritical`.
    Grant {
        /// Its id.
        lease: LeaseId,
        /// Its terms; none for a Consul session without TTL, which gets no lease.
        terms: Option<Terms>,
        /// The session row that goes with it (its revisions are filled in).
        session: Option<Box<Session>>,
    },
    /// Ends a lease on request. Refusal: `NoLease`.
    Revoke {
        /// Which.
        lease: LeaseId,
    },
    /// A lease's stage is reached. Refusal: `Stale`.
    Lapse {
        /// Which.
        lease: LeaseId,
        /// The stage, from 0.
        stage: u8,
        /// The generation the leader saw.
        generation: u64,
    },
    /// A lease was renewed after a `Critical` stage: its instances are healthy again. Refusal: `NoLease`.
    Revive {
        /// Which.
        lease: LeaseId,
    },
    /// Compares, then one of two lists of operations, all or nothing: etcd `Txn`, ZooKeeper `multi`, Consul `/v1/txn`; a single write is the one-element case.
    Write(Write),
    /// Operations on the tree of znodes on behalf of a session, all or nothing. A refusal is `Ops` with the first one that failed, or
    /// `NoLease` when the session is over.
    Tree(TreeWrite),
    /// Other terms for a lease that runs, from now on (a ZooKeeper session is taken up with another timeout). Refusal: `NoLease`.
    Retime {
        /// Which.
        lease: LeaseId,
        /// Its terms.
        terms: Terms,
    },
    /// Moves the floor of the history. Refusals: `Compacted`, `Future`.
    Compact {
        /// One keyspace, or everything.
        space: Option<Keyspace>,
        /// The oldest revision that stays readable.
        revision: Revision,
    },
    /// Something used a layout for the first time. With very many endpoints it takes several of these, until it no longer is
    /// asleep. Refusal: `NoLayout`.
    Wake {
        /// Its name.
        layout: Arc<str>,
    },
    /// From here on every member knows this feature level (see [`crate::stored::LEVEL`]). A lower one than the present changes nothing.
    RaiseLevel {
        /// The level.
        level: u8,
    },
    /// A part of a state that is to take the place of the present one.
    Restore(RestorePart),
    /// Adds or switches a layout.
    SetLayout {
        /// Its name.
        layout: Arc<str>,
        /// What it is and its state; none removes it.
        state: Option<LayoutState>,
    },
}

/// A part of a state that was kept elsewhere, as records of [`crate::stored::snapshot`]. The first part begins anew, each takes its turn,
/// the last one puts the whole in the place of the present state, except for what is said of the servers of this cluster. The revision
/// goes beyond both, nothing earlier can be read any more, and [`crate::Applied::replaced`] is set. Refusals: `Stale` out of turn,
/// `BadValue` when the whole is not a state, `Limit` when it needs a higher level than is agreed or is too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestorePart {
    /// Tells one attempt from another: drawn by whoever restores.
    pub attempt: u64,
    /// Counts parts from 0.
    pub part: u32,
    /// Nothing follows.
    pub last: bool,
    /// Records, each behind its length as a little-endian u32. None is divided between parts.
    pub records: Bytes,
}

/// See [`Command::Bootstrap`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// The first server's node.
    pub node: Arc<NodeFacts>,
    /// Its service.
    pub service: Arc<Registration>,
    /// Its checks, passing.
    pub checks: Vec<Arc<CheckFacts>>,
    /// Layouts as configured.
    pub layouts: Vec<(Arc<str>, LayoutState)>,
}

/// See [`Command::Register`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// The facts.
    pub facts: Arc<Registration>,
    /// Terms of the lease named in the facts; granted with the registration, which restarts it.
    pub terms: Option<Terms>,
    /// Checks that come with it.
    pub checks: Vec<NewCheck>,
    /// Checks of the instance that are not among these are dropped.
    pub replace_checks: bool,
    /// Only if the row was last modified then; `Revision(0)`: only if there is none.
    pub expect: Option<Revision>,
    /// Also sets the administrative status (Eureka's override in a registration); none leaves it.
    pub admin: Option<Arc<Admin>>,
}

impl Register {
    /// A registration with nothing beside its facts.
    pub fn new(facts: Registration) -> Register {
        Register {
            facts: Arc::new(facts),
            terms: None,
            checks: Vec::new(),
            replace_checks: false,
            expect: None,
            admin: None,
        }
    }
}

/// A check with the status it is born with, should it be new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCheck {
    /// The facts.
    pub facts: Arc<CheckFacts>,
    /// Status at birth.
    pub status: Status,
    /// Output at birth.
    pub output: Arc<str>,
    /// Status and output are results and replace those of an existing check (Consul's catalog registration).
    pub reported: bool,
}

/// See [`Command::PutCheck`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutCheck {
    /// The check.
    pub check: NewCheck,
    /// Only if the row was last modified then; `Revision(0)`: only if there is none.
    pub expect: Option<Revision>,
}

/// What to deregister.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One row.
    Instance(InstanceKey),
    /// All members of an endpoint.
    Endpoint(EndpointKey),
}

/// Whose administrative status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminTarget {
    /// An instance and all its twins.
    Instance(InstanceKey),
    /// A node: concerns every instance on it.
    Node(NodeName),
}

/// Compares and two branches of operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Write {
    /// All must hold, on the state before the command.
    pub when: Vec<Compare>,
    /// What is done if they hold.
    pub then: Vec<Op>,
    /// What is done otherwise.
    pub or_else: Vec<Op>,
    /// After a failed operation evaluation goes on and every failure is reported (Consul's txn).
    pub report_all: bool,
}

impl Write {
    /// One operation, unconditionally.
    pub fn one(op: Op) -> Write {
        Write {
            then: vec![op],
            ..Write::default()
        }
    }
}

/// What a comparison compares. Missing keys compare as zero, and never by value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparand {
    /// Puts since creation.
    Version(i64),
    /// Revision of creation.
    Created(i64),
    /// Revision of the last put.
    Modified(i64),
    /// The bytes.
    Value(Bytes),
    /// The etcd lease, 0 for none.
    Lease(i64),
}

/// How a comparison compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Equal.
    Equal,
    /// The record's is greater.
    Greater,
    /// The record's is less.
    Less,
    /// Not equal.
    NotEqual,
}

/// One comparison: holds if every record in the range satisfies it; an empty range is like one missing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Keyspace.
    pub space: Keyspace,
    /// Keys.
    pub range: KeyRange,
    /// Relation between the record's and the given.
    pub relation: Relation,
    /// The given.
    pub comparand: Comparand,
}

/// What must hold for an operation on one record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    #[default]
    Any,
    /// No record. Refusal: `Exists`.
    Absent,
    /// A record. Refusal: `NoKey`.
    Present,
    /// Last modified then. Refusal: `Changed`, or `NoKey` when there is none.
    Modified(Revision),
    /// This version (znode version + 1). Refusal: `BadVersion`, or `NoKey`.
    Version(u64),
    /// Locked by that session. Refusal: `Locked`, or `NoKey`.
    HeldBy(SessionId),
}

/// One operation of a [`Write`]. It sees what earlier ones did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Puts a record. Refusals: `NoLease`, `NoKey`, those of [`Expect`].
    Put(Box<Put>),
    /// Deletes the records of a range; derived records only by their exact key.
    Delete {
        /// Keyspace.
        space: Keyspace,
        /// Keys.
        range: KeyRange,
        /// What must hold for a single key.
        expect: Expect,
    },
    /// Locks a record for a session, and puts it. Refusals: `NoSession`, `Locked`.
    Acquire {
        /// The put; its `expect` is ignored.
        put: Box<Put>,
        /// The session.
        session: SessionId,
    },
    /// Unlocks a record, and puts it. Refusals: `NoKey`, `Locked` (not the holder).
    Release {
        /// The put; its `expect` is ignored.
        put: Box<Put>,
        /// The session.
        session: SessionId,
    },
    /// Reads; the rows ride in the outcome. Refusals: `Compacted`, `Future`.
    Read(Read),
    /// Only a condition on a record.
    Check {
        /// Keyspace.
        space: Keyspace,
        /// Key.
        key: Key,
        /// What must hold.
        expect: Expect,
    },
    /// Changes a znode's ACL. Refusals: `NoKey`, `BadVersion`. Within [`Command::Tree`] only.
    SetAcl {
        /// Key.
        key: Key,
        /// The ACL.
        acl: Acl,
        /// The version of the ACL that is replaced, if it matters.
        version: Option<i32>,
    },
    /// A whole write inside.
    Nested(Write),
    /// Any command of the catalog (Consul's txn mixes nodes, services, checks and keys).
    Command(Box<Command>),
}

/// See [`Command::Tree`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeWrite {
    /// Whose ACLs are asked for each operation; none when it is the server's own.
    pub who: Option<Arc<[Identity]>>,
    /// The ZooKeeper session that must still be there.
    pub session: Option<i64>,
    /// Puts that create or set, deletes, checks and changes of ACLs, of znodes; each sees what earlier ones did.
    pub ops: Vec<Op>,
}

/// See [`Op::Put`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Keyspace.
    pub space: Keyspace,
    /// Key.
    pub key: Key,
    /// Value; null is not the same as empty.
    pub value: Option<Bytes>,
    /// Consul's flags.
    pub flags: u64,
    /// Lease to attach to.
    pub lease: Option<LeaseId>,
    /// The old value stays (etcd ignore_value). Refusal: `NoKey`.
    pub keep_value: bool,
    /// The old lease stays (etcd ignore_lease). Refusal: `NoKey`.
    pub keep_lease: bool,
    /// An equal value is no change (Consul KV); otherwise every put is a change (etcd).
    pub quiet: bool,
    /// What must hold.
    pub expect: Expect,
    /// The instances the front end recognised in the value. A single one may have the key that [`InstanceKey::record`] gives for the
    /// record; others have keys of their own, which no other instance has. Refusal: `Reserved`.
    pub recognised: Vec<Arc<Registration>>,
    /// The record's extension; `None` keeps the present one.
    pub extension: Option<Extension>,
    /// ZooKeeper: how to create.
    pub create: Option<ZnodeKind>,
    /// ZooKeeper: append the parent's sequence number to the key.
    pub sequential: bool,
}

impl Put {
    /// A plain put.
    pub fn new(space: Keyspace, key: Key, value: Bytes) -> Put {
        Put {
            space,
            key,
            value: Some(value),
            flags: 0,
            lease: None,
            keep_value: false,
            keep_lease: false,
            quiet: false,
            expect: Expect::Any,
            recognised: Vec::new(),
            extension: None,
            create: None,
            sequential: false,
        }
    }
}

/// See [`Op::Read`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Keyspace.
    pub space: Keyspace,
    /// Keys.
    pub range: KeyRange,
    /// At which revision; none means as of this operation.
    pub at: Option<Revision>,
    /// Rows to return at most; 0 means all. The count is of all.
    pub limit: usize,
    /// Only the count.
    pub count_only: bool,
}
