//! `portolan gateway`: the gateway alone, over a copy of what the servers have.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::config::key::Key;
use crate::config::{Config, KNOWN, Role, keys};
use crate::{config, serve};

/// `gateway`.
#[derive(Debug, Args)]
pub(crate) struct Gateway {
    /// Address of the gateway
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    listen: SocketAddr,
    /// Cluster port of a server; give several
    #[arg(long = "server", required = true, value_name = "HOST:PORT")]
    servers: Vec<String>,
    /// Address for the metrics and the state of this process, the native protocol's; closed by default
    #[arg(long, value_name = "ADDR")]
    native: Option<SocketAddr>,
    /// Name of this process among the nodes; by default the host's with "-gateway" behind it
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// Let other machines reach the gateway
    #[arg(long)]
    insecure_listen: bool,
    /// Take the first label of any host for the name of a service
    #[arg(long)]
    host_label: bool,
    /// Domain in which every service has a name; gateway.localhost by default
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// File to which a line of JSON is added for each request
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// Certificate of the gateway, PEM: it speaks TLS
    #[arg(long, requires = "tls_key", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The key of that certificate, PEM
    #[arg(long, requires = "tls_cert", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Authority of the cluster port, PEM
    #[arg(long, value_name = "FILE")]
    cluster_ca: Option<PathBuf>,
    /// Certificate for the cluster port, PEM
    #[arg(long, value_name = "FILE")]
    cluster_cert: Option<PathBuf>,
    /// The key of that certificate, PEM
    #[arg(long, value_name = "FILE")]
    cluster_key: Option<PathBuf>,
}

impl Gateway {
    pub(crate) fn run(self) -> ExitCode {
        match self.configuration() {
            Ok(config) => serve::exit(&config),
            Err(wrong) => {
                eprintln!("portolan: {wrong}");
                ExitCode::from(2)
            }
        }
    }

    /// The settings of an agent that keeps nothing on the disk, with every port closed that is not named.
    fn configuration(self) -> Result<Config, String> {
        let mains = KNOWN.iter().filter(|known| known.id.role == Role::Main);
        let mut words: Vec<(&str, String)> = mains
            .map(|known| ("listen", format!("{}=off", known.id)))
            .collect();
        let secure = if self.tls_cert.is_some() { ",tls" } else { "" };
        words.push(("listen", format!("gateway={}{secure}", self.listen)));
        if let Some(native) = self.native {
            words.push(("listen", format!("native={native}")));
        }
        words.push(("agent", "true".to_owned()));
        words.extend(self.servers.into_iter().map(|server| ("join", server)));
        let host = serve::host_name().unwrap_or_else(|| "portolan".to_owned());
        let name = self.node_name.unwrap_or_else(|| format!("{host}-gateway"));
        words.push(("node-name", name));
        let switches = [
            ("insecure-listen", self.insecure_listen),
            ("host-label", self.host_label),
        ];
        let on = switches.into_iter().filter(|(_, on)| *on);
        words.extend(on.map(|(name, _)| (name, "true".to_owned())));
        words.extend(self.domain.map(|domain| ("gateway-domain", domain)));
        let files = [
            ("gateway-access-log", self.access_log),
            ("tls-cert", self.tls_cert),
            ("tls-key", self.tls_key),
            ("cluster-ca", self.cluster_ca),
            ("cluster-cert", self.cluster_cert),
            ("cluster-key", self.cluster_key),
        ];
        for (name, file) in files {
            words.extend(file.map(|file| (name, file.display().to_string())));
        }
        let mut flags: Vec<(&'static Key, String)> = Vec::new();
        for (name, value) in words {
            let key = keys::find(name).ok_or_else(|| format!("there is no key {name}"))?;
            flags.push((key, value));
        }
        let read = config::read(None, std::iter::empty(), flags);
        let mut config = read.map_err(|wrong| wrong.to_string())?;
        config.in_memory = true;
        Ok(config)
    }
}
