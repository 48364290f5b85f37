//! Consul's command line: a table of commands, each with its flags.

mod acl;
mod acl_methods;
mod acl_text;
mod agent;
mod agent_calls;
mod catalog;
mod columns;
mod config_keys;
mod http;
mod intention;
mod kv;
mod lock;
mod operator;
mod plain_calls;
mod services;
mod snapshots;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use serde_json::Value;

pub(super) use agent::definitions;

use crate::Outcome;
use crate::go_flags::{self, Flag, FlagError, Typed};
use http::Client;

/// The version of Consul whose command line this is.
const VERSION: &str = "1.22.0";

/// Why a command failed: what goes to stderr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure(String);

impl Failure {
    fn new(what: impl Into<String>) -> Failure {
        Failure(what.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The exit code of a command that did what it was asked.
type Done = Result<u8, Failure>;
type Work<'a> = Pin<Box<dyn Future<Output = Done> + 'a>>;

/// A command as it was typed.
pub(super) struct Command<'a> {
    typed: &'a Typed,
    variables: &'a BTreeMap<String, String>,
}

impl Command<'_> {
    fn client(&self) -> Result<Client, Failure> {
        Client::new(self.typed, self.variables)
    }

    /// The only word after the flags.
    fn one(&self, what: &str) -> Result<&str, Failure> {
        match self.typed.rest.as_slice() {
            [word] => Ok(word),
            [] => Err(Failure::new(format!("Missing {what} argument"))),
            more => Err(Failure::new(format!(
                "Too many arguments (expected 1, got {})",
                more.len()
            ))),
        }
    }
}

/// A row of the table.
struct Row {
    name: &'static str,
    /// Beside those of every command that talks to an agent.
    flags: &'static [Flag],
    run: for<'a> fn(&'a Command<'a>) -> Work<'a>,
    about: &'static str,
}

macro_rules! row {
    ($name:literal, $flags:expr, $run:path, $about:literal) => {
        Row {
            name: $name,
            flags: $flags,
            run: |command| Box::pin($run(command)),
            about: $about,
        }
    };
}

/// Every command but `agent`, `version` and `validate`, which talk to nobody.
static COMMANDS: &[Row] = &[
    row!(
        "catalog datacenters",
        &[],
        catalog::datacenters,
        "Lists all known datacenters"
    ),
    row!(
        "catalog nodes",
        catalog::NODES,
        catalog::nodes,
        "Lists all nodes in the given datacenter"
    ),
    row!(
        "catalog services",
        catalog::SERVICES,
        catalog::services,
        "Lists all registered services"
    ),
    row!(
        "event",
        agent_calls::EVENT,
        agent_calls::event,
        "Fire a new event"
    ),
    row!(
        "force-leave",
        agent_calls::FORCE_LEAVE,
        agent_calls::force_leave,
        "Forces a member of the cluster to enter the \"left\" state"
    ),
    row!(
        "info",
        &[],
        agent_calls::info,
        "Provides debugging information for operators"
    ),
    row!(
        "join",
        agent_calls::JOIN,
        agent_calls::join,
        "Tell the agent to join a cluster"
    ),
    row!(
        "keygen",
        &[],
        agent_calls::keygen,
        "Generates a new encryption key"
    ),
    row!(
        "kv delete",
        kv::DELETE,
        kv::delete,
        "Removes data from the KV store"
    ),
    row!(
        "kv export",
        kv::EXPORT,
        kv::export,
        "Exports a tree from the KV store as JSON"
    ),
    row!(
        "kv get",
        kv::GET,
        kv::get,
        "Retrieves or lists data from the KV store"
    ),
    row!(
        "kv import",
        kv::IMPORT,
        kv::import,
        "Imports a tree stored as JSON to the KV store"
    ),
    row!(
        "kv put",
        kv::PUT,
        kv::put,
        "Sets or updates data in the KV store"
    ),
    row!(
        "leave",
        &[],
        agent_calls::leave,
        "Gracefully leaves the cluster and shuts down"
    ),
    row!(
        "lock",
        lock::FLAGS,
        lock::lock,
        "Execute a command holding a lock"
    ),
    row!(
        "maint",
        agent_calls::MAINT,
        agent_calls::maint,
        "Controls node or service maintenance mode"
    ),
    row!(
        "members",
        catalog::MEMBERS,
        catalog::members,
        "Lists the members of a cluster"
    ),
    row!(
        "monitor",
        agent_calls::MONITOR,
        agent_calls::monitor,
        "Stream logs from an agent"
    ),
    row!(
        "operator autopilot get-config",
        &[],
        operator::autopilot_get,
        "Display the current Autopilot configuration"
    ),
    row!(
        "operator autopilot set-config",
        operator::AUTOPILOT,
        operator::autopilot_set,
        "Modify the current Autopilot configuration"
    ),
    row!(
        "operator autopilot state",
        operator::STATE,
        operator::autopilot_state,
        "Display the current Autopilot state"
    ),
    row!(
        "operator raft list-peers",
        &[],
        operator::list_peers,
        "Display the current Raft peer configuration"
    ),
    row!(
        "operator raft remove-peer",
        operator::REMOVE_PEER,
        operator::remove_peer,
        "Remove a server from the Raft configuration"
    ),
    row!(
        "operator raft transfer-leader",
        operator::TRANSFER,
        operator::transfer_leader,
        "Transfer raft leadership to another node"
    ),
    row!(
        "reload",
        &[],
        agent_calls::reload,
        "Triggers the agent to reload configuration files"
    ),
    row!(
        "rtt",
        &[],
        catalog::rtt,
        "Estimates network round trip time between nodes"
    ),
    row!(
        "services deregister",
        services::DEREGISTER,
        services::deregister,
        "Deregister services with the local agent"
    ),
    row!(
        "services register",
        services::REGISTER,
        services::register,
        "Register services with the local agent"
    ),
    row!(
        "snapshot inspect",
        snapshots::INSPECT,
        snapshots::inspect,
        "Displays information about a snapshot file"
    ),
    row!(
        "snapshot restore",
        &[],
        snapshots::restore,
        "Restores snapshot of server state"
    ),
    row!(
        "snapshot save",
        snapshots::SAVE,
        snapshots::save,
        "Saves snapshot of server state"
    ),
    row!(
        "config delete",
        plain_calls::CONFIG,
        plain_calls::config_delete,
        "Delete a centralized config entry"
    ),
    row!(
        "config list",
        plain_calls::CONFIG,
        plain_calls::config_list,
        "List centralized config entries of a given kind"
    ),
    row!(
        "config read",
        plain_calls::CONFIG,
        plain_calls::config_read,
        "Read a centralized config entry"
    ),
    row!(
        "config write",
        plain_calls::CONFIG_WRITE,
        plain_calls::config_write,
        "Create or update a centralized config entry"
    ),
    row!(
        "acl bootstrap",
        plain_calls::FORMAT,
        plain_calls::acl_bootstrap,
        "Bootstrap Consul's ACL system"
    ),
    row!(
        "watch",
        watch::FLAGS,
        watch::watch,
        "Watch for changes in Consul"
    ),
];

/// Commands that are refused, and why.
const REFUSED: &[(&str, &str)] = &[
    (
        "exec",
        "remote execution is not offered by this server, whoever asks",
    ),
    (
        "debug",
        "`portolan doctor` and /v1/agent/metrics say what there is to say",
    ),
    ("connect", "proxies are not run by this server"),
    ("tls", "use `portolan tls create`"),
    (
        "keyring",
        "there is no gossip in this server, and so no key for it",
    ),
    ("peering", "clusters are not peered by this server"),
    ("troubleshoot", "there is no service mesh in this server"),
    ("resource", "this server has no such resources"),
];

fn commands() -> impl Iterator<Item = &'static Row> {
    COMMANDS
        .iter()
        .chain(acl::COMMANDS)
        .chain(acl_methods::COMMANDS)
        .chain(intention::COMMANDS)
}

/// Does what was typed after `consul`.
pub(super) fn run(
    words: &[String],
    variables: &BTreeMap<String, String>,
    version: &str,
) -> Outcome {
    match words.first().map(String::as_str) {
        Some("agent") => agent::run(&words[1..], version),
        Some("validate") => finish(agent::validate(&words[1..])),
        Some("version" | "-v" | "-version" | "--version") => {
            finish(print_version(&words[1..], version))
        }
        None => usage(127),
        Some("help" | "-h" | "-help" | "--help") => usage(0),
        Some(first) => match longest(words) {
            Some((row, used)) => carry_out(row, &words[used..], variables),
            None => unknown(first, words),
        },
    }
}

/// The row with the longest name that `words` begin with.
fn longest(words: &[String]) -> Option<(&'static Row, usize)> {
    let matches = |row: &&Row| {
        let mut given = words.iter();
        row.name
            .split(' ')
            .all(|part| given.next().is_some_and(|word| word == part))
    };
    let rows = commands().filter(matches);
    rows.map(|row| (row, row.name.split(' ').count()))
        .max_by_key(|(_, used)| *used)
}

fn unknown(first: &str, words: &[String]) -> Outcome {
    if let Some((name, why)) = REFUSED.iter().find(|(name, _)| *name == first) {
        eprintln!("consul {name} is not there: {why}");
        return Outcome::Exit(1);
    }
    let group: Vec<&Row> = commands()
        .filter(|row| row.name.split(' ').next() == Some(first))
        .collect();
    if group.is_empty() {
        eprintln!("consul: there is no command {first:?}");
        return usage(127);
    }
    if let Some(second) = words.get(1).filter(|word| !word.starts_with('-')) {
        eprintln!("consul {first}: there is no command {second:?}");
    }
    eprintln!("Usage: consul {first} <subcommand> [options] [args]\n\nSubcommands:");
    for row in group {
        eprintln!("    {:<30} {}", row.name, row.about);
    }
    Outcome::Exit(127)
}

fn usage(code: u8) -> Outcome {
    let mut text = String::from(
        "Usage: consul [--version] [--help] <command> [<args>]\n\nAvailable commands are:\n",
    );
    text.push_str(&format!("    {:<30} Runs a Consul agent\n", "agent"));
    for row in commands() {
        text.push_str(&format!("    {:<30} {}\n", row.name, row.about));
    }
    text.push_str(&format!(
        "    {:<30} Validate config files/directories\n",
        "validate"
    ));
    text.push_str(&format!(
        "    {:<30} Prints the Consul version\n",
        "version"
    ));
    match code {
        0 => crate::write_out(&text),
        _ => eprint!("{text}"),
    }
    Outcome::Exit(code)
}

fn carry_out(row: &Row, words: &[String], variables: &BTreeMap<String, String>) -> Outcome {
    let typed = match go_flags::parse(words, &[http::FLAGS, row.flags]) {
        Ok(typed) => typed,
        Err(FlagError::Help) => {
            eprintln!(
                "Usage: consul {} [options]\n\n  {}\n\nOptions:",
                row.name, row.about
            );
            for flag in row.flags.iter().chain(http::FLAGS) {
                eprintln!("  -{}", flag.name);
            }
            return Outcome::Exit(0);
        }
        Err(error) => {
            eprintln!("{error}");
            return Outcome::Exit(1);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on((row.run)(&Command {
            typed: &typed,
            variables,
        })),
        Err(error) => Err(Failure::new(format!("cannot start the runtime: {error}"))),
    };
    finish(done)
}

fn finish(done: Done) -> Outcome {
    match done {
        Ok(code) => Outcome::Exit(code),
        Err(failure) => {
            eprintln!("{failure}");
            Outcome::Exit(1)
        }
    }
}

fn print_version(words: &[String], version: &str) -> Done {
    let typed = go_flags::parse(words, &[http::FLAGS, &[go_flags::value("format")]])
        .map_err(|error| Failure::new(error.to_string()))?;
    match typed.get("format") {
        None | Some("pretty") => {
            say!("Consul v{VERSION}");
            say!("Revision portolan-{version}");
            say!(
                "Protocol 2 spoken by default, understands 2 to 3 (agent will automatically use protocol >2 when speaking to compatible agents)"
            );
        }
        Some("json") => say!(
            "{{\"Version\":\"{VERSION}\",\"Revision\":\"portolan-{version}\",\"Prerelease\":\"\",\"BuildDate\":\"1970-01-01T00:00:01Z\",\"RPC\":{{\"Default\":2,\"Min\":2,\"Max\":3}}}}"
        ),
        Some(other) => {
            return Err(Failure::new(format!(
                "Invalid format, valid formats are [pretty json], got {other:?}"
            )));
        }
    }
    Ok(0)
}

/// A text of an object, empty where there is none.
fn text_of(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_command_is_found() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let found = |line: &str| longest(&words(line)).map(|(row, used)| (row.name, used));
        assert_eq!(found("kv get -recurse x"), Some(("kv get", 2)));
        assert_eq!(
            found("operator raft list-peers"),
            Some(("operator raft list-peers", 3))
        );
        assert_eq!(found("members"), Some(("members", 1)));
        assert_eq!(found("kv"), None);
        assert_eq!(found("kvx get"), None);
    }
}
