//! What can be typed.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, FromArgMatches, Parser, Subcommand, value_parser};

use crate::config::keys::{KEYS, Key};
use crate::{config, serve};

/// A service registry that Consul, etcd, Eureka and DNS clients share.
#[derive(Debug, Parser)]
#[command(name = "portolan", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a server
    Serve(ServeArgs),
}

/// The flags of `serve`: the keys of the configuration, and the file.
pub(crate) struct ServeArgs {
    file: Option<PathBuf>,
    flags: Vec<(&'static Key, String)>,
}

impl std::fmt::Debug for ServeArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServeArgs")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl FromArgMatches for ServeArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Vec::new();
        for key in KEYS {
            if matches.value_source(key.name) == Some(ValueSource::CommandLine) {
                let values = matches.get_many::<String>(key.name).unwrap_or_default();
                flags.extend(values.map(|value| (key, value.clone())));
            }
        }
        Ok(ServeArgs {
            file: matches.get_one::<PathBuf>("config").cloned(),
            flags,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = ServeArgs::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for ServeArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("A TOML file with the same keys; variables PORTOLAN_... are stronger, flags strongest");
        command.arg(file).args(KEYS.iter().map(Key::argument))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        ServeArgs::augment_args(command)
    }
}

/// Reads the command line and does what it says.
pub(crate) fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(arguments) => run_server(arguments),
    }
}

fn run_server(arguments: ServeArgs) -> ExitCode {
    let config = match config::read(arguments.file, variables(), arguments.flags) {
        Ok(config) => config,
        Err(wrong) => {
            eprintln!("portolan: {wrong}");
            return ExitCode::from(2);
        }
    };
    match serve::run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portolan: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
