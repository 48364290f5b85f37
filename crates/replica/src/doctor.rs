//! What is the matter with a data directory, without starting a server in it.
//!
//! [`examine()`] changes nothing. [`set_aside`] takes what cannot be read out of the log of a single server: it is kept in a file of its own
//! and its place in the log stays, with nothing in it; at the end of the log it is cut off.

mod examine;
mod names;
mod repair;

pub use examine::{BadBytes, Diagnosis, DoctorError, Finding, Lost, Unreadable, examine};
pub use repair::set_aside;
