//! The feed: how an agent comes to have the state of the servers, and keeps it.

mod parts;
mod pursuit;
mod server;
pub(crate) mod wire;

pub(crate) use parts::Assembly;
#[cfg(test)]
pub(crate) use parts::parts;
pub use pursuit::Pursuit;
pub use server::FeedServer;
