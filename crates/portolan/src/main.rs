//! One binary: the server, and the command line that talks to it.
//!
//! What it promises: a configuration that is wrong is refused with its place and what to do; a protocol accepts connections only when
//! the catalog behind it is what it was; a stop lets open requests end.
//!
//! What it deliberately does not do: it holds no logic of the catalog or of a protocol. It reads, checks, wires and prints.
//!
//! Where to start: `serve` for the server, `config` for what can be set, `cli` for the commands that ask a server, `prove` for the simulation.

mod args;
mod cli;
mod config;
mod dropin;
mod gateway;
mod memory;
mod prove;
mod serve;

use std::process::ExitCode;

/// This version.
pub(crate) fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

fn main() -> ExitCode {
    args::run()
}
