//! The types of Portolan's own protocol: what its HTTP bodies look like, and nothing else.
//!
//! What it promises: every type reads back what it writes; unknown fields of answers are ignored, so that an older client understands a
//! newer server, and those of requests are refused, so that a slip of the pen is not taken for a default; fields that are absent have
//! the default their docstring names. Times are RFC 3339 in UTC, revisions are numbers.
//!
//! What it deliberately does not do: it depends on no other crate of the project, opens no socket and decides nothing.
//!
//! Where to start: [`Instance`] and [`Register`], then [`Why`].

mod catalog;
mod register;
mod route;
mod server;
mod watch;
mod why;

pub use catalog::{
    Admin, Check, Endpoint, Instance, InstanceList, KvEntry, KvList, Lease, Port, Service,
    ServiceDetail, ServiceList,
};
pub use register::{
    Deregister, Deregistered, KvWritten, Maintenance, Register, Registered, Renew, Renewed, Settled,
};
pub use route::{NamedRoute, ROUTES, Route, RouteList};
pub use server::{
    ClusterChange, Error, Guard, GuardMode, Layout, Member, Members, Moment, OpenPort, Ports,
    ProtocolState, Ready, Restored, Version,
};
pub use watch::{Cause, Change, ChangeKind, Line};
pub use why::{Reason, Shown, ShownRow, Why};
