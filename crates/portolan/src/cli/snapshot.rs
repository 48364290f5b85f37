//! `snapshot save`, `restore`, `inspect`.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use http::Method;
use http_body_util::BodyExt;
use portolan_catalog::Keyspace;
use portolan_replica::offline::{self, Inspection, OfflineError};
use serde_json::json;

use super::client::Path;
use super::{Common, Fault, Output, print};
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
    /// The file; it is whole or not there
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
            Snapshot::Restore(restore) => {
                let name = restore
                    .node_name
                    .or_else(host_name)
                    .unwrap_or_else(|| "portolan".into());
                let done =
                    offline::restore(&restore.file, &restore.data_dir, &name, &mut fresh_number)
                        .map_err(|error| fault(&error))?;
                if restore.output == Output::Table {
                    print::line(&format!(
                        "restored into \"{}\" for node {name}",
                        restore.data_dir.display()
                    ))?;
                }
                show(&done, restore.output)
            }
            Snapshot::Inspect(inspect) => {
                let found = offline::inspect(&inspect.file).map_err(|error| fault(&error))?;
                show(&found, inspect.output)
            }
        }
    }
}

impl Save {
    async fn run(self) -> Result<(), Fault> {
        let response = self
            .common
            .client()?
            .send(Method::GET, &Path::new("/v1/snapshot"), bytes::Bytes::new())
            .await?;
        let partial = self.file.with_extension("partial");
        let io = |error: std::io::Error| {
            Fault::Failed(format!("cannot write \"{}\": {error}", partial.display()))
        };
        let mut to = File::create(&partial).map_err(io)?;
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                Fault::Failed(format!(
                    "the snapshot ended early: {error}; \"{}\" is not whole",
                    partial.display()
                ))
            })?;
            if let Ok(data) = frame.into_data() {
                to.write_all(&data).map_err(io)?;
            }
        }
        to.sync_all().map_err(io)?;
        // The file has a checksum at its end: what was cut off is found out here and not at the restore.
        let found = offline::inspect(&partial).map_err(|error| fault(&error))?;
        std::fs::rename(&partial, &self.file).map_err(io)?;
        if !self.common.json() {
            print::line(&format!("saved \"{}\"", self.file.display()))?;
        }
        show(&found, self.common.output)
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
        OfflineError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Fault::NotFound(text)
        }
        _ => Fault::Failed(text),
    }
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
        ("history", state.history().len()),
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
        let body = json!({ "revision": found.head.revision, "bytes": found.length, "at_ms": found.head.at_ms, "rows": counts, "records": records });
        return print::json(body.to_string().as_bytes());
    }
    let mut rows = vec![
        vec!["revision".to_owned(), found.head.revision.to_string()],
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
    print::table(&["WHAT", "HOW MANY"], rows)
}
