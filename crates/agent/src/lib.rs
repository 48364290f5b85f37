//! An agent: a node without a vote that has everything the servers have, answers from it, and owns what was registered through it.
//!
//! Promises
//! - The copy is exactly a state that the servers had: the agent applies the entries of their log. What leads elsewhere is noticed, and the
//!   whole state is fetched.
//! - Lookups are answered from memory, also when every server is gone, also after a restart without one; how old the answer is is known.
//! - What was registered through this agent is in its data directory before whoever registered it is answered. It is offered again when the
//!   servers lack it, and removed there only when it was removed here, also when the servers decide something late that was taken for lost.
//!   Services and checks of Consul's on this node that were not registered here are removed. While no server can be reached what is owned may
//!   be changed here.
//! - Everything else is decided by the leader; a proposal returns when the copy shows what was decided.
//! - When the agent falls silent its node's lease lapses, and with it everything on the node turns critical at once.
//!
//! The same following, without anything owned, gives the copy of another datacenter: [`Followed`].
//!
//! Deliberately absent: a vote, a protocol, and any decision about what is not its own. A part of the state instead of all of it is not
//! followed yet.
//!
//! Start reading at [`Agent`], then `core` for what is shown, `owned` for what is whose, `feed` for what travels.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod agent;
mod core;
mod datacenter;
mod decide;
mod disk;
mod doubt;
mod feed;
mod follow;
mod joined;
mod keep;
mod leases;
mod members;
mod node_lease;
mod owned;
mod servers;
mod standing;
mod terms;
mod unheard;

pub use agent::{Agent, Options, StartError, Status};
pub use datacenter::{Elsewhere, Followed};
pub use disk::is_agents_directory;
pub use feed::{FeedServer, Pursuit};
pub use joined::{Adopt, Joined};
pub use servers::{FromLeader, Servers, Soon};
pub use standing::Age;
pub use terms::terms as node_terms;

#[cfg(test)]
mod tests;
