//! What cargo built: the test programs of the workspace and the binary under test.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::tools::cargo;

/// One test program.
#[derive(Debug)]
pub(crate) struct TestProgram {
    /// As the table shows it: `catalog`, `portolan it`.
    pub(crate) name: String,
    pub(crate) executable: PathBuf,
    /// The folder of its crate, where cargo would run it.
    pub(crate) folder: PathBuf,
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

fn build(arguments: &[&str]) -> Result<Vec<Message>> {
    let output = cargo()
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("`cargo {}` failed", arguments.join(" "));
    }
    let lines = String::from_utf8(output.stdout).context("cargo's messages")?;
    Ok(lines
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

/// Builds every test program of the workspace.
pub(crate) fn test_programs() -> Result<Vec<TestProgram>> {
    let mut programs = Vec::new();
    for message in build(&["test", "--workspace", "--no-run"])? {
        let (Some(executable), Some(manifest), Some(target)) =
            (message.executable, message.manifest_path, message.target)
        else {
            continue;
        };
        if message.reason != "compiler-artifact"
            || !message.profile.is_some_and(|profile| profile.test)
        {
            continue;
        }
        let folder = manifest
            .parent()
            .context("a manifest without a folder")?
            .to_path_buf();
        let package = folder
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let own = target
            .kind
            .iter()
            .any(|kind| kind == "lib" || kind == "bin");
        let name = if own {
            package
        } else {
            format!("{package} {}", target.name)
        };
        programs.push(TestProgram {
            name,
            executable,
            folder,
        });
    }
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(programs)
}

/// `there`, or the binary that [`binary`] builds.
pub(crate) fn binary_or(there: Option<&Path>) -> Result<PathBuf> {
    there.map_or_else(binary, |there| Ok(std::path::absolute(there)?))
}

/// Builds the binary as the end-to-end tests run it.
pub(crate) fn binary() -> Result<PathBuf> {
    build(&["build", "--package", "portolan", "--profile", "ci"])?
        .into_iter()
        .filter(|message| {
            message
                .target
                .as_ref()
                .is_some_and(|target| target.name == "portolan")
        })
        .find_map(|message| message.executable)
        .context("cargo built no `portolan`")
}
