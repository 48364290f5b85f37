//! `cargo xtask check`: what every change must pass before its tests are looked at.

use anyhow::Result;

use crate::tools::cargo;
use crate::{bans, unused};

/// Runs every check, also after one failed, and says at the end which did.
pub(crate) fn run() -> Result<bool> {
    let mut failed: Vec<&str> = Vec::new();
    let steps: [(&str, &[&str]); 3] = [
        ("format", &["fmt", "--all", "--check"]),
        (
            "lints",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ],
        ),
        (
            "documentation",
            &[
                "doc",
                "--workspace",
                "--no-deps",
                "--document-private-items",
                "--quiet",
            ],
        ),
    ];
    for (name, arguments) in steps {
        println!("check: {name}");
        if !cargo()
            .args(arguments)
            .env("RUSTDOCFLAGS", "-D warnings")
            .status()?
            .success()
        {
            failed.push(name);
        }
    }
    for (name, found) in [
        ("banned crates", bans::problems()?),
        ("unused dependencies", unused::problems()?),
    ] {
        println!("check: {name}");
        for problem in &found {
            println!("  {problem}");
        }
        if !found.is_empty() {
            failed.push(name);
        }
    }
    println!("check: lock files beside the workspace");
    if !locked()? {
        failed.push("lock files beside the workspace");
    }
    println!("check: licences and sources");
    if cargo()
        .args(["deny", "--version"])
        .output()?
        .status
        .success()
    {
        if !cargo()
            .args([
                "deny",
                "--log-level",
                "error",
                "check",
                "bans",
                "licenses",
                "sources",
            ])
            .status()?
            .success()
        {
            failed.push("licences and sources");
        }
    } else {
        println!(
            "  skipped: no cargo-deny (bans and sources were checked above; licences were not)"
        );
    }
    if failed.is_empty() {
        println!("check: passed");
    } else {
        println!("check: failed: {}", failed.join(", "));
    }
    Ok(failed.is_empty())
}

/// Whether the lock files of `fuzz` and of the benchmarks, which are workspaces of their own, fit what they lean on here.
fn locked() -> Result<bool> {
    let root = crate::place::root();
    let mut manifests = vec![root.join("fuzz/Cargo.toml")];
    for entry in std::fs::read_dir(root.join("bench"))? {
        manifests.push(entry?.path().join("Cargo.toml"));
    }
    manifests.sort();
    let mut all = true;
    for manifest in manifests.iter().filter(|manifest| manifest.is_file()) {
        let fetched = cargo()
            .args(["fetch", "--quiet", "--locked", "--manifest-path"])
            .arg(manifest)
            .status()?;
        if !fetched.success() {
            println!("  {} does not fit its Cargo.lock", manifest.display());
            all = false;
        }
    }
    Ok(all)
}
