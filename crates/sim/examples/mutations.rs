//! Plants each known fault in turn and runs seeds until the checkers find it: `cargo xtask soak mutations`.
//!
//! Only a build with `--cfg portolan_mutations` has any. Ends with 1 when a fault is not found within 500 seeds, or a sound build fails.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use portolan_sim::mutation::{KNOWN, MUTATIONS};
use portolan_sim::{Plan, run};

/// Seeds within which a fault has to be found, and how many must hold without one; a slow build says fewer as its first argument.
const SEEDS: u64 = 500;
const SOUND: u64 = 20;

/// The first seed up to `most` that does not hold, and what was found.
fn search(mutation: Option<&'static str>, most: u64) -> Option<(u64, String)> {
    let (next, found) = (AtomicU64::new(1), Mutex::new(None));
    let jobs = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > most {
                        return;
                    }
                    let report = run(&Plan {
                        mutation,
                        ..Plan::new(seed)
                    });
                    let Some(first) = report.violations.first() else {
                        continue;
                    };
                    next.store(most, Ordering::Relaxed);
                    next.fetch_add(1, Ordering::Relaxed);
                    if let Ok(mut found) = found.lock()
                        && found
                            .as_ref()
                            .is_none_or(|(earlier, _): &(u64, String)| seed < *earlier)
                    {
                        *found = Some((seed, first.to_string()));
                    }
                }
            });
        }
    });
    found.into_inner().ok().flatten()
}

fn main() -> ExitCode {
    if !KNOWN {
        eprintln!("this build knows no planted faults; use `cargo xtask soak mutations`");
        return ExitCode::from(2);
    }
    let mut wanted: Vec<String> = std::env::args().skip(1).collect();
    let fewer = wanted.first().and_then(|first| first.parse::<u64>().ok());
    if fewer.is_some() {
        wanted.remove(0);
    }
    let seeds = fewer.unwrap_or(SEEDS);
    let sound = SOUND.min(seeds);
    if let Some((seed, what)) = search(None, sound) {
        println!("without a planted fault, seed {seed} fails: {what}");
        return ExitCode::from(1);
    }
    println!("without a planted fault: {sound} seeds hold");
    let mut missed = 0;
    for mutation in MUTATIONS {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == mutation.name) {
            continue;
        }
        let began = Instant::now();
        let found = search(Some(mutation.name), seeds);
        let took = began.elapsed().as_secs_f64();
        match found {
            Some((seed, what)) => {
                println!(
                    "found by seed {seed:>3} in {took:>5.1} s  {:24} {}",
                    mutation.name, mutation.what
                );
                println!("    {what}");
            }
            None => {
                missed += 1;
                println!(
                    "NOT FOUND in {seeds} seeds, {took:.1} s  {:24} {}",
                    mutation.name, mutation.what
                );
            }
        }
    }
    match missed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(1),
    }
}
