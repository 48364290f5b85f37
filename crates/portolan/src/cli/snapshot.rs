//! `snapshot save`, `restore`, `inspect`.

use std::fs::File;
use std::io::{self, Write};
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
    /// Fill an empty data directory from a file
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
    /// The directory; made if it is not there, refused if there is a catalog in it
    #[arg(long, default_value = "./portolan-data")]
    data_dir: PathBuf,
    /// The node that the directory is for; the host's name if absent
    #[arg(long)]
    node_name: Option<String>,
    /// How to print
    #[arg(long, short, env = "PORTOLAN_OUTPUT", value_enum, default_value_t)]
    output: Output,
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
            Snapshot::Restore(restore) => restore.run(),
            Snapshot::Inspect(inspect) => {
                let found = offline::inspect(&inspect.file).map_err(|error| fault(&error))?;
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

impl Restore {
    fn run(self) -> Result<(), Fault> {
        let name = match &self.node_name {
            Some(name) => config::node::name(name)
                .map_err(|error| Fault::Usage(format!("--node-name: {error}")))?,
            None => host_name().unwrap_or_else(|| "portolan".into()),
        };
        let done = offline::restore(&self.file, &self.data_dir, &name, &mut fresh_number)
            .map_err(|error| fault(&error))?;
        if self.output == Output::Table {
            print::line(&format!(
                "restored into \"{}\" for node {name}",
                self.data_dir.display()
            ))?;
        }
        show(&done, self.output)
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
