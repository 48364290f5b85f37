//! What can be typed.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{
    Arg, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, value_parser,
};
use clap_complete::Shell;

use crate::config::key::Key;
use crate::config::keys;
use crate::{cli, config, dropin, gateway, prove, serve};

/// A service registry that Consul, etcd, ZooKeeper, Eureka, Nacos, Kubernetes, xDS and DNS clients share.
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
    /// Run a gateway alone: requests to services, over a copy of what the servers have
    Gateway(gateway::Gateway),
    #[command(flatten)]
    Ask(cli::Ask),
    /// Run a cluster in virtual time with the faults of a seed, and check that everything holds
    Prove(prove::Prove),
    /// Understand the command line of consul or etcd, as when called by that name
    As {
        /// The program's name, and what would be typed after it
        #[arg(
            required = true,
            num_args = 1..,
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "consul|etcd ..."
        )]
        words: Vec<String>,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
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
        for key in keys::all() {
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
        let areas = keys::AREAS.iter();
        command
            .arg(file)
            .args(areas.flat_map(|area| area.arguments()))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        ServeArgs::augment_args(command)
    }
}

/// Reads the command line and does what it says.
pub(crate) fn run() -> ExitCode {
    let words: Option<Vec<String>> = std::env::args_os()
        .map(|word| word.into_string().ok())
        .collect();
    if let Some(code) = words.and_then(|words| dropin::run(&words)) {
        return code;
    }
    match Cli::parse().command {
        Command::As { words } => dropin::run(&words).unwrap_or_else(|| {
            eprintln!("portolan: as takes consul or etcd, and what would be typed after it");
            ExitCode::from(2)
        }),
        Command::Serve(arguments) => run_server(arguments),
        Command::Gateway(gateway) => gateway.run(),
        Command::Ask(ask) => cli::run(ask),
        Command::Prove(prove) => prove.run(),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "portolan", &mut script);
            match std::io::stdout().write_all(&script) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::from(1),
            }
        }
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
    serve::exit(&config)
}

/// The environment, as far as it is UTF-8.
pub(crate) fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_contradicts_nothing() {
        Cli::command().debug_assert();
    }

    #[test]
    fn each_listen_is_an_entry_of_its_own_and_the_last_of_a_single_key_counts() {
        let line = [
            "portolan",
            "serve",
            "--listen",
            "dns=off",
            "--listen",
            "etcd=off",
            "--datacenter",
            "a",
            "--datacenter",
            "b",
            "--insecure-listen",
        ];
        let Command::Serve(arguments) = Cli::parse_from(line).command else {
            panic!("not serve");
        };
        let flags: Vec<(&str, &str)> = arguments
            .flags
            .iter()
            .map(|(key, value)| (key.name, &**value))
            .collect();
        assert_eq!(
            flags,
            [
                ("listen", "dns=off"),
                ("listen", "etcd=off"),
                ("datacenter", "b"),
                ("insecure-listen", "true")
            ]
        );
    }
}
