//! `cargo xtask bench NAME`: one benchmark of `bench/`, with the binary as it is shipped.

use std::fs;

use anyhow::{Result, bail};

use crate::place;
use crate::tools::cargo;

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A folder of `bench/`; without one, the names are listed.
    pub(crate) name: Option<String>,
    /// Handed on to the benchmark.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,
}

/// Runs it: a benchmark is a Rust program `bench/NAME` that builds what it compares and prints ratios.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let folder = place::root().join("bench");
    let names: Vec<String> = fs::read_dir(&folder)?
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let Some(name) = &options.name else {
        println!("{}", names.join("\n"));
        return Ok(true);
    };
    if !names.contains(name) {
        bail!("no benchmark {name:?}; there is: {}", names.join(", "));
    }
    let built = cargo()
        .args(["build", "--release", "--package", "portolan"])
        .status()?;
    if !built.success() {
        return Ok(false);
    }
    let manifest = folder.join(name).join("Cargo.toml");
    Ok(cargo()
        .args(["run", "--release", "--manifest-path"])
        .arg(manifest)
        .arg("--")
        .args(&options.arguments)
        .status()?
        .success())
}
