//! `cargo xtask soak NAME`: end-to-end tests that take too long for every change. The table is [`SOAKS`].

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::artifacts;
use crate::clients;
use crate::test::END_TO_END;
use crate::tools;

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A run; without one, they are listed.
    pub(crate) name: Option<String>,
}

/// A test of the end-to-end module `soak`, with a name.
struct Soak {
    name: &'static str,
    /// What it shows, and how long it takes.
    what: &'static str,
    /// The test's path in the end-to-end program.
    test: &'static str,
    limit: Duration,
}

static SOAKS: &[Soak] = &[Soak {
    name: "times",
    what: "a Consul session lives for two of its TTLs after its last renewal, seen by python-consul; 24 s",
    test: "soak::sessions_live_for_two_ttls_after_their_last_renewal",
    limit: Duration::from_secs(120),
}];

/// Runs it; `false` when it failed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let Some(name) = &options.name else {
        for soak in SOAKS {
            println!("{:12} {}", soak.name, soak.what);
        }
        return Ok(true);
    };
    let Some(soak) = SOAKS.iter().find(|soak| soak.name == name) else {
        let names: Vec<&str> = SOAKS.iter().map(|soak| soak.name).collect();
        bail!("no soak run {name:?}; there is: {}", names.join(", "));
    };
    let programs = artifacts::test_programs()?;
    let Some(program) = programs.iter().find(|one| one.name == END_TO_END) else {
        bail!("the workspace has no end-to-end test program");
    };
    let mut command = Command::new(&program.executable);
    command
        .current_dir(&program.folder)
        .args([soak.test, "--exact", "--nocapture"])
        .env("PORTOLAN_BIN", artifacts::binary()?)
        .env("PORTOLAN_CLIENTS", clients::install()?);
    let ended = tools::run_logged(&mut command, soak.name, soak.limit)?;
    println!("{}", ended.tail(40));
    Ok(ended.success)
}
