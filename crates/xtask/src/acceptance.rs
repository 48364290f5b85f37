//! `cargo xtask acceptance NAME`: what has to be shown on a network of its own, by tests of the end-to-end module `acceptance`. Most take
//! root, `ip` and a kernel with network namespaces, bridges and virtual links. Results are in `docs/acceptance.md`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::test::END_TO_END;
use crate::tools;
use crate::{artifacts, clients};

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A run; without one, they are listed.
    name: Option<String>,
    /// The binary to run; built in release if absent.
    #[arg(long, value_name = "FILE")]
    bin: Option<PathBuf>,
}

struct Acceptance {
    name: &'static str,
    what: &'static str,
    test: &'static str,
    limit: Duration,
}

static RUNS: [Acceptance; 4] = [
    Acceptance {
        name: "compose",
        what: "the machines of deploy/compose.yaml as processes: three servers, an agent, each server killed once; 1 minute",
        test: "acceptance::compose::three_servers_and_an_agent_as_consuls_example_has_them",
        limit: Duration::from_secs(400),
    },
    Acceptance {
        name: "consul-api",
        what: "the tests of Consul's own Go client (api 1.34.5) against `portolan as consul`, but for those in tests/clients/consul-api/exceptions.txt; needs Go; 5 minutes",
        test: "acceptance::consul_api::the_go_clients_own_tests_pass",
        limit: Duration::from_secs(1800),
    },
    Acceptance {
        name: "kubernetes",
        what: "CoreDNS and kube-proxy, built from their Go modules, on the Kubernetes port: a name resolves, packets reach each ready endpoint and no other; needs nft, iptables, dig and curl; 1 minute, and 10 to build them the first time",
        test: "acceptance::kubernetes::coredns_and_kube_proxy_run_on_it",
        limit: Duration::from_secs(400),
    },
    Acceptance {
        name: "partitions",
        what: "links of three servers fail for 5 s in five ways under load: no election too many, nothing lost, nothing stale; 1 minute",
        test: "acceptance::partitions::no_link_that_fails_costs_more_than_it_must",
        limit: Duration::from_secs(400),
    },
];

/// Runs it; `false` when it failed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let Some(name) = &options.name else {
        for run in &RUNS {
            println!("{:12} {}", run.name, run.what);
        }
        return Ok(true);
    };
    let Some(run) = RUNS.iter().find(|run| run.name == name) else {
        let names: Vec<&str> = RUNS.iter().map(|run| run.name).collect();
        bail!("no run {name:?}; there is: {}", names.join(", "));
    };
    let programs = artifacts::test_programs()?;
    let Some(program) = programs.iter().find(|one| one.name == END_TO_END) else {
        bail!("the workspace has no end-to-end test program");
    };
    let binary = match &options.bin {
        Some(binary) => std::path::absolute(binary)?,
        None => artifacts::binary()?,
    };
    let mut command = Command::new(&program.executable);
    command
        .current_dir(&program.folder)
        .args([run.test, "--exact", "--nocapture"])
        .env("PORTOLAN_BIN", binary);
    if run.name == "kubernetes" {
        command
            .env("PORTOLAN_COREDNS", clients::coredns()?)
            .env("PORTOLAN_KUBE_PROXY", clients::kube_proxy()?);
    }
    let ended = tools::run_logged(&mut command, run.name, run.limit)?;
    println!("{}", ended.tail(40));
    Ok(ended.success)
}
