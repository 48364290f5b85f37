//! A node with a vote: Raft, its log and snapshots, the apply loop and the leader's clock.
//!
//! Promises
//! - What was acknowledged is on the disk: one write and one barrier per batch, before the answer.
//! - A torn last write is cut, damage and missing files refuse to start and say what to do. The first disk error ends the node.
//! - A full disk is seen before a proposal reaches Raft: writes are refused, reads and renewals go on, writes resume by themselves.
//! - Lease deadlines live in memory, restart at full length and never touch the log.
//!
//! Deliberately absent: any protocol, and anything that reads a clock or a random number it was not given.
//!
//! Start reading at [`Replica`] for the whole, [`Log`] for the disk, `consensus` for Raft, `lease` for the clock.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod broken;
pub mod command_batch;
mod condition;
mod consensus;
mod consistency;
mod departure;
pub mod disk;
pub mod doctor;
pub mod fatal;
mod history_files;
mod housekeeping;
pub mod identity;
mod lease;
mod log;
mod node;
pub mod offline;
pub mod promise;
mod proposal_time;
mod replica;
pub mod snapshot;
mod snapshot_wish;
pub mod space;
mod stats;
mod supervisor;

pub use housekeeping::EMPTY_FOR;
pub use lease::GuardOptions;
pub use log::{Body, Log, LogEntry, LogError, Position};
pub use replica::{
    Cluster, Directory, FatalHook, Membership, Options, Replica, StartError, Status, place,
};
pub use stats::{Figure, Stats};
