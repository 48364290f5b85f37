//! Configurations: records of a keyspace of their own, with MD5, releases to some clients first, listeners and a past.

pub(crate) mod history;
pub(crate) mod key;
pub(crate) mod listen;
pub(crate) mod read;
pub(crate) mod write;
