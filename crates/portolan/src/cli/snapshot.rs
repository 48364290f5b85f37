//! `snapshot save`, `restore`, `inspect`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use http::Method;
use http_body_util::BodyExt;
use portolan_catalog::Keyspace;
use portolan_replica::offline::{self, Inspection, OfflineError};
use serde_json::json;

use super::client::Path;
use super::{Common, Fault, Output, print};
use crate::config;
use crate::serve::{fresh_number, host_name};

/// `snapshot`.
#[derive(Debug, Subcommand)]
pub(crate) enum Snapshot {
    /// Write the present state of a running server to a file
    Save(Save),
    /// Put a file's state in the place of that of a running cluster, or into an empty data directory
    Restore(Restore),
    /// Check a file and say what is in it
    Inspect(Inspect),
}

/// `snapshot save`.
#[derive(Debug, Args)]
pub(crate) struct Save {
    /// The file; it is whole or not there, and only its owner may read it
    file: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// `snapshot restore`.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The file
    file: PathBuf,
    /// Fill this directory, without a server; made if it is not there, refused if there is a catalog in it
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// The node that the directory is for; the host's name if absent
    #[arg(long, requires = "data_dir")]
    node_name: Option<String>,
    /// Also over a catalog that is not empty: all of it is replaced
    #[arg(long, conflicts_with = "data_dir")]
    replace: bool,
    #[command(flatten)]
    common: Common,
}

/// `snapshot inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The file
    file: PathBuf,
    /// How to print
    #[arg(long, short, env = "PORTOLAN_OUTPUT", value_enum, default_value_t)]
    output: Output,
}

impl Snapshot {
    pub(super) async fn run(self) -> Result<(), Fault> {
        match self {
            Snapshot::Save(save) => save.run().await,
            Snapshot::Restore(restore) => restore.run().await,
            Snapshot::Inspect(inspect) => {
                let found = read(&inspect.file)?;
                show(&found, inspect.output)
            }
        }
    }
}

impl Save {
    async fn run(self) -> Result<(), Fault> {
        let partial = Partial::beside(&self.file)?;
        let client = self.common.client()?;
        let path = Path::new("/v1/snapshot");
        let response = client.send(Method::GET, &path, bytes::Bytes::new()).await?;
        // It holds everything that is in the key-value stores: only its owner may read it.
        let mut to = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial.0)
            .map_err(|error| partial.failed(&error))?;
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame
                .map_err(|error| Fault::Failed(format!("the snapshot ended early: {error}")))?;
            if let Ok(data) = frame.into_data() {
                to.write_all(&data)
                    .map_err(|error| partial.failed(&error))?;
            }
        }
        to.sync_all().map_err(|error| partial.failed(&error))?;
        // The file has a checksum at its end: what was cut off is found out here and not at the restore.
        let found = offline::inspect(&partial.0).map_err(|error| fault(&error))?;
        partial.becomes(&self.file)?;
        if !self.common.json() {
            print::line(&format!("saved \"{}\"", self.file.display()))?;
        }
        show(&found, self.common.output)
    }
}

/// Reads a snapshot file, or one in Consul's archive.
fn read(file: &std::path::Path) -> Result<Inspection, Fault> {
    match unpacked(file)? {
        None => offline::inspect(file),
        Some(state) => offline::inspect_from(&state[..], state.len() as u64, file),
    }
    .map_err(|error| fault(&error))
}

/// The snapshot in an archive of Consul's form, if the file is one.
fn unpacked(file: &std::path::Path) -> Result<Option<Vec<u8>>, Fault> {
    let failed = |error: io::Error| {
        let text = format!("cannot read \"{}\": {error}", file.display());
        match error.kind() {
            io::ErrorKind::NotFound => Fault::NotFound(text),
            _ => Fault::Failed(text),
        }
    };
    let mut start = Vec::new();
    let from = File::open(file).map_err(failed)?;
    from.take(2).read_to_end(&mut start).map_err(failed)?;
    if start != portolan_archive::GZIP {
        return Ok(None);
    }
    let archive = std::fs::read(file).map_err(failed)?;
    let (_, state) = portolan_archive::unpack(&archive, u64::MAX).map_err(|damaged| {
        Fault::Failed(format!(
            "snapshot \"{}\" is damaged: {damaged}; use another one",
            file.display()
        ))
    })?;
    Ok(Some(state))
}

impl Restore {
    async fn run(self) -> Result<(), Fault> {
        match self.data_dir.clone() {
            Some(directory) => self.into_directory(&directory),
            None => self.into_cluster().await,
        }
    }

    /// Every member of the running cluster ends with the state, or none.
    async fn into_cluster(self) -> Result<(), Fault> {
        // What is damaged is found out here, before it travels.
        let found = read(&self.file)?;
        let state = match unpacked(&self.file)? {
            Some(state) => state,
            None => std::fs::read(&self.file).map_err(|error| {
                Fault::Failed(format!("cannot read \"{}\": {error}", self.file.display()))
            })?,
        };
        let path = Path::new("/v1/snapshot").query("replace", self.replace.then_some("true"));
        let answer = self
            .common
            .client()?
            .long(Method::PUT, &path, state)
            .await?;
        if self.common.json() {
            return print::json(&answer);
        }
        let restored: portolan_api::Restored = super::client::read(&answer)?;
        print::line(&format!(
            "restored \"{}\", the cluster is at revision {} now",
            self.file.display(),
            restored.revision
        ))?;
        show(&found, self.common.output)
    }

    fn into_directory(self, directory: &std::path::Path) -> Result<(), Fault> {
        let name = match &self.node_name {
            Some(name) => config::node::name(name)
                .map_err(|error| Fault::Usage(format!("--node-name: {error}")))?,
            None => host_name().unwrap_or_else(|| "portolan".into()),
        };
        let found = read(&self.file)?;
        offline::fill(&found, directory, &name, &mut fresh_number)
            .map_err(|error| fault(&error))?;
        if !self.common.json() {
            print::line(&format!(
                "restored into \"{}\" for node {name}",
                directory.display()
            ))?;
        }
        show(&found, self.common.output)
    }
}

/// A file that is being written; removed unless it becomes the one that was meant.
struct Partial(PathBuf);

impl Partial {
    /// `FILE.partial`.
    fn beside(file: &std::path::Path) -> Result<Partial, Fault> {
        let name = file.file_name().filter(|_| !file.is_dir());
        let mut name = name
            .ok_or_else(|| {
                Fault::Usage(format!("\"{}\" is a folder; name a file", file.display()))
            })?
            .to_owned();
        name.push(".partial");
        Ok(Partial(file.with_file_name(name)))
    }

    fn failed(&self, error: &io::Error) -> Fault {
        Fault::Failed(format!("cannot write \"{}\": {error}", self.0.display()))
    }

    /// Gives it its name, for good.
    fn becomes(self, file: &std::path::Path) -> Result<(), Fault> {
        let folder = file
            .parent()
            .filter(|parent| *parent != std::path::Path::new(""));
        std::fs::rename(&self.0, file)
            .and_then(|()| File::open(folder.unwrap_or(std::path::Path::new("."))))
            .and_then(|folder| folder.sync_all())
            .map_err(|error| Fault::Failed(format!("cannot write \"{}\": {error}", file.display())))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Where it has its name by now, or was never made, there is nothing to remove.
        let _gone = std::fs::remove_file(&self.0);
    }
}

fn fault(error: &OfflineError) -> Fault {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    match error {
        OfflineError::Io { source, doing, .. }
            if *doing == "read" && source.kind() == io::ErrorKind::NotFound =>
        {
            Fault::NotFound(text)
        }
        _ => Fault::Failed(text),
    }
}

/// When a snapshot's last change was made, in RFC 3339.
fn made_at(found: &Inspection) -> String {
    i64::try_from(found.head.at_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(String::new, |at| at.to_string())
}

fn show(found: &Inspection, output: Output) -> Result<(), Fault> {
    let state = &found.state;
    let records: Vec<(&str, usize)> = Keyspace::ALL
        .iter()
        .map(|space| (space.as_str(), state.record_count(*space)))
        .filter(|(_, count)| *count > 0)
        .collect();
    let counts = [
        ("services", state.services().count()),
        ("instances", state.instance_count()),
        ("nodes", state.nodes().count()),
        ("checks", state.checks().count()),
        ("leases", state.leases().count()),
        ("history", found.batches.len()),
    ];
    if output == Output::Json {
        let counts: serde_json::Map<String, serde_json::Value> = counts
            .iter()
            .map(|(name, count)| ((*name).to_owned(), (*count).into()))
            .collect();
        let records: serde_json::Map<String, serde_json::Value> = records
            .iter()
            .map(|(name, count)| ((*name).to_owned(), (*count).into()))
            .collect();
        let body = json!({ "revision": found.head.revision, "bytes": found.length, "at": made_at(found), "rows": counts, "records": records });
        return print::json(body.to_string().as_bytes());
    }
    let mut rows = vec![
        vec!["revision".to_owned(), found.head.revision.to_string()],
        vec!["made at".to_owned(), print::time(&made_at(found))],
        vec!["bytes".to_owned(), found.length.to_string()],
    ];
    rows.extend(
        counts
            .iter()
            .map(|(name, count)| vec![(*name).to_owned(), count.to_string()]),
    );
    rows.extend(
        records
            .iter()
            .map(|(name, count)| vec![format!("records {name}"), count.to_string()]),
    );
    print::table(&["WHAT", "VALUE"], rows)
}
