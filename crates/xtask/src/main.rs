//! The one entry for everything that is done to this repository: `cargo xtask check`, `test`, `fuzz`, `bench`, `soak`, `acceptance`.
//!
//! What the checks run, a developer can run with the same words. Nothing is built or installed inside the clone except
//! `target`: clients, their libraries and logs go to the user's cache folder. Start reading at [`mod@test`].

mod acceptance;
mod again;
mod artifacts;
mod bans;
mod bench;
mod check;
mod clients;
mod fuzz;
mod place;
mod proof;
mod soak;
mod suites;
mod tally;
mod test;
mod tools;
mod unused;

use std::process::ExitCode;

use clap::Parser;

/// Checks, tests and measures Portolan.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Task {
    /// Format, lints, documentation, banned and unused dependencies, lock files, licences.
    Check,
    /// Every test there is: the workspace's own, then the binary with unmodified clients.
    Test(test::Options),
    /// Installs the clients of the end-to-end tests and prints the file that lists them, for `PORTOLAN_CLIENTS`.
    Clients,
    /// Builds and runs every fuzz target for a minute.
    Fuzz(fuzz::Options),
    /// Runs one benchmark of `bench/`.
    Bench(bench::Options),
    /// Runs what takes too long for every change: an end-to-end test, or the simulation over many seeds.
    Soak(soak::Options),
    /// Shows what takes the right to make network namespaces: partitions, the compose file as processes.
    Acceptance(acceptance::Options),
}

fn main() -> ExitCode {
    let done = proof::wrapped().unwrap_or_else(|| perform(Task::parse()));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> anyhow::Result<bool> {
    match task {
        Task::Check => check::run(),
        Task::Test(options) => test::run(&options),
        Task::Clients => clients::install().map(|file| {
            println!("{}", file.display());
            true
        }),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Soak(options) => soak::run(&options),
        Task::Acceptance(options) => acceptance::run(&options),
    }
}
