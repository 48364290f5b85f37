//! Who may do what: tokens, policies and roles in the catalog, and one answer for every protocol.
//!
//! Promises
//! - A policy says what a principal may do to services, nodes, keys, sessions and the cluster, in Consul's rules; every protocol asks
//!   the same ones, through the listener's [`Policy`](portolan_listener::Policy). Once it is on, what is not allowed is denied.
//! - Rows go through the log like everything else; what was written is in force for the next request of this server, and of another
//!   one as soon as it has the entry.
//! - A decision parses nothing and takes no lock: rules are compiled once for each token and change of access control.
//! - Secrets are in rows that no protocol shows, and in no `Debug` output, cause or message. They are compared by digest.
//!
//! Deliberately absent: routes and their bodies (`protocol-consul` has them), etcd's users, and the switch itself:
//! a server without access control has no [`AccessControl`].
//!
//! Start reading at [`rules`], then [`authorizer`]; [`directory`] is all of it at one revision, [`AccessControl`] what a server holds.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod authorizer;
pub mod builtin;
mod control;
pub mod directory;
pub mod login;
mod question;
pub mod rows;
pub mod rules;
pub mod store;

pub use authorizer::{Authorizer, Question};
pub use control::{AccessControl, OwnTokens, Settings};
pub use directory::{Directory, Known};
pub use question::question;
