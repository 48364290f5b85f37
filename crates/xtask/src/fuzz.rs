//! `cargo xtask fuzz`: builds every target of `fuzz/` and runs each for a while on a copy of the committed corpus.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::place;
use crate::tools::{run_logged, version};

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Seconds per target.
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u64,
    /// Only these targets.
    pub(crate) targets: Vec<String>,
}

#[derive(Deserialize)]
struct Manifest {
    bin: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Runs them; `false` when one found something.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let folder = place::root().join("fuzz");
    let manifest: Manifest = toml::from_str(&fs::read_to_string(folder.join("Cargo.toml"))?)
        .context("fuzz/Cargo.toml")?;
    let known: Vec<&str> = manifest.bin.iter().map(|one| &*one.name).collect();
    if let Some(name) = options
        .targets
        .iter()
        .find(|name| !known.contains(&&***name))
    {
        bail!("no fuzz target {name:?}; there is: {}", known.join(", "));
    }
    if version("cargo", &["+nightly", "--version"]).is_none() {
        println!("skipped: no nightly toolchain (`rustup toolchain install nightly`)");
        return Ok(!place::in_ci());
    }
    if version("cargo", &["+nightly", "fuzz", "--version"]).is_none() {
        println!("skipped: no cargo-fuzz (`cargo install cargo-fuzz`)");
        return Ok(!place::in_ci());
    }
    let target_folder = place::cache("fuzz-target")?;
    let (mut passed, mut failed) = (0, 0);
    for target in manifest
        .bin
        .iter()
        .filter(|one| options.targets.is_empty() || options.targets.contains(&one.name))
    {
        let name = &target.name;
        let build = |action: &str| {
            let mut command = Command::new("cargo");
            // The cargo of this task is another toolchain: what it set must not reach the one below.
            for (variable, _) in std::env::vars().filter(|(variable, _)| {
                variable.starts_with("CARGO") || variable.starts_with("RUST")
            }) {
                if variable != "CARGO_HOME" && variable != "RUSTUP_HOME" {
                    command.env_remove(variable);
                }
            }
            command
                .current_dir(&folder)
                .args(["+nightly", "fuzz", action, "--target-dir"])
                .arg(&target_folder);
            command
        };
        let built = run_logged(
            build("build").arg(name),
            &format!("fuzz-build-{name}"),
            Duration::from_secs(3600),
        )?;
        if !built.success {
            println!("FAILED {name}: does not build\n{}", built.tail(20));
            failed += 1;
            continue;
        }
        let corpus = place::cache("fuzz-corpus")?.join(name);
        copy(&folder.join("corpus").join(name), &corpus)?;
        let ended = run_logged(
            build("run").arg(name).arg(&corpus).args([
                "--".to_owned(),
                format!("-max_total_time={}", options.seconds),
                "-timeout=10".to_owned(),
                "-rss_limit_mb=1024".to_owned(),
            ]),
            &format!("fuzz-{name}"),
            Duration::from_secs(options.seconds * 3 + 600),
        )?;
        let runs = ended
            .output()
            .lines()
            .rev()
            .find(|line| line.starts_with("Done "))
            .unwrap_or_default()
            .to_owned();
        if ended.success {
            passed += 1;
            println!("ok     {name}: {runs}");
        } else {
            failed += 1;
            println!("FAILED {name}\n{}", ended.tail(40));
        }
    }
    println!("{passed} targets passed, {failed} failed");
    Ok(failed == 0)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let Ok(entries) = fs::read_dir(from) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
