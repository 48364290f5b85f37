//! `prove`: runs a cluster in virtual time with the faults of a seed, and says whether everything held.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Args;
use portolan_sim::{Plan, Report, run};

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
    /// Seeds that run at the same time; as many as there are cores unless said
    #[arg(long, value_name = "COUNT")]
    jobs: Option<NonZeroUsize>,
}

/// What came of all seeds.
#[derive(Default)]
struct Total {
    failed: Vec<u64>,
    virtual_ms: u64,
}

impl Prove {
    /// 0 when everything held, 1 when something did not or nobody reads the output.
    pub(crate) fn run(&self) -> ExitCode {
        let began = Instant::now();
        let next = AtomicU64::new(self.seed);
        let end = self.seed.saturating_add(self.seeds);
        let total = Mutex::new(Total::default());
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
                        let report = self.prove(seed);
                        if self.tell(&report, &total).is_err() {
                            next.store(u64::MAX / 2, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let total = total.into_inner().unwrap_or_default();
        let took = began.elapsed();
        let told = writeln!(
            io::stdout(),
            "{} seeds, {} with violations, {} s of virtual time in {:.1} s",
            self.seeds,
            total.failed.len(),
            total.virtual_ms / 1000,
            took.as_secs_f64()
        );
        let mut failed = total.failed;
        failed.sort_unstable();
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

    fn prove(&self, seed: u64) -> Report {
        let plan = Plan::with_servers(seed, self.servers);
        let mut report = run(&plan);
        if self.twice_of > 0 && seed.is_multiple_of(self.twice_of) {
            report.compare(&run(&plan));
        }
        report
    }

    /// Prints one report, whole.
    fn tell(&self, report: &Report, total: &Mutex<Total>) -> io::Result<()> {
        let timeline = match self.seeds == 1 || !report.holds() {
            true => report.timeline(),
            false => String::new(),
        };
        let mut total = total
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        total.virtual_ms += report.outcome.virtual_ms;
        if !report.holds() {
            total.failed.push(report.plan.seed);
        }
        writeln!(io::stdout(), "{timeline}{report}")
    }
}
