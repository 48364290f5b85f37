//! Request to command: what is decided before a command is proposed, and the reply to what became of it.

mod prepare;
mod reply;

pub(crate) use prepare::{Asking, prepare};
pub(crate) use reply::{Wanted, many_failed, reply};
