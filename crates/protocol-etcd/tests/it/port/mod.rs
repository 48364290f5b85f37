//! The port as a whole: plain HTTP, calls and what is said around them, members, alarms.

mod alarms;
mod calls;
mod heads;
mod members;
mod plain;
mod raw;
