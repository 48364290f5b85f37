//! The command line: asks a server over the native protocol and prints what it says.
//!
//! Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 the server cannot be reached, 4 not found.

mod catalog;
mod client;
mod cluster;
mod doctor;
mod kubeconfig;
mod kv;
mod print;
mod register;
mod route;
mod settings;
mod snapshot;
mod target;
mod tls;
mod watch;
mod why;
mod xds;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use portolan_https::Trust;

use client::Client;

/// How answers are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Table,
    /// As the server sent it.
    Json,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// Address of a server's native port; https:// for one that speaks TLS
    #[arg(
        long,
        env = "PORTOLAN_SERVER",
        default_value = "http://127.0.0.1:7500",
        value_name = "URL"
    )]
    server: String,
    /// Authorities that the server's certificate must be of, PEM; by default those that this machine trusts
    #[arg(long, env = "PORTOLAN_CA_CERT", value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// Certificate to show to a server that asks for one, PEM
    #[arg(long, env = "PORTOLAN_CLIENT_CERT", value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// The key of that certificate, PEM
    #[arg(long, env = "PORTOLAN_CLIENT_KEY", value_name = "FILE")]
    client_key: Option<PathBuf>,
    /// Name that the server's certificate must have; by default the one in its address
    #[arg(long, env = "PORTOLAN_TLS_SERVER_NAME", value_name = "NAME")]
    tls_server_name: Option<String>,
    /// How to print
    #[arg(
        long,
        short,
        env = "PORTOLAN_OUTPUT",
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    output: Output,
}

impl Common {
    fn json(&self) -> bool {
        self.output == Output::Json
    }

    fn client(&self) -> Result<Client, Fault> {
        let trust = Trust {
            authorities: self.ca_cert.iter().cloned().collect(),
            certificate: self.client_cert.clone(),
            key: self.client_key.clone(),
            server_name: self.tls_server_name.clone(),
            ..Trust::default()
        };
        Client::new(&self.server, &trust)
    }
}

/// Which moment is read.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Moment {
    /// Read the catalog as it was at a revision or time (2026-01-31T03:12:00Z, or 03:12 in UTC)
    #[arg(long, value_name = "MOMENT")]
    at: Option<String>,
}

/// The commands that talk to a server.
#[derive(Debug, Subcommand)]
pub(crate) enum Ask {
    /// Register an instance of a service
    Register(register::Register),
    /// Remove an instance, whichever protocol it was registered through
    Deregister(register::Deregister),
    /// List services
    Services(catalog::Services),
    /// List instances, of one service or of all
    Instances(catalog::Instances),
    /// Print changes as they happen
    Watch(watch::Watch),
    /// Read and write keys
    #[command(subcommand)]
    Kv(kv::Kv),
    /// Say which requests the gateway passes on to which service
    #[command(subcommand)]
    Route(route::Route),
    /// Take an instance or a node out of service, or back
    #[command(subcommand)]
    Maintenance(register::Maintenance),
    /// Explain what each protocol shows, and why an instance is missing or unhealthy
    Why(why::Why),
    /// Show the catalog as it was at a time or revision
    At(catalog::At),
    /// Save, restore and inspect snapshots
    #[command(subcommand)]
    Snapshot(snapshot::Snapshot),
    /// Say what is open to whom, near a limit or missing at a server; or what is wrong with a data directory
    Doctor(doctor::Doctor),
    /// Show or change what the mass-expiry guard does
    Guard(settings::Guard),
    /// List the layouts of key-value stores
    Layouts(settings::Layouts),
    /// List the servers of the cluster
    Members(cluster::Members),
    /// Change the servers of the cluster
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    /// Have a server leave its cluster for good and stop
    Leave(cluster::Leave),
    /// Make certificates for the cluster port
    #[command(subcommand)]
    Tls(tls::Tls),
    /// Print the configuration that kubectl and other clients of Kubernetes start from
    Kubeconfig(kubeconfig::Kubeconfig),
    /// Print what clients of xDS start from
    #[command(subcommand)]
    Xds(xds::Xds),
    /// Print the version, of the server too if one is reached
    Version(settings::Version),
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It was refused, or went wrong.
    Failed(String),
    /// It cannot be asked like that.
    Usage(String),
    /// The server is there and cannot answer now.
    Unavailable(String),
    /// There is no server there.
    Unreachable(String),
    /// What it is about is not there.
    NotFound(String),
}

impl Fault {
    fn code(&self) -> u8 {
        match self {
            Fault::Failed(_) | Fault::Unavailable(_) => 1,
            Fault::Usage(_) => 2,
            Fault::Unreachable(_) => 3,
            Fault::NotFound(_) => 4,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Failed(text)
            | Fault::Usage(text)
            | Fault::Unavailable(text)
            | Fault::Unreachable(text)
            | Fault::NotFound(text) => f.write_str(text),
        }
    }
}

/// Does what was asked.
pub(crate) fn run(ask: Ask) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(answer(ask)),
        Err(error) => Err(Fault::Failed(format!("cannot start the runtime: {error}"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            print::problem(&fault.to_string());
            ExitCode::from(fault.code())
        }
    }
}

async fn answer(ask: Ask) -> Result<(), Fault> {
    match ask {
        Ask::Register(command) => command.run().await,
        Ask::Deregister(command) => command.run().await,
        Ask::Services(command) => command.run().await,
        Ask::Instances(command) => command.run().await,
        Ask::Watch(command) => command.run().await,
        Ask::Kv(command) => command.run().await,
        Ask::Route(command) => command.run().await,
        Ask::Maintenance(command) => command.run().await,
        Ask::Why(command) => command.run().await,
        Ask::At(command) => command.run().await,
        Ask::Snapshot(command) => command.run().await,
        Ask::Doctor(command) => command.run().await,
        Ask::Guard(command) => command.run().await,
        Ask::Layouts(command) => command.run().await,
        Ask::Members(command) => command.run().await,
        Ask::Cluster(command) => command.run().await,
        Ask::Leave(command) => command.run().await,
        Ask::Tls(command) => command.run(),
        Ask::Kubeconfig(command) => command.run(),
        Ask::Xds(command) => command.run(),
        Ask::Version(command) => command.run().await,
    }
}
