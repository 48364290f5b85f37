//! Raft: the only module that names openraft's types.
//!
//! openraft runs in a thread and runtime of its own, since an append blocks until the disk has the entry. One log entry carries a
//! whole batch of commands, one batch is in flight at a time, and whatever arrives meanwhile is the next one.

mod machine;
mod network;
mod propose;

mod store;
mod types;
mod voter;

pub(crate) use machine::{Machine, Publish};

pub(crate) use propose::{Proposer, confirm, is_new};
pub(crate) use store::Store;
pub(crate) use types::alone;
pub(crate) use voter::Voter;

#[cfg(test)]
mod tests;
