//! The feed: how an agent comes to have the state of the servers, and keeps it.

mod parts;
mod server;
pub(crate) mod wire;

pub(crate) use parts::Assembly;
#[cfg(test)]
pub(crate) use parts::parts;
pub use server::FeedServer;
