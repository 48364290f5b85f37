//! The end-to-end suites: one module of the test program each.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// The module whose tests are run one by one, by `cargo xtask soak`.
pub(crate) const SOAK: &str = "soak";
/// The module whose tests are run one by one, by `cargo xtask acceptance`.
pub(crate) const ACCEPTANCE: &str = "acceptance";

/// The modules of a test program that every change runs, the quick ones first.
pub(crate) fn of(executable: &Path) -> Result<Vec<String>> {
    let output = Command::new(executable)
        .args(["--list", "--format", "terse"])
        .output()
        .context("cannot list the end-to-end tests")?;
    if !output.status.success() {
        bail!("the end-to-end tests cannot be listed");
    }
    let mut suites: Vec<String> = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some((suite, _)) = line.split_once("::")
            && suite != SOAK
            && suite != ACCEPTANCE
            && !suites.iter().any(|known| known == suite)
        {
            suites.push(suite.to_owned());
        }
    }
    // The quick ones first: a server that does not start is then seen within seconds.
    suites.sort_by_key(|suite| (limit(suite), suite != "serve"));
    Ok(suites)
}

/// How many tests of a suite run side by side: those that load or fill the machine run alone.
pub(crate) fn threads(suite: &str) -> usize {
    match suite {
        "durability" | "disk" | "etcd_differential" | "zookeeper_differential" | "cluster" => 1,
        // Most of it waits for the server to have waited long enough.
        "hostile" => 4,
        _ => 2,
    }
}

/// How long a suite may take before it is ended.
pub(crate) fn limit(suite: &str) -> Duration {
    Duration::from_secs(match suite {
        "durability" | "etcd_differential" => 1200,
        "crosswise" | "hostile" | "disk" => 900,
        _ => 420,
    })
}
