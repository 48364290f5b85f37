//! The ban list of `deny.toml` held against `Cargo.lock`, so that it also bites where `cargo-deny` is not installed.

use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;

#[derive(Deserialize)]
struct Deny {
    bans: Bans,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Banned>,
}

#[derive(Deserialize)]
struct Banned {
    #[serde(rename = "crate")]
    name: String,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
}

/// What would be two half servers if there were two versions of it.
const ONCE: [&str; 9] = [
    "h2",
    "http",
    "http-body",
    "hyper",
    "hyper-util",
    "prost",
    "rustls",
    "tokio",
    "tonic",
];

/// Banned crates in the lock file, crates from anywhere but the package registry, and two versions of what must be there once.
pub(crate) fn problems() -> Result<Vec<String>> {
    let root = crate::place::root();
    let read = |name: &str| {
        fs::read_to_string(root.join(name)).with_context(|| format!("cannot read {name}"))
    };
    let deny: Deny = toml::from_str(&read("deny.toml")?).context("deny.toml")?;
    let lock: Lock = toml::from_str(&read("Cargo.lock")?).context("Cargo.lock")?;
    Ok(problems_of(&deny, &lock))
}

fn problems_of(deny: &Deny, lock: &Lock) -> Vec<String> {
    let mut problems = Vec::new();
    for package in &lock.package {
        if let Some(banned) = deny
            .bans
            .deny
            .iter()
            .find(|banned| banned.name == package.name)
        {
            problems.push(format!(
                "Cargo.lock has {} {}, which deny.toml bans: {}",
                package.name, package.version, banned.reason
            ));
        }
        if package
            .source
            .as_deref()
            .is_some_and(|source| !source.starts_with("registry+"))
        {
            problems.push(format!(
                "Cargo.lock has {} {} from outside the package registry",
                package.name, package.version
            ));
        }
    }
    for name in ONCE {
        let versions: Vec<&str> = lock
            .package
            .iter()
            .filter(|package| package.name == name)
            .map(|package| &*package.version)
            .collect();
        if versions.len() > 1 {
            problems.push(format!(
                "Cargo.lock has {name} in versions {}; one is enough",
                versions.join(" and ")
            ));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_banned_crate_and_a_foreign_source_are_found() {
        let deny: Deny =
            toml::from_str("[bans]\ndeny = [{ crate = \"cmake\", reason = \"no cmake\" }]")
                .unwrap();
        let lock: Lock = toml::from_str(
            "[[package]]\nname = \"cmake\"\nversion = \"1\"\nsource = \"registry+x\"\n[[package]]\nname = \"a\"\nversion = \"2\"\nsource = \"git+y\"\n[[package]]\nname = \"own\"\nversion = \"3\"\n",
        )
        .unwrap();
        assert_eq!(problems_of(&deny, &lock).len(), 2);
    }

    #[test]
    fn a_second_version_of_the_http_library_is_found() {
        let deny: Deny = toml::from_str("[bans]\ndeny = []").unwrap();
        let two = "[[package]]\nname = \"hyper\"\nversion = \"1.0.0\"\n[[package]]\nname = \"hyper\"\nversion = \"0.14.0\"\n";
        let lock: Lock = toml::from_str(two).unwrap();
        assert_eq!(
            problems_of(&deny, &lock),
            ["Cargo.lock has hyper in versions 1.0.0 and 0.14.0; one is enough"]
        );
    }
}
