//! Service and check definitions in files of this machine: read at the start and whenever somebody says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, anyhow};
use portolan_catalog::{Host, NodeName};
use portolan_checks::{LocalScript, ReloadedScripts};
use portolan_protocol_consul::{Definitions, Reload};
use portolan_registry::Registry;
use tokio::sync::Mutex;

use super::bootstrap::Own;
use crate::config::Config;

/// The largest file that is read.
const FILE_BYTES: u64 = 4 << 20;

/// The folders, and what their files are for. Cloning copies a pointer.
#[derive(Clone)]
pub(crate) struct LocalDefinitions(Arc<Inner>);

struct Inner {
    folders: Vec<String>,
    places: Vec<PathBuf>,
    scripts_allowed: bool,
    registry: Registry,
    node: NodeName,
    address: Host,
    scripts: ReloadedScripts,
    /// Held while files are read and applied, so that two who reload do so one after the other.
    reloading: Mutex<()>,
}

impl LocalDefinitions {
    pub(crate) fn new(config: &Config, registry: &Registry, own: &Own) -> LocalDefinitions {
        LocalDefinitions(Arc::new(Inner {
            folders: config.definitions_dirs.clone(),
            places: config.definition_places.clone(),
            scripts_allowed: config.enable_local_script_checks,
            registry: registry.clone(),
            node: NodeName::new(&own.name),
            address: Host::Ip(own.address),
            scripts: ReloadedScripts::default(),
            reloading: Mutex::new(()),
        }))
    }

    /// What the runner of checks looks at.
    pub(crate) fn scripts(&self) -> &ReloadedScripts {
        &self.0.scripts
    }

    /// Reads all files, without changing anything.
    pub(crate) fn read(&self) -> Result<Definitions> {
        let inner = &self.0;
        let mut files = Vec::new();
        for folder in &inner.folders {
            read_folder(Path::new(folder), &mut files)?;
        }
        files.extend(portolan_dropin::definitions(&inner.places)?);
        Definitions::read(
            inner.node.clone(),
            inner.address.clone(),
            &files,
            inner.scripts_allowed,
        )
        .map_err(|why| anyhow!("definitions: {why}"))
    }

    /// The programs that checks of these definitions run.
    pub(crate) fn programs(definitions: &Definitions) -> Vec<LocalScript> {
        let programs = definitions.programs().into_iter();
        programs
            .map(|(check, args)| LocalScript { check, args })
            .collect()
    }

    /// Makes the catalog what the definitions say.
    pub(crate) async fn apply(&self, definitions: &Definitions) -> Result<()> {
        let before = self.0.scripts.set(LocalDefinitions::programs(definitions));
        let applied = definitions.apply(&self.0.registry).await;
        if applied.is_err() {
            self.0.scripts.set(before);
        }
        applied.map_err(|why| anyhow!("definitions: {why}"))
    }

    /// Reads the files again. A mistake leaves everything as it was, and is in the log.
    pub(crate) async fn reload(&self, asked: &str) -> Result<(), String> {
        let _one_at_a_time = self.0.reloading.lock().await;
        let reloaded = async {
            let this = self.clone();
            // Disks may be slow, and requests must not wait for them.
            let read = tokio::task::spawn_blocking(move || this.read()).await;
            let definitions =
                read.map_err(|error| anyhow!("reading the files was given up: {error}"))??;
            self.apply(&definitions).await
        };
        match reloaded.await {
            Ok(()) => {
                let folders = self.0.folders.join(" ");
                tracing::info!(
                    asked,
                    folders,
                    "definition files were read again; other settings are read at the start"
                );
                Ok(())
            }
            Err(error) => {
                tracing::error!(asked, %error, "definition files could not be taken over; what they registered before stays");
                Err(error.to_string())
            }
        }
    }

    /// For the call that reloads.
    pub(crate) fn on_call(&self) -> Reload {
        let this = self.clone();
        Reload::new(move || {
            let this = this.clone();
            async move { this.reload("PUT /v1/agent/reload").await }
        })
    }
}

/// The files of a folder in the order of their names. Those below it are not read.
fn read_folder(folder: &Path, files: &mut Vec<(String, String)>) -> Result<()> {
    let failed = |error: std::io::Error| anyhow!("cannot read \"{}\": {error}", folder.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    for path in paths {
        let name = path.display().to_string();
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("json" | "hcl") => {}
            _ => continue,
        }
        let failed = |error: std::io::Error| anyhow!("cannot read \"{name}\": {error}");
        let size = std::fs::metadata(&path).map_err(failed)?.len();
        if size > FILE_BYTES {
            return Err(anyhow!(
                "{name}: {size} bytes are more than the {FILE_BYTES} that are read"
            ));
        }
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        let value = portolan_hcl::parse(&text).map_err(|why| anyhow!("{name}: {why}"))?;
        files.push((name, value.to_string()));
    }
    Ok(())
}
