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
