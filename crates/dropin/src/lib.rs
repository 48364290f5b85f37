//! The command lines of Consul and etcd: what people type and script, understood by this binary.
//!
//! Promises
//! - Called as `consul` or `etcd`, the usual flags, variables and configuration files start a server that listens where that program would.
//! - What is not understood is a warning that names the option, unless security hangs on it: then an error.
//! - Consul's client commands speak HTTP to any Consul agent and print what Consul's program prints, with its exit codes.
//!
//! Deliberately absent: a server. A command line that starts one becomes [`Settings`] for whoever has one.
//!
//! Start reading at [`run`].

/// Prints a line. Whoever closed the pipe wants no more of it.
macro_rules! say {
    ($($words:tt)*) => {
        $crate::write_out(&format!("{}\n", format_args!($($words)*)))
    };
}

mod consul;
mod etcd;
mod go_flags;
mod settings;

use std::collections::BTreeMap;
use std::io::Write;

pub use settings::{Refusal, Settings};

/// The definitions of services and checks in [`Settings::definition_places`], as they stand there now: names for messages, and JSON.
///
/// # Errors
/// A file that cannot be read.
pub fn definitions(places: &[std::path::PathBuf]) -> Result<Vec<(String, String)>, Refusal> {
    consul::definitions(places)
}

/// The program whose command line is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `consul`.
    Consul,
    /// `etcd`.
    Etcd,
}

impl Program {
    /// By the name of the executable, with or without a path.
    #[must_use]
    pub fn called(name: &str) -> Option<Program> {
        match name.rsplit('/').next().unwrap_or_default() {
            "consul" => Some(Program::Consul),
            "etcd" => Some(Program::Etcd),
            _ => None,
        }
    }
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Outcome {
    /// A server with these settings.
    Serve(Box<Settings>),
    /// Nothing more: the process ends with this code.
    Exit(u8),
}

/// Does what the words after the program's name say. Client commands are carried out, with their output on stdout and stderr; a command that
/// starts a server is only read.
///
/// `variables` is the environment, `version` this binary's own.
#[must_use]
pub fn run(
    program: Program,
    words: &[String],
    variables: &BTreeMap<String, String>,
    version: &str,
) -> Outcome {
    match program {
        Program::Consul => consul::run(words, variables, version),
        Program::Etcd => etcd::run(words, variables, version),
    }
}

/// Writes to stdout. Whoever closed the pipe wants no more of it.
pub(crate) fn write_out(text: &str) {
    let mut out = std::io::stdout().lock();
    let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
