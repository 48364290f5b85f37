//! `tls`: the authority and the certificates of the cluster port.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use portolan_cluster::frame::Role;
use portolan_cluster::tls::{Pair, create_authority, create_certificate};

use super::{Fault, print};

const AUTHORITY: &str = "cluster-ca.pem";
const AUTHORITY_KEY: &str = "cluster-ca-key.pem";

/// `tls`.
#[derive(Debug, Subcommand)]
pub(crate) enum Tls {
    /// Make an authority where there is none, and a certificate for each server and agent that is named
    Create(Create),
}

/// `tls create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Names of servers; each gets NAME.pem and NAME-key.pem
    #[arg(value_name = "SERVER")]
    servers: Vec<String>,
    /// Names of agents, whose certificates open no server's place
    #[arg(long = "agent", value_name = "AGENT")]
    agents: Vec<String>,
    /// The datacenter, which the certificates name
    #[arg(long, default_value = "dc1", value_name = "DC")]
    datacenter: String,
    /// Where the files are written and the authority is looked for
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
}

impl Tls {
    pub(super) fn run(self) -> Result<(), Fault> {
        let Tls::Create(create) = self;
        create.run()
    }
}

impl Create {
    fn run(self) -> Result<(), Fault> {
        let failed = |error: std::io::Error| Fault::Failed(format!("no certificate: {error}"));
        let authority = match self.authority()? {
            Some(found) => found,
            None => {
                let made = create_authority().map_err(failed)?;
                write(&self.dir.join(AUTHORITY), &made.certificate, false)?;
                write(&self.dir.join(AUTHORITY_KEY), &made.key, true)?;
                made
            }
        };
        let servers = self.servers.iter().map(|name| (Role::Server, name));
        let agents = self.agents.iter().map(|name| (Role::Agent, name));
        for (role, name) in servers.chain(agents) {
            let good = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            if name.is_empty() || name.starts_with('.') || !name.chars().all(good) {
                return Err(Fault::Usage(format!("{name:?} cannot be a file's name")));
            }
            let pair = create_certificate(&authority, role, &self.datacenter).map_err(failed)?;
            write(
                &self.dir.join(format!("{name}.pem")),
                &pair.certificate,
                false,
            )?;
            write(&self.dir.join(format!("{name}-key.pem")), &pair.key, true)?;
        }
        Ok(())
    }

    /// The authority of an earlier call.
    fn authority(&self) -> Result<Option<Pair>, Fault> {
        let (certificate, key) = (self.dir.join(AUTHORITY), self.dir.join(AUTHORITY_KEY));
        match (certificate.exists(), key.exists()) {
            (false, false) => Ok(None),
            (true, true) => Ok(Some(Pair {
                certificate: load(&certificate)?,
                key: load(&key)?,
            })),
            _ => Err(Fault::Failed(format!(
                "{} has only one of {AUTHORITY} and {AUTHORITY_KEY}",
                self.dir.display()
            ))),
        }
    }
}

fn load(path: &Path) -> Result<String, Fault> {
    std::fs::read_to_string(path)
        .map_err(|error| Fault::Failed(format!("cannot read {}: {error}", path.display())))
}

/// Writes a file that is not there yet, a key for its owner only, and says so.
fn write(path: &Path, text: &str, secret: bool) -> Result<(), Fault> {
    let failed = |error| Fault::Failed(format!("cannot write {}: {error}", path.display()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(if secret { 0o600 } else { 0o644 })
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    print::line(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_authority_is_made_once_and_signs_what_comes_later() {
        let dir = tempfile::tempdir().unwrap();
        let create = |servers: &[&str], agents: &[&str]| {
            let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            Create {
                servers: named(servers),
                agents: named(agents),
                datacenter: "dc1".to_owned(),
                dir: dir.path().to_owned(),
            }
            .run()
        };
        create(&["n1"], &[]).unwrap();
        create(&["n2"], &["a1"]).unwrap();
        let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
        for name in ["n1", "n2", "a1"] {
            let (certificate, key) = (
                read(&format!("{name}.pem")),
                read(&format!("{name}-key.pem")),
            );
            let tls = portolan_cluster::tls::Tls::new(&read(AUTHORITY), &certificate, &key, "dc1");
            assert!(tls.is_ok(), "{name}");
        }
        let key = dir.path().join("n1-key.pem");
        let mode = std::fs::metadata(key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(create(&["n1"], &[]), Err(Fault::Failed(_))));
        assert!(matches!(create(&["../x"], &[]), Err(Fault::Usage(_))));
    }
}
