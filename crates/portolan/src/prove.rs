//! `prove`: runs a cluster in virtual time with the faults of a seed, and says whether everything held.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use clap::Args;
use portolan_sim::{Plan, run};

/// `prove`.
#[derive(Debug, Args)]
pub(crate) struct Prove {
    /// The first seed; everything that goes wrong is drawn from it
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
    /// How many seeds, one after the other; with one, the faults are printed as they happen
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    seeds: u64,
    /// Servers of the cluster; drawn from the seed unless said
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=7))]
    servers: Option<u64>,
    /// Of so many seeds one is run twice, and must leave the same trace; 0 for none
    #[arg(long, default_value_t = 10, value_name = "COUNT")]
    twice_of: u64,
    /// Tells the faults only where something did not hold
    #[arg(long, hide = true)]
    brief: bool,
    /// Seeds that run at the same time; as many as there are cores unless said
    #[arg(long, value_name = "COUNT")]
    jobs: Option<NonZeroUsize>,
}

impl Prove {
    /// 0 when everything held, 1 when something did not or nobody reads the output.
    ///
    /// One seed is run here. Of several each has a process of its own: one that ends its process ends no other.
    pub(crate) fn run(&self) -> ExitCode {
        if self.seeds == 1 && self.twice_of != 1 {
            let report = run(&Plan::with_servers(self.seed, self.servers));
            let timeline = match self.brief && report.holds() {
                true => String::new(),
                false => report.timeline(),
            };
            let told = writeln!(io::stdout(), "{timeline}{report}");
            return match told.is_ok() && report.holds() {
                true => ExitCode::SUCCESS,
                false => ExitCode::from(1),
            };
        }
        let began = Instant::now();
        let next = AtomicU64::new(self.seed);
        let end = self.seed.saturating_add(self.seeds);
        let failed = Mutex::new(Vec::new());
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let jobs = self.jobs.map_or(cores, NonZeroUsize::get);
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= end {
                            return;
                        }
                        let (text, held) = self.prove(seed);
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        if !held {
                            failed.push(seed);
                        }
                        if write!(io::stdout(), "{text}").is_err() {
                            next.store(u64::MAX / 2, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        failed.sort_unstable();
        let told = writeln!(
            io::stdout(),
            "{} seeds, {} with violations, in {:.1} s",
            self.seeds,
            failed.len(),
            began.elapsed().as_secs_f64()
        );
        for seed in &failed {
            let servers = self.servers.map(|count| format!(" --servers {count}"));
            eprintln!(
                "again: portolan prove --seed {seed}{}",
                servers.unwrap_or_default()
            );
        }
        match (told, failed.is_empty()) {
            (Ok(()), true) => ExitCode::SUCCESS,
            _ => ExitCode::from(1),
        }
    }

    /// What a seed's process said, and whether everything held.
    fn prove(&self, seed: u64) -> (String, bool) {
        let (text, held) = self.process(seed);
        if !held || self.twice_of == 0 || !seed.is_multiple_of(self.twice_of) {
            return (text, held);
        }
        let (again, _) = self.process(seed);
        match text == again {
            true => (text, true),
            false => (
                format!("{text}seed {seed}: VIOLATION: a second run left another trace:\n{again}"),
                false,
            ),
        }
    }

    fn process(&self, seed: u64) -> (String, bool) {
        let ran = std::env::current_exe().and_then(|own| {
            let mut command = Command::new(own);
            command.args(["prove", "--brief", "--seed", &seed.to_string()]);
            if let Some(servers) = self.servers {
                command.args(["--servers", &servers.to_string()]);
            }
            command.output()
        });
        match ran {
            Ok(output) => {
                let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
                text.push_str(&String::from_utf8_lossy(&output.stderr));
                (text, output.status.success())
            }
            Err(error) => (format!("seed {seed}: cannot be run: {error}\n"), false),
        }
    }
}
