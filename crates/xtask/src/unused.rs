//! Dependencies that no source file of their crate names.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// One line per dependency that is declared and never named in the crate's Rust files.
pub(crate) fn problems() -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let crates = crate::place::root().join("crates");
    for entry in fs::read_dir(&crates).context("cannot list crates")? {
        let folder = entry?.path();
        let Ok(manifest) = fs::read_to_string(folder.join("Cargo.toml")) else {
            continue;
        };
        let manifest: toml::Table = toml::from_str(&manifest)
            .with_context(|| format!("{}/Cargo.toml", folder.display()))?;
        let mut sources = String::new();
        gather(&folder, &mut sources)?;
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(table) = manifest.get(section).and_then(toml::Value::as_table) else {
                continue;
            };
            for name in table
                .keys()
                .filter(|name| !sources.contains(&name.replace('-', "_")))
            {
                problems.push(format!(
                    "{}: nothing uses `{name}` of [{section}]",
                    folder.file_name().unwrap_or_default().display()
                ));
            }
        }
    }
    problems.sort();
    Ok(problems)
}

fn gather(folder: &Path, sources: &mut String) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            gather(&path, sources)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            sources.push_str(&fs::read_to_string(&path)?);
        }
    }
    Ok(())
}
