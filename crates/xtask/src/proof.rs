//! `cargo xtask soak seeds` and `soak mutations`: the simulation over many seeds, and over faults that are planted in the product.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::artifacts;
use crate::place;
use crate::tools::cargo;

/// Seeds that are gathered over several runs unless another number is said.
const GATHERED: u64 = 10_000;
/// Seeds of one line in the file.
const CHUNK: u64 = 100;

/// A line of the file: a chunk of seeds, run at a commit.
#[derive(Debug, PartialEq, Eq)]
struct Chunk {
    commit: String,
    from: u64,
    to: u64,
    failed: Vec<u64>,
    seconds: u64,
}

impl Chunk {
    fn line(&self) -> String {
        let failed: Vec<String> = self.failed.iter().map(u64::to_string).collect();
        format!(
            "{}\t{}\t{}\t{}\t{}\n",
            self.commit,
            self.from,
            self.to,
            failed.join(","),
            self.seconds
        )
    }

    fn parse(line: &str) -> Option<Chunk> {
        let mut parts = line.split('\t');
        let mut part = || parts.next();
        Some(Chunk {
            commit: part()?.to_owned(),
            from: part()?.parse().ok()?,
            to: part()?.parse().ok()?,
            failed: part()?
                .split(',')
                .filter(|seed| !seed.is_empty())
                .map(str::parse)
                .collect::<Result<_, _>>()
                .ok()?,
            seconds: part()?.trim().parse().ok()?,
        })
    }
}

fn file() -> Result<PathBuf> {
    Ok(place::cache("soak")?.join("seeds.tsv"))
}

fn chunks() -> Result<Vec<Chunk>> {
    let file = file()?;
    match fs::read_to_string(&file) {
        Ok(text) => Ok(text.lines().filter_map(Chunk::parse).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// Goes on with the seeds where the last run stopped, for `more` of them or until [`GATHERED`] are there; `false` when one failed.
pub(crate) fn seeds(more: Option<u64>, binary: Option<&Path>) -> Result<bool> {
    let binary = artifacts::binary_or(binary)?;
    let commit = commit()?;
    let mut next = chunks()?.last().map_or(1, |chunk| chunk.to + 1);
    let end = more.map_or(GATHERED + 1, |more| next + more);
    while next < end {
        let count = CHUNK.min(end - next);
        let began = Instant::now();
        let output = Command::new(&binary)
            .args(["prove", "--seed", &next.to_string()])
            .args(["--seeds", &count.to_string()])
            .output()
            .context("cannot run the binary")?;
        let chunk = Chunk {
            commit: commit.clone(),
            from: next,
            to: next + count - 1,
            failed: failed(&String::from_utf8_lossy(&output.stderr)),
            seconds: began.elapsed().as_secs(),
        };
        if output.status.success() != chunk.failed.is_empty() {
            bail!(
                "`prove` ended with {} and said {}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        print!("{}", chunk.line());
        let mut to = OpenOptions::new().create(true).append(true).open(file()?)?;
        to.write_all(chunk.line().as_bytes())?;
        next += count;
    }
    let chunks = chunks()?;
    println!("{}", table(&chunks));
    println!("gathered in {}", file()?.display());
    Ok(chunks.iter().all(|chunk| chunk.failed.is_empty()))
}

/// The seeds that `prove` says how to run again.
fn failed(errors: &str) -> Vec<u64> {
    errors
        .lines()
        .filter_map(|line| {
            line.split_once("--seed ")?
                .1
                .split(' ')
                .next()?
                .parse()
                .ok()
        })
        .collect()
}

/// The chunks as a page of `docs/` has them: a row for each commit.
fn table(chunks: &[Chunk]) -> String {
    let mut rows: Vec<(&str, u64, Vec<String>, u64)> = Vec::new();
    for chunk in chunks {
        if rows.last().is_none_or(|row| row.0 != chunk.commit) {
            rows.push((&chunk.commit, 0, Vec::new(), 0));
        }
        if let Some(row) = rows.last_mut() {
            row.1 += chunk.to + 1 - chunk.from;
            row.2.extend(chunk.failed.iter().map(u64::to_string));
            row.3 += chunk.seconds;
        }
    }
    let mut text =
        String::from("| commit | seeds | with violations | seconds |\n| --- | --- | --- | --- |");
    for (commit, seeds, failed, seconds) in rows {
        let failed = match failed.is_empty() {
            true => "0".to_owned(),
            false => format!("{}: {}", failed.len(), failed.join(", ")),
        };
        // Writing into memory cannot fail.
        let _ = write!(text, "\n| {commit} | {seeds} | {failed} | {seconds} |");
    }
    text
}

fn commit() -> Result<String> {
    let git = |arguments: &[&str]| -> Result<String> {
        let output = Command::new("git")
            .current_dir(place::root())
            .args(arguments)
            .output()
            .context("cannot run git")?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let clean = git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Ok(if clean { commit } else { format!("{commit}+") })
}

/// Runs many instances and agents in the simulation; `false` when something did not hold.
pub(crate) fn scale() -> Result<bool> {
    let status = cargo()
        .args(["run", "--package", "portolan-sim", "--profile", "ci"])
        .args(["--example", "scale"])
        .status()
        .context("cannot start cargo")?;
    Ok(status.success())
}

/// Builds the simulation with the faults that can be planted, and looks for each; `false` when one is not found.
pub(crate) fn mutations() -> Result<bool> {
    let status = cargo()
        .args(["run", "--package", "portolan-sim", "--profile", "ci"])
        .args(["--example", "mutations"])
        // Only the workspace's own crates are compiled anew; cargo keeps them apart from the others.
        .env("RUSTC_WORKSPACE_WRAPPER", std::env::current_exe()?)
        .env(WRAPS, "yes")
        .status()
        .context("cannot start cargo")?;
    Ok(status.success())
}

/// Set where this program stands between cargo and the compiler.
const WRAPS: &str = "PORTOLAN_XTASK_WRAPS";

/// Where cargo calls this program instead of the compiler: calls that, with the planted faults switched on.
pub(crate) fn wrapped() -> Option<Result<bool>> {
    std::env::var_os(WRAPS)?;
    let mut line = std::env::args_os().skip(1);
    let compiler = line.next()?;
    let status = Command::new(compiler)
        .args(line)
        .args(["--cfg", "portolan_mutations"])
        .env_remove(WRAPS)
        .status();
    Some(
        status
            .map(|status| status.success())
            .context("cannot start the compiler"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_read_as_it_was_written() {
        let chunk = |failed: &[u64]| Chunk {
            commit: "0123456789ab".to_owned(),
            from: 101,
            to: 200,
            failed: failed.to_vec(),
            seconds: 40,
        };
        for chunk in [chunk(&[]), chunk(&[107]), chunk(&[107, 130])] {
            assert_eq!(Chunk::parse(&chunk.line()), Some(chunk));
        }
        let table = table(&[chunk(&[]), chunk(&[107])]);
        assert!(
            table.ends_with("| 0123456789ab | 200 | 1: 107 | 80 |"),
            "{table}"
        );
    }

    #[test]
    fn failed_seeds_are_those_to_be_run_again() {
        let said = "again: portolan prove --seed 7\nagain: portolan prove --seed 12 --servers 3\n";
        assert_eq!(failed(said), [7, 12]);
    }
}
