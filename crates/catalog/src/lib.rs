//! The catalog: all replicated facts as one immutable value, and the pure function that changes it.
//!
//! What it promises
//! - [`State::apply`] is total and pure: every command has an answer, and replaying a log gives the same state on any
//!   machine. It reads no clock, draws no random number and does no I/O.
//! - The revision moves by exactly one for each entry that changed a row, and stands still otherwise.
//! - Every change carries both sides and its cause. Changes applied to the old state give the new one.
//!
//! What it deliberately does not do: it knows no protocol's wire types, no deadlines (the log has terms only), no sockets, no files.
//!
//! Where to start: [`Command`] says what can be asked, [`State`] what can be read, [`Change`] what followers see,
//! `apply` how one leads to the other, [`layout`] how instances and records of key-value frameworks meet.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

#[macro_use]
mod table_list;

mod acl;
mod apply;
mod bounds;
mod change;
mod check;
mod command;
pub mod endpoint;
mod entry;
mod evidence;
pub mod guard;
mod health;
mod ids;
mod instance;
pub mod layout;
mod lease;
pub mod limits;
pub mod name;
mod node;
mod outcome;
mod record;
pub mod servers;
mod service;
mod state;
pub mod stored;
pub mod tree;
mod work;

pub use acl::{Acl, AclEntry, Identity, Permission};
pub use apply::Applied;
pub use change::{Batch, Change, RowKey, Table};
pub use check::{Check, CheckFacts, Probe, ProbeTls, Status, Thresholds};
pub use command::{
    AdminTarget, Bootstrap, Command, Comparand, Compare, Expect, NewCheck, Op, Put, PutCheck, Read,
    Register, Relation, RestorePart, Target, TreeWrite, Write,
};
pub use endpoint::{Endpoint, EndpointKey, Host, Port, Transport};
pub use entry::{Cause, Entry, Why};
pub use evidence::{Evidence, Word};
pub use health::Health;
pub use ids::{
    CheckKey, DEFAULT, InstanceKey, Keyspace, LeaseId, NodeName, Protocol, Revision, ServiceKey,
    SessionId, Timestamp,
};
pub use instance::{
    Admin, AdminStatus, Declared, Instance, Locality, LookupKind, Meta, Registration, Via, Weight,
};
pub use lease::{Attached, Behaviour, Lease, Session, Stage, Terms, Then};
pub use node::{Node, NodeFacts};
pub use outcome::{Compacted, Done, OpDone, Outcome, ReadDone, Refusal, Settled, Written};
pub use record::{
    Derived, Extension, Key, KeyRange, Lock, NacosConfig, Recognised, Record, Znode, ZnodeKind,
};
pub use service::{EndpointRow, Namespace, Protocols, Service, ServiceMarks, ServiceSettings};
pub use state::{Floors, Marks, RecordsOf, State};
