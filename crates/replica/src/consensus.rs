//! Raft: the only module that names openraft's types.
//!
//! openraft runs in a thread and runtime of its own, since an append blocks until the disk has the entry. One log entry carries a
//! whole batch of commands, one batch is in flight at a time, and whatever arrives meanwhile is the next one.

mod admission;
mod forwarding;
mod machine;
mod messages;
mod network;
mod propose;
mod raft_node;
mod runtime;
mod store;
mod types;
mod watch;

pub(crate) use forwarding::{Asker, Forwards};
pub(crate) use machine::{Machine, Publish};
pub(crate) use network::{Member, Network};
pub(crate) use propose::{Proposer, is_new};
pub(crate) use raft_node::{MemberNode, RaftNode};
pub(crate) use store::Store;
#[cfg(test)]
pub(crate) use types::together;
pub(crate) use types::{alone, members, node_text};

#[cfg(test)]
mod tests;
